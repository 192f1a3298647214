"""Every supported family: replay equals full forwards, paths are complete, an ablation is what it says.
docs/models.md is compared with what is found here (`KNSCOPE_WRITE_DOCS=1` rewrites it)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.pytorch_utils import Conv1D

from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.circuit import FULL
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.engine.replay import Edit, Engine
from knscope.analysis.prompts.encode import EncodedQuery, Query, encode
from tests import families

DOC = Path(__file__).parents[3] / "docs" / "models.md"
FLOAT32 = {"xglm"}  # its mask constant overflows float64
KINKED = {"opt", "t5 (2019)"}  # relu above the site makes the integrand jump, and no number of nodes is quite enough
ROUNDED = {"mpt"}  # its attention weights are float32, whatever the model's dtype


def load(name: str) -> LoadedModel:
    return families.load(name, torch.float32 if name in FLOAT32 else torch.float64)


def queries(loaded: LoadedModel) -> list[EncodedQuery]:
    if loaded.kind == "encoder":
        facts = [("[X]首[Y]", "法国", "巴黎"), ("[X]' s [Y] .", "Kenya", "Nairobi")]
    else:
        facts = [("[X]'s is [Y]", "Kenya", "Dodomabi"), ("The capital of [X] is [Y]", "France", "Paris")]
    return [encode(loaded, Query(str(i), "r", "l", *fact)) for i, fact in enumerate(facts)]


EVERY = [*families.ENCODERS, *families.DECODERS, *families.ENCODER_DECODERS, *families.ROUTED]
SAID = {
    "encoder": "fills masks",
    "decoder": "predicts the next token",
    "encoder-decoder": "says what a sentinel stands for",
}


@pytest.mark.parametrize("name", EVERY)
def test_family_replays_exactly_and_ablates_the_named_neurons(name: str) -> None:
    """Replay is full forward; every path converges; suppressing a neuron is zeroing what it is weighted by."""
    loaded = load(name)
    engine, literal = Engine(loaded), Engine(loaded, recipe=FULL)
    close = 1e-4 if name in FLOAT32 else 1e-6 if name in ROUNDED else 1e-9
    asked = queries(loaded)
    method = parse_method("amig+nodes=10" if loaded.sites[0].gated else "amig+nodes=5")
    for found, expected in zip(attribute(engine, asked, method), attribute(literal, asked, method), strict=True):
        assert np.abs(found.scores - expected.scores).max() <= close * np.abs(expected.scores).max()
        assert found.paths.converged.all() or name in KINKED
    edits = [Edit.suppress([site.offset + 3]) for site in loaded.sites]
    edits += [Edit.suppress([1, engine.offsets[-2] + 2]), Edit.enhance([2, 2]), Edit.suppress([])]
    after = engine.edited(asked[0], edits)
    for one, other in zip(after, literal.edited(asked[0], edits), strict=True):
        assert one.p_steps == pytest.approx(other.p_steps, rel=10 * close)
        assert np.array_equal(one.ranks, other.ranks)
    if len({site.module for site in loaded.sites}) == len(loaded.sites):
        last = loaded.sites[-1]
        assert after[last.layer].p_steps == pytest.approx(zeroed(engine, asked[0], last.layer, 3), rel=10 * close)
    assert describe(name, engine) in DOC.read_text(encoding="utf-8") or os.environ.get("KNSCOPE_WRITE_DOCS")


def zeroed(engine: Engine, query: EncodedQuery, layer: int, neuron: int) -> np.ndarray:
    """p of each step with the neuron's weights zeroed in the model: in a last layer only the answer position reads them."""
    linear = engine.loaded.model.get_submodule(engine.loaded.sites[layer].module)
    before = linear.weight.clone()
    with torch.no_grad():
        (linear.weight[neuron] if isinstance(linear, Conv1D) else linear.weight[:, neuron]).zero_()
        (changed,) = engine.predict([query])
        linear.weight.copy_(before)
    return changed.p_steps


def describe(name: str, engine: Engine) -> str:
    site = engine.loaded.sites[0]
    kind = SAID[engine.loaded.kind]
    gate = "yes" if site.gated else "no"
    shared = engine.loaded.sites[1].module == site.module
    module = f"{site.module}`, call {{l}}`".removesuffix("`") if shared else site.module.replace(".0.", ".{l}.", 1)
    return f"| {name} | {kind} | `{module}{'' if shared else '`'} | {gate} | {engine.proof.recipe} |"


HEAD = """# Models

Any model of transformers that fills masks, predicts the next token or, as t5 does, says what a sentinel stands for works
where its neurons can be found by role and proven on a probe forward, and where an exact way to compute edits is proven
at load. This table is written and checked by `tests/analysis/engine/test_families.py`, on a random model of each family in
float64: attributions by the way named in the last column equal those by full forwards to 1e-9 of the largest, and
suppressing a neuron equals zeroing its weights.
Every path's attributions account for the change they should to 1e-10, once what a model computes in float32 whatever
its dtype is widened (`tests/analysis/attribution/test_completeness.py`); only `opt`, `nemotron` and the
first t5, whose relu makes the integrand jump or bend, stop at 1e-2 to 1e-3.

Ways, fastest first. *Each row from its own block*: one pass serves edits of all layers. *Cached prefix*: a decoder
computes the answer position alone. *Tail*: at the block it enters, a row computes only what follows the neurons.
*Sum*: nothing of that block; the change is added to the block's recorded output. *Narrow*: the last block's MLP runs for
the answer position alone. *From the lowest edited block*: one pass per layer.
*Full forward*: exact and slower. `knscope models inspect MODEL` says which one a model gets, and why not a faster one.

Of encoder-decoders the decoder's neurons are looked at. The encoder reads the prompt with `<extra_id_0>` where the answer goes
and `<extra_id_1>` for a hidden word, once for every distinct prompt of a pass.

Of a model that sees (Gemma 3, Qwen2-VL, Qwen3-VL, Mistral3, Llava and others) the text tower is looked at, asked without an image
(`tests/analysis/engine/test_vision.py`). Where a model's neurons are not found by themselves, `--site REGEX` names the paths of its second
MLP linears; that, too, is proven before anything is computed. [All types of models](model_types.md) that transformers has are listed with
what is known of each.

Of models that route tokens to experts (mixtral, qwen3_moe, olmoe, gpt_oss, deepseek_v3 and others) a layer's neurons are those of all
its experts: neuron e × width + j is entry j of expert e, times the router's weight of e, and 0 where a token does not run e. Which
experts run above an edit, and with what weight, is held as the unedited model has it, so that F is smooth along a path; `edits` says how
many edits would make the router choose others. A shared expert is a layer of its own behind the routed ones of its block.

| family | kind | neurons: the input of | gated | computed by |
|---|---|---|---|---|
"""


def test_models_page_has_a_row_for_every_tested_family() -> None:
    """The rows themselves are checked family by family above."""
    if os.environ.get("KNSCOPE_WRITE_DOCS"):
        rows = [describe(name, Engine(load(name))) for name in EVERY]
        DOC.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    text = DOC.read_text(encoding="utf-8")
    assert text.startswith(HEAD)
    assert text.count("\n| ") == 1 + len(EVERY)
