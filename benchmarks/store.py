"""The store against what the project is held to: a threshold's new value to the data of every visible pane, opening, writing, size, SQL.

A threshold is measured as the workbench does it: every visible pane loads in a thread of its own, through one reader, and what counts is
the wall time until the last of them has its data.

`python -m benchmarks.store [TRAINED [FLAT [WIDE [MANY [SMALL]]]]]`, numbers of facts in two languages, 0 for none: 1,000 with the fall of
scores of a trained model; 1,000 flat, 5,000 rows a query; 500 of 196,608 neurons; 10,000 to be opened; 10,000, each in a shard of its own.
The results are made up (`_made_results.py`).
Wall time and processor time of the process are both printed: the bounds are for two idle cores, on which wall time is between half the
processor time and all of it; on a busy machine it says little.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks._made_results import LANGS, METHOD, MODEL, Shape, shards
from knscope import store
from knscope.analysis.runs.status import Observer
from knscope.store import compaction, runs, safe_path, snapshot
from knscope.store.layout import list_shards
from knscope.store.reader import Reader
from knscope.store.sandbox import Sandbox
from knscope.store.shards import write_shard
from knscope.store.view import View
from knscope.tui.panes.dkn import DknPane
from knscope.tui.panes.layers import LayersPane
from knscope.tui.panes.likn import LiknPane
from knscope.tui.panes.pane import Pane
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.selection import Selection, Shown

TAUS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
SHARDS_A_RUN = 50
LOOKS = 14_400
"""Of the workbench in an hour."""
PR_SET_CHILD_SUBREAPER = 36
TABS: dict[str, Callable[[], Pane]] = {"LIKN": LiknPane, "DKN": DknPane}
"""The query table and the layers are always in sight, and one of the tabs."""


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, spent = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - spent


def say(what: str, times: tuple[float, float], unit: str = "s") -> None:
    scale = 1000 if unit == "ms" else 1
    print(f"  {what:<58} {scale * times[0]:9,.2f} {unit} wall {scale * times[1]:9,.2f} {unit} cpu", flush=True)


def written(path: Path, shape: Shape) -> None:
    """Write a store, timing nothing but the commits."""
    store.create(path)
    run = runs.new_run(path, {})
    wall = spent = 0.0
    for tables, dense in shards(shape):
        one = timed(lambda tables=tables, dense=dense: write_shard(path, run, tables, dense))  # type: ignore[misc]
        wall, spent = wall + one[0], spent + one[1]
    n = shape.facts * len(LANGS)
    print(f"  {n:,} queries written, {n / wall:,.0f} a second of wall, {n / spent:,.0f} a second of cpu")
    size(path, n)


def size(path: Path, queries: int) -> None:
    by_kind: dict[str, int] = {}
    for shard in list_shards(path):
        for file in shard.iterdir():
            by_kind[file.stem] = by_kind.get(file.stem, 0) + file.stat().st_size
    parts = ", ".join(
        f"{name} {n / queries / 1024:,.1f}" for name, n in sorted(by_kind.items(), key=lambda kv: -kv[1])[:5]
    )
    print(f"  on disk {sum(by_kind.values()) / 1e6:,.0f} MB; KiB a query: {parts}")


def opened(path: Path, what: str = "open") -> Reader:
    held: list[Reader] = []
    say(what, timed(lambda: held.append(store.open(path))))
    return held[0]


def walk(reader: Reader, rounds: int) -> None:
    """Every visible pane's data, at each τ of a person's walk through the thresholds; the median of some rounds."""
    view = View(MODEL, METHOD, LANGS)
    for tab, pane in TABS.items():
        panes = (QueriesPane(), LayersPane(), pane())
        found = []
        with ThreadPoolExecutor(len(panes)) as pool:
            for tau in TAUS:
                shown = Shown(view.with_(taus=tuple((lang, tau) for lang in LANGS)), Selection(), 0)
                times = [
                    timed(lambda shown=shown, panes=panes: loaded(pool, reader, panes, shown)) for _ in range(rounds)
                ]  # type: ignore[misc]
                found.append(tuple(statistics.median(column) for column in zip(*times, strict=True)))
        walls, cpus = zip(*found, strict=True)
        say(
            f"queries + layers + {tab}: median over τ .05-.5", (statistics.median(walls), statistics.median(cpus)), "ms"
        )
        say(f"queries + layers + {tab}: worst (τ = .05)", (max(walls), max(cpus)), "ms")


def loaded(pool: ThreadPoolExecutor, reader: Reader, panes: Sequence[Pane], shown: Shown) -> None:
    """Wait until the last pane has its data."""
    for one in [pool.submit(pane.load, reader, shown) for pane in panes]:
        one.result()


def measured(root: Path, name: str, shape: Shape, rounds: int = 1) -> None:
    print(f"{name}: {shape.facts:,} facts x {len(LANGS)} x {shape.neurons:,} neurons", flush=True)
    path = root / f"{shape.facts}-{shape.neurons}-{shape.flat}.knstore"
    written(path, shape)
    with opened(path) as reader:
        print(f"  {reader.sql('SELECT count(*) FROM score_row').item():,} rows at or above the floor")
        walk(reader, rounds)
        low = View(MODEL, METHOD, LANGS, taus=tuple((lang, 0.01) for lang in LANGS))
        say("first extension to τ = .01", timed(lambda: reader.extend(low)))
        print(f"  {reader.sql('SELECT count(*) FROM score_row').item():,} rows then")
    say("results.duckdb", timed(lambda: snapshot.publish(path)))
    print(f"  {(path / snapshot.SNAPSHOT).stat().st_size / 1e6:,.0f} MB")
    with opened(path, "open from results.duckdb") as reader:
        walk(reader, rounds)
    asked_in_sql(path)


HEAVY = (
    "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE hash(a.range + b.range) = 7",
    "SELECT count(*) FROM range(10000000) WHERE regexp_matches(repeat('a', 1000) || range, '(a{1,100}){1,10}b')",
    "SELECT levenshtein(repeat('a', 100000), repeat('b', 100000))",
    "SELECT list(range) FROM range(30000000)",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
)


def asked_in_sql(path: Path) -> None:
    """What a small statement costs as a command and in an open workbench, and how soon a heavy one ends when it is cancelled."""
    commanded("sql", str(path), "SELECT 1")
    with Sandbox(path) as sandbox:
        say("SQL: the first statement, which opens the store", timed(lambda: sandbox.run("SELECT 1")))
        warm = [timed(lambda: sandbox.run("SELECT count(*) FROM query"))[0] for _ in range(50)]
        print(
            f"  SQL: a small statement then, median {1000 * statistics.median(warm):.1f} ms, most {1000 * max(warm):.1f} ms"
        )
        late = [_cancelled(sandbox, statement) for statement in HEAVY for _ in range(5)]
    print(
        f"  SQL: cancelled to ended, median {1000 * statistics.median(late):.0f} ms, most {1000 * max(late):.0f} ms",
        flush=True,
    )


def commanded(*words: str) -> None:
    """Processor time of a command with every process that it starts, also those that outlive it."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    spent = []
    for _ in range(9):
        before = os.times()
        subprocess.run(
            [*safe_path.command("knscope.tui.cli"), *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        after = os.times()
        spent.append(sum(after[2:4]) - sum(before[2:4]))
    shown = " ".join(word for word in words if "/" not in word)
    print(f"  knscope {shown}: median {statistics.median(spent):.2f} s cpu, most {max(spent):.2f}", flush=True)


def _cancelled(sandbox: Sandbox, statement: str) -> float:
    """Seconds from cancelling a statement that has run for half a second to its end."""
    sandbox.run("SELECT 1")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(sandbox.run, statement)
        time.sleep(0.5)
        asked = time.perf_counter()
        sandbox.cancel()
        running.exception()
        return time.perf_counter() - asked


def many(root: Path, facts: int) -> None:
    for scans in (False, True):
        print(f"opening {facts:,} facts x {len(LANGS)}, {'with' if scans else 'without'} scans", flush=True)
        path = root / f"many-{scans}.knstore"
        written(path, Shape(facts, 3_072, scans=scans))
        opened(path, f"open, {sum(1 for _ in list_shards(path)):,} shards").close()
        say("compact", timed(lambda path=path: compaction.compact(path)))  # type: ignore[misc]
        opened(path, f"open, {sum(1 for _ in list_shards(path)):,} shards").close()
        say("results.duckdb", timed(lambda path=path: snapshot.publish(path)))  # type: ignore[misc]
        for _ in range(3):
            opened(path, "open from results.duckdb").close()


def small(root: Path, facts: int) -> None:
    """Many runs of many small shards, which nobody has compacted: opening, looking at what is new, `status`, an hour of looking."""
    path = store.create(root / "small.knstore")
    for number, (tables, dense) in enumerate(shards(Shape(facts, 3_072, scans=False), len(LANGS))):
        if number % SHARDS_A_RUN == 0:
            run = runs.new_run(path, {"made up": True})
            runs.write_run(path, replace(runs.read_run(path, run), status="done", started=1.0))
        write_shard(path, run, tables, dense)
    print(f"{facts:,} shards of one fact in {len(LANGS)} languages, {facts // SHARDS_A_RUN} runs", flush=True)
    with opened(path) as reader:
        observer = Observer(path)
        spent = array("d", bytes(8 * LOOKS))
        for number in range(LOOKS):
            if number == 1_000:
                before = psutil.Process().memory_info().rss
            spent[number] = timed(lambda: (reader.poll(), observer.look()))[1]
        after = psutil.Process().memory_info().rss
        again = f"median {1000 * statistics.median(spent):.2f} ms cpu, mean {1000 * statistics.mean(spent):.2f}"
        print(f"  looking for what is new, {LOOKS:,} times, as many as in an hour: {again}")
        print(f"  memory after the first thousand looks {before / 1e6:,.1f} MB, after the last {after / 1e6:,.1f} MB")
    commanded("status", str(path))
    snapshot.publish(path)
    opened(path, "open from results.duckdb").close()
    commanded("sql", str(path), "SELECT 1")


def main() -> int:
    given = [int(text) for text in sys.argv[1:]]
    trained, flat, wide, most, shard_facts = given + [1_000, 1_000, 500, 10_000, 10_000][len(given) :]
    with tempfile.TemporaryDirectory(prefix="knscope-bench-") as folder:
        root = Path(folder)
        if trained:
            measured(root, "as trained", Shape(trained, 36_864), rounds=5)
        if flat:
            measured(root, "flat", Shape(flat, 36_864, flat=5_000))
        if wide:
            measured(root, "wide", Shape(wide, 196_608, scans=False))
        if most:
            many(root, most)
        if shard_facts:
            small(root, shard_facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
