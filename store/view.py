"""What is being looked at: one model, one method, a choice of facts, and every threshold.

Stored results are raw; a View turns them into sets. It is immutable, so a pane's result can be kept beside the View it belongs to, and two
Views can be compared. Results are filtered by model and method, never by run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from knscope.store.errors import UserError

FLOOR = 0.05
"""Sparse scores keep every neuron with rel >= FLOOR; a lower threshold is answered from the dense arrays."""

_DEFAULT_TAU = {"en": 0.3}
_OTHER_TAU = 0.2
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "template_share": (0.0, 1.0),
    "t_low": (-1.0, 1.0),
    "t_high": (-1.0, 1.0),
    "delta": (0.0, 100.0),
    "dkn_share": (0.0, 1.0),
    "lam": (-1e9, 1e9),
}


def default_tau(lang: str) -> float:
    """τ by primary language subtag: en 0.3, all others 0.2 (METHOD: knowledge neurons)."""
    return _DEFAULT_TAU.get(lang.replace("_", "-").split("-")[0].lower(), _OTHER_TAU)


@dataclass(frozen=True)
class View:
    """A choice of stored results and of thresholds. `facts`, `queries` and `relations` restrict when non-empty."""

    model: str
    method: str
    langs: tuple[str, ...]
    taus: tuple[tuple[str, float], ...] = ()
    """τ by language; languages not named take `default_tau`. Filled in on construction, in the order of `langs`."""
    relations: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    known: bool = False
    """Count only queries the model answers rightly."""
    template_share: float = 0.5
    t_low: float = 0.2
    t_high: float = 0.25
    delta: float = 0.1
    drop: str = "relative"
    """Drops of p after an ablation: `relative` to p before, or `absolute`."""
    dkn_share: float = 0.7
    lam: float = 1e-6

    def __post_init__(self) -> None:
        if not self.langs:
            raise UserError("no language chosen; name at least one of those stored")
        if twice := [lang for lang in dict.fromkeys(self.langs) if self.langs.count(lang) > 1]:
            raise UserError(f"language {', '.join(twice)} is named twice; name each once")
        given = dict(self.taus)
        stray = [lang for lang in given if lang not in self.langs]
        if stray:
            raise UserError(f"τ is given for {', '.join(stray)}, but the languages are {', '.join(self.langs)}")
        taus = tuple((lang, float(given.get(lang, default_tau(lang)))) for lang in self.langs)
        for lang, tau in taus:
            if not 0.0 <= tau < 1.0:
                raise UserError(f"τ {lang} = {tau:g} is out of range; give a number from 0 up to, but not, 1")
        for name, (low, high) in _BOUNDS.items():
            if not low <= getattr(self, name) <= high:
                raise UserError(
                    f"{name} = {getattr(self, name):g} is out of range; give a number from {low:g} to {high:g}"
                )
        if self.drop not in ("relative", "absolute"):
            raise UserError(f"drop = {self.drop!r} is unknown; choose relative or absolute")
        object.__setattr__(self, "taus", taus)

    @property
    def tau(self) -> dict[str, float]:
        """τ by language, in the order of `langs`."""
        return dict(self.taus)

    def with_(self, **changes: Any) -> View:
        """The same View with some fields changed; τ of languages that stay are kept."""
        langs = tuple(changes.get("langs", self.langs))
        if "taus" not in changes:
            changes["taus"] = tuple((lang, tau) for lang, tau in self.taus if lang in langs)
        return replace(self, **changes)

    def with_tau(self, lang: str, value: float) -> View:
        return replace(self, taus=tuple((name, value if name == lang else tau) for name, tau in self.taus))

    def parameters(self, *names: str) -> dict[str, Any]:
        """Fields as parameters of a statement, which takes lists."""
        found = {name: getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

    def to_json(self) -> dict[str, Any]:
        return self.parameters(*self.__dataclass_fields__) | {"taus": self.tau}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> View:
        """The View written by `to_json`; fields of another version are left out."""
        plain = {name: stored[name] for name in cls.__dataclass_fields__ if name in stored}
        taus = plain.get("taus", {})
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
        fields: dict[str, Any] = values | {"taus": tuple(taus.items())}
        return cls(**fields)


def arguments(name: str, view: View, pairs: View | None = None) -> str:
    """A View as the arguments of one of the macros; `pairs` is the narrower one of dkn_service."""
    values: list[Any] = [
        view.model, view.method, list(view.langs), list(view.relations), list(view.facts), list(view.queries), view.known,
    ]  # fmt: skip
    if name != "chosen":
        values.append(view.tau)
    if name not in ("chosen", "queries"):
        values.append(view.template_share)
    if name in ("dkn", "dkn_rate", "dkn_layers", "dkn_service", "factcheck"):
        values += [view.t_low, view.t_high, view.delta, view.drop == "relative"]
    if name == "factcheck":
        values += [view.dkn_share, view.lam]
    if name == "dkn_service":
        narrow = pairs or view
        values += [list(narrow.relations), list(narrow.facts), list(narrow.queries)]
    return ", ".join(sql_literal(value) for value in values)


def sql_literal(value: Any) -> str:
    """A value as DuckDB writes it: what a pane shows must be what it ran."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, Mapping):
        return "MAP {" + ", ".join(f"{sql_literal(k)}: {sql_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Iterable):
        if not (items := list(value)):
            return "[]::VARCHAR[]"
        return "[" + ", ".join(sql_literal(item) for item in items) + "]"
    raise TypeError(f"no SQL literal for {type(value).__name__}")
