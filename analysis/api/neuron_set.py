"""A set of neurons: what attributions give, edits take, and files hold. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from knscope.analysis.types import Ints
from knscope.store.address import Addresses
from knscope.store.errors import UserError
from knscope.store.layout import expanded

FORMAT = "knscope-neurons-1"
_SAID = ("model", "method", "template_share", "lang", "fact")
PICKLES = (".pth", ".pt", ".bin", ".pkl", ".pickle")
CONVERT = """\
{path} is a pickle, which can run code when opened, so knscope never opens one. Convert it where you trust it:
    import json, torch
    neurons = torch.load("{name}")        # LAPE: one list of layers, each a tensor of neurons, per language
    json.dump([[layer, int(n)] for layer, found in enumerate(neurons[0]) for n in found], open("neurons.json", "w"))"""


@dataclass(frozen=True)
class NeuronSet:
    """Neurons of one model by (layer, neuron), best first.

    >>> neurons = NeuronSet.of([(0, 12), (3, 7)])
    >>> len(neurons), (3, 7) in neurons, list(neurons & NeuronSet.of([(3, 7)]))
    (2, True, [(3, 7)])
    """

    neurons: tuple[tuple[int, int], ...]
    scores: tuple[float, ...] = ()
    """One for each neuron, or none."""
    model: str = ""
    """The label of the model, with the hash of its weights; empty: any model that has these neurons."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """How the set was made: method, tau (a number, or one a language), langs, facts or prompt and answer, verdict (of `knscope judge`),
    and whatever else its maker writes down."""

    @classmethod
    def of(cls, neurons: Iterable[tuple[int, int]], model: str = "", **about: Any) -> NeuronSet:
        """From (layer, neuron) pairs, both counted from 0."""
        return cls(tuple(dict.fromkeys((int(layer), int(neuron)) for layer, neuron in neurons)), (), model, about)

    def __len__(self) -> int:
        return len(self.neurons)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.neurons)

    def __contains__(self, neuron: object) -> bool:
        return neuron in self.neurons

    def __and__(self, other: NeuronSet) -> NeuronSet:
        """Neurons of this set that are in the other too, in this order."""
        return self._where(lambda neuron: neuron in other.neurons)

    def __sub__(self, other: NeuronSet) -> NeuronSet:
        """Neurons of this set that are not in the other."""
        return self._where(lambda neuron: neuron not in other.neurons)

    def __or__(self, other: NeuronSet) -> NeuronSet:
        """The neurons of both sets, without scores."""
        return NeuronSet.of((*self.neurons, *other.neurons), self.model or other.model)

    def _where(self, wanted: Any) -> NeuronSet:
        kept = [place for place, neuron in enumerate(self.neurons) if wanted(neuron)]
        scores = tuple(self.scores[place] for place in kept) if self.scores else ()
        return replace(self, neurons=tuple(self.neurons[place] for place in kept), scores=scores)

    def is_of(self, model: str) -> bool:
        """Whether a model has the weights that the set is of: the hashes decide, as the same folder has other names elsewhere."""
        return not self.model or self.model.rpartition("@")[2] == model.rpartition("@")[2]

    def flat(self, addresses: Addresses, model: str) -> Ints:
        """The flat indices of the neurons in a model, (n,).

        :raises UserError: neurons of another model, or that this one does not have
        """
        if not self.is_of(model):
            raise UserError(f"these neurons are of {self.model}, and this model is {model}")
        widths = dict(zip(addresses.layer.tolist(), addresses.width.tolist(), strict=True))
        for layer, neuron in self:
            if not 0 <= neuron < widths.get(layer, 0):
                raise UserError(f"{model} has no neuron {neuron} in layer {layer}")
        pairs = np.array(self.neurons, np.int64).reshape(-1, 2)
        return addresses.flat(pairs[:, 0], pairs[:, 1])

    @property
    def frame(self) -> pl.DataFrame:
        """Columns layer, neuron, and score where there are scores."""
        layers, neurons = ([one[place] for one in self.neurons] for place in (0, 1))
        columns = {"layer": pl.Series(layers, dtype=pl.Int64), "neuron": pl.Series(neurons, dtype=pl.Int64)}
        return pl.DataFrame(columns | ({"score": self.scores} if self.scores else {}))

    def _repr_html_(self) -> str:
        return bars(self.frame, "score" if self.scores else "")

    # --- files ---

    def save(self, path: Path | str) -> Path:
        """Write the set as JSON or safetensors, by the ending of the name.

        :raises UserError: another ending, or a place that cannot be written
        """
        self.check_name(path)
        place = expanded(str(path))
        about = {"format": FORMAT, "model": self.model, "about": dict(self.about)}
        try:
            if place.suffix == ".safetensors":
                from safetensors.numpy import save_file

                pairs = np.array(self.neurons, np.int64).reshape(-1, 2)
                tensors = {"layer": pairs[:, 0].copy(), "neuron": pairs[:, 1].copy()}
                tensors |= {"score": np.array(self.scores)} if self.scores else {}
                save_file(tensors, place, {"knscope": json.dumps(about)})
            else:
                document = {**about, "neurons": [list(one) for one in self.neurons], "scores": list(self.scores)}
                place.write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}); choose another path") from error
        return place

    @staticmethod
    def check_name(path: Path | str) -> None:
        """Raise UserError for a name that says no form of a neuron set."""
        if not str(path).endswith((".json", ".safetensors")):
            raise UserError(f"{path}: end the name of a neuron set in .json or .safetensors")

    @classmethod
    def load(cls, path: Path | str) -> NeuronSet:
        """Read a set: what `save` wrote, JSON that is a list of [layer, neuron] pairs, or the table that `knscope kn` and its
        like write as JSON, whose neurons are taken together.

        :raises UserError: a file that holds no set; of a pickle with the lines that convert it
        """
        place = expanded(str(path))
        if place.suffix in PICKLES:
            raise UserError(CONVERT.format(path=path, name=place.name))
        try:
            found = _tensors(place) if place.suffix == ".safetensors" else json.loads(place.read_text(encoding="utf-8"))
            if isinstance(found, list):
                found = {"neurons": found}
            if "tables" in found:
                found = _of_table(found["tables"][0]["rows"])
            neurons = tuple((int(layer), int(neuron)) for layer, neuron in found["neurons"])
            scores = tuple(float(score) for score in found.get("scores", ()))
            made = cls(neurons, scores, str(found.get("model", "")), dict(found.get("about", {})))
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})") from error
        except Exception as error:
            raise UserError(f"{path} is not a neuron set ({error}); write [[layer, neuron], …] as JSON") from error
        if (scores and len(scores) != len(neurons)) or any(part < 0 for one in neurons for part in one):
            raise UserError(
                f"{path} is not a neuron set: it needs layers and neurons from 0, and a score for each or none"
            )
        return made


def _of_table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Its neurons together, each with its highest rel where all rows have one."""
    seen = {name: list(dict.fromkeys(row[name] for row in rows if row.get(name))) for name in _SAID}
    if several := next((name for name in ("model", "method") if len(seen[name]) > 1), ""):
        raise ValueError(f"its table has several {several}s")
    best: dict[tuple[int, int], float] = {}
    for row in rows:
        neuron = row["layer"], row["neuron"]
        best[neuron] = max(best.get(neuron, 0.0), row.get("rel") or 0.0)
    ranked = sorted(best, key=lambda neuron: -best[neuron])
    about: dict[str, Any] = {
        "method": next(iter(seen["method"]), ""),
        "tau": {row["lang"]: row["tau"] for row in rows if "tau" in row},
        "template_share": next(iter(seen["template_share"]), None),
        "langs": seen["lang"],
        "facts": seen["fact"],
    }
    return {
        "neurons": ranked,
        "scores": [best[one] for one in ranked] if min(best.values(), default=0.0) > 0 else [],
        "model": next(iter(seen["model"]), ""),
        "about": {name: value for name, value in about.items() if value},
    }


def _tensors(place: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(place, "numpy") as file:
        about = json.loads((file.metadata() or {}).get("knscope", "{}"))
        columns = {name: file.get_tensor(name).tolist() for name in file.keys()}  # noqa: SIM118
    return {
        **about,
        "neurons": list(zip(columns["layer"], columns["neuron"], strict=True)),
        "scores": columns.get("score", []),
    }


@dataclass(frozen=True)
class Edit:
    """Multiply the activations of a set's neurons by `scale`: 0 ablates them, 2 doubles them (eq. 11)."""

    neurons: NeuronSet
    scale: float = 0.0


def bars(frame: pl.DataFrame, column: str, rows: int = 20) -> str:
    """The first rows of a frame as an HTML table for notebooks, with a bar for the values of a column."""
    from html import escape

    top = max((abs(value) for value in frame[column].to_list()), default=0.0) if column else 0.0
    head = "".join(f"<th>{escape(name)}</th>" for name in frame.columns)
    lines = []
    for row in frame.head(rows).iter_rows(named=True):
        cells = [
            f"<td>{value:.4g}</td>" if isinstance(value, float) else f"<td>{escape(str(value))}</td>"
            for value in row.values()
        ]
        if top:
            width = round(100 * abs(row[column]) / top)
            cells.append(f'<td><div style="width:{width}px;height:0.8em;background:#2f5fb3"></div></td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    more = f"<p>{rows} of {frame.height:,} rows</p>" if frame.height > rows else ""
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>{more}"
