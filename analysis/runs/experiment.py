"""An experiment as a file: what run.json holds of a run, as TOML that a person reads, changes and runs again."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from knscope.analysis.engine.sources import BUNDLED, absolute_source, is_path, split_revision
from knscope.analysis.factcheck import choose as factcheck_choose
from knscope.analysis.factcheck.claims import split_subjects
from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs.config import RunConfig
from knscope.analysis.runs.facts import absolute_data, absolute_set
from knscope.store.errors import UserError
from knscope.store.runs import RunRecord

HASH = "dataset_hash"
NOTES = {
    "data": "The facts: demo, a table, KIND:PATH or hf:owner/name. A path begins at the folder of this file.",
    HASH: "Data with another hash are refused; without this line any data will do.",
    "columns": "What a table of one's own calls its columns, as in subject=s.",
    "langs": "Languages; none named: all there are.",
    "relations": "Relations; none named: all there are.",
    "facts": 'How many facts are drawn, or "all".',
    "templates": "best, all, or how many a relation and language.",
    "fact_ids": "Only these facts; none named: all.",
    "part": "Only one part of the facts, as 2/4; empty: all.",
    "known": "Only facts that the model knows: in every language, or in any; empty: all.",
    "prefix": "Text before every template.",
    "shots": "Solved examples before every prompt: facts of its relation, which are not asked.",
    "methods": "Attribution methods.",
    "what": "What is computed: attribution, dkn, sets, edit, factcheck, neurons.",
    "scan_methods": "Methods whose neurons are scanned for pairs; none named: all of them.",
    "sets": "Files of neuron sets, or lists of the store, that are edited; none named: N of every fact.",
    "size": "Largest number of neurons of a degenerate set that is looked for.",
    "suppress": "What a suppressed neuron becomes in edits: zero, mean, resample.",
    "signs": "Neurons that edits are of: positive, negative.",
    "table_langs": "Languages of sets, edits and claims; none named: all.",
    "seed": "Decides which facts are drawn, and the controls.",
    "dtype": "Precision of all passes; another one gives other results.",
    "device": "auto, cpu, cuda:0, cuda:0,cuda:1. From here on: where it is computed.",
    "engine": "process, inline or ray.",
    "processes": "Processes where there is no GPU; 0: a processor each, at most 8.",
    "dense": "How scores below the floor are stored: auto, none, float16, float32.",
    "memory": "Bytes that one process may fill with a batch; 0: as many as are free.",
}
"""Every key of the file but the models, in its order, with what it means."""
_DEFAULTS = {one.name: one.default for one in fields(RunConfig)}
_NONE: dict[str, object] = {"facts": "all", "memory": 0}
"""What stands for None, which TOML does not have."""


@dataclass(frozen=True)
class Experiment:
    """What a file says: what is computed, and the hash that its data had (empty: any)."""

    config: RunConfig
    dataset_hash: str = ""


def unjudged(config: RunConfig, rows: Sequence[Query]) -> str:
    """What to say of fact checking before the run; empty where nothing of it is in vain. Which facts are known turns out later."""
    if "factcheck" not in config.what:
        return ""
    part = split_subjects({row.subject for row in rows}, config.seed)
    asked = config.table_langs or config.langs
    return factcheck_choose.unjudged((row.lang, part[row.subject]) for row in rows if not asked or row.lang in asked)


def read(path: Path) -> Experiment:
    """An experiment file. Paths of data and models begin at its folder.

    :raises UserError: for a file that is no TOML or says what no run can do, naming the key
    """
    try:
        stored = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name the file of an experiment") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no TOML: {error}") from error
    for key in stored:
        if key not in (*NOTES, "models"):
            close = difflib.get_close_matches(key, (*NOTES, "models"), 1)
            raise UserError(
                f"{path}: {key!r} is no key of an experiment" + (f"; did you mean {close[0]}?" if close else "")
            )
    given = {key: _value(path, key, value) for key, value in stored.items() if key != "models"}
    expected = given.pop(HASH, "")
    given["models"] = [_model(path, one) for one in _tables(path, stored.get("models", []))]
    if not given.get("data"):
        raise UserError(f'{path}: data is missing; name the facts, as in data = "demo"')
    given["data"] = absolute_data(given["data"], path.parent)
    given["sets"] = [absolute_set(one, path.parent) for one in given.get("sets", ())]
    try:
        return Experiment(RunConfig.from_json(given), expected)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def write(record: RunRecord) -> str:
    """A run as a file that `read` reads: the same data, models and settings.

    A bundled model goes by its name, one of the hub by the commit that was run. Raises UserError for a run that cannot be
    run again.
    """
    config, ran = RunConfig.from_json(record.config), record.provenance
    libraries = ran.get("libraries", {})
    with_what = [f"numerics version {ran['numerics_version']}"] if "numerics_version" in ran else []
    with_what += [f"{name} {libraries[name]}" for name in ("torch", "transformers") if name in libraries]
    lines = [
        "# An experiment of knscope. Run it, here or elsewhere, with: knscope run STORE FILE",
        f"# Run {record.run}" + (f": {', '.join(with_what)}." if with_what else "."),
    ]
    values = {**{one.name: getattr(config, one.name) for one in fields(config)}, HASH: ran.get(HASH, "")}
    for key, note in NOTES.items():
        value = _NONE.get(key) if values[key] is None else values[key]
        lines += ["", f"# {note}", f"{key} = {_toml(value)}"]
    models = ran.get("models", {})
    for model in config.models:
        row = models.get(model.source, {})
        lines += ["", "[[models]]", f"source = {_toml(_portable(model.source, row))}"]
        lines += [f"langs = {_toml(model.langs)}", *([f"# results of {row['model']}"] if "model" in row else [])]
    return "\n".join(lines) + "\n"


def check_dataset(experiment: Experiment, found: str) -> None:
    """Raise UserError where the data are others than those that an experiment was written down with."""
    if experiment.dataset_hash not in ("", found):
        raise UserError(
            f"{experiment.config.data} has the hash {found[:12]}, the experiment was written for {experiment.dataset_hash[:12]}: "
            f"these are other data; find the right ones, or take the line {HASH} out of the file to run on these"
        )


def _value(path: Path, key: str, value: Any) -> Any:
    """A value as RunConfig takes it. Raises UserError for one of another type."""
    if key in _NONE and (value == _NONE[key]):
        return None
    default = _DEFAULTS.get(key, "")
    if isinstance(default, tuple):
        fits, wanted = isinstance(value, list) and all(isinstance(one, str) for one in value), "a list of texts"
    elif key in _NONE or isinstance(default, int):
        fits, wanted = type(value) is int and value >= 0, "a whole number" + (' or "all"' if key == "facts" else "")
    else:
        fits, wanted = isinstance(value, str), "a text"
    if not fits:
        raise UserError(f"{path}: {key} must be {wanted}, {value!r} is there")
    return value


def _tables(path: Path, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise UserError(f'{path}: models are written as tables, each as [[models]] and source = "…"')
    return value


def _model(path: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    source, langs = table.get("source"), table.get("langs", [])
    if not isinstance(source, str) or set(table) - {"source", "langs"}:
        raise UserError(f"{path}: a model has a source, a text, and langs if need be; {dict(table)!r} is there")
    beside = path.parent / source
    return {
        "source": absolute_source(str(beside) if beside.exists() and source else source),
        "langs": _value(path, "langs", langs),
    }


def _portable(source: str, row: Mapping[str, Any]) -> str:
    """A source as another machine understands it, as far as it can."""
    if Path(source).parent == BUNDLED:
        return Path(source).name
    revision = str(row.get("revision", ""))
    return source if is_path(source) or not revision else f"{split_revision(source)[0]}@{revision}"


def _toml(value: object) -> str:
    """A text, number or list of texts. TOML's texts are JSON's, but for the control characters that JSON leaves as they are."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return re.sub(r"[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
