"""A memory limit is kept, measured in bytes that torch allocates."""

from __future__ import annotations

import pytest
import transformers
from torch.profiler import ProfilerActivity, profile

from knscope.analysis.attribution import integrate
from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.inspection import sample_query
from knscope.analysis.engine.models import wrap_model
from knscope.analysis.engine.replay import Edit, Engine
from knscope.analysis.engine.ways import Cost
from tests import random_models
from tests.random_models import wordpiece


def peak_bytes(work: object) -> int:
    """The most that was allocated at once while `work` ran."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()  # type: ignore[operator]
    held = peak = 0
    for event in sorted(seen.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


@pytest.mark.parametrize("tokens", [12, 36])
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_passes_exceed_the_memory_limit_by_at_most_a_tenth(kind: str, tokens: int) -> None:
    """Long prompts too: on decoders every row of a pass needs its own copy of the prefix's keys and values."""
    loaded = random_models.bert() if kind == "bert" else random_models.gpt2()
    limit = 1 << 21
    engine, roomy = Engine(loaded, memory_bytes=limit), Engine(loaded, memory_bytes=1 << 30)
    queries = [sample_query(loaded, tokens, words=8, seed=seed) for seed in range(8)]
    edits = [Edit.suppress([neuron % loaded.n_neurons]) for neuron in range(3000)]

    def attributed(with_: Engine) -> None:
        list(attribute(with_, queries, parse_method("amig+rule=right,nodes=20")))

    assert peak_bytes(lambda: attributed(engine)) <= 1.1 * limit
    assert peak_bytes(lambda: engine.edited(queries[0], edits)) <= 1.1 * limit
    assert peak_bytes(lambda: attributed(roomy)) > 1.1 * limit


@pytest.mark.parametrize("method", ["bkn+nodes=3", "amig"])
def test_many_queries_with_a_large_vocabulary_stay_within_the_memory_limit(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of a group beside its passes, logits above all; a window as on a GPU."""
    monkeypatch.setattr(integrate, "WINDOW", integrate.WINDOW_GPU)
    config = transformers.BertConfig(
        vocab_size=9_000, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    loaded = wrap_model(transformers.BertForMaskedLM(config).eval(), wordpiece(), "encoder", name="wide")
    limit = 1 << 23
    engine = Engine(loaded, memory_bytes=limit)
    queries = [sample_query(loaded, 6, words=2, seed=seed) for seed in range(160)]
    assert peak_bytes(lambda: list(attribute(engine, queries, parse_method(method)))) <= 1.1 * limit


def test_cpu_pass_takes_half_the_bytes_where_that_holds_enough_rows() -> None:
    cost, much = Cost(token=1 << 20, head=0), 1 << 40
    rows = {tokens: cost.rows(much, tokens, gradient=True, cpu=True) for tokens in (1, 6, 16)}
    assert rows == {1: 256, 6: 64, 16: 32}
    assert cost.rows(much, 1, gradient=True, cpu=False) > 256
