"""zsRE as ROME and MEND publish it: questions with right answers, in ROME with the subject, in MEND with where it was found.

A question is asked as `Q: What university did [X] attend? A: [Y]`. The files name no relation: facts asked with the same
question are one, which the question's words name, as `what-university-did-attend`.
"""

from knscope.analysis.datasets.layouts import Asked, Layout, inner, text
from knscope.analysis.datasets.own_prompts import question, slug, with_subject_slot
from knscope.analysis.datasets.pairing import SUBJECT
from knscope.analysis.datasets.published import Fields, Record


def _rome(record: Record) -> Asked:
    """zsre_mend_eval.json: `src` and its `rephrase`, `answers`; `alt` is a wrong answer, `loc` another question."""
    return _asked(record, text(record["subject"]), text(record["src"]), (text(record.get("rephrase")),))


def _mend(record: Record) -> Asked:
    """structured_zeroshot-*.jsonl: `input`, answers in `output`; `alternatives` are wrong ones, and `rephrases` machine-made.

    The subject is the title of the page that holds an answer, where the question has it.
    """
    outputs = record["output"] if isinstance(record["output"], list) else []
    asked, titles = text(record["input"]), []
    for output in outputs:
        pages = inner(output, "provenance")
        titles += [text(inner(page, "title")) for page in (pages if isinstance(pages, list) else [])]
    subject = max((title for title in titles if title and title in asked), key=len, default="")
    fact = {"subject": subject, "output.answer": [inner(output, "answer") for output in outputs]}
    return _asked(fact, subject, asked, ())


def _asked(fact: Record, subject: str, asked: str, others: tuple[str, ...]) -> Asked:
    template = with_subject_slot(asked, subject)
    relation = slug(template) if SUBJECT in template else ""
    return Asked(relation, fact, tuple(question(one, subject) for one in (asked, *others) if one))


LAYOUTS = (
    Layout(frozenset({"subject", "src", "answers"}), Fields("subject", "answers"), _rome),
    Layout(frozenset({"input", "output"}), Fields("subject", "output.answer"), _mend),
)
