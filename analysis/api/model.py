"""A model to script with: ask it, attribute an answer to its neurons, edit them, generate text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from knscope.analysis.api.neuron_set import Edit, NeuronSet, bars
from knscope.analysis.attribution import integrate
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine import edits as engine_edits
from knscope.analysis.engine.likeliest import likeliest
from knscope.analysis.engine.models import LoadedModel, load_model
from knscope.analysis.engine.replay import Engine
from knscope.analysis.engine.sources import absolute_source
from knscope.analysis.errors import ModelError
from knscope.analysis.prompts.encode import encode
from knscope.analysis.prompts.open_prompt import open_prompt, with_answer
from knscope.analysis.types import Floats, Ints
from knscope.store.address import Addresses


@dataclass(frozen=True)
class Answer:
    """What a model makes of one answer to a prompt."""

    prompt: str
    answer: str
    p: float
    """Probability of the answer: the product over its tokens, each predicted after those before it."""
    rank: int
    """Rank of its first token, 1 for the likeliest."""
    known: bool
    """Whether each of its tokens is the likeliest."""


@dataclass(frozen=True, repr=False)
class Attribution:
    """How much each neuron contributes to p(answer) (eq. 1-5)."""

    model: str
    method: str
    answer: Answer
    scores: Floats
    """(n_neurons,), by flat index."""
    addresses: Addresses
    converged: float
    """Share of the integrals whose residual is within the method's tolerance."""

    @cached_property
    def frame(self) -> pl.DataFrame:
        """Every neuron, highest score first: layer, neuron, score, and rel = score / highest score."""
        order = np.argsort(-self.scores, kind="stable")
        layer, neuron = self.addresses.split(order)
        score = self.scores[order].astype(np.float64)
        best = float(score[0]) if len(score) and score[0] > 0 else np.nan
        return pl.DataFrame({"layer": layer, "neuron": neuron, "score": score, "rel": score / best})

    def top(self, n: int = 20) -> NeuronSet:
        """The n neurons of highest score."""
        return self._set(self.frame.head(n), top=n)

    def above(self, tau: float = 0.3) -> NeuronSet:
        """Neurons whose rel is above tau (eq. 6)."""
        return self._set(self.frame.filter(pl.col("rel") > tau), tau=tau)

    def _set(self, frame: pl.DataFrame, **about: Any) -> NeuronSet:
        neurons = tuple(frame.select("layer", "neuron").iter_rows())
        made = {"method": self.method, "prompt": self.answer.prompt, "answer": self.answer.answer}
        return NeuronSet(neurons, tuple(frame["score"]), self.model, made | about)

    def __repr__(self) -> str:
        p, rank = self.answer.p, self.answer.rank
        return f"<knscope.Attribution p({self.answer.answer}) = {p:.3f}, rank {rank}; {self.method}, {self.model}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self)[1:-1])}</p>{bars(self.frame, 'score')}"


class Model:
    """A loaded model whose neurons can be read and edited. A neuron is an input of a block's second MLP linear.

    A prompt ends where the answer goes, or has [Y] in its place (encoders need that where text follows). Made by `knscope.load`.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self._engine = Engine(loaded)
        self.addresses = Addresses.of((site.layer, site.offset, site.width) for site in loaded.sites)

    @property
    def label(self) -> str:
        """Name and hash of the weights, as results are stored under."""
        return self.loaded.label

    def __repr__(self) -> str:
        widths = sorted(set(self.addresses.width.tolist()))
        return (
            f"<knscope.Model {self.label}: {len(self.addresses.layer)} layers of {', '.join(map(str, widths))} neurons>"
        )

    def ask(self, prompt: str, top: int = 5, *, masks: int = 1, edit: Edit | None = None) -> pl.DataFrame:
        """The likeliest answers: columns answer and p, likeliest first.

        :param masks: tokens of the answer that an encoder fills in
        :raises UserError: a prompt that this model cannot read
        """
        query = open_prompt(self.loaded, prompt, masks)
        (words,) = likeliest(self._engine, [query], top, self._edit(edit))
        return pl.DataFrame({"answer": [word.text for word in words], "p": [word.p for word in words]})

    def predict(self, prompt: str, answer: str, *, edit: Edit | None = None) -> Answer:
        """Probability and rank of an answer, under an edit at each of its tokens.

        :raises UnusableQuery: an answer that this model cannot be asked for
        """
        query = encode(self.loaded, with_answer(prompt, answer))
        scaled = self._edit(edit)
        (found,) = self._engine.predict([query]) if scaled is None else self._engine.edited(query, [scaled])
        return Answer(prompt, answer, float(found.p), int(found.rank), bool(found.known))

    def attribute(self, prompt: str, answer: str, method: str = "amig") -> Attribution:
        """Attribute p(answer) to every neuron.

        :param method: a preset (amig, bkn, …), perhaps with options, as in `amig+nodes=10`; docs/method.md lists all
        :raises UnusableQuery: an answer that this model cannot be asked for
        """
        config = parse_method(method)
        (found,) = integrate.attribute(self._engine, [encode(self.loaded, with_answer(prompt, answer))], config)
        said = Answer(
            prompt, answer, float(found.prediction.p), int(found.prediction.rank), bool(found.prediction.known)
        )
        converged = float(np.mean(found.paths.converged)) if len(found.paths) else 1.0
        return Attribution(self.label, config.label, said, found.scores.astype(np.float64), self.addresses, converged)

    def ablate(self, neurons: NeuronSet) -> Edit:
        """An edit that sets the neurons to 0, for `edit=` of the other calls."""
        return self.edit(neurons, 0.0)

    def edit(self, neurons: NeuronSet, scale: float) -> Edit:
        """An edit that multiplies the neurons' activations by `scale`.

        :raises UserError: neurons of another model, or that this one does not have
        """
        self._flat(neurons)
        return Edit(neurons, float(scale))

    def generate(self, prompt: str, tokens: int = 20, *, edit: Edit | None = None) -> str:
        """Continue a prompt greedily, under an edit at the last token of the prompt and at every generated one.

        :raises ModelError: not a decoder
        """
        if self.loaded.kind != "decoder":
            raise ModelError(f"{self.label} is an {self.loaded.kind}, which generates no text; use ask")
        ids = torch.tensor([open_prompt(self.loaded, prompt).steps[0].ids], device=self.loaded.device)
        tokenizer, ends = self.loaded.tokenizer, self.loaded.end
        with torch.no_grad(), _scaled(self.loaded, self._edit(edit)):
            made = self.loaded.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=ends
            )
        return str(tokenizer.decode(made[0, ids.shape[1] :].tolist(), skip_special_tokens=True))

    def _edit(self, edit: Edit | None) -> engine_edits.Edit | None:
        return None if edit is None else engine_edits.Edit.scaled(self._flat(edit.neurons), edit.scale)

    def _flat(self, neurons: NeuronSet) -> Ints:
        return neurons.flat(self.addresses, self.label)


def load(model: str | Path, device: str = "auto", dtype: str = "float32") -> Model:
    """Load a model and prove on it that its neurons are read and edited exactly.

    :param model: a folder, a hub id (`org/name`, `org/name@revision`) or the name of a bundled model
    :param device: auto (a GPU where there is one), cpu, cuda:0, or one model over several: cuda:0+cuda:1
    :param dtype: float32, float64, bfloat16 or float16
    :raises ModelError: what is wrong with the model, and what to do
    """
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    if not isinstance(model, str | os.PathLike):
        raise ModelError(
            f"knscope.load takes a folder, a hub id or the name of a bundled model, not {type(model).__name__}: merge its adapters if it "
            "has any, save it and its tokenizer with save_pretrained(FOLDER), and load FOLDER"
        )
    return Model(load_model(absolute_source(os.fspath(model)), dtype=dtype, device=device))


@contextmanager
def _scaled(loaded: LoadedModel, edit: engine_edits.Edit | None) -> Iterator[None]:
    """Scale the neurons at the last position of every forward pass."""
    handles: list[Any] = []
    for site in loaded.sites:
        if edit is None:
            break
        inside = (edit.neurons >= site.offset) & (edit.neurons < site.offset + site.width)
        if not inside.any():
            continue
        module = loaded.model.get_submodule(site.module)
        device = next(module.parameters()).device
        columns = torch.from_numpy(edit.neurons[inside] - site.offset).to(device)
        scale = torch.from_numpy(edit.scale[inside]).to(device)

        def hook(
            _: Any, args: tuple[Tensor, ...], columns: Tensor = columns, scale: Tensor = scale
        ) -> tuple[Tensor, ...]:
            x = args[0].clone()
            x[..., -1, columns] *= scale.to(x.dtype)
            return (x, *args[1:])

        handles.append(module.register_forward_pre_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
