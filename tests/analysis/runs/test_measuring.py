"""Methods against truth on whole models, and the stability of N, as the commands run them: on tiny random models."""

import io
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from knscope import store
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine import models, replay
from knscope.analysis.faithfulness import compare as compare_room
from knscope.analysis.faithfulness import stored
from knscope.analysis.faithfulness import table as faithfulness_table
from knscope.analysis.faithfulness.judge import COMPARED
from knscope.analysis.figures.drawing import draw
from knscope.analysis.prompts import encode
from knscope.analysis.runs import facts, job, measuring, protocol, truth
from knscope.analysis.runs import kept as kept_room
from knscope.analysis.runs.__main__ import make_executor
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.measuring import Task, tasks
from knscope.analysis.runs.status import RunStatus
from knscope.analysis.stability import table as stability_table
from knscope.store import runs as run_files
from knscope.store.view import View
from knscope.tui.cli import run_app


@pytest.fixture(scope="module")
def known_facts(tmp_path_factory, tiny_models, tiny_facts):
    """The tiny facts, each with what the tiny encoder says itself as its object: all are known."""
    frame = pl.read_csv(tiny_facts)
    loaded = models.load_model(str(tiny_models["encoder"]), dtype="float32", device="cpu", threads=1)
    engine = replay.Engine(loaded)
    rows = [encode.Query(*row) for row in frame.iter_rows()]
    said = engine.predict([encode.encode(loaded, row) for row in rows])
    words = [loaded.tokenizer.convert_ids_to_tokens(int(one.argmax[0])) for one in said]
    # one object a (fact, language): that of its first template, on which it is therefore known
    place = tmp_path_factory.mktemp("known") / "known.csv"
    first = frame.with_columns(object=pl.Series(words)).with_columns(pl.col("object").first().over("fact_id", "lang"))
    first.write_csv(place)
    return place


def task(tiny_models, facts, **changes):
    config = RunConfig((ModelSource(str(tiny_models["encoder"])),), str(facts), langs=("en",))
    return replace(Task(config, ("bkn", "grad_x_act", "random"), grouped=1, permutations=4, irrelevant=2), **changes)


def test_truth_is_measured_on_known_main_queries_only_and_tasks_share_them_out(tiny_models, known_facts):
    wanted = task(tiny_models, known_facts)
    heard = []
    whole = truth.measure(wanted, lambda done, total: heard.append((done, total)) or True)
    places = {(row["fact"], row["lang"]) for row in whole["rows"]}
    assert heard[-1] == (len(places), len(places)) and len(places) >= 2
    assert {row["method"] for row in whole["rows"]} == {"bkn", "grad_x_act", "random"}
    assert len({(row["fact"], row["lang"]) for row in whole["groups"]}) == 1
    parts = [truth.measure(one, lambda done, total: True) for one in (replace(wanted, part=i, of=2) for i in range(2))]
    joined = sorted(json.dumps(row) for part in parts for row in part["rows"])
    assert joined == sorted(json.dumps(row) for row in whole["rows"])
    [primary, by_kind, by_truth, group] = faithfulness_table.build([whole], draws=20)
    assert set(primary.frame["method"]) <= {"bkn", "grad_x_act", "random"}
    frame = pl.DataFrame(whole["rows"])
    for method, others, n_facts, subjects, found, *_ in by_kind.frame.iter_rows():
        column = {"other relation": "area", "same relation": "area_relation", "same answer": "area_answer"}[others]
        rows = frame.filter(pl.col(column).is_not_null(), method=method)
        per_fact = rows.group_by("fact").agg(pl.col(column).mean())
        assert (n_facts, subjects) == (per_fact.height, rows["subject"].n_unique())
        assert found == pytest.approx(per_fact[column].mean())
    assert by_truth.frame.height and group.frame.height == 3


def test_the_facts_of_the_same_relation_that_curves_are_read_on_have_another_answer_or_the_same_one(
    tiny_models, known_facts
):
    loaded = models.load_model(str(tiny_models["encoder"]), dtype="float32", device="cpu", threads=1)
    rows = facts.load_facts(task(tiny_models, known_facts).config).rows
    mains = {(row.fact, row.lang): encode.encode(loaded, row) for row in rows}
    items = truth.make_items(task(tiny_models, known_facts), mains, {row.id: True for row in rows})
    assert {kind for item in items for kind, some in item.alike.items() if some} >= {"same relation"}
    for item in items:
        for kind, others in item.alike.items():
            for other in others:
                assert other.query.relation == item.query.query.relation and other.query.lang == item.query.query.lang
                assert (other.query.object == item.query.query.object) == (kind == "same answer")


def test_cancelled_task_returns_what_it_measured(tiny_models, known_facts):
    found = truth.measure(task(tiny_models, known_facts), lambda done, total: done < 1)
    assert len({(row["fact"], row["lang"]) for row in found["rows"]}) == 1


def test_measured_truth_is_read_back_from_the_store(tiny_models, known_facts, tmp_path, monkeypatch):
    """A second time nothing is attributed, ablated or deleted; other neurons ablated alone are other results."""
    place = store.create(tmp_path / "a.knstore")
    wanted = task(tiny_models, known_facts, store=str(place), singles=9)
    first = truth.measure(wanted, lambda done, total: True)
    kept = list((place / "measured").iterdir())
    assert len(kept) == len({(row["fact"], row["lang"]) for row in first["rows"]})
    kept[0].write_text("{")  # damaged: measured again
    measured = []
    real = compare_room._measure
    monkeypatch.setattr(compare_room, "_measure", lambda *given: measured.append(given[1]) or real(*given))
    again = truth.measure(wanted, lambda done, total: True)
    assert again == first and len({item.query.query.id for item in measured}) == 1
    truth.measure(replace(wanted, singles=8), lambda done, total: True)
    assert len({item.query.query.id for item in measured}) == len(kept)


def test_a_store_says_which_method_from_what_is_kept_of_a_model(tiny_models, known_facts, tmp_path):
    """The choice of methods with most facts counts, whatever else is kept and damaged."""
    place = store.create(tmp_path / "a.knstore")
    assert stored.verdict(place, "m") == stored.NONE
    wanted = task(tiny_models, known_facts, store=str(place), singles=0)
    whole = truth.measure(wanted, lambda done, total: True)
    truth.measure(replace(wanted, methods=("random",), of=2), lambda done, total: True)
    for name, text in (("cut.json", "{"), ("list.json", "[]"), ("old.json", '{"rows": [], "groups": []}')):
        (place / "measured" / name).write_text(text)
    expected = faithfulness_table.build([whole], draws=50)
    found = stored.tables(place, whole["model"], draws=50)
    assert [one.name for one in found] == [one.name for one in expected]
    assert found[0].frame.equals(expected[0].frame) and found[0].notes == expected[0].notes
    assert stored.verdict(place, whole["model"], draws=50) == expected[0].notes[0]
    assert stored.verdict(place, "another") == stored.NONE


def test_attributions_are_taken_from_the_store(tiny_models, known_facts, tmp_path, monkeypatch):
    place = store.create(tmp_path / "a.knstore")
    wanted = task(tiny_models, known_facts, singles=0)
    computed = truth.measure(wanted, lambda done, total: True)
    config = replace(wanted.config, methods=wanted.methods, what=("attribution",), engine="inline", dense="float32")
    run = run_files.new_run(place, config.to_json())
    assert job.execute(place, run, lambda config, cancelled: make_executor(place, run, config, cancelled)) == "done"
    asked = []
    real = kept_room.attribute
    monkeypatch.setattr(
        kept_room, "attribute", lambda e, queries, *more: asked.extend(queries) or real(e, queries, *more)
    )
    stored = truth.measure(replace(wanted, store=str(place)), lambda done, total: True)
    assert stored == computed and not asked


def test_random_shuffles_what_is_there_and_computes_nothing(tiny_models, known_facts, tmp_path, monkeypatch):
    asked = []
    real = kept_room.attribute
    monkeypatch.setattr(
        kept_room,
        "attribute",
        lambda e, some, method, *more: asked.append(method.label) or real(e, some, method, *more),
    )
    wanted = task(tiny_models, known_facts, singles=0)
    found = truth.measure(replace(wanted, methods=("amig", "random+seed=3")), lambda done, total: True)
    assert set(asked) == {"amig"}
    loaded = models.load_model(str(tiny_models["encoder"]), dtype="float32", device="cpu", threads=1)
    engine = replay.Engine(loaded)
    queries = [encode.encode(loaded, row) for row in facts.load_facts(wanted.config).rows[:2]]
    scores = kept_room.StoredScores(engine, lambda method, some: {}, "")
    for name in ("random", "random+seed=3"):
        computed = [one.scores for one in real(engine, queries, parse_method(name))]
        assert all(map(np.array_equal, scores(name, queries), computed))
    assert {row["method"] for row in found["rows"]} == {"amig", "random+seed=3"}


def test_agreement_with_single_ablations_is_of_the_neurons_that_were_ablated_alone(tiny_models, known_facts):
    none, some, every = (
        truth.measure(task(tiny_models, known_facts, singles=n), lambda done, total: True)["rows"]
        for n in (0, 30, None)
    )
    for a, b, c in zip(none, some, every, strict=True):
        assert a["area"] == b["area"] == c["area"] and a["drop"] == c["drop"]
        assert a["spearman"] is None and a["overlap"] is None and a["neurons"] == 0
        assert b["neurons"] <= 30 and b["chance"] == 20 / 30 and c["chance"] == 20 / 96


def test_events_are_one_object_a_line_and_a_closed_stdin_ends_the_work(tiny_models, known_facts):
    answer = io.StringIO()
    with open(os.devnull, "rb") as closed:  # noqa: PTH123 - a descriptor that is at its end
        assert truth.serve(json.dumps(task(tiny_models, known_facts).to_json()), answer, closed.fileno()) == 0
    events = [json.loads(line) for line in answer.getvalue().splitlines()]
    assert events[-1]["event"] == "result"
    assert Task.from_json(json.loads(json.dumps(task(tiny_models, known_facts).to_json()))).methods == (
        "bkn",
        "grad_x_act",
        "random",
    )


def test_tasks_are_one_a_model_or_several_where_models_are_few(tiny_models, known_facts):
    one = task(tiny_models, known_facts)
    two = replace(one, config=replace(one.config, models=(*one.config.models, ModelSource("another"))))
    assert [(t.part, t.of) for t in tasks(one, 2)] == [(0, 2), (1, 2)]
    assert [(t.part, t.of) for t in tasks(two, 2)] == [(0, 1), (0, 1)]


def test_the_command_prints_and_draws_the_tables_of_what_its_processes_measured(
    tiny_models, known_facts, tmp_path, capsys
):
    arguments = [
        str(tiny_models["encoder"]),
        "--data",
        str(known_facts),
        "--method",
        "bkn,random",
        "--group",
        "0",
        "--langs",
        "en",
    ]
    assert run_app(["faithfulness", *arguments, "-o", "area.doc"]) == 2, "before anything is measured"
    assert "unknown format" in capsys.readouterr().err
    figure = tmp_path / "area.svg"
    assert run_app(["faithfulness", *arguments, "--processes", "1", "--json", "-o", str(figure)]) == 0
    assert figure.read_text().count("<!-- random -->") == figure.read_text().count("<!-- bkn -->") == 1
    document = json.loads(capsys.readouterr().out)
    assert [table["name"] for table in document["tables"]] == [
        "faithfulness",
        "faithfulness_by_kind",
        "faithfulness_by_truth",
    ]
    [measured] = document["measured"]
    assert {row["ablation"] for row in measured["rows"]} == {"zero", "mean", "resample"}
    assert run_app(["faithfulness", *arguments, "--processes", "1", "-o", str(tmp_path / "area.csv")]) == 0
    for table, ending in zip(document["tables"], ("", ".faithfulness_by_kind", ".faithfulness_by_truth"), strict=True):
        assert pl.read_csv(tmp_path / f"area{ending}.csv").height == len(table["rows"])


def test_missing_model_is_one_message_and_exit_code_2(tmp_path, known_facts, capsys):
    assert run_app(["faithfulness", str(tmp_path / "nothing"), "--data", str(known_facts)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "nothing" in captured.err and "Traceback" not in captured.err


@pytest.mark.parametrize(("program", "how"), [("this", "(exit code 0)"), ("not_there", "(exit code 1): ")])
def test_faithfulness_and_inspect_fail_where_their_process_ends_without_a_result(
    tiny_models, known_facts, capsys, monkeypatch, program, how
):
    """`this` is a module of Python's that prints something else; one that is not there says so in its last line."""
    monkeypatch.setattr(protocol, "PROGRAM", program)
    model = str(tiny_models["encoder"])
    for arguments in (["faithfulness", model, "--data", str(known_facts)], ["models", "inspect", model]):
        assert run_app(arguments) == 1
        captured = capsys.readouterr()
        assert captured.out == "" and f"process ended without a result {how}" in captured.err.replace("\n", " ")
        assert program == "this" or "No module named not_there" in captured.err
        assert "Traceback" not in captured.err


def test_table_without_known_facts_says_so():
    [table] = faithfulness_table.build([{"model": "m", "rows": [], "groups": []}])
    assert table.frame.is_empty() and "no known fact" in table.notes[0]


def inline(place: Path, config: RunConfig):
    """What `run.compute` does, without processes."""
    store.create(place)
    run = run_files.new_run(place, config.to_json())
    config = replace(config, engine="inline")
    run_files.write_run(place, replace(run_files.read_run(place, run), config=config.to_json()))
    job.execute(place, run, lambda c, cancelled: make_executor(place, run, c, cancelled))
    record = run_files.read_run(place, run)
    return RunStatus(record, record.status, None, None)


def test_stability_compares_templates_rules_precisions_and_seeds_in_one_table(
    tmp_path, tiny_models, tiny_facts, capsys, monkeypatch
):
    monkeypatch.setattr("knscope.tui.commands.run.compute", inline)
    kept = tmp_path / "kept.knstore"
    assert (
        run_app(
            [
                "stability",
                str(tiny_models["decoder"]),
                "--data",
                str(tiny_facts),
                "--method",
                "bkn",
                "--store",
                str(kept),
                "--json",
            ]
        )
        == 0
    )
    [table] = json.loads(capsys.readouterr().out)["tables"]
    rows = {(row["what"], row["variant"]): row for row in table["rows"]}
    assert {what for what, _ in rows} == {"templates", "nodes", "precision", "seeds", "floor"}
    assert {variant for what, variant in rows if what == "precision"} == set(stability_table.DTYPES)
    assert rows["precision", "float64"]["jaccard"] == pytest.approx(1.0, abs=0.05)
    assert rows["nodes", "right 20"]["jaccard"] > rows["floor", "another fact"]["jaccard"] - 1e-9
    for row in table["rows"]:
        assert row["jaccard"] is None or 0 <= row["jaccard"] <= 1
    again = ["stability", str(tiny_models["encoder"]), "--data", str(tiny_facts), "--facts", "2", "--method", "bkn"]
    assert run_app([*again, "--store", str(kept), "-o", str(tmp_path / "two.csv")]) == 0
    written = pl.read_csv(tmp_path / "two.csv")
    assert [name.partition("@")[0] for name in written["model"].unique()] == ["tiny-encoder"], "only what was asked for"
    assert max(written["sets"]) <= 2 * 2, "two facts in two languages, whatever else the store holds"


def test_stability_of_one_fact_on_one_template_has_rows_but_no_number_where_there_is_none(
    tmp_path, tiny_models, tiny_facts
):
    facts = tmp_path / "one.csv"
    pl.read_csv(tiny_facts).head(1).write_csv(facts)
    place = tmp_path / "one.knstore"
    inline(
        place,
        RunConfig((ModelSource(str(tiny_models["decoder"])),), str(facts), methods=("bkn",), what=("attribution",)),
    )
    with store.open(place) as reader:
        table = stability_table.build(reader, View(reader.models()[0], "bkn", ("en",)), draws=10)
    assert table.frame["what"].to_list() == ["floor"]
    assert table.frame.select("sets", "jaccard", "interval").row(0) == (0, None, None)
    (axes,) = draw(table).axes
    assert "floor, against a fact, 0 sets, 0 subjects" in [text.get_text() for text in axes.texts]


def test_the_stability_table_names_a_rule_with_the_tolerance_that_is_not_the_usual_one():
    assert stability_table._rule("amig") == "gauss-lobatto 5, doubled as needed"
    assert stability_table._rule("amig+tolerance=0.05") == "gauss-lobatto 5, doubled as needed to 0.05"
    assert stability_table._rule("bkn+tolerance=0.05") == "left 20"


def test_every_compared_method_has_a_name_and_measuring_loads_no_torch():
    assert [parse_method(name).label for name in COMPARED] == list(COMPARED)
    assert "torch" not in vars(measuring)


@pytest.mark.parametrize("interrupts", [1, 2])
def test_a_first_interrupt_lets_the_facts_in_progress_arrive_and_a_second_one_ends(
    interrupts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {"model": "m", "rows": [{"fact": "f"}], "groups": []}
    said: list[object] = [KeyboardInterrupt()] * interrupts
    said += [(0, {"event": "result", "document": document}), (0, {"event": "ended", "code": 0})]

    class Events:
        def get(self) -> object:
            one = said.pop(0)
            if isinstance(one, KeyboardInterrupt):
                raise one
            return one

    def start(task: object) -> None:
        work._running[0] = subprocess.Popen(["true"], stdin=subprocess.PIPE)

    work = measuring.Measurement([None], 1)
    monkeypatch.setattr(work, "_events", Events())
    monkeypatch.setattr(work, "_start", start)
    if interrupts == 1:
        list(work.run())
        assert work.cancelled and work.documents["m"]["rows"] == document["rows"]
    else:
        with pytest.raises(KeyboardInterrupt):
            list(work.run())
