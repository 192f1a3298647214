"""What the panes share: the open store, the View, the selection and its history. Imports no widget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knscope.store.errors import UserError
from knscope.store.view import View
from knscope.tui import state
from knscope.tui.selection import Selection, Shown
from knscope.tui.thresholds import reset, thresholds, value_of, with_value

if TYPE_CHECKING:
    from knscope.store.reader import Reader

PREFERRED_METHOD = "amig"
THRESHOLD_SETS = "threshold-sets"
STEPS_KEPT = 100
KNOWN_FIRST = True
"""A first look at a store is at facts that the model knows, if it knows any; K shows all."""


@dataclass(frozen=True)
class Stored:
    """What a store offers to choose from, at one moment."""

    models: tuple[str, ...] = ()
    """Models of most languages first."""
    methods: tuple[str, ...] = ()
    """Methods stored for the model of the View."""
    langs: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    facts: int = 0
    queries: int = 0
    known: int = 0
    """Queries that the model answers rightly."""


def look(reader: Reader, model: str = "") -> Stored:
    """What is stored, and what of it for a model (the first one, if this one is not stored). Runs in a thread."""
    # Those of most languages first: what languages share is what one opens a store for.
    models = tuple(sorted(reader.models(), key=lambda label: -len(reader.langs(label))))
    model = model if model in models else models[0] if models else ""
    if not model:
        return Stored()
    counts = reader.sql(
        "SELECT count(DISTINCT q.fact), count(*), count_if(p.known) FROM prediction p JOIN query q USING (query) WHERE p.model = ?",
        [model],
    ).row(0)
    return Stored(models, tuple(reader.methods(model)), tuple(reader.langs(model)), tuple(reader.relations()), *counts)


def names(labels: Sequence[str]) -> dict[str, str]:
    """Labels as a person reads them: without `@hash` where they stay distinct."""
    short = [label.partition("@")[0] for label in labels]
    return {label: name if short.count(name) == 1 else label for label, name in zip(labels, short, strict=True)}


@dataclass(frozen=True)
class Step:
    """What undo brings back: the View, what its model has stored, and the filter of the queries."""

    view: View
    stored: Stored
    filter: str
    kind: str
    """Steps of one kind that follow each other are one: a held key, a word that is typed."""


class Session:
    """One session with one store. Every change raises `token`; what was loaded for an older token is stale."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.reader: Reader | None = None
        self.view: View | None = None
        self.selection = Selection()
        self.stored = Stored()
        self.token = 0
        self.kept: View | None = None
        """View A, while two are compared."""
        self.filter = ""
        """The filter of the queries."""
        self.partial = False
        """Whether a run of this store goes on: what is shown may still change."""
        self._steps: list[Step] = []
        self._past: list[Selection] = []
        self._future: list[Selection] = []
        self._saved: dict[str, Any] = state.read(state.session_name(path)) if path else {}

    @property
    def saved(self) -> Mapping[str, Any]:
        """What the last session saved."""
        return self._saved

    def shown(self) -> Shown | None:
        """What panes should show now; None before anything is stored."""
        return None if self.view is None else Shown(self.view, self.selection, self.token)

    # --- the view

    def take(self, stored: Stored) -> None:
        """Take in what the store offers now: make a View if there is none, and adjust it where it names what is not stored."""
        self.stored = stored
        self.token += 1
        if not stored.models or not stored.langs:
            return
        if self.view is None:
            self.view = self._restored() or self._fresh(stored)
        elif set(self.view.langs) - set(stored.langs) or self.view.method not in stored.methods:
            fresh = self._fresh(stored)
            langs = tuple(lang for lang in self.view.langs if lang in stored.langs) or fresh.langs
            method = self.view.method if self.view.method in stored.methods else fresh.method
            self.view = self.view.with_(langs=langs, method=method)
        elif self._all_langs and len(stored.langs) > len(self.view.langs):
            self.view = self.view.with_(langs=stored.langs)

    _all_langs = True
    """Whether the languages follow the store as it fills; they do until a person chooses some."""

    def _fresh(self, stored: Stored) -> View:
        model = self.view.model if self.view is not None else stored.models[0]
        known = KNOWN_FIRST and stored.known > 0
        methods = stored.methods or (PREFERRED_METHOD,)
        return View(model, PREFERRED_METHOD if PREFERRED_METHOD in methods else methods[0], stored.langs, known=known)

    def _restored(self) -> View | None:
        """The View of the last session, if the store still has what it names."""
        try:
            view = View.from_json(self._saved["view"])
        except (KeyError, TypeError, ValueError, AttributeError, UserError):
            return None
        found = (
            view.model in self.stored.models
            and view.method in self.stored.methods
            and not set(view.langs) - set(self.stored.langs)
        )
        if found:
            self._all_langs = bool(self._saved.get("all_langs", True))
            self.selection = Selection(
                **{k: v for k, v in self._saved.get("selection", {}).items() if k in Selection.__dataclass_fields__}
            )
        return view if found else None

    def remember(self, kind: str) -> None:
        """Keep what is shown now, for `undo`; called before it changes."""
        if self.view is not None and not (self._steps and self._steps[-1].kind == kind != ""):
            self._steps.append(Step(self.view, self.stored, self.filter, kind))
            del self._steps[:-STEPS_KEPT]

    def settle(self) -> None:
        """What comes next is another step than the last one, even of its kind."""
        if self._steps:
            self._steps[-1] = replace(self._steps[-1], kind="")

    @property
    def steps(self) -> int:
        """How many steps can be taken back."""
        return len(self._steps)

    def as_one(self, since: int) -> None:
        """Make one step of all that came after there were `since`."""
        del self._steps[since + 1 :]

    def undo(self) -> Step | None:
        """Bring back what was shown before the last change of thresholds, choices or filter; None where there was none."""
        if not self._steps:
            return None
        step = self._steps.pop()
        self.view, self.stored, self.filter = step.view, step.stored, step.filter
        self.token += 1
        return step

    def change(self, **changes: Any) -> None:
        """Change the View. Choosing languages by hand ends following those of the store."""
        if self.view is None:
            return
        self.remember("")
        if "langs" in changes:
            self._all_langs = False
        self.view = self.view.with_(**changes)
        self.token += 1

    def choose_model(self, model: str, stored: Stored) -> None:
        """Change the model and take all of its languages; thresholds stay for languages that stay."""
        if self.view is None:
            return
        self.remember("")
        method = (
            self.view.method if self.view.method in stored.methods else next(iter(stored.methods), self.view.method)
        )
        self.stored = stored
        taus = tuple((lang, tau) for lang, tau in self.view.taus if lang in stored.langs)
        self.view = replace(self.view, model=model, method=method, langs=stored.langs or self.view.langs, taus=taus)
        self._all_langs = True
        self.token += 1

    def set_threshold(self, name: str, value: float, kind: str = "") -> None:
        """:param kind: of the step that `undo` takes back; that of the threshold where it is empty"""
        if self.view is not None:
            self.remember(kind or name)
            self.view = with_value(self.view, name, value)
            self.token += 1

    def set_view(self, view: View) -> None:
        self.remember("")
        self.view = view
        self.token += 1

    # --- the selection

    def select(self, selection: Selection, *, remember: bool = True) -> bool:
        """Change the selection; False when it selects the same as before."""
        same = selection.scope == self.selection.scope
        if not same and remember:
            self._past.append(self.selection)
            del self._past[:-STEPS_KEPT]
            self._future.clear()
        self.selection = selection
        if not same:
            self.token += 1
        return not same

    def travel(self, step: int) -> bool:
        """Go back (-1) or forward (1) in the history of selections; False at its end."""
        source, target = (self._past, self._future) if step < 0 else (self._future, self._past)
        if not source:
            return False
        target.append(self.selection)
        return self.select(source.pop(), remember=False)

    # --- named sets of thresholds

    @staticmethod
    def threshold_sets() -> dict[str, dict[str, float]]:
        return state.read(THRESHOLD_SETS)

    def keep_thresholds(self, name: str) -> None:
        if self.view is not None:
            every = {one.name: value_of(self.view, one.name) for one in thresholds(self.view)}
            state.write(THRESHOLD_SETS, {**self.threshold_sets(), name: every})

    def with_thresholds(self, name: str) -> View:
        """The View with the thresholds of a kept set; an empty name means the defaults."""
        assert self.view is not None
        view = self.view
        if not name:
            return reset(view)
        kept = self.threshold_sets().get(name, {})
        for one in thresholds(view):
            if one.name in kept:
                view = with_value(view, one.name, one.clamp(float(kept[one.name])))
        return view

    # --- the end

    def save(self, more: Mapping[str, Any]) -> None:
        """Save what the next session starts from."""
        if self.path is None:
            return
        state.write("last", {"store": str(self.path.resolve())})
        if self.view is not None:
            selection = {name: getattr(self.selection, name) for name in Selection.__dataclass_fields__}
            kept = {"view": self.view.to_json(), "selection": selection, "all_langs": self._all_langs, **more}
            state.write(state.session_name(self.path), kept)

    def close(self) -> None:
        """Release the store. Its memory is freed when the last thread that still reads it ends."""
        self.reader = None
