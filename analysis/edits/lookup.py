"""What is stored of wanted edits, and how eq. 11 is read of it: the figures of tables 1 and 2, and which answers change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from knscope.analysis.api.neuron_set import NeuronSet
from knscope.analysis.edits.choose import WantedEdit, wanted, wanted_of_set
from knscope.analysis.edits.judge import Changes, Delta, Exclude, SuccessRate, success_rate
from knscope.analysis.edits.sets import ABLATIONS, N_IRRELEVANT, Ablation, set_id
from knscope.analysis.stored.facts import subject_of
from knscope.analysis.stored.negative import Sign
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.view import View

BECOMES: Mapping[Ablation, str] = {
    "zero": "to 0",
    "mean": "to their mean over the language's main queries",
    "resample": "to their values on a random fact of another relation",
}
DIRECTIONS: tuple[Literal["suppress", "enhance"], ...] = ("suppress", "enhance")
Key = tuple[str, str, str]
"""Set, query and operation."""


class Reading(NamedTuple):
    """One stored edit: p or p^(1/T) and rank of the first answer token before and after, and the KL where it was read."""

    before: float
    after: float
    kl: float | None
    rank_before: int | None
    rank_after: int | None


@dataclass(frozen=True)
class Judging:
    """How eq. 11 is read: what a change is, which facts are left out (METHOD: success rate), and p or p^(1/T)."""

    delta: Delta = "absolute"
    exclude: Exclude = "none"
    per_token: bool = False
    suppress: Ablation = "zero"
    """What suppressed neurons were set to."""
    sign: Sign = "positive"
    """Whose edits: of the neurons of highest score, or of lowest."""
    given: tuple[str, NeuronSet] | None = None
    """Name and neurons of a set of one's own that is edited in place of N."""

    def __post_init__(self) -> None:
        for option, value, allowed in (
            ("--change", self.delta, get_args(Delta)),
            ("--exclude", self.exclude, get_args(Exclude)),
            ("--suppress", self.suppress, ABLATIONS),
        ):
            if value not in allowed:
                raise UserError(f"{option} {value}: choose one of {', '.join(allowed)}")

    @property
    def note(self) -> str:
        left_out = {"none": "no fact left out", "known": "unknown facts left out", "caps": "extreme changes left out"}
        unit = "p^(1/T)" if self.per_token else "p"
        return f"changes: {self.delta}, of {unit}; {left_out[self.exclude]}; suppressed: {BECOMES[self.suppress]}"


@dataclass(frozen=True)
class Lookup:
    """Stored readings by key, names of the edited sets, subjects of facts, and which queries are known."""

    stored: Mapping[Key, Reading]
    names: Mapping[tuple[int, ...], str]
    subject: Mapping[str, str]
    known: Mapping[str, bool]
    judging: Judging

    @classmethod
    def of(cls, reader: Reader, model: str, edits: Sequence[WantedEdit], judging: Judging) -> Lookup:
        frame = reader.sql("SELECT query, known FROM prediction WHERE model = $model", {"model": model})
        found = stored(reader, model, judging.per_token)
        return cls(found, set_ids(reader, model, edits), subject_of(reader), dict(frame.iter_rows()), judging)

    def keys(self, edit: WantedEdit) -> list[Key]:
        """Query by query, the fact's own first, each with every operation."""
        name = self.names[edit.neurons]
        return [(name, query.id, operation) for query in edit.reads for operation in edit.operations]

    def ready(self, edit: WantedEdit) -> bool:
        return all(key in self.stored for key in self.keys(edit))

    def missing(self, edits: Sequence[WantedEdit]) -> int:
        """Readings that are not stored; a set that several rows speak of is read once."""
        return len({key for edit in edits for key in self.keys(edit)} - self.stored.keys())

    def lacking(self, edits: Sequence[WantedEdit]) -> list[str]:
        """A note on the readings that are not stored, or on why there are none."""
        if not edits:
            source = "a fact of another relation, beside those that are read, to take values from"
            return [f"no fact here has {source if self.judging.suppress == 'resample' else 'neurons to edit'}"]
        if not (missing := self.missing(edits)):
            return []
        how = "; compute them with: knscope run STORE --what edit --set SET …" if self.judging.given else ""
        read = {edit.lang for edit in edits if any(key in self.stored for key in self.keys(edit))}
        unread = sorted({edit.lang for edit in edits} - read)
        if not (read and unread):
            return [f"{missing:,} of the readings these thresholds ask for are not computed yet{how}"]
        rest = self.missing([edit for edit in edits if edit.lang in read])
        others = f", nor are {rest:,} other readings" if rest else ""
        return [f"edits in {', '.join(unread)} are not computed yet{others}{how}"]

    def readings(self, edit: WantedEdit, direction: int) -> Iterator[Reading]:
        """Of each query that the edit is read on, suppressed (0) or enhanced (1)."""
        operation = list(edit.operations)[direction]
        return (self.stored[self.names[edit.neurons], query.id, operation] for query in edit.reads)

    def collateral(self, edits: Sequence[WantedEdit]) -> float | None:
        """Mean KL over the edits' unrelated prompts and both directions, as far as it is stored."""
        found = [self.stored[key].kl for edit in edits for key in self.keys(edit)[len(edit.operations) :]]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if known else None

    def judge(self, edits: Sequence[WantedEdit], seed: int, draws: int) -> SuccessRate:
        """Eq. 11, specific SR and D of edits whose readings are all stored."""
        width = max([N_IRRELEVANT, *(len(edit.reads) - 1 for edit in edits)])
        known = np.zeros((len(edits), 1 + width), dtype=np.bool_)
        for row, edit in enumerate(edits):
            known[row, : len(edit.reads)] = [self.known.get(query.id, False) for query in edit.reads]
        changes = []
        for number, direction in enumerate(DIRECTIONS):
            values = np.full((2, len(edits), 1 + width), np.nan)
            for row, edit in enumerate(edits):
                for column, reading in enumerate(self.readings(edit, number)):
                    values[:, row, column] = reading.before, reading.after
            before, after = values
            reverse = self.judging.sign == "negative"
            others = before[:, 1:], after[:, 1:], known[:, 1:]
            changes.append(Changes(direction, before[:, 0], after[:, 0], *others, reverse))
        subjects = [self.subject[edit.fact] for edit in edits]
        delta, exclude = self.judging.delta, self.judging.exclude
        return success_rate(changes, subjects, known[:, 0], delta=delta, exclude=exclude, draws=draws, seed=seed)


def stored(reader: Reader, model: str, per_token: bool) -> dict[Key, Reading]:
    """Every stored edit of a model."""
    before, after = ("p_root_before", "p_root_after") if per_token else ("p_before", "p_after")
    columns = f'"set", query, operation, {before}, {after}, kl, rank_before, rank_after'
    frame = reader.sql(f"SELECT {columns} FROM edit WHERE model = $model", {"model": model})
    return {(row[0], row[1], row[2]): Reading(*row[3:]) for row in frame.iter_rows()}


def set_ids(reader: Reader, model: str, edits: Sequence[WantedEdit]) -> dict[tuple[int, ...], str]:
    addresses = reader.addresses(model)
    return {neurons: set_id(*addresses.split(neurons)) for neurons in {edit.neurons for edit in edits}}


Groups = Mapping[tuple[str, str], Mapping[str, Sequence[WantedEdit]]]
"""Edits by group and language, then by name."""


def looked_up(reader: Reader, view: View, seed: int, judging: Judging) -> tuple[Sequence[WantedEdit], Groups, Lookup]:
    """The edits that the tables show for a View, as a list and in groups, and what is stored of them."""
    if judging.given is None:
        edits = wanted(reader, view, seed, (judging.suppress,), (judging.sign,))
    else:
        edits = wanted_of_set(reader, view, *judging.given, seed, (judging.suppress,))
    groups: dict[tuple[str, str], dict[str, list[WantedEdit]]] = {}
    for edit in edits:
        groups.setdefault((edit.group, edit.lang), {}).setdefault(edit.name, []).append(edit)
    return edits, groups, Lookup.of(reader, view.model, edits, judging)
