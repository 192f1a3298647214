"""A GPT-2 wired by hand whose neurons are known, and its negative twin.

Three tokens a prompt: subject, relation word, last word. The first attention layer adds their features at the last
token; everything after is neurons:

- `own[f]` fires on fact f in both languages and speaks for its answer in both: language-independent;
- `mono[f, lang]` fires on fact f in one language and speaks for that language's answer;
- `hub` fires on any subject and silences one wrong token; `relation[r]` fires on relation r and silences another:
  every fact, or every fact of the relation, needs them, in both languages;
- facts of `pairs` have no own neuron: two neurons a and b each suffice (their sum saturates in the second layer). For a
  `degenerate` pair a also serves one more fact, in place of an own neuron, and b another; a `redundant` pair serves
  its fact alone.

- with `triple`, the fact TRIPLE has three neurons in place of an own one: without one or two of them little is lost.

In the twin each language has own neurons of its own, a and b add up without saturating (so do three), and nothing is shared.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from knscope.analysis.dkn.measure import Scan, scan_roles
from knscope.analysis.engine.models import LoadedModel, wrap_model
from knscope.analysis.engine.replay import Engine
from knscope.analysis.prompts.encode import EncodedQuery, Query

LANGS = ("en", "zh")
RELATIONS = ("cap", "lan")
N_SUBJECTS = 22
DEGENERATE = {("cap", 0): (("cap", 1), ("cap", 2))}  # fact: (also served by a, also served by b)
SERVED = {other for others in DEGENERATE.values() for other in others}
REDUNDANT = (("lan", 3),)
TRIPLE = ("cap", 5)
SLOPES = (0.53, 0.3, 0.17)
"""What the first, second and third neuron of a triple add to what the answer hears: the fewer are left, the more each counts."""
WIDTH = 320
CONSTANT = 100.0  # swamps the layer norms' variance, so that they are linear
STRENGTH = 3.0
SINK = 16.0

Fact = tuple[str, int]


@dataclass(frozen=True)
class Planted:
    loaded: LoadedModel
    queries: dict[tuple[Fact, str], Query]
    own: dict[Fact, int] = field(default_factory=dict)
    mono: dict[tuple[Fact, str], int] = field(default_factory=dict)
    hub: int | None = None
    relation: dict[str, int] = field(default_factory=dict)
    pairs: dict[Fact, tuple[int, int]] = field(default_factory=dict)
    triple: tuple[int, ...] = ()
    voices: set[int] = field(default_factory=set)
    """Neurons of the second layer that pass on what a pair says."""

    @property
    def facts(self) -> list[Fact]:
        return list(dict.fromkeys(fact for fact, _ in self.queries))


def facts() -> list[Fact]:
    return [(relation, subject) for relation in RELATIONS for subject in range(N_SUBJECTS)]


def build(twin: bool = False, dtype: torch.dtype = torch.float32, triple: bool = False) -> Planted:
    return _Builder(twin, triple).build(dtype)


class _Builder:
    def __init__(self, twin: bool, triple: bool) -> None:
        self.twin, self.triple = twin, triple
        names = ["+", "-", "balance"]
        for place in ("src", "dst"):
            names += [f"{place} s{s}" for s in range(N_SUBJECTS)]
            names += [f"{place} {word}" for word in (*RELATIONS, *LANGS)]
        names += [f"mid {fact} {i}" for fact in (*DEGENERATE, *REDUNDANT) for i in range(2)]
        names += ["mid triple"] if triple else []
        names += [f"out {fact} {lang}" for fact in facts() for lang in LANGS] + ["out hub", "out relation"]
        self.dim = {name: i for i, name in enumerate(names)}
        words = [f"s{s}{lang}" for s in range(N_SUBJECTS) for lang in LANGS]
        words += [f"{word}{lang}" for word in (*RELATIONS, "is") for lang in LANGS]
        words += [self.answer(fact, lang) for fact in facts() for lang in LANGS]
        self.token = {name: i for i, name in enumerate(["<eos>", "<unk>", "sink", "drain", *words])}
        config = GPT2Config(
            vocab_size=len(self.token), n_positions=16, n_embd=len(names), n_layer=2, n_head=1, n_inner=WIDTH,
            activation_function="relu", resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, tie_word_embeddings=False,
            bos_token_id=0, eos_token_id=0, layer_norm_epsilon=1e-12,
        )  # fmt: skip
        self.model = GPT2LMHeadModel(config).double()
        self.used = [0, 0]

    @staticmethod
    def answer(fact: Fact, lang: str) -> str:
        return f"o{fact[0]}{fact[1]}{lang}"

    def write(self, row: torch.Tensor, features: dict[str, float]) -> None:
        """Features into a residual vector, with what keeps its mean at 0."""
        for name, value in features.items():
            row[self.dim[name]] += value
            row[self.dim["balance"]] -= value

    def neuron(self, layer: int, reads: dict[str, float], bias: float, writes: dict[str, float]) -> int:
        mlp, index = self.model.transformer.h[layer].mlp, self.used[layer]
        self.used[layer] += 1
        for name, weight in reads.items():
            mlp.c_fc.weight[self.dim[name], index] = weight
        mlp.c_fc.bias[index] = bias
        self.write(mlp.c_proj.weight[index], writes)
        return layer * WIDTH + index

    @torch.no_grad()
    def build(self, dtype: torch.dtype) -> Planted:
        for parameter in self.model.parameters():
            parameter.zero_()
        self.embed()
        planted = Planted(self.load(), self.make_queries())
        for fact in facts():
            if fact in DEGENERATE or fact in REDUNDANT:
                planted.pairs[fact] = self.plant_pair(planted, fact)
            elif self.triple and fact == TRIPLE:
                planted = replace(planted, triple=self.plant_triple(fact))
            else:
                self.plant_fact(planted, fact)
        planted.relation.update({} if self.twin else {r: self.plant_relation(r) for r in RELATIONS})
        if not self.twin:
            subjects = {f"dst s{s}": 1.0 for s in range(N_SUBJECTS)}
            planted = replace(planted, hub=self.neuron(0, subjects, 0.0, {"out hub": 1.0}))
        self.model.to(dtype)
        return replace(planted, loaded=self.load())

    def embed(self) -> None:
        transformer, dim = self.model.transformer, self.dim
        table = transformer.wte.weight
        table[:, dim["+"]], table[:, dim["-"]] = CONSTANT, -CONSTANT
        for lang in LANGS:
            for s in range(N_SUBJECTS):
                self.write(table[self.token[f"s{s}{lang}"]], {f"src s{s}": 1.0})
            for relation in RELATIONS:
                self.write(table[self.token[relation + lang]], {f"src {relation}": 1.0})
            self.write(table[self.token["is" + lang]], {f"src {lang}": 1.0})
        gain = CONSTANT * (2 / len(dim)) ** 0.5
        for norm in (transformer.ln_f, *(n for block in transformer.h for n in (block.ln_1, block.ln_2))):
            norm.weight.fill_(gain)
        attention, width = transformer.h[0].attn, len(dim)
        for name, i in dim.items():
            if name.startswith("src "):
                attention.c_attn.weight[i, 2 * width + i] = 1.0
                self.write(attention.c_proj.weight[i], {name.replace("src", "dst"): 3.0})  # mean of three tokens
        head = self.model.lm_head.weight
        for fact in facts():
            for lang in LANGS:
                row = head[self.token[self.answer(fact, lang)]]
                row[dim[f"out {fact} {lang}"]] = STRENGTH
                row[dim[f"dst {lang}"]] = 4.0
                if fact == facts()[-1]:  # what is said when nothing is known
                    row[dim["+"]] = 0.5 / CONSTANT
        if not self.twin:
            for token, silencer in (("sink", "out hub"), ("drain", "out relation")):
                head[self.token[token], dim["+"]] = SINK / CONSTANT
                head[self.token[token], dim[silencer]] = -SINK

    def reads(self, fact: Fact) -> dict[str, float]:
        return {f"dst s{fact[1]}": 1.0, f"dst {fact[0]}": 1.0}

    def plant_fact(self, planted: Planted, fact: Fact) -> None:
        if not self.twin and fact not in SERVED:
            both = {f"out {fact} {lang}": 1.0 for lang in LANGS}
            planted.own[fact] = self.neuron(0, self.reads(fact), -1.0, both)
        for lang in LANGS:
            reads = {**self.reads(fact), f"dst {lang}": 1.0}
            writes = {f"out {fact} {lang}": 2.0 if self.twin else 1.0}
            planted.mono[fact, lang] = self.neuron(0, reads, -2.0, writes)

    def plant_relation(self, relation: str) -> int:
        return self.neuron(0, {f"dst {relation}": 1.0}, 0.0, {"out relation": 1.0})

    def plant_pair(self, planted: Planted, fact: Fact) -> tuple[int, int]:
        extra = DEGENERATE.get(fact, (None, None))
        both = {f"out {fact} {lang}": 1.0 for lang in LANGS}
        pair = []
        for i, other in enumerate(extra):
            reads = self.reads(fact)
            if self.twin:
                lang = LANGS[i]  # one neuron a language, strong enough alone
                pair.append(self.neuron(0, {**reads, f"dst {lang}": 1.0}, -2.0, {f"out {fact} {lang}": 2.0}))
                continue
            if other is not None:
                reads[f"dst s{other[1]}"] = 1.0
            pair.append(self.neuron(0, reads, -1.0, {f"mid {fact} {i}": 1.0}))
            if other is not None:  # the other fact hears this neuron in the second layer
                speaks = {f"out {other} {lang}": 1.0 for lang in LANGS}
                heard = {f"mid {fact} {i}": 1.0, f"dst s{other[1]}": 10.0}
                planted.voices.add(self.neuron(1, heard, -10.0, speaks))
        if not self.twin:
            heard = {f"mid {fact} 0": 1.0, f"mid {fact} 1": 1.0, f"dst s{fact[1]}": 10.0}
            for _ in range(4):  # several voices, so that none of them dwarfs a and b
                planted.voices.add(self.neuron(1, heard, -10.0, dict.fromkeys(both, 0.5)))
                self.neuron(1, heard, -11.0, dict.fromkeys(both, -0.5))
        return pair[0], pair[1]

    def plant_triple(self, fact: Fact) -> tuple[int, ...]:
        """Three neurons add 1 each to what the second layer hears of the fact, and it answers less and less to each more."""
        for lang in LANGS:
            self.neuron(0, {**self.reads(fact), f"dst {lang}": 1.0}, -2.0, {f"out {fact} {lang}": 1.25})
        three = tuple(self.neuron(0, self.reads(fact), -1.0, {"mid triple": 1.0}) for _ in range(3))
        slopes = (sum(SLOPES) / 3,) * 3 if self.twin else SLOPES
        for already, slope in enumerate(slopes):
            heard = {"mid triple": 1.0, f"dst s{fact[1]}": 10.0}
            step = slope - (slopes[already - 1] if already else 0.0)
            if step:
                self.neuron(1, heard, -10.0 - already, {f"out {fact} {lang}": step for lang in LANGS})
        return three

    def load(self) -> LoadedModel:
        inner = Tokenizer(models.WordLevel(self.token, unk_token="<unk>"))
        inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", unk_token="<unk>")
        return wrap_model(self.model, tokenizer, "decoder", name="twin" if self.twin else "planted")

    def make_queries(self) -> dict[tuple[Fact, str], Query]:
        made = {}
        for fact in facts():
            relation, subject = fact
            for lang in LANGS:
                template = f"[X] {relation}{lang} is{lang} [Y]"
                made[fact, lang] = Query(
                    f"{relation}-{subject}", relation, lang, template, f"s{subject}{lang}", self.answer(fact, lang)
                )
        return made


def scan(engine: Engine, query: EncodedQuery, neurons: npt.ArrayLike) -> Scan:
    """Singles and pairs of these neurons, without controls."""
    ((_, found),) = scan_roles(engine, query, neurons, np.zeros(engine.loaded.n_neurons), ("kn",), seed=0)
    return found
