"""The thresholds of a View as a list a person walks along: names, steps, bounds, defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass

from knscope.store.view import View
from knscope.tui.printing.format import one_line


@dataclass(frozen=True)
class Threshold:
    """One number that decides what counts. `name` is `tau:<lang>` or a field of View."""

    name: str
    symbol: str
    step: float
    low: float
    high: float
    help: str
    brief: str
    """The same in at most 24 cells, where there is no room for it."""
    decades: bool = False
    """Steps are factors (1, 2, 5, 10 …) instead of differences."""

    def nudged(self, value: float, steps: int) -> float:
        if not self.decades:
            return self.clamp(round(value + steps * self.step, 10))
        ladder = sorted(m * 10.0**e for e in range(-12, 1) for m in (1, 2, 5))
        place = min(range(len(ladder)), key=lambda i: abs(math.log(ladder[i] / max(value, 1e-12))))
        return self.clamp(float(f"{ladder[max(0, min(place + steps, len(ladder) - 1))]:.0e}"))

    def clamp(self, value: float) -> float:
        return max(self.low, min(self.high, value))

    def show(self, value: float) -> str:
        if self.decades:
            return f"{value:.0e}".replace("e-0", "e-")
        text = f"{value:.3f}"
        return text[:-1] if text.endswith("0") else text


_TAU = "counts above this share of the maximum", "share of the maximum"
_OTHERS = (
    Threshold(
        "template_share", "s", 0.05, 0.0, 1.0, "on at least this share of the templates", "share of the templates"
    ),
    Threshold("t_low", "T_low", 0.01, -1.0, 1.0, "a single drop up to this is none", "largest single drop"),
    Threshold("t_high", "T_high", 0.01, -1.0, 1.0, "a pair's drop above this is one", "least drop of a pair"),
    Threshold("delta", "δ", 0.05, 0.0, 10.0, "strict: interaction below -δ, in logits", "least interaction"),
    Threshold("lam", "λ", 1.0, 1e-12, 10.0, "a claim above this is judged true", "above: judged true", decades=True),
    Threshold("dkn_share", "t", 0.05, 0.0, 1.0, "share of the highest count that checks", "share of the top count"),
)


def thresholds(view: View) -> tuple[Threshold, ...]:
    """All thresholds of a view, one τ a language first."""
    return (
        *(
            Threshold(f"tau:{lang}", f"τ {one_line(lang)}", 0.01, 0.0, 0.99, *_TAU)
            for lang in view.langs
        ),
        *_OTHERS,
    )  # fmt: skip


def value_of(view: View, name: str) -> float:
    kind, _, lang = name.partition(":")
    return view.tau[lang] if kind == "tau" else float(getattr(view, name))


def with_value(view: View, name: str, value: float) -> View:
    kind, _, lang = name.partition(":")
    return view.with_tau(lang, value) if kind == "tau" else view.with_(**{name: value})


def reset(view: View, name: str | None = None) -> View:
    """One threshold, or all, back to the default."""
    names = [name] if name else [one.name for one in thresholds(view)]
    fresh = View(view.model, view.method, view.langs)
    for one in names:
        view = with_value(view, one, value_of(fresh, one))
    return view


def changed(view: View) -> tuple[str, ...]:
    """Names of the thresholds that are not at their default."""
    fresh = View(view.model, view.method, view.langs)
    return tuple(one.name for one in thresholds(view) if value_of(view, one.name) != value_of(fresh, one.name))
