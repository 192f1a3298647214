"""The last block computes for the answer position alone what is read there alone."""

import pytest

from knscope.analysis.engine import narrowing
from knscope.analysis.engine import proof as proofs
from knscope.analysis.engine.circuit import Circuit
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.engine.passes import _Replay
from knscope.analysis.engine.replay import Engine
from tests import families


@pytest.fixture(scope="module")
def bert() -> LoadedModel:
    return families.load("bert")


def test_queries_and_what_attention_gives_out_are_found_keys_and_values_are_not(bert: LoadedModel) -> None:
    block = bert.anatomy.blocks[-1].module
    found = Engine(bert).proof.recipe_whole.alone
    assert set(found) == {f"{block}.attention.self.query", f"{block}.attention.output.dense"}
    assert {f"{block}.attention.self.{name}" for name in ("key", "value")} <= set(narrowing.candidates(Circuit(bert)))


def test_a_module_that_is_read_elsewhere_too_would_be_refused(
    bert: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof does not take the backward pass's word for it."""
    key = f"{bert.anatomy.blocks[-1].module}.attention.self.key"
    monkeypatch.setattr(proofs.Watch, "alone", lambda *_: (key,))
    proof = Engine(bert).proof
    assert not proof.recipe.alone and proof.recipe.narrow
    assert any("differs from the full forward" in why for _, why in proof.refused)


def test_fewer_rows_go_through_them(bert: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    real = _Replay._on_alone

    def watched(self: _Replay, forward, x):  # type: ignore[no-untyped-def]
        def counted(part):  # type: ignore[no-untyped-def]
            seen.append((x.shape[1], part.shape[1]))
            return forward(part)

        return real(self, counted, x)

    monkeypatch.setattr(_Replay, "_on_alone", watched)
    Engine(bert)
    assert (7, 1) in seen  # tokens that come, tokens that are computed


@pytest.mark.parametrize("family", ["modernbert", "gpt2"])
def test_a_fused_projection_keeps_all_its_rows(family: str) -> None:
    """Queries, keys and values of one matrix are read from everywhere: what attention gives out is left."""
    recipe = Engine(families.load(family)).proof.recipe_whole
    assert recipe.narrow and len(recipe.alone) == 1
