"""Questions that a person types."""

from __future__ import annotations

import pytest

from knscope.analysis.prompts.open_prompt import question
from knscope.store.errors import UserError

TYPED = {"template": "The capital of [X] is [Y]", "subject": "Tanzania", "object": "Dodoma", "lang": "en"}


@pytest.mark.parametrize(
    ("prompt", "template"),
    [
        ("The capital of [X] is [Y]", "The capital of [X] is [Y]"),
        ("The capital of Tanzania is", "The capital of [X] is [Y]"),
        ("[Y] is the capital of Tanzania.", "[Y] is the capital of [X]."),
        ("Tanzania的首都是", "[X]的首都是[Y]"),
        ("La capitale de Tanzania était", "La capitale de [X] était [Y]"),
        ("Tanzania 의 수도는", "[X] 의 수도는 [Y]"),
    ],
)
def test_a_prompt_may_name_its_subject_and_end_where_the_answer_goes(prompt: str, template: str) -> None:
    assert question({**TYPED, "template": prompt}).template == template


def test_a_prompt_without_its_subject_is_refused_and_a_new_question_is_a_fact_of_its_own() -> None:
    with pytest.raises(UserError, match=r"names neither \[X\] nor Tanzania"):
        question({**TYPED, "template": "The capital is [Y]"})
    assert question(TYPED).fact == "asked: Tanzania → Dodoma"
    assert question({**TYPED, "fact": "P36-TZ"}, "P36").fact == "P36-TZ"


def test_question_accepts_a_prefix() -> None:
    values = {"template": "the capital of [X] is [Y]", "subject": "france", "object": "paris", "lang": "en"}
    plain, shown = question(values), question({**values, "prefix": "Germany: Berlin\\nSpain: Madrid\\n"})
    assert plain.prefix == "" and shown.prefix == "Germany: Berlin\nSpain: Madrid\n" and plain.id != shown.id
