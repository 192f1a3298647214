"""What a run is asked to do, the units it is cut into, and the keys that say whether a result is already stored."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from knscope.analysis.attribution.method import NUMERICS_VERSION, parse_method
from knscope.analysis.edits.sets import ABLATIONS, Ablation
from knscope.analysis.engine.sources import is_decoder, weight_bytes
from knscope.analysis.prompts.encode import Query
from knscope.store.errors import UserError
from knscope.store.layout import expanded
from knscope.store.text import is_utf8

PHASES = ("attribution", "dkn", "edit", "factcheck")
ENGINES = ("process", "inline", "ray")
ROLES = ("kn", "layer_control", "drop_control")
SCAN_SIZE = 20  # METHOD §5: singles and pairs of the 20 neurons of highest rel
DTYPES = ("float32", "float64", "bfloat16", "float16")
_DEVICE = r"(cpu|mps|cuda(:\d+)?(\+cuda(:\d+)?)*)"  # a model is spread over GPUs only
_DEVICES = re.compile(rf"auto|{_DEVICE}(,{_DEVICE})*")
KEEP_BYTES = 512 * 2**20  # a worker holds models beside each other up to this much; above it, one at a time
UNIT_ROWS, UNIT_ROWS_GPU = 32, 256
"""Queries of a unit: few, so that every pane has something early; a GPU fills its passes only with many
(`attribution.WINDOW_GPU`)."""
UNITS_A_GPU = (
    4  # at least, of a model's queries, so that progress is seen and no GPU waits long for another's last unit
)
Templates = tuple[tuple[str, str, str], ...]
"""Relation, language and template of each."""
QUERY_COLUMNS = ("fact", "relation", "lang", "template", "subject", "object")


@dataclass(frozen=True)
class ModelSource:
    """A model to run, and the languages it is meant for (none named: all the facts have)."""

    source: str
    langs: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes; written into its run.json and enough to start it again."""

    models: tuple[ModelSource, ...]
    data: str
    langs: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    facts: int | None = None
    templates: str = "all"
    methods: tuple[str, ...] = ("amig",)
    scan_methods: tuple[str, ...] = ()
    """Methods whose neurons are scanned for degenerate pairs; none named: all of `methods`."""
    what: tuple[str, ...] = ("attribution", "dkn")
    suppress: tuple[Ablation, ...] = ("zero",)
    """What a suppressed neuron becomes in edits."""
    table_langs: tuple[str, ...] = ()
    """Languages of edits and claims (tables 1-3); none named: all."""
    device: str = "auto"
    engine: str = "process"
    processes: int = 0
    dtype: str = "float32"
    memory: int | None = None
    seed: int = 0
    prefix: str = ""
    fact_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.models:
            raise UserError("no model named; add --model FOLDER (or a hub id)")
        for text in (*(model.source for model in self.models), self.data, self.prefix):
            if not is_utf8(text):
                raise UserError(f"{text!r} is not UTF-8, and a run writes down what it is asked for; rename the file")
        object.__setattr__(self, "models", _once(self.models))
        for method in self.methods:
            parse_method(method)
        _check("--what", self.what, PHASES)
        _check("--suppress", self.suppress, ABLATIONS)
        _check("--engine", (self.engine,), ENGINES)
        _check("--dtype", (self.dtype,), DTYPES)
        if not _DEVICES.fullmatch(self.device):
            raise UserError(
                f"--device {self.device}: write auto, cpu, cuda:0, several as cuda:0,cuda:1, or cuda:0+cuda:1"
            )
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: write a whole number from 0 up")
        if self.engine == "ray" and importlib.util.find_spec("ray") is None:
            raise UserError("--engine ray: ray is not installed; pip install 'knscope[ray]', or use --engine process")

    def to_json(self) -> dict[str, Any]:
        """As it is read back from run.json, so that the two can be compared."""
        document: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return document

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> RunConfig:
        """From what run.json holds. Raises UserError where that is none, or one of another version."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
        }
        try:
            plain["models"] = tuple(ModelSource(m["source"], tuple(m["langs"])) for m in stored["models"])
            return cls(**plain)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise UserError(
                f"its configuration cannot be used ({type(error).__name__}: {error}); start a new run"
            ) from error


@dataclass(frozen=True)
class ScanItem:
    """A main query with the flat neurons to ablate, and every flat neuron that counts as serving the fact (never a
    control) with its highest rel over the fact's templates.
    """

    query: Query
    chosen: tuple[int, ...]
    serving: tuple[tuple[int, float], ...]
    roles: tuple[str, ...] = ROLES


@dataclass(frozen=True)
class Unit:
    """What one worker does in one go, and what one shard holds."""

    phase: str
    source: str
    method: str = ""
    queries: tuple[Query, ...] = ()
    scans: tuple[ScanItem, ...] = ()
    payload: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    model: str = ""
    """`model_hash` of the stored model that it goes on with; empty: whatever the source holds."""

    @property
    def size(self) -> int:
        """Results it yields; what progress counts."""
        return int(self.payload.get("size", 0)) or len(self.queries) or sum(len(item.roles) for item in self.scans)

    @property
    def rows(self) -> Sequence[Any]:
        """What it can be parted into: queries, scans, or the claims or reads of its payload."""
        return self.queries or self.scans or self.payload.get("claims") or self.payload.get("reads") or ()

    def of(self, rows: Sequence[Any]) -> Unit:
        """The same unit with only these of its rows."""
        if self.queries or self.scans:
            return replace(self, **{"queries" if self.queries else "scans": tuple(rows)})  # type: ignore[arg-type]
        if "claims" in self.payload:
            return replace(self, payload={**self.payload, "claims": list(rows), "size": len(rows)})
        edits = [edit for read in rows for edit in read["edits"]]
        used = {operation for operation, *_ in edits}
        sources = {name: queries for name, queries in self.payload.get("sources", {}).items() if name in used}
        # `irrelevant` stays with every part: stored twice it counts once, and no part that fails takes it along.
        return replace(self, payload={**self.payload, "reads": list(rows), "size": len(edits), "sources": sources})

    def halves(self) -> tuple[Unit, ...]:
        """The unit cut in two, to corner a row that makes it fail; none when it cannot be cut."""
        middle = len(self.rows) // 2
        return (self.of(self.rows[:middle]), self.of(self.rows[middle:])) if middle else ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Unit:
        return cls(
            phase=stored["phase"],
            source=stored["source"],
            method=stored["method"],
            queries=tuple(Query(**row) for row in stored["queries"]),
            scans=tuple(
                ScanItem(
                    Query(**item["query"]),
                    tuple(item["chosen"]),
                    tuple((int(n), float(s)) for n, s in item["serving"]),
                    tuple(item["roles"]),
                )
                for item in stored["scans"]
            ),
            payload=stored["payload"],
            seed=stored["seed"],
            model=stored["model"],
        )


def unit_rows(queries: int, gpus: int) -> int:
    """How many of a model's `queries` make a unit, computed on so many GPUs (0: on processors)."""
    share = -(-queries // (UNITS_A_GPU * gpus)) if gpus else 0
    return min(max(share, UNIT_ROWS), UNIT_ROWS_GPU)


def model_hash(model: Mapping[str, Any]) -> str:
    """What makes two loads of a model the same: weights, tokenizer, dtype, attention implementation (a row of table
    `model`).
    """
    return ":".join(str(model[name]) for name in ("weights_hash", "tokenizer_hash", "dtype", "attention"))


def result_key(kind: str, model: str, query: str, **depends: Any) -> str:
    """32 hex naming a stored result by everything its value depends on.

    :param model: what `model_hash` returns
    :param query: the query's id, which stands for prompt and answer
    """
    text = json.dumps([kind, model, NUMERICS_VERSION, query, depends], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def prediction_key(model: str, query: str) -> str:
    return result_key("prediction", model, query)


def attribution_key(model: str, query: str, method: str) -> str:
    return result_key("attribution", model, query, method=method)


def scan_key(model: str, query: str, method: str, role: str, seed: int, chosen: Iterable[int]) -> str:
    """Controls are drawn by their rule from `chosen`, those of the same layers with the seed: these stand for the neurons of every role.

    `outside`: a control's neurons are outside N by the highest rel over templates; those drawn by the mean have other keys.
    """
    drawn: dict[str, Any] = {} if role == "kn" else {"outside": "highest rel"}
    if role == "layer_control":
        drawn["seed"] = seed
    return result_key("scan", model, query, method=method, role=role, chosen=sorted(chosen), operation="zero", **drawn)


def query_rows(frame: pl.DataFrame, prefix: str = "") -> list[Query]:
    """The facts frame as rows, the facts of all relations taken in turn, so that an early look sees some of
    everything.
    """
    names = ("fact_id", *QUERY_COLUMNS[1:])
    turn: dict[str, dict[str, int]] = {}
    others = frame["alternatives"].to_list() if "alternatives" in frame.columns else [()] * frame.height
    rows = []
    for cells, alternatives in zip(frame.select(names).iter_rows(), others, strict=True):
        fact, relation, lang, template, subject, answer = (str(value) for value in cells)
        rows.append(Query(fact, relation, lang, template, subject, answer, prefix, tuple(alternatives or ())))
    for row in rows:
        facts = turn.setdefault(row.relation, {})
        facts.setdefault(row.fact, len(facts))
    return sorted(dict.fromkeys(rows), key=lambda row: turn[row.relation][row.fact])


@dataclass(frozen=True)
class Facts:
    """The rows a run works on, and the hash of the data they came from."""

    rows: tuple[Query, ...]
    dataset: str
    hash: str
    templates: Templates = ()
    """Those of all the data, in their order."""


def load_facts(config: RunConfig) -> Facts:
    """Read and sample the data a run names; the same call gives the same rows in the same order.

    :raises UserError: when the data cannot be read or nothing is left of it
    """
    if config.data == "demo" and config.templates == "all":
        name, digest, frame, templates = _demo_facts(config)
    else:
        from knscope.analysis import datasets
        from knscope.analysis.datasets.sampling import ends_in_answer

        dataset = datasets.load(config.data, langs=config.langs, relations=config.relations)
        name, digest, frame = dataset.name, dataset.hash, dataset.frame
        templates = _templates(frame)
        if config.facts is not None and all(is_decoder(model.source) for model in config.models):
            # drawn facts should be ones the models can use; without a draw the others are counted as unusable
            frame = frame.filter(ends_in_answer())
        frame = datasets.sample(frame, facts=config.facts, seed=config.seed, templates=config.templates)
    if config.fact_ids:
        frame = frame.filter(pl.col("fact_id").is_in(config.fact_ids))
    if frame.is_empty():
        raise UserError(
            f"{config.data}: no fact is left after --langs, --relations and --facts; "
            f"see what there is: knscope data check {config.data}"
        )
    return Facts(tuple(query_rows(frame, config.prefix)), name, digest, templates)


def _templates(frame: pl.DataFrame) -> Templates:
    return tuple(frame.select("relation", "lang", "template").unique(maintain_order=True).iter_rows())


def _demo_facts(config: RunConfig) -> tuple[str, str, pl.DataFrame, Templates]:
    """The bundled facts, each on the templates that training held out for it."""
    from knscope.analysis.demo.facts import FACTS_CSV, load_facts
    from knscope.analysis.demo.split import demo_sample

    frame = demo_sample(config.facts, seed=config.seed)
    for column, wanted in (("lang", config.langs), ("relation", config.relations)):
        if wanted:
            frame = frame.filter(pl.col(column).is_in(wanted))
    return "demo", hashlib.sha256(FACTS_CSV.read_bytes()).hexdigest(), frame, _templates(load_facts())


def cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def too_large_together(config: RunConfig) -> bool:
    """Whether the models cannot be held beside each other, as far as their sizes are known before they are fetched."""
    return len(config.models) > 1 and sum(weight_bytes(model.source) or 0 for model in config.models) > KEEP_BYTES


def absolute_data(data: str) -> str:
    """The data's name with its path made absolute: `mlama:DIR`, a file, or `demo` as it is."""
    kind, found, path = data.partition(":")
    if found and "/" not in kind and not Path(data).exists():
        return f"{kind}:{expanded(path).resolve()}"
    return data if data == "demo" else str(expanded(data).resolve())


def _once(models: Iterable[ModelSource]) -> tuple[ModelSource, ...]:
    """Each source once, for all the languages that it is named with."""
    langs: dict[str, tuple[str, ...]] = {}
    for model in models:
        before = langs.get(model.source, model.langs)
        langs[model.source] = tuple(dict.fromkeys((*before, *model.langs))) if before and model.langs else ()
    return tuple(ModelSource(source, named) for source, named in langs.items())


def _check(option: str, values: Iterable[str], allowed: tuple[str, ...]) -> None:
    wrong = [value for value in values if value not in allowed]
    if wrong:
        raise UserError(f"{option}: {', '.join(wrong)} is not one of {', '.join(allowed)}")
