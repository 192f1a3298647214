"""PopQA as published: a table of questions with subject, relation, object and all right answers."""

import json

from knscope.analysis.datasets.layouts import Asked, Layout, text
from knscope.analysis.datasets.own_prompts import question, slug
from knscope.analysis.datasets.published import Fields, Record


def _ask(record: Record) -> Asked:
    """`What is George Rankin's occupation?` -> `Q: What is [X]'s occupation? A: [Y]`, the relation from `prop`.

    `possible_answers` and `o_aliases` are lists written as JSON; those beside the object are alternatives.
    """
    subject = text(record["subj"])
    fact = {
        "id": record.get("id"),
        "subj": record["subj"],
        "obj": record["obj"],
        "s_uri": _item(record.get("s_uri")),
        "o_uri": _item(record.get("o_uri")),
        "possible_answers": _answers(record["possible_answers"]),
    }
    return Asked(slug(text(record["prop"])), fact, (question(text(record["question"]), subject),))


def _item(uri: object) -> object:
    """`http://www.wikidata.org/entity/Q42` -> `Q42`."""
    return uri.rpartition("/")[2] if isinstance(uri, str) else uri


def _answers(cell: object) -> object:
    """The list that a cell holds as JSON; the cell itself where it holds none, which is reported then."""
    if not isinstance(cell, str):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return {"not JSON": cell}


LAYOUTS = (
    Layout(
        frozenset({"subj", "prop", "obj", "question", "possible_answers"}),
        Fields("subj", "obj", "s_uri", "o_uri", number="id", others="possible_answers"),
        _ask,
    ),
)
