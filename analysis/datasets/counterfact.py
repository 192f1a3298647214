"""CounterFact as published with ROME (and MEMIT's multi_counterfact): an array of edits, each with the fact as it was."""

from knscope.analysis.datasets.layouts import Asked, Layout, inner, text
from knscope.analysis.datasets.pairing import ANSWER, SUBJECT
from knscope.analysis.datasets.published import Fields, Record


def _ask(record: Record) -> Asked:
    """The true fact (`target_true`) on the prompt of its rewrite: `{} debuted on` -> `[X] debuted on [Y]`.

    The other prompts are not asked: paraphrases begin with sentences of another topic, neighbours are other facts.
    """
    rewrite = record["requested_rewrite"]
    fact = {
        "case_id": record.get("case_id"),
        "subject": inner(rewrite, "subject"),
        "target_true": inner(rewrite, "target_true", "str"),
        "target_true.id": inner(rewrite, "target_true", "id"),
    }
    prompt = text(inner(rewrite, "prompt")).replace("{}", SUBJECT)
    return Asked(text(inner(rewrite, "relation_id")), fact, (f"{prompt} {ANSWER}",))


LAYOUTS = (
    Layout(
        frozenset({"requested_rewrite"}), Fields("subject", "target_true", "", "target_true.id", number="case_id"), _ask
    ),
)
