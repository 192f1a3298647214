"""The page of all types says what is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.analysis.engine import all_types

PAGE = Path(__file__).parents[3] / "docs" / "model_types.md"


@pytest.mark.parametrize("name", ["lfm2", "ctrl", "mixtral", "phimoe", "mamba", "hrm_text", "qwen3"])
def test_row_of_a_type_is_what_is_found(name: str) -> None:
    """Two whose names were learned last, two that route, one without an MLP, one without gradients, one like most."""
    what, how = all_types.look(name, True)
    assert f"| {name} | predicts the next token | {what} | {how} |\n" in PAGE.read_text(encoding="utf-8")


@pytest.mark.soak
def test_page_of_all_types_is_up_to_date() -> None:
    assert all_types.page() == PAGE.read_text(encoding="utf-8")
