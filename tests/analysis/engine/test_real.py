"""Real models beside plain transformers: those in the folders of $KNSCOPE_REAL_MODELS, each of which holds config.json and weights.

    KNSCOPE_REAL_MODELS=~/models make soak

The references know nothing of knscope: one full forward (and backward) a number, with a hook on the module that the model calls its second
MLP linear. They take some minutes of processor time a model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.models import LoadedModel, load_model
from knscope.analysis.engine.replay import Edit, Engine
from knscope.analysis.prompts.encode import Query, encode

NAMED = "KNSCOPE_REAL_MODELS"
FOLDERS = sorted(path.parent for path in Path(os.environ.get(NAMED) or os.devnull).glob("*/config.json"))
PROMPT = ("The capital of [X] is the city of [Y]", "France", "Paris")
SECOND = "model.layers.{}.mlp.down_proj"
"""As llama, gemma, qwen and their likes call it."""
EXACT = 2e-4
pytestmark = [pytest.mark.soak, pytest.mark.skipif(not FOLDERS, reason=f"{NAMED} names no folder of models")]


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def both(request: pytest.FixtureRequest) -> tuple[Engine, Any, Any]:
    """knscope's engine, and the model and tokenizer as transformers alone loads them."""
    torch.set_num_threads(1)
    engine = Engine(load_model(request.param), remember=False)
    plain = AutoModelForCausalLM.from_pretrained(request.param, dtype=torch.float32).eval().requires_grad_(False)
    if engine.loaded.sites[0].module != SECOND.format(0):
        pytest.skip(f"its second MLP linears are not called {SECOND}")
    return engine, plain, AutoTokenizer.from_pretrained(request.param)


@contextmanager
def hooked(plain: Any, change: Callable[[int, Tensor], Tensor | None]) -> Iterator[None]:
    """change(layer, neurons at the last token (width,)) -> what they become, or None to leave them."""

    def hook(layer: int) -> Callable[..., Any]:
        def run(_module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            new = change(layer, args[0][0, -1])
            if new is None:
                return None
            x = args[0].clone()
            x[0, -1] = new
            return (x,)

        return run

    layers = range(len(plain.model.layers))
    handles = [plain.get_submodule(SECOND.format(n)).register_forward_pre_hook(hook(n)) for n in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def p(plain: Any, ids: Sequence[int], gold: int) -> Tensor:
    found: Tensor = plain(input_ids=torch.tensor([ids])).logits[0, -1].double().softmax(-1)[gold]
    return found


def asked(loaded: LoadedModel) -> Any:
    query = encode(loaded, Query("fr", "P36", "en", *PROMPT))
    assert len(query.steps) == 1
    return query


def test_prediction_and_prompt_are_those_of_transformers_alone(both: tuple[Engine, Any, Any]) -> None:
    engine, plain, tokenizer = both
    query = asked(engine.loaded)
    ids = tokenizer("The capital of France is the city of")["input_ids"]
    assert list(query.steps[0].ids) == ids
    (gold,) = tokenizer(" Paris", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        expected = float(p(plain, ids, gold))
    (found,) = engine.predict([query])
    assert found.p == pytest.approx(expected, rel=EXACT)


def test_neurons_and_their_suppression_are_those_of_plain_hooks(both: tuple[Engine, Any, Any]) -> None:
    engine, plain, _ = both
    query, sites = asked(engine.loaded), engine.loaded.sites
    ids, gold = query.steps[0].ids, query.steps[0].gold
    seen: list[Tensor] = []
    with torch.no_grad(), hooked(plain, lambda _, x: seen.append(x.clone())):
        p(plain, ids, gold)
    expected = torch.cat(seen).numpy()
    assert np.abs(engine.activations(query)[0] - expected).max() <= EXACT * np.abs(expected).max()
    generator = np.random.default_rng(0)
    strongest = np.argsort(-np.abs(expected))[:500]
    for size in (1, 20, 200):
        neurons = generator.choice(strongest, size, replace=False)

        def zeroed(layer: int, x: Tensor, neurons: np.ndarray = neurons) -> Tensor:
            site = sites[layer]
            mine = neurons[(neurons >= site.offset) & (neurons < site.offset + site.width)] - site.offset
            return x.index_fill(0, torch.from_numpy(mine), 0.0)

        with torch.no_grad(), hooked(plain, zeroed):
            wanted = float(p(plain, ids, gold))
        (found,) = engine.edited(query, [Edit.suppress(neurons)])
        assert found.p == pytest.approx(wanted, rel=10 * EXACT)


@pytest.mark.parametrize("method", ["bkn+rule=gauss-legendre,nodes=8", "amig+rule=gauss-legendre,nodes=8"])
def test_scores_of_three_layers_are_those_of_a_full_backward_pass_a_node(
    both: tuple[Engine, Any, Any], method: str
) -> None:
    """One pass a path, layer and node, written out; the paths that asked for more nodes are left out by layer."""
    engine, plain, _ = both
    query, sites, loaded = asked(engine.loaded), engine.loaded.sites, engine.loaded
    ids, gold = list(query.steps[0].ids), query.steps[0].gold
    (found,) = attribute(engine, [query], parse_method(method))
    nodes, weights = np.polynomial.legendre.leggauss(8)
    nodes, weights = (nodes + 1) / 2, weights / 2
    hidden = [ids]
    if method.startswith("amig"):
        hidden = [
            [loaded.substitute if at in word.tokens else each for at, each in enumerate(ids)] for word in query.words
        ]
    for layer in (0, len(sites) // 2, len(sites) - 1):
        if (found.paths.nodes[found.paths.layer == layer] > 8).any():
            continue
        site, total = sites[layer], np.zeros(sites[layer].width)
        for changed in hidden:
            kept: dict[int, Tensor] = {}
            for text in (ids, changed):
                with torch.no_grad(), hooked(plain, lambda n, x, kept=kept: kept.__setitem__(n, x.clone())):
                    p(plain, text, gold)
                if text is ids:
                    clean = kept[layer]
            start = kept[layer] if len(hidden) > 1 else torch.zeros_like(clean)
            gradient = torch.zeros_like(clean)
            for node, weight in zip(nodes, weights, strict=True):
                at = (start + node * (clean - start)).requires_grad_(True)
                with hooked(plain, lambda n, x, at=at, layer=layer: at if n == layer else None):
                    gradient += weight * torch.autograd.grad(p(plain, ids, gold), at)[0]
            total += ((clean - start) * gradient).double().numpy()
        mine = found.scores[site.offset : site.offset + site.width]
        assert np.abs(mine - total).max() <= 10 * EXACT * np.abs(total).max()
