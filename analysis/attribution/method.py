"""Every attribution method as one frozen value, with a text form that round-trips (METHOD: attribution options and
presets).

A method's label is a preset's name, or a preset and what differs from it: `amig+last_word=drop,nodes=10`. Two
configurations with the same label are the same method, so the label is what stored results are keyed by. This module
imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from knscope.analysis.errors import ModelError

NUMERICS_VERSION = 6
"""Raised whenever the same options would give other values: stored results of an older version are then computed
anew."""

_FEWEST_NODES = 3
"""Where the rules of Gauss start with a looser tolerance than the default."""

_CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "kind": (
            "integrated_gradients",
            "grad_x_act",
            "activation",
            "random",
            "ablation",
            "attribution_patching",
            "logprob_increase",
        ),
        "baseline": ("per_word", "zero", "mean_tokens", "mean", "resample"),
        "last_word": ("keep", "drop"),
        "multiplier": ("difference", "activation"),
        "rule": ("gauss-lobatto", "gauss-legendre", "right", "left", "endpoints"),
        "normalise": ("none", "layer"),
        "positions": ("answer", "all"),
        "target": ("prob", "logprob", "logit"),
        "site": ("post_act", "pre_act", "released"),
    }
)


@dataclass(frozen=True)
class MethodConfig:
    """One attribution method. Defaults are the preset `amig`."""

    kind: str = "integrated_gradients"
    """`integrated_gradients` (eq. 2), the controls `grad_x_act`, `activation`, `random` (the options' own scores,
    shuffled within each layer), or `ablation`: F(w) - F(w_j <- w'_j) neuron by neuron, which is eq. 2 read
    literally; `attribution_patching`: (w - w') dF/dw at w; `logprob_increase`: F(r_l + w_j v_j) - F(r_l), what the
    neuron adds to the residual stream read by the head."""
    baseline: str = "per_word"
    """Where paths start: one per word with its tokens masked (eq. 3), `zero`, one `mean_tokens` path over all
    sub-word tokens, one from the `mean` over other queries of the language, or one from what a fact of another relation
    activates (`resample`)."""
    substitute: str = ""
    """The token, as the tokenizer writes it, that takes the place of a hidden word. Empty: what the model has for it,
    <mask> on encoders, <eos> on decoders. No meaning where the baseline is `zero`."""
    last_word: str = "keep"
    """Decoders: whether the path of the word at the answer position is taken (eq. 3) or left out. No meaning
    elsewhere."""
    multiplier: str = "difference"
    """What multiplies the mean gradient: w - w' (eq. 2) or w (eq. 4)."""
    rule: str = "gauss-lobatto"
    nodes: int = 5
    """Nodes of the rule; the two of Gauss start here and double where the residual asks for it."""
    tolerance: float = 1e-3
    """The residual that a path may keep, as a share of its change of F. With more than the default the rules of Gauss
    start with 3 nodes: less exact and up to twice as fast."""
    normalise: str = "none"
    """`layer` divides by the layer's signed sum (eq. 5)."""
    positions: str = "answer"
    target: str = "prob"
    site: str = "post_act"
    """`post_act`: what enters the second MLP linear. `pre_act`: before the activation function. `released`: pre_act
    on decoders whose MLP has no gate, post_act elsewhere, as released code does."""
    seed: int = 0
    """Used by `random`, and where other facts are drawn as the baseline."""

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ModelError(
                    f"method option {name}={getattr(self, name)!r} is unknown; choose one of {', '.join(allowed)}"
                )
        if not all(sign.isprintable() and sign not in ", " for sign in self.substitute):
            raise ModelError(
                f"method option substitute={self.substitute!r}: name a token without space and comma, as the tokenizer "
                "writes it"
            )
        if not 1 <= self.nodes <= 1000:
            raise ModelError(f"method option nodes={self.nodes} is out of range; give a whole number from 1 to 1000")
        if not 0 < self.tolerance <= 0.1:
            raise ModelError(
                f"method option tolerance={self.tolerance} is out of range; give a number above 0, at most 0.1"
            )
        if self.rule == "gauss-lobatto" and self.nodes == 1:
            raise ModelError("method option nodes=1: gauss-lobatto has both ends among its nodes; give 2 or more")
        without = self.kind if self.kind in ("activation", "ablation", "logprob_increase") else ""
        without = without or (f"baseline={self.baseline}" if self.baseline in ("mean", "resample") else "")
        if self.positions == "all" and without:
            raise ModelError(f"positions=all has no meaning for {without}; use positions=answer")
        if self.kind == "logprob_increase" and self.site == "pre_act":
            raise ModelError("site=pre_act has no meaning for logprob_increase; use site=post_act")

    @property
    def label(self) -> str:
        """Canonical text: the nearest preset (first of equals) and the options that differ from it, sorted."""
        name, base = min(PRESETS.items(), key=lambda item: len(_changes(item[1], self)))
        changes = _changes(base, self)
        return name if not changes else f"{name}+" + ",".join(f"{key}={changes[key]}" for key in sorted(changes))

    @property
    def is_adaptive(self) -> bool:
        return self.rule.startswith("gauss")

    @property
    def first_nodes(self) -> int:
        """Nodes that each path starts with."""
        looser = self.is_adaptive and self.tolerance > MethodConfig.tolerance
        return min(_FEWEST_NODES, self.nodes) if looser else self.nodes

    def to_json(self) -> dict[str, Any]:
        """Every option by name: what results are keyed by, together with NUMERICS_VERSION."""
        return asdict(self)


def _changes(base: MethodConfig, other: MethodConfig) -> dict[str, Any]:
    return {
        f.name: getattr(other, f.name) for f in fields(MethodConfig) if getattr(base, f.name) != getattr(other, f.name)
    }


_PAPER = MethodConfig(multiplier="activation", rule="right", nodes=20, normalise="layer")
_BKN = MethodConfig(baseline="zero", rule="left", nodes=20)

PRESETS: Mapping[str, MethodConfig] = MappingProxyType(
    {
        "amig": MethodConfig(),
        "amig-paper": _PAPER,
        "amig-code": replace(_PAPER, baseline="mean_tokens", rule="left", normalise="none", site="released"),
        "bkn": _BKN,
        "bkn-eleuther": replace(_BKN, rule="endpoints", site="released"),
        "grad_x_act": replace(_BKN, kind="grad_x_act", rule="right", nodes=1),
        "activation": replace(_BKN, kind="activation", rule="right", nodes=1),
        "random": MethodConfig(kind="random"),
        "ablation": replace(_BKN, kind="ablation", rule="right", nodes=1),
        "attribution_patching": replace(_BKN, kind="attribution_patching", baseline="mean", rule="right", nodes=1),
        "logprob_increase": replace(_BKN, kind="logprob_increase", rule="right", nodes=1, target="logprob"),
    }
)
"""Named methods. Presets of another kind differ from the rest in `kind`, so no label is ambiguous."""


def parse_method(text: str) -> MethodConfig:
    """The method a person typed: a preset's name, optionally `+option=value,option=value`. Raises ModelError."""
    name, _, rest = text.strip().partition("+")
    if name not in PRESETS:
        raise ModelError(
            f"unknown method {name!r}; choose one of {', '.join(PRESETS)}, optionally with +option=value,option=value"
        )
    known = {f.name: f for f in fields(MethodConfig)}
    changes: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        key, found, value = part.partition("=")
        if not found or key not in known:
            raise ModelError(f"unknown method option {part!r} in {text!r}; options are {', '.join(known)}")
        changes[key] = _typed(key, value, f"method option {part!r} in {text!r}")
    return replace(PRESETS[name], **changes)


def _typed(key: str, value: str, where: str) -> int | float | str:
    if key in ("nodes", "seed"):
        if not value.isdecimal():
            raise ModelError(f"{where} wants a whole number")
        return int(value)
    if key == "tolerance":
        try:
            return float(value)
        except ValueError:
            raise ModelError(f"{where} wants a number") from None
    return value
