"""Make a query of a question that a user types."""

from __future__ import annotations

from collections.abc import Mapping

from knscope.analysis.prompts.encode import Query
from knscope.analysis.prompts.words import is_unspaced_text
from knscope.store.errors import UserError

ASKED = "asked"
"""Relation of questions about no stored fact. They belong to no relation of the data, so no claim is made of them."""


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
    if "[Y]" not in template:
        template = template.rstrip()
        template += "[Y]" if is_unspaced_text(template.replace("[X]", " ")) else " [Y]"
    fact = values.get("fact") or f"{ASKED}: {subject} → {values['object']}"
    prefix = values.get("prefix", "").replace("\\n", "\n")
    return Query(fact, relation, values["lang"], template, subject, values["object"], prefix)
