"""A store of everything about the hand-wired model: attributions, scans, edits and claims, written as a run writes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from knscope import store
from knscope.analysis.attribution import method
from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.dkn import larger as dkn_larger
from knscope.analysis.dkn.choose import strongest
from knscope.analysis.edits import choose as edits_choose
from knscope.analysis.edits import measure as edits_measure
from knscope.analysis.edits.sets import set_id
from knscope.analysis.engine.replay import Engine
from knscope.analysis.factcheck import choose as factcheck_choose
from knscope.analysis.factcheck import measure as factcheck_measure
from knscope.analysis.prompts.encode import Query, encode
from knscope.analysis.runs import rows
from knscope.analysis.runs.keys import attribution_key, prediction_key, result_key
from knscope.store import schema
from knscope.store.address import Addresses
from knscope.store.reader import Reader
from knscope.store.runs import new_run
from knscope.store.shards import write_shard
from knscope.store.view import View
from tests.analysis import planted

METHODS = ("amig", "bkn")
LANGS = ("en", "zh")
SHARED = ("hub", "relation")


class PlantedStore:
    """Builds the store step by step; `view` looks at everything with the preset `amig`."""

    def __init__(self, path: Path, facts: int = 12, triple: bool = False) -> None:
        self.built = planted.build(triple=triple)
        self.engine = Engine(self.built.loaded)
        self.path = store.create(path)
        self.run = new_run(self.path, {})
        chosen = {("cap", s) for s in range(facts)} | {("lan", s) for s in range(facts)}
        self.queries = [
            replace(query, template=template)
            for (fact, _), query in self.built.queries.items()
            if fact in chosen
            for template in (query.template, query.template.replace("[X]", "[X] <unk>"))
        ]
        self.view = View(self.label, "amig", LANGS)

    @property
    def label(self) -> str:
        return self.built.loaded.label

    def reader(self) -> Reader:
        return Reader(self.path)

    def commit(self, batch: rows.Batch) -> None:
        """Write rows; columns of no interest here stay null."""
        frames = {}
        for name, frame in batch.tables().items():
            absent = [column for column in schema.tables()[name].schema.names if column not in frame.columns]
            frames[name] = frame.with_columns(pl.lit(None).alias(column) for column in absent)
        write_shard(self.path, self.run, frames, batch.dense())

    def sites(self) -> Addresses:
        return Addresses.of([(0, 0, planted.WIDTH), (1, planted.WIDTH, planted.WIDTH)])

    def encode(self, query):
        return encode(self.built.loaded, query)

    def attribute(self) -> None:
        batch = rows.Batch()
        batch.add(
            "model",
            {"model": self.label, "name": "planted", "n_layers": 2, "n_neurons": 2 * planted.WIDTH, "kind": "decoder"},
        )
        for layer in range(2):
            batch.add(
                "site",
                {
                    "model": self.label,
                    "layer": layer,
                    "width": planted.WIDTH,
                    "offset": layer * planted.WIDTH,
                    "call": 0,
                },
            )
        encoded = [self.encode(query) for query in self.queries]
        for query, prediction in zip(encoded, self.engine.predict(encoded), strict=True):
            batch.add("query", rows.query_row(query.query))
            key = prediction_key(self.label, query.query.id)
            batch.add("prediction", rows.prediction_row(key, self.label, query, prediction, ["?"]))
        for name in METHODS:
            for one in attribute(self.engine, encoded, method.parse_method(name)):
                key = attribution_key(self.label, one.query.query.id, name)
                rows.add_attribution(batch, key, self.label, name, one, self.sites())
                if name == "amig" and "<unk>" not in one.query.query.template:
                    found = planted.scan(self.engine, one.query, strongest(one.scores))
                    row = {"model": self.label, "method": name, "query": one.query.query.id, "role": "kn"}
                    rows.add_scan(batch, f"scan{key}"[:32], row, found, self.sites())
        self.commit(batch)

    def edit(self, keep=lambda edit: True, signs=("positive",)) -> None:
        batch = rows.Batch()
        with self.reader() as reader:
            edits = [edit for edit in edits_choose.wanted(reader, self.view, signs=signs) if keep(edit)]
            aside = edits_choose.irrelevant(reader, self.view)
        new = aside.filter("new").drop("new").with_columns(pl.lit(self.label).alias("model"))
        batch.add_frame("irrelevant", new)
        self.read(batch, edits)
        self.commit(batch)

    def ablate_sets(self, view: View, size: int = 3) -> None:
        batch = rows.Batch()
        with self.reader() as reader:
            self.read(batch, dkn_larger.wanted(reader, view, size))
        self.commit(batch)

    def read(self, batch: rows.Batch, edits) -> None:
        """Add what the edits do."""
        by_query: dict[str, tuple[Query, dict[tuple[str, str], tuple[int, ...]]]] = {}
        for edit in edits:
            layers, places = self.sites().split(np.array(edit.neurons, dtype=np.int64))
            name = set_id(layers, places)
            content = {"n": len(edit.neurons), "layers": layers.tolist(), "neurons": places.tolist()}
            batch.add("edited_set", {"set": name, "model": self.label, **content})
            for query in edit.reads:
                asked = by_query.setdefault(query.id, (query, {}))[1]
                asked.update({(name, operation): edit.neurons for operation in edit.operations})
        for query, asked in by_query.values():
            made = [edits_measure.make_edit(operation, neurons) for (_, operation), neurons in asked.items()]
            read = edits_measure.read_edits(self.engine, self.encode(query), made)
            for (name, operation), after, rank in zip(asked, read.p_after, read.rank_after, strict=True):
                batch.add(
                    "edit",
                    {
                        "key": f"{name[:12]}{query.id}{operation}", "model": self.label, "set": name, "query": query.id,
                        "operation": operation, "p_before": read.p_before, "p_after": float(after),
                        "p_root_before": read.p_root_before, "p_root_after": float(after),
                        "rank_before": read.rank_before, "rank_after": int(rank),
                    },
                )  # fmt: skip

    def claim(self) -> None:
        batch = rows.Batch()
        with self.reader() as reader:
            claims = factcheck_choose.wanted(reader, self.view)
        encoded = [self.encode(claim.query) for claim in claims]
        readings = factcheck_measure.read_claims(
            self.engine, encoded, [claim.neurons for claim in claims], method.parse_method("amig")
        )
        for claim, read in zip(claims, readings, strict=True):
            key = result_key("claim", self.label, claim.query.id)
            batch.add(
                "claim",
                {
                    "key": key, "model": self.label, "method": "amig", "fact": claim.query.fact,
                    "relation": claim.query.relation, "lang": claim.query.lang, "query": claim.main,
                    "object": claim.query.object, "correct": claim.correct, "part": claim.part, "p": read.p,
                    "p_root": read.p_root, "rank": read.rank, "is_argmax": read.is_argmax,
                },
            )  # fmt: skip
            layers, neurons = self.sites().split(np.array(claim.neurons))
            columns = {
                "layer": layers,
                "neuron": neurons,
                "activation": read.activation,
                "attribution": read.attribution,
            }
            batch.add_frame("claim_neuron", pl.DataFrame({"key": [key] * len(neurons), **columns}))
        self.commit(batch)
