"""Edits that put in a mean or another fact's value: stored apart from those that put in 0, and equal to edits by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from knscope import store
from knscope.analysis.edits import choose as edits_choose
from knscope.analysis.edits import lookup
from knscope.analysis.edits import others as edits_others
from knscope.analysis.edits import table as edits_table
from knscope.analysis.edits.lookup import BECOMES, Judging
from knscope.analysis.edits.suppression import Suppressions
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.statistics.table import Table
from knscope.analysis.stored.facts import stored_facts
from knscope.store import UserError
from knscope.store import runs as run_files
from tests.analysis.runs.inline_job import execute

TEMPLATES = {"P36": "the capital of [X] is [Y]", "P37": "people in [X] speak [Y]"}
OBJECTS = {
    "P36": ["paris", "berlin", "madrid", "france", "germany", "spain"],
    "P37": ["french", "german", "spanish", "m", "n", "o"],
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_models: Mapping[str, Path]) -> RunConfig:
    """Six facts in each of two relations, so that one is left beside a fact's five irrelevant ones."""
    lines = ["fact_id,relation,lang,template,subject,object"]
    for (relation, objects), subjects in zip(OBJECTS.items(), ("abcdef", "ghijkl"), strict=True):
        for subject, answer in zip(subjects, objects, strict=True):
            lines.append(f"{relation}-{subject},{relation},en,{TEMPLATES[relation]},{subject},{answer}")
    table = tmp_path_factory.mktemp("suppression") / "facts.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return RunConfig(
        (ModelSource(str(tiny_models["decoder"])),), str(table), engine="inline", what=("attribution", "edit"),
        suppress=("zero", "mean", "resample"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("stores") / "suppressed.knstore"
    execute(made, config)
    return made


class Literal:
    """Whole forward passes of the model, its neurons read and overwritten by hooks."""

    def __init__(self, folder: str) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.layers = [block.mlp.c_proj for block in self.model.transformer.h]

    def activations(self, prompt: str) -> torch.Tensor:
        """(layers, width) at the last token."""
        seen = []
        hooks = [layer.register_forward_pre_hook(lambda _, args: seen.append(args[0][0, -1])) for layer in self.layers]
        self._run(prompt)
        for hook in hooks:
            hook.remove()
        return torch.stack(seen)

    def p(self, prompt: str, answer: str, new: Mapping[tuple[int, int], float]) -> float:
        """Probability of a one-token answer with the neurons (layer, neuron) overwritten at the last token."""

        def overwrite(layer: int, x: torch.Tensor) -> tuple[torch.Tensor]:
            x = x.clone()
            for (where, neuron), value in new.items():
                if where == layer:
                    x[0, -1, neuron] = value
            return (x,)

        hooks = [
            module.register_forward_pre_hook(lambda _, args, layer=layer: overwrite(layer, args[0]))
            for layer, module in enumerate(self.layers)
        ]
        [token] = self.tokenizer(answer, add_special_tokens=False)["input_ids"]
        p = float(self._run(prompt).softmax(-1)[token])
        for hook in hooks:
            hook.remove()
        return p

    @torch.no_grad()
    def _run(self, prompt: str) -> torch.Tensor:
        return self.model(**self.tokenizer(prompt, return_tensors="pt")).logits[0, -1]


def test_every_way_to_suppress_equals_neurons_overwritten_by_hand(place: Path, config: RunConfig) -> None:
    literal = Literal(config.models[0].source)
    with store.open(place) as reader:
        prompts = dict(reader.sql("SELECT query, prompt FROM prediction").iter_rows())
        rows = reader.sql(
            'SELECT e.*, q.object, s.layers, s.neurons FROM edit e JOIN query q USING (query) JOIN edited_set s USING (model, "set") '
            "WHERE operation <> 'enhance' ORDER BY e.key"
        )
    activations = {query: literal.activations(prompt) for query, prompt in prompts.items()}
    mean = torch.stack(list(activations.values())).mean(0)
    name = hashlib.sha256(",".join(sorted(prompts)).encode()).hexdigest()[:12]
    ways = rows.with_columns(way=pl.col("operation").str.split(":").list.first())
    assert set(ways["way"]) == {"suppress", "mean", "resample"}
    assert set(ways.filter(way="mean")["operation"]) == {f"mean:{name}"}
    for row in ways.group_by("way", maintain_order=True).head(12).iter_rows(named=True):
        put_in = {
            "suppress": torch.zeros_like(mean), "mean": mean, "resample": activations.get(row["operation"][9:])
        }[row["way"]]  # fmt: skip
        new = {place: float(put_in[place]) for place in zip(row["layers"], row["neurons"], strict=True)}
        assert row["p_after"] == pytest.approx(literal.p(prompts[row["query"]], row["object"], new), rel=1e-4)


def test_values_are_taken_from_the_one_fact_of_the_other_relation_that_is_not_read(place: Path) -> None:
    with store.open(place) as reader:
        facts = stored_facts(reader, reader.models()[0])
        aside = edits_choose.irrelevant(reader, reader.view()).group_by("fact").agg("other")
    ways = Suppressions(facts, seed=0)
    for fact, others in aside.iter_rows():
        [left] = {name for name in facts.relation if facts.relation[name] != facts.relation[fact]} - set(others)
        operations = ways.operations(("resample",), fact, "en", others)
        assert list(operations.values()) == [(facts.main[left, "en"],), ()]
        assert list(ways.operations(("zero", "resample"), fact, "en", [*others, left])) == ["suppress", "enhance"]


@pytest.mark.parametrize("build", [edits_table.build, edits_others.build])
def test_table_without_rows_says_what_the_facts_lack(
    place: Path, build: Callable[..., Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "wanted", lambda *_: [])
    with store.open(place) as reader:
        ways = [Judging(suppress="zero"), Judging(suppress="resample")]
        notes = [build(reader, reader.view(), judging=way).notes[0] for way in ways]
    assert "neurons to edit" in notes[0] and "a fact of another relation, beside those that are read" in notes[1]


def test_each_way_has_a_table_of_its_own_and_is_computed_once(place: Path, config: RunConfig) -> None:
    with store.open(place) as reader:
        view = reader.view()
        found = {
            way: edits_table.build(reader, view, draws=20, judging=Judging(suppress=way)) for way in config.suppress
        }
    assert len({tuple(table.frame["d"]) for table in found.values()}) == 3
    for way, table in found.items():
        assert table.frame["missing"].sum() == 0 and table.frame["facts"].min() > 0
        assert f"suppressed: {BECOMES[way]}" in table.notes[0]
    record = run_files.read_run(place, execute(place, config))
    assert (record.status, record.computed) == ("done", 0)
    with pytest.raises(UserError, match="zero, mean, resample"):
        Judging(suppress="half")
