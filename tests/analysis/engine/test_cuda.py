"""What a GPU computes is what a processor computes; its memory limit is kept and running out of it loses nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.dkn.measure import scan_roles
from knscope.analysis.engine.inspection import sample_query
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.engine.replay import Edit, Engine
from tests import devices, random_models

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]

MAKE = {"encoder": random_models.bert, "decoder": random_models.gpt2}
KINDS = pytest.mark.parametrize("kind", ["encoder", "decoder"])


def on_gpu(loaded: LoadedModel, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """The same model there."""
    return replace(loaded, model=loaded.model.to("cuda", dtype))


@contextmanager
def only(more: int) -> Iterator[None]:
    """Let this process take so many more bytes of the GPU than it holds."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + more) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


@KINDS
@pytest.mark.parametrize(
    "method",
    [
        "amig",
        "amig-paper",
        "amig+positions=all",
        "amig+site=pre_act",
        "bkn",
        "bkn+tolerance=0.05",
        "grad_x_act",
        "ablation",
    ],
)
def test_gpu_scores_equal_the_cpus_to_1e_4_of_the_largest(kind: str, method: str) -> None:
    here, there = MAKE[kind](), on_gpu(MAKE[kind]())
    queries = [sample_query(here, 9, 4, steps, seed) for steps in (1, 2) for seed in range(3)]
    one, other = ([*attribute(Engine(model), queries, parse_method(method))] for model in (here, there))
    for mine, its in zip(one, other, strict=True):
        assert np.abs(mine.scores - its.scores).max() <= 1e-4 * np.abs(mine.scores).max()
        assert its.prediction.p_steps == pytest.approx(mine.prediction.p_steps, rel=1e-4)


@KINDS
def test_gpu_ablations_of_one_and_two_neurons_equal_the_cpus(kind: str) -> None:
    here, there = Engine(MAKE[kind]()), Engine(on_gpu(MAKE[kind]()))
    query, chosen = sample_query(here.loaded, 9, 4), np.arange(0, 60, 3)
    edits = [Edit.suppress([one, other]) for one in chosen for other in chosen if one <= other]
    one, other = ([each.p_steps for each in engine.edited(query, edits)] for engine in (here, there))
    assert np.abs(np.array(one) - np.array(other)).max() <= 1e-4 * np.max(one)
    rel = np.zeros(here.loaded.n_neurons)
    mine, its = (dict(scan_roles(engine, query, chosen, rel, ("kn",), 0))["kn"] for engine in (here, there))
    assert np.array_equal(mine.first, its.first) and np.array_equal(mine.second, its.second)
    assert len(mine.p) == 20 + 190 and np.abs(mine.p - its.p).max() <= 1e-4 * mine.p.max()


@KINDS
def test_bfloat16_scores_are_close_to_float32_under_another_model_label(kind: str) -> None:
    exact = on_gpu(MAKE[kind](gain=6.0))
    rough = random_models.rounded(exact, torch.bfloat16)
    assert rough.identity.weights_hash != exact.identity.weights_hash
    queries = [sample_query(exact, 9, 4, seed=seed) for seed in range(4)]
    one, other = ([*attribute(Engine(model), queries, parse_method("amig"))] for model in (exact, rough))
    for mine, its in zip(one, other, strict=True):
        assert its.scores.dtype == np.float32 and np.isfinite(its.scores).all()
        assert np.corrcoef(mine.scores, its.scores)[0, 1] > 0.9


@KINDS
def test_passes_exceed_the_memory_limit_by_at_most_a_tenth(kind: str) -> None:
    loaded, limit = on_gpu(MAKE[kind](hidden=512)), 1 << 28
    queries = [sample_query(loaded, 12, words=8, seed=seed) for seed in range(8)]
    edits = [Edit.suppress([neuron % loaded.n_neurons]) for neuron in range(3000)]

    def peak(engine: Engine) -> int:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        list(attribute(engine, queries, parse_method("amig+rule=right,nodes=20")))
        engine.edited(queries[0], edits)
        return int(torch.cuda.max_memory_allocated() - before)

    assert peak(Engine(loaded, memory_bytes=limit)) <= 1.1 * limit < peak(Engine(loaded, memory_bytes=1 << 32))


@KINDS
def test_gpu_pass_out_of_memory_runs_in_halves_and_skips_nothing(kind: str) -> None:
    loaded = on_gpu(MAKE[kind]())
    query, edits = sample_query(loaded, 12, 4), [Edit.suppress([n % loaded.n_neurons]) for n in range(40_000)]
    wanted = np.array([each.p_steps for each in Engine(loaded, memory_bytes=1 << 26).edited(query, edits)])
    greedy = Engine(loaded, memory_bytes=1 << 38)  # believes in more than there is
    with only(64 << 20):
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(65 << 20, dtype=torch.uint8, device="cuda")
        found = np.array([each.p_steps for each in greedy.edited(query, edits)])
    assert np.abs(found - wanted).max() <= 1e-6


@KINDS
def test_model_placed_by_accelerate_hooks_gives_the_same_scores(kind: str) -> None:
    """What `device_map` wraps round every module must not hide it from the passes."""
    accelerate = pytest.importorskip("accelerate")
    plain, placed = on_gpu(MAKE[kind]()), on_gpu(MAKE[kind]())
    hooked = accelerate.dispatch_model(placed.model, {"": 0}, force_hooks=True)
    query, method = sample_query(plain, 9, 4), parse_method("amig")
    (one,), (other,) = (
        list(attribute(Engine(model), [query], method)) for model in (plain, replace(placed, model=hooked))
    )
    assert np.abs(one.scores - other.scores).max() <= 1e-6 * np.abs(one.scores).max()


@KINDS
def test_model_split_between_gpu_and_cpu_gives_the_same_scores(kind: str) -> None:
    """Blocks by turns on either: of two devices, one GPU and the processor are two."""
    plain, spread = MAKE[kind](), MAKE[kind]()

    def by_turns(name: str) -> torch.device:
        number = re.search(r"\.(\d+)(\.|$)", name)
        return torch.device("cpu" if number and int(number[1]) % 2 else "cuda")

    devices.spread_over(spread.model, by_turns)
    assert {parameter.device.type for parameter in spread.model.parameters()} == {"cpu", "cuda"}
    query, edits = sample_query(plain, 9, 4), [Edit.suppress([neuron]) for neuron in range(0, 60, 3)]
    one, other = Engine(plain, memory_bytes=1 << 28), Engine(spread, memory_bytes=1 << 28)
    assert other.replay
    for method in ("amig", "bkn+nodes=3,positions=all", "amig+site=pre_act"):
        (here,), (there,) = (list(attribute(engine, [query], parse_method(method))) for engine in (one, other))
        assert np.abs(here.scores - there.scores).max() <= 1e-4 * np.abs(here.scores).max()
    for here, there in zip(one.edited(query, edits), other.edited(query, edits), strict=True):
        assert there.p_steps == pytest.approx(here.p_steps, rel=1e-4)
