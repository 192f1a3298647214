"""What real models cost: load and proof, a known fact by two methods, beside one full pass a number and the package; and three commands.

`KNSCOPE_REAL_MODELS=FOLDER python -m benchmarks.real [ROUNDS]`: every folder in FOLDER that holds a config.json. CPU seconds at one thread,
a process each. One full pass a number: one forward and backward of all tokens for each path, layer and node, timed on some of them. The
commands, with all their processes: `query`, `data check`, and `faithfulness` of facts whose attributions are stored.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks._flops import Flops
from benchmarks._rounds import ROOT, child, rounds, show, timed, verdict

NAMED = "KNSCOPE_REAL_MODELS"
METHODS = ("amig", "bkn")
WANTED = 10.0
TIMED = 3
"""Full passes that are timed."""
PROMPT, SUBJECT, ANSWER = "The capital of [X] is the city of [Y]", "France", "Paris"
PACKAGE = 20
"""Steps of the package, as it has them by default."""
FACTS = str(ROOT / "docs" / "findings" / "gemma3.csv")
LANGS = "en,zh"
CURVES = ("--langs", "en", "--facts", "4", "--method", ",".join(METHODS))
"""Facts and methods of `faithfulness`."""


def folders() -> dict[str, Path]:
    named = Path(os.environ.get(NAMED) or os.devnull)
    return {path.parent.name: path.parent for path in sorted(named.glob("*/config.json"))}


def engine_of(source: Path, remember: bool) -> Any:
    from knscope.analysis.engine.models import load_model
    from knscope.analysis.engine.replay import Engine

    return Engine(load_model(source, threads=1), remember=remember)


def query_of(engine: Any) -> Any:
    from knscope.analysis.prompts.encode import Query, encode

    return encode(engine.loaded, Query("fr", "P36", "en", PROMPT, SUBJECT, ANSWER))


def load(source: Path, remember: bool, _folder: Path) -> Mapping[str, Any]:
    """The imports count: a person waits for them, too."""
    with timed() as found:
        engine_of(source, remember)
    return found


def fact(source: Path, method: str, _folder: Path) -> Mapping[str, Any]:
    from knscope.analysis.attribution.integrate import attribute
    from knscope.analysis.attribution.method import parse_method

    engine = engine_of(source, True)
    query = query_of(engine)
    (known,) = engine.predict([query])
    with timed() as found:
        (result,) = attribute(engine, [query], parse_method(method))
    with Flops() as counted:
        list(attribute(engine, [query], parse_method(method)))
    paths = result.paths
    return {
        **found, "rate": counted.total / found["cpu"] / 1e9, "machine": rate_of_the_machine(), "known": known.known,
        "passes": int(paths.nodes.sum()), "paths": len(paths), "converged": float(paths.converged.mean()),
        "neurons": engine.loaded.n_neurons, "tokens": len(query.steps[-1].ids),
    }  # fmt: skip


def rate_of_the_machine() -> float:
    """GFLOP/s of a large product in float32, best of five."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        _ = a @ b
        best = min(best, time.process_time() - start)
    return 2 * 2048**3 / best / 1e9


def full_pass(source: Path, _folder: Path) -> Mapping[str, Any]:
    """One forward and backward of the whole model from the first layer's neurons, the middle's and the last's: their mean."""
    engine = engine_of(source, True)
    model, query, sites = engine.loaded.model, query_of(engine), engine.loaded.sites
    (step,) = query.steps
    ids = torch.tensor([step.ids])

    def once(module: Any) -> None:
        def leaf(_module: Any, args: Any) -> Any:
            return (args[0].detach().requires_grad_(True),)

        handle = module.register_forward_pre_hook(leaf)
        model(input_ids=ids).logits[0, -1].softmax(-1)[step.gold].backward()
        handle.remove()

    modules = [model.get_submodule(sites[n].module) for n in (0, len(sites) // 2, len(sites) - 1)]
    once(modules[0])
    with timed() as found:
        for module in modules:
            once(module)
    return {"cpu": found["cpu"] / TIMED}


def package(source: Path, _folder: Path) -> Mapping[str, Any]:
    """knowledge-neurons on the same prompt, or why it does not run."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        from knowledge_neurons import KnowledgeNeurons
    except ImportError as error:
        return {"cpu": float("nan"), "why": f"not installed ({error.name})"}
    try:
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
        made = KnowledgeNeurons(model, AutoTokenizer.from_pretrained(source), model_type="gpt", device="cpu")
        prompt = PROMPT.replace("[X]", SUBJECT).partition("[Y]")[0].rstrip()
        with timed() as found:
            made.get_scores(prompt, f" {ANSWER}", batch_size=PACKAGE, steps=PACKAGE, pbar=False)
    except Exception as error:  # noqa: BLE001 - whatever it says of a model that it does not know
        return {"cpu": float("nan"), "why": f"does not run: {type(error).__name__}: {str(error)[:90]}"}
    return found


def knscope(cache: Path, *words: str) -> tuple[float, str]:
    """CPU seconds of a command and all processes it waits for, and what it printed; proofs are remembered in `cache`."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "knscope.tui.cli", *words],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def question(source: Path, remembered: bool, folder: Path) -> Mapping[str, Any]:
    words = ("query", str(source), PROMPT, "--subject", SUBJECT, "--object", ANSWER)
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        for _ in range(2 if remembered else 1):
            cpu, _ = knscope(Path(cache), *words)
    return {"cpu": cpu}


def check(source: Path, folder: Path) -> Mapping[str, Any]:
    words = ("data", "check", FACTS, "--langs", LANGS, "--model", str(source), "--facts", "all", "--json")
    cpu, told = knscope(folder, *words)
    return {"cpu": cpu, "prompts": sum(row["usable_prompts"] for row in rows_of(told, "model"))}


def curves(source: Path, folder: Path) -> Mapping[str, Any]:
    """`faithfulness` with attributions from a store: the deletion curves alone."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        store = str(Path(made) / "facts.knstore")
        knscope(
            folder, "run", store, "--model", str(source), "--data", FACTS, *CURVES, "--what", "attribution", "--follow"
        )
        words = ("--store", store, "--singles", "none", "--group", "0", "--processes", "1", "--json")
        cpu, told = knscope(folder, "faithfulness", str(source), "--data", FACTS, *CURVES, *words)
    return {"cpu": cpu, "facts": max(row["facts"] for row in rows_of(told, "faithfulness_by_kind"))}


def rows_of(document: str, name: str) -> list[dict[str, Any]]:
    """The rows of one table of what a command printed."""
    return next(table["rows"] for table in json.loads(document)["tables"] if table["name"] == name)


def contenders() -> dict[str, Callable[[Path], Mapping[str, Any]]]:
    found: dict[str, Callable[[Path], Mapping[str, Any]]] = {}
    for name, source in folders().items():
        found |= {f"{name}:first": partial(load, source, False), f"{name}:again": partial(load, source, True)}
        found |= {f"{name}:{method}": partial(fact, source, method) for method in METHODS}
        found |= {f"{name}:pass": partial(full_pass, source), f"{name}:package": partial(package, source)}
        found |= {
            f"{name}:query": partial(question, source, False),
            f"{name}:query again": partial(question, source, True),
        }
        found |= {f"{name}:check": partial(check, source), f"{name}:curves": partial(curves, source)}
    return found


def main() -> int:
    made = contenders()
    if child(made):
        return 0
    if not made:
        print(f"{NAMED} names no folder of models; nothing is measured")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        results = rounds("benchmarks.real", dict.fromkeys(made), int((sys.argv[1:] or ["1"])[0]), Path(folder))
    good = True
    for name in folders():
        of = {key.partition(":")[2]: result for key, result in results.items() if key.startswith(f"{name}:")}
        rows = [
            ["load and proof, nothing remembered", str(of["first"]), ""],
            ["the same, the proof remembered", str(of["again"]), ""],
        ]
        for method in METHODS:
            told, one = of[method].told, of[method].median
            ratio = told["passes"] * of["pass"].median / one
            good &= ratio >= WANTED
            took = f"{told['paths']:,} paths, {told['passes']:,} passes, {100 * told['converged']:.1f} % converged"
            rows.append([f"one fact, {method}: {took}", str(of[method]), f"{verdict(ratio, WANTED)} a full pass each"])
            reached = f"{told['rate']:.0f} of {told['machine']:.0f} GFLOP/s"
            rows.append(["", reached, f"{100 * told['rate'] / told['machine']:.0f} %"])
        why = of["package"].told.get("why", "")
        ratio = "" if why else f"{of['package'].median / of['bkn'].median:.1f}x of bkn"
        rows.append([f"knowledge-neurons 0.0.2, {PACKAGE} steps", why or str(of["package"]), ratio])
        rows += [
            ["query with an answer, nothing remembered", str(of["query"]), ""],
            ["the same, the proof remembered", str(of["query again"]), ""],
        ]
        asked, facts = of["check"].told["prompts"], of["curves"].told["facts"]
        rows.append(
            [
                f"data check, {asked} prompts",
                str(of["check"]),
                f"{(of['check'].median - of['again'].median) / asked:.2f} s a prompt",
            ]
        )
        rows.append(
            [
                f"faithfulness of {facts} facts, stored attributions",
                str(of["curves"]),
                f"{(of['curves'].median - of['again'].median) / facts:.1f} s a fact",
            ]
        )
        told = of["amig"].told
        title = f"{name}: {told['neurons']:,} neurons, a prompt of {told['tokens']} tokens, known: {told['known']}"
        show(title, ("what", "CPU seconds, one thread", "beside"), rows)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
