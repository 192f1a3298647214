"""Prompts as people type them: with an answer they are a query, without one a model is asked what it answers."""

from __future__ import annotations

from collections.abc import Mapping

from knscope.analysis.prompts.encode import BLANK, Encodable, EncodedQuery, Query, Step, tokenise, without_end
from knscope.analysis.prompts.words import is_unspaced_text, word_spans
from knscope.store.errors import UserError

ASKED = "asked"
"""Relation of questions about no stored fact. They belong to no relation of the data, so no claim is made of them."""


def open_prompt(loaded: Encodable, prompt: str, masks: int = 1, prefix: str = "") -> EncodedQuery:
    """A prompt, with [Y] where the answer goes, or without it where the answer follows at the end.

    It has no answer tokens and no words. `masks`: answer tokens that an encoder fills in; its steps are as many. `prefix`:
    text before the prompt, as it stands.

    :raises UserError: a decoder is asked in the middle of a text, or the prompt is empty or too long
    """
    before, slot, after = prompt.partition("[Y]")
    empty, before = not before.strip() and not after.strip(), prefix + before
    if loaded.kind == "decoder" and after.strip():
        raise UserError("a decoder answers at the end of a prompt; leave out what follows [Y]")
    if not slot and loaded.kind != "decoder" and not is_unspaced_text(before):
        before = f"{before.rstrip()} "
    steps: list[Step]
    if loaded.kind == "decoder":
        text = before.rstrip()
        ids = tuple(token.id for token in without_end(tokenise(loaded.tokenizer, text)))
        steps = [Step(ids, len(ids) - 1, 0)]
    elif loaded.kind == "encoder":
        text = before + " ".join([loaded.tokenizer.mask_token] * masks) + after
        ids = tuple(token.id for token in tokenise(loaded.tokenizer, text))
        steps = [Step(ids, place, 0) for place, token in enumerate(ids) if token == loaded.tokenizer.mask_token_id]
    else:
        text, blank = before + BLANK + after, loaded.tokenizer.convert_tokens_to_ids(BLANK)
        ids = (*(token.id for token in tokenise(loaded.tokenizer, text)), loaded.start, blank)
        steps = [Step(ids, 1, 0)]
    if empty or not steps[0].ids:
        raise UserError("the prompt is empty")
    if beyond := [token for token in ids if token >= loaded.vocabulary]:
        named = loaded.tokenizer.convert_ids_to_tokens(beyond[0])
        raise UserError(f"the token {named!r} was added to the tokenizer, and the model does not know it; leave it out")
    if len(ids) > loaded.context:
        raise UserError(f"the prompt has {len(ids)} tokens, and the model reads at most {loaded.context}")
    return EncodedQuery(Query("", "", "", prompt, "", ""), text, (), tuple(steps), ())


def with_answer(prompt: str, answer: str, subject: str = "", prefix: str = "") -> Query:
    """A free prompt and its answer as a query. The subject decides nothing that is computed for one prompt, as the words
    of eq. 3 are those of subject and template alike; where none is named, the first word stands for it.

    :raises UserError: the answer is empty, or the prompt has no word, or not the subject that is named
    """
    if not answer.strip():
        raise UserError("the answer is empty")
    if prompt.count("[Y]") > 1:
        raise UserError(f"the prompt has more than one [Y], which is where the answer goes: {prompt!r}")
    template = _with_answer_slot(prompt)
    if "[X]" not in template:
        spans = word_spans(template.replace("[Y]", "   "), 0)
        if subject and subject not in template.replace("[Y]", ""):
            raise UserError(f"the prompt does not contain the subject {subject!r}: {prompt!r}")
        if not subject and not spans:
            raise UserError(f"the prompt has no word: {prompt!r}")
        subject = subject or template[slice(*spans[0])]
        template = template.replace(subject, "[X]", 1)
    elif not subject.strip():
        raise UserError(f"the prompt has [X]; name the subject that it stands for: {prompt!r}")
    return Query(f"{subject}: {answer}", "query", "", template, subject, answer, prefix)


def question(values: Mapping[str, str], relation: str = ASKED) -> Query:
    """The query that `template`, `subject`, `object`, `lang` and perhaps `fact` and `prefix` mean: [X] may be left out where the
    subject stands, and [Y] at the end.

    :raises UserError: the prompt has no place for the subject
    """
    template, subject = values["template"], values["subject"]
    if "[X]" not in template:
        if subject not in template.replace("[Y]", ""):
            raise UserError(f"The prompt names neither [X] nor {subject}: The capital of [X] is [Y]")
        template = template.replace(subject, "[X]", 1)
    fact = values.get("fact") or f"{ASKED}: {subject} → {values['object']}"
    prefix = values.get("prefix", "").replace("\\n", "\n")
    return Query(fact, relation, values["lang"], _with_answer_slot(template), subject, values["object"], prefix)


def _with_answer_slot(template: str) -> str:
    """With [Y] at the end where there is none."""
    if "[Y]" in template:
        return template
    template = template.rstrip()
    return template + ("[Y]" if is_unspaced_text(template.replace("[X]", " ")) else " [Y]")
