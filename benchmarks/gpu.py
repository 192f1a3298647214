"""Attribution on a GPU: 64 prompts of 12 tokens at once, in float32 and bfloat16, beside knowledge-neurons 0.0.2.

`python -m benchmarks.gpu [ROUNDS]`: seconds by the clock with the device synchronised, medians; one process, as a GPU has no
second thread to stall. Errors are of the largest score, to the same integral at 400 nodes in float32. The share is of the
rate of a large matrix product in the same precision, measured beside it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import _made_models as made
from benchmarks._flops import Flops
from benchmarks._rounds import show
from benchmarks.attribution import FINE, NODES, QUICK, REFERENCE, SAME
from knscope.analysis.attribution.integrate import Attribution, attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.inspection import sample_query
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.engine.replay import Engine
from knscope.analysis.prompts.encode import EncodedQuery

QUERIES, TOKENS, WORDS = 64, 12, 4
CONTENDERS = (
    (SAME, "the same rule and steps"),
    (FINE, "Gauss-Lobatto, 5 nodes"),
    (QUICK, "the same, tolerance=0.05"),
)
TITLES = {"encoder": "BERT-base dimensions, V = 119,547", "decoder": "GPT-2 dimensions"}


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median of `repeats` after one that warms up."""
    found = []
    for _ in range(repeats + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


def matmul_rate(dtype: torch.dtype, size: int = 8192) -> float:
    """FLOP/s of a large matrix product here and now."""
    a, b = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds(lambda: a @ b, 10)


def model(kind: str, dtype: torch.dtype) -> LoadedModel:
    return made.load(kind, (made.bert() if kind == "encoder" else made.gpt2()).to("cuda", dtype))


def package(kind: str, prompts: int) -> Callable[[], object] | None:
    """The package on `prompts` prompts, one after another as it takes them; None where it is not installed."""
    try:
        from knowledge_neurons import KnowledgeNeurons
    except ImportError:
        return None
    loaded: Any = model(kind, torch.float32).model
    its = KnowledgeNeurons(
        loaded, made.tokenizer(kind), model_type="bert" if kind == "encoder" else "gpt", device="cuda"
    )
    prompt = made.ENCODER_PROMPT if kind == "encoder" else made.DECODER_PROMPT
    answer = made.ANSWERS[kind] if kind == "encoder" else f" {made.ANSWERS[kind]}"
    return lambda: [its.get_scores(prompt, answer, batch_size=NODES, steps=NODES, pbar=False) for _ in range(prompts)]


def run(engine: Engine, queries: Sequence[EncodedQuery], method: str) -> list[Attribution]:
    return list(attribute(engine, queries, parse_method(method)))


def rows_of(kind: str, repeats: int) -> list[list[str]]:
    rows = []
    theirs = package(kind, 2)
    base = seconds(theirs, repeats) / 2 if theirs else None
    if base:
        rows.append(
            [f"{TITLES[kind]}: knowledge-neurons 0.0.2, {NODES} steps, float32", f"{1e3 * base:,.1f} ms", "", "", ""]
        )
    reference: list[Attribution] = []
    for dtype in (torch.float32, torch.bfloat16):
        loaded = model(kind, dtype)
        engine = Engine(loaded)
        queries = [sample_query(loaded, TOKENS, WORDS, seed=seed) for seed in range(QUERIES)]
        reference = reference or run(engine, queries[:4], REFERENCE)
        rate, name = matmul_rate(dtype), str(dtype).removeprefix("torch.")
        for method, title in CONTENDERS:
            with Flops() as counted:
                found = run(engine, queries, method)
            print(f"  {kind}, {name}, {title}", file=sys.stderr, flush=True)
            taken = seconds(partial(run, engine, queries, method), repeats)
            off = max(
                np.abs(mine.scores - its.scores).max() / np.abs(its.scores).max()
                for mine, its in zip(found, reference, strict=False)
            )
            share = counted.total / taken / rate
            ratio = f"{base * QUERIES / taken:,.0f}x" if base else ""
            each = f"{1e3 * taken / QUERIES:,.2f} ms"
            rows.append([f"  knscope, {name}, {title}", each, f"{off:.1e}", ratio, f"{share:.0%}"])
    return rows


def main() -> int:
    if not torch.cuda.is_available():
        print("torch sees no CUDA device here: nothing measured")
        return 0
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    rates = ", ".join(
        f"{str(d).removeprefix('torch.')} {matmul_rate(d) / 1e12:,.0f}" for d in (torch.float32, torch.bfloat16)
    )
    print(f"{torch.cuda.get_device_name()}; TFLOP/s of a large matrix product: {rates}")
    rows = [row for kind in ("encoder", "decoder") for row in rows_of(kind, repeats)]
    columns = (
        f"{QUERIES} prompts of {TOKENS} tokens, every neuron",
        "a prompt",
        "error",
        "faster",
        "of the matmul rate",
    )
    show(f"attribution on a GPU, medians of {repeats}", columns, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
