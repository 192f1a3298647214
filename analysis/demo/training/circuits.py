"""What the demo finds in the bundled models: shared neurons and degenerate pairs, each beside its controls.

Nothing is planted; whatever comes out is stated, written beside the models and printed by the training script.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from knscope import store
from knscope.analysis.demo.training.recipes import RECIPES
from knscope.analysis.dkn import table as dkn_table
from knscope.analysis.engine.sources import BUNDLED
from knscope.analysis.likn import table as likn_table
from knscope.analysis.report import summary
from knscope.analysis.runs import protocol
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.status import Observer
from knscope.analysis.stored.neuron_sets import pair_of
from knscope.store.runs import ACTIVE

CIRCUITS = BUNDLED / "circuits.json"
LIKN_COLUMNS = (
    *("sets", "size", "facts", "coverage", "observed", "chance", "a", "b", "c", "c_facts"),
    *("vs_a_low", "vs_a_high", "vs_c_low", "vs_c_high", "p_a", "p_b", "p_c", "verdict", "own"),
)


def fingerprint(folder: Path) -> str:
    """16 hex digits of a model's weights and tokenizer as they are on disk: whether the figures are still its own."""
    digest = hashlib.sha256()
    for name in ("model.safetensors", "tokenizer.json"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]


def analyse(folder: Path) -> None:
    """Run the demo's sample on every bundled model into a store. Raises RuntimeError when the run does not end well."""
    models = tuple(ModelSource(str(recipe.folder), recipe.langs) for recipe in RECIPES if recipe.folder.is_dir())
    run = protocol.start_job(folder, RunConfig(models=models, data="demo", facts=60, methods=("amig",)))
    observer = Observer(folder)
    while (seen := observer.run(run)).status in ACTIVE:
        time.sleep(0.5)
    if seen.status != "done":
        raise RuntimeError(f"the analysis of the bundled models {seen.status}: {seen.record.message}")


def figures(folder: Path) -> list[dict[str, Any]]:
    """Per model: shared neurons of English and Chinese at default thresholds, and degenerate pairs by role."""
    found = []
    with store.open(folder) as reader:
        for view in summary.default_views(reader):
            pairs = {
                row["neurons"]: row for row in dkn_table.build(reader, view).frame.iter_rows(named=True)
            }  # the last is "all"
            name = view.model.partition("@")[0]
            row: dict[str, Any] = {"model": name, "folder": fingerprint(BUNDLED / name), "method": view.method}
            if len(both := pair_of(view.langs)) == 2:
                shared = likn_table.build(reader, view.with_(langs=both)).frame
                row["likn"] = shared.head(2).select(LIKN_COLUMNS).to_dicts()  # at the thresholds, then at equal size
            row["dkn"] = {
                name: {field: one[field] for field in ("facts", "pairs", "paper", "strict", "expressed")}
                for name, one in pairs.items()
            }
            found.append(row)
    return found


def measure(write: bool = True) -> list[dict[str, Any]]:
    """Analyse the bundled models in a temporary store and return what was found; writes circuits.json unless told not."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "demo.knstore")
        analyse(place)
        found = figures(place)
    if write:
        CIRCUITS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return found
