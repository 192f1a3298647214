"""How the cost of a query grows, and which share of the machine's own matmul rate is reached. One thread, CPU seconds."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch

from benchmarks import _made_models as made
from benchmarks._flops import Flops
from benchmarks._rounds import show, verdict
from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.inspection import sample_query
from knscope.analysis.engine.replay import Engine
from knscope.analysis.prompts.encode import EncodedQuery

LAYERS, HIDDEN, VOCABULARY, TOKENS, WORDS = 6, 256, 8_000, 12, 4
METHOD = parse_method("amig+rule=right")  # no path asks for more nodes, so that all cost the same
WANTED = 0.5


def cpu(work: Callable[[], object], repeats: int) -> float:
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found)


def matmul_rate(size: int = 1536) -> float:
    """FLOP/s of a large float32 matrix product here and now."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / cpu(lambda: a @ b, 7)


def share(kind: str, repeats: int) -> tuple[str, float]:
    """FLOP/s of an attribution over the machine's, at base dimensions and 512 or more row-tokens a pass."""
    loaded = made.load(kind, made.bert(30_522) if kind == "encoder" else made.gpt2())
    engine = Engine(loaded)
    queries = [sample_query(loaded, TOKENS, WORDS, seed=seed) for seed in range(1 if kind == "encoder" else 8)]

    def work() -> None:
        list(attribute(engine, queries, METHOD))

    with Flops() as counted:
        work()
    flops = counted.total
    # the machine's rate beside each, as other work may slow both
    rates = [flops / cpu(work, 1) / matmul_rate() for _ in range(repeats)]
    return f"{flops / 1e9:,.0f} GFLOP", statistics.median(rates)


def growth(repeats: int) -> list[list[str]]:
    def engine(layers: int = LAYERS, hidden: int = HIDDEN) -> Engine:
        return Engine(made.load("encoder", made.bert(VOCABULARY, layers, hidden)))

    def seconds(of: Engine, queries: Sequence[EncodedQuery]) -> float:
        return cpu(lambda: list(attribute(of, queries, METHOD)), repeats)

    base = engine()
    cases: list[tuple[str, Sequence[int], Callable[[int], float]]] = [
        ("tokens", (12, 24, 48), lambda n: seconds(base, [sample_query(base.loaded, n, WORDS)])),
        ("words", (2, 4, 8), lambda n: seconds(base, [sample_query(base.loaded, TOKENS, n)])),
        ("facts", (1, 4, 16), lambda n: seconds(base, [sample_query(base.loaded, TOKENS, WORDS, seed=s) for s in range(n)])),
        ("layers", (3, 6, 12), lambda n: seconds(e := engine(layers=n), [sample_query(e.loaded, TOKENS, WORDS)])),
        ("width", (128, 256, 512), lambda n: seconds(e := engine(hidden=n), [sample_query(e.loaded, TOKENS, WORDS)])),
    ]  # fmt: skip
    rows = []
    for name, sizes, measure in cases:
        found = [measure(size) for size in sizes]
        cells = [f"{size}: {value:.3f} s ({value / found[0]:.1f}x)" for size, value in zip(sizes, found, strict=True)]
        rows.append([name, *cells])
    return rows


def main() -> int:
    torch.set_num_threads(1)
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    title = (
        f"cost of an attribution: {LAYERS} layers, hidden {HIDDEN}, {TOKENS} tokens, {WORDS} words, one thing changed"
    )
    show(title, ("what grows", "", "", ""), growth(repeats))
    rows, kept = [], True
    for kind in ("encoder", "decoder"):
        work, reached = share(kind, repeats)
        rows.append([f"{kind}, base dimensions", work, verdict(reached, WANTED)])
        kept &= reached >= WANTED
    show("FLOP/s over those of a large matrix product on the same core", ("what", "work", "share"), rows)
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
