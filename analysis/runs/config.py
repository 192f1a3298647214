"""What a run is asked to do."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from knscope.analysis.attribution.method import parse_method
from knscope.analysis.attribution.others import needs_others
from knscope.analysis.dkn.sets import check_size
from knscope.analysis.edits.sets import ABLATIONS, Ablation
from knscope.analysis.engine.sources import check_token, weight_bytes
from knscope.analysis.stored.negative import SIGNS, Sign
from knscope.store.dense import FORMS, Form
from knscope.store.errors import UserError
from knscope.store.text import is_utf8

PHASES = ("attribution", "dkn", "sets", "edit", "factcheck", "neurons")
ENGINES = ("process", "inline", "ray")
DTYPES = ("float32", "float64", "bfloat16", "float16")
_DEVICE = r"(cpu|mps|cuda(:\d+)?(\+cuda(:\d+)?)*)"  # a model is spread over GPUs only
_DEVICES = re.compile(rf"auto|{_DEVICE}(,{_DEVICE})*")
KEEP_BYTES = 512 * 2**20  # a worker holds models beside each other up to this much; above it, one at a time


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
    columns: tuple[str, ...] = ()
    """What a table of one's own calls its columns: `subject=s` for one that calls the subject `s`."""
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
    signs: tuple[Sign, ...] = ("positive",)
    """Which neurons are edited: those of highest score, and those of lowest."""
    sets: tuple[str, ...] = ()
    """Files of neuron sets, or lists of the store, that are edited in place of N; none named: N."""
    size: int = 3
    """Neurons of the largest degenerate sets that are looked for."""
    table_langs: tuple[str, ...] = ()
    """Languages of edits and claims (tables 1-3); none named: all."""
    device: str = "auto"
    engine: str = "process"
    processes: int = 0
    dtype: str = "float32"
    memory: int | None = None
    seed: int = 0
    dense: Form = "auto"
    """How scores below the floor are stored. No key names it: a result that is stored is not computed again in another form."""
    prefix: str = ""
    shots: int = 0
    """Solved examples before every prompt: facts of its relation, which are not asked themselves."""
    known: str = ""
    """Attribute only facts that the model knows: in `every` language that it is asked in, or in `any`; empty: all facts."""
    fact_ids: tuple[str, ...] = ()
    part: str = ""
    """`2/4`: only every fourth of the facts, from the second on, for processes that share the attributions; empty: all."""

    def __post_init__(self) -> None:
        if not self.models:
            raise UserError("no model named; add --model FOLDER (or a hub id)")
        for text in (*(model.source for model in self.models), self.data, *self.columns, self.prefix, *self.sets):
            if not is_utf8(text):
                raise UserError(f"{text!r} is not UTF-8, and a run writes down what it is asked for; rename the file")
        object.__setattr__(self, "models", _once(self.models))
        for method in self.methods:
            if substitute := parse_method(method).substitute:
                for model in self.models:
                    check_token(model.source, substitute)
            if needs_others(parse_method(method)) and "factcheck" in self.what:
                raise UserError(
                    f"--method {method} starts from other facts, which claims have not; leave factcheck out of --what"
                )
        _check("--what", self.what, PHASES)
        _check("--suppress", self.suppress, ABLATIONS)
        _check("--sign", self.signs, SIGNS)
        check_size(self.size)
        if self.sets and "edit" not in self.what:
            raise UserError(f"--set {self.sets[0]}: a set is edited; add edit to --what")
        _check("known", (self.known,), ("", "every", "any"))
        if self.part:
            self._check_part()
        _check("--engine", (self.engine,), ENGINES)
        _check("--dtype", (self.dtype,), DTYPES)
        _check("--dense", (self.dense,), FORMS)
        if self.dense == "none" and "negative" in self.signs:
            raise UserError("--dense none keeps no negative scores, which --sign negative needs; use --dense float16")
        if not _DEVICES.fullmatch(self.device):
            raise UserError(
                f"--device {self.device}: write auto, cpu, cuda:0, several as cuda:0,cuda:1, or cuda:0+cuda:1"
            )
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: write a whole number from 0 up")
        if self.engine == "ray" and importlib.util.find_spec("ray") is None:
            raise UserError("--engine ray: ray is not installed; pip install 'knscope[ray]', or use --engine process")

    def _check_part(self) -> None:
        """Only what depends on no other facts is computed in parts, so that the parts make the same results as a whole."""
        if not parse_part(self.part):
            raise UserError(f"--part {self.part}: write which part of how many, as in 1/4, 2/4, 3/4, 4/4")
        if others := [name for name in self.what if name not in ("attribution", "neurons")]:
            raise UserError(
                f"--part {self.part}: {', '.join(others)} is chosen by all facts; compute the parts with --what attribution, then the "
                "rest without --part"
            )
        if starting := [name for name in self.methods if needs_others(parse_method(name))]:
            raise UserError(f"--part {self.part}: {starting[0]} starts from other facts, which a part does not have")

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


def parse_part(text: str) -> tuple[int, int] | None:
    """`2/4` -> (2, 4); None for what is no part of a whole."""
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    number, of = map(int, found.groups()) if found else (0, 0)
    return (number, of) if 1 <= number <= of else None


def too_large_together(config: RunConfig) -> bool:
    """Whether the models cannot be held beside each other, as far as their sizes are known before they are fetched."""
    return len(config.models) > 1 and sum(weight_bytes(model.source) or 0 for model in config.models) > KEEP_BYTES


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
