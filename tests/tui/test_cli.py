"""The command line over a small finished store: what it prints, where, and with which exit code."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import typer

from knscope import store
from knscope.analysis.demo.start import resume
from knscope.analysis.engine.sources import BUNDLED, absolute_source
from knscope.analysis.runs import job, protocol
from knscope.analysis.runs.__main__ import make_executor
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.process_pool import settings_of
from knscope.analysis.runs.status import RunStatus
from knscope.store import compaction, processes
from knscope.store import runs as run_files
from knscope.store.errors import ProcessFailed, UserError
from knscope.tui import cli
from knscope.tui.cli import run_app
from knscope.tui.commands import common, inspect, reference, run
from knscope.tui.commands.query import _solved
from knscope.tui.printing import output
from tests.analysis.runs import inline_job


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_models: Mapping[str, Path], tiny_facts: Path) -> Path:
    place = store.create(tmp_path_factory.mktemp("cli") / "tiny.knstore")
    models = tuple(ModelSource(str(folder)) for folder in tiny_models.values())
    config = RunConfig(models, str(tiny_facts), methods=("amig", "bkn"), engine="inline")
    run = run_files.new_run(place, config.to_json())
    assert job.execute(place, run, lambda c, cancelled: make_executor(place, run, c, cancelled)) == "done"
    return place


ENCODER = ("--model", "tiny-encoder", "--method", "amig")


def test_help_and_startup_load_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "tokenizers", "polars", "duckdb", "numpy", "scipy", "textual", "pyarrow"]
    code = f"import sys, knscope.tui.cli; sys.exit(', '.join(m for m in {heavy!r} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"imported: {done.stderr}"


def test_help_lists_every_command_with_its_whole_first_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    root = typer.main.get_command(reference.app)
    for path, group in (
        ([], root),
        *(([name], one) for name, one in root.commands.items() if hasattr(one, "commands")),
    ):
        assert run_app([*path, "--help"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        for name, command in group.commands.items():
            first = " ".join(command.help.split()).split(". ")[0].removesuffix(".")
            assert f" {name} {first}" in shown
            assert run_app([*path, name, "--help"]) == 0
            assert "Usage: knscope" in (said := capsys.readouterr().out) and not re.search(r"--[\w-]+ <", said)


def test_commands_never_import_torch(finished: Path) -> None:
    commands = [["status"], ["facts"], ["kn", *ENCODER], ["layers", *ENCODER], ["likn", *ENCODER], ["dkn", *ENCODER]]
    code = (
        "import sys; from knscope.tui.cli import run_app\n"
        f"for command in {commands!r}: assert run_app([command[0], {str(finished)!r}, *command[1:]]) == 0\n"
        "sys.exit(int('torch' in sys.modules or 'transformers' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("command", ["kn", "layers", "likn", "dkn"])
def test_json_is_one_document_with_rows_and_notes(
    command: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app([command, str(finished), *ENCODER, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tables"][0]["name"] == command and document["tables"][0]["rows"] and document["tables"][0]["notes"]


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_output_file_ending_chooses_the_format(
    ending: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"kn.{ending}"
    assert run_app(["kn", str(finished), *ENCODER, "-o", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "rows written to" in captured.err
    read = {"csv": pl.read_csv, "json": rows_of_json, "parquet": pl.read_parquet}[ending]
    written = read(out)
    columns = ["fact", "relation", "lang", "layer", "neuron", "rel", "share", "tau", "template_share"]
    assert written.columns == ["model", "method", *columns]
    assert written["model"].unique().len() == 1 and written["method"].unique().to_list() == ["amig"]


def rows_of_json(path: Path) -> pl.DataFrame:
    [table] = json.loads(path.read_text("utf-8"))["tables"]
    return pl.DataFrame(table["rows"])


def test_threshold_options_change_the_printed_sets(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = []
    for tau in ("0.1", "en=0.1,fr=0.5", "0.5"):
        assert run_app(["kn", str(finished), *ENCODER, "--tau", tau, "--format", "csv"]) == 0
        counts.append(len(capsys.readouterr().out.splitlines()))
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["likn"], "tiny-decoder"),
        (["likn", "--model", "nope"], "which has"),
        (["likn", "--model", "tiny-"], "is ambiguous"),
        (["likn", *ENCODER, "--langs", "xx"], "the store has: en, fr"),
        (["likn", *ENCODER, "--tau", "en=a"], "--tau en=0.3,zh=0.2"),
        (["likn", *ENCODER, "--tau", "en=7"], "out of range"),
        (["layers", *ENCODER, "--t-low", "0.1"], "only the table of --intervals"),
        (["kn", *ENCODER, "--format", "xml"], "table, csv, json, latex, parquet"),
        (["dkn", *ENCODER, "--t-low", "3"], "out of range"),
        (["cancel", "20200101-000000-abcdef"], "no run"),
    ],
)
def test_user_errors_are_one_message_on_stderr_with_exit_code_2(
    arguments: list[str], said: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app([arguments[0], str(finished), *arguments[1:]]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and said in captured.err and "Traceback" not in captured.err


@pytest.mark.parametrize("command", ["status", "kn", "cancel"])
def test_missing_store_gives_an_error(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app([command, str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_compact_publishes_the_snapshot_even_if_a_run_cannot_be_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(folder: Path) -> None:
        raise store.UserError("one could not be compacted, the rest is: another user's")

    monkeypatch.setattr(compaction, "compact", refuse)
    place = store.create(tmp_path / "shared.knstore")
    assert run_app(["store", "compact", str(place)]) == 2
    assert "one could not be compacted" in capsys.readouterr().err and (place / "results.duckdb").is_file()


def test_usage_errors_are_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["kn"]) == 2 and run_app(["nonsense"]) == 2
    assert "Error" in capsys.readouterr().err


def test_status_lists_runs_as_a_table_and_as_json(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["status", str(finished)]) == 0
    assert "done" in capsys.readouterr().out
    assert run_app(["status", str(finished), "--json"]) == 0
    [run] = json.loads(capsys.readouterr().out)["runs"]
    assert run["status"] == "done" and run["done"] == run["total"] > 0 and run["provenance"]["libraries"]["torch"]


def test_status_lists_active_and_newest_runs_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = store.create(tmp_path / "many.knstore")
    for number in range(90):
        name = run_files.new_run(place, {}, f"2026{number:04}-run")
        going = (
            {"status": "running", "beat": 1, "provenance": processes.identity()} if number == 3 else {"status": "done"}
        )
        run_files.write_run(place, replace(run_files.read_run(place, name), heartbeat=time.time(), **going))  # type: ignore[arg-type]
    assert run_app(["status", str(place)]) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if "-run" in line]
    assert rows[:3] == [["20260003-run", "running"], ["20260089-run", "done"], ["20260088-run", "done"]]


def test_run_refuses_bad_data_before_it_starts(
    tmp_path: Path, tiny_models: Mapping[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "facts.csv"
    data.write_text("fact_id,lang\n1,en\n")
    place = tmp_path / "new.knstore"
    assert run_app(["run", str(place), "--model", str(tiny_models["encoder"]), "--data", str(data)]) == 2
    assert "relation" in capsys.readouterr().err and not place.exists()


def test_run_refuses_a_folder_without_a_model_before_it_starts(
    tmp_path: Path, tiny_facts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text("{}")
    for command in (["run", str(tmp_path / "new"), "--data", str(tiny_facts), "--model"], ["models", "inspect"]):
        assert run_app([*command, str(tmp_path)]) == 2
        captured = capsys.readouterr()
        assert captured.err == f"knscope: {tmp_path}: holds no weights (model.safetensors)\n" and not captured.out
    assert not (tmp_path / "new").exists()


def test_run_starts_the_number_of_processes_asked_for(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[RunConfig] = []
    begun = RunStatus(run_files.RunRecord("run"), "running", None, None)
    monkeypatch.setattr(protocol, "start_job", lambda path, config: started.append(config) or "run")
    monkeypatch.setattr(run, "_begun", lambda *_: begun)
    asked = ["run", str(tmp_path / "new"), "--model", str(tiny_models["encoder"]), "--data", str(tiny_facts)]
    assert run_app([*asked, "--device", "cpu", "--processes", "11"]) == 0
    assert len(settings_of(started[0])) == 11
    assert run_app([*asked, "--device", "cpu", "--processes", "-1"]) == 2 and len(started) == 1


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--dtype", "int8"], "--dtype: int8"),
        (["--device", "foo"], "--device foo: write auto, cpu"),
        (["--device", "cuda:0;1"], "--device"),
        (["--device", "cuda:0+cpu"], "--device cuda:0+cpu"),
        (["--seed", "-1"], "--seed -1"),
        (["--memory", "0"], "--memory 0"),
        (["--memory", "-1GiB"], "--memory"),
        (["--method", "amig", "--what", "nothing"], "--what"),
    ],
)
def test_run_refuses_contradictory_options_before_it_starts(
    option: list[str], said: str, tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    place = tmp_path / "new"
    asked = ["run", str(place), "--model", str(tiny_models["encoder"]), "--data", str(tiny_facts)]
    assert run_app([*asked, *option]) == 2
    assert said in capsys.readouterr().err and not place.exists()


def test_sizes_are_read_as_people_write_them() -> None:
    wanted = {"1KB": 1000, "1kib": 1024, "512MB": 512 * 10**6, "8GiB": 8 * 2**30, "1.5g": 3 * 2**29, "77": 77}
    assert {text: common.size(text) for text in wanted} == wanted


def test_query_and_stability_take_one_method_and_tau_names_a_language_once(
    finished: Path, tiny_models: Mapping[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(tiny_models["encoder"])
    asked = ["query", model, "the capital of [X] is [Y]", "--subject", "france", "--object", "paris"]
    for command, why in (
        ([*asked, "--method", "amig,bkn"], "give one method"),
        (["stability", model, "--method", "amig,bkn"], "give one method"),
        ([*asked[:2], "[X] and [Y] and [Y]", *asked[3:]], "more than one [Y]"),
        (["kn", str(finished), *ENCODER, "--tau", "en=0.3,en=0.4"], "given twice"),
    ):
        assert run_app(command) == 2
        assert why in capsys.readouterr().err


def test_sql_exports_everything_unless_a_limit_is_named_and_says_what_is_left_out(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask, out = ["sql", str(finished), "SELECT range FROM range(2500)"], tmp_path / "all.csv"
    assert run_app([*ask, "-o", str(out)]) == 0
    assert pl.read_csv(out).height == 2500 and "there are more" not in capsys.readouterr().err
    assert run_app([*ask, "--format", "csv", "--limit", "7"]) == 0
    limited = capsys.readouterr()
    assert len(limited.out.splitlines()) == 8 and "first 7 rows; there are more: raise --limit" in limited.err
    assert run_app(ask) == 0
    assert "there are more: -o FILE" in capsys.readouterr().err.replace("\n", " ")
    assert run_app([*ask, "--limit", "0"]) == 2


def test_json_and_csv_write_nan_as_null_and_bytes_as_hex(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["sql", str(finished), "SELECT 'nan'::DOUBLE AS n, ['inf'::DOUBLE, 1.5] AS l, 'ab'::BLOB AS b"]
    assert run_app([*ask, "--json"]) == 0
    [table] = json.loads(capsys.readouterr().out)["tables"]
    assert table["rows"] == [{"n": None, "l": [None, 1.5], "b": "6162"}]
    assert run_app([*ask, "-o", str(tmp_path / "a.json")]) == run_app([*ask, "-o", str(tmp_path / "a.csv")]) == 0
    assert json.loads((tmp_path / "a.json").read_text()) == {"tables": [table]}
    assert (tmp_path / "a.csv").read_text().splitlines()[1].endswith("6162")
    assert run_app([*ask, "--format", "csv", "-o", str(tmp_path / "b.json")]) == 2
    assert "differ" in capsys.readouterr().err


@pytest.mark.parametrize("room", [40, 80, 100, 120])
def test_fitted_drops_last_columns_and_never_shortens_labels_or_numbers(room: int) -> None:
    needed, numeric = [5, 31, 6, 7, 9, 11, 13, 20], [False, False, True, True, True, False, True, True]
    widths = output.fitted(needed, numeric, room)
    assert len(widths) >= 3 and sum(widths) + 2 * len(widths) <= max(room, 5 + 12 + 6 + 6)
    assert all(width == wide for width, wide, number in zip(widths, needed, numeric, strict=False) if number)
    assert all(width >= min(wide, 12) for width, wide in zip(widths, needed, strict=False))
    assert output.fitted(needed, numeric, 200) == needed


def test_absolute_source_finds_bundled_models_unless_a_folder_has_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert absolute_source("gpt2-multi") == str(BUNDLED / "gpt2-multi")
    assert absolute_source("org/gpt2-multi") == "org/gpt2-multi" and absolute_source("other") == "other"
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "gpt2-multi"
    own.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (own / name).write_text("{}")
    assert absolute_source("gpt2-multi") == str(own)


def test_models_inspect_prints_tables_and_json(
    tiny_models: Mapping[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_models["decoder"]
    assert run_app(["models", "inspect", str(folder), "--dtype", "bfloat16"]) == 0
    told = capsys.readouterr().out
    assert f"{folder.name}-bfloat16@" in told and "Recipe(" not in told
    for line in (
        "replay each row from its own block",
        "largest difference to full forwards",
        "rows_a_pass",
        "mlp.c_proj",
        "substitute",
    ):
        assert line in told
    monkeypatch.setattr(common, "child", inline_job.child)
    assert run_app(["models", "inspect", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["substitute"] == "<eos>"
    assert report["error"] < 1e-4 and report["neurons"] == sum(site["width"] for site in report["sites"])
    costed = [cost["method"] for cost in report["costs"]]
    assert costed == ["amig", "bkn", "attribution_patching", "logprob_increase"]


def test_data_check_puts_the_text_of_a_file_before_every_template(
    tiny_models: Mapping[str, Path], tiny_facts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = tmp_path / "examples.txt"
    prefix.write_text("the " * 50)
    asked = ["data", "check", str(tiny_facts), "--model", str(tiny_models["decoder"]), "--facts", "1", "--json"]
    assert run_app([*asked, "--prefix", f"@{prefix}"]) == 0
    found = {table["name"]: table["rows"] for table in json.loads(capsys.readouterr().out)["tables"]}
    assert {row["reason"] for row in found["unusable"]} == {"too-long"}
    assert sum(row["usable_prompts"] for row in found["model"]) == 0


def test_data_check_writes_the_prompts_a_model_knows_and_drops_alternatives_that_none_has(tmp_path: Path) -> None:
    rows = [{"fact_id": "a", "alternatives": ""}, {"fact_id": "b", "alternatives": ""}]
    inspect._write_known(tmp_path / "known.csv", rows, "model")
    assert (tmp_path / "known.csv").read_text().splitlines() == ["fact_id", "a", "b"]
    inspect._write_known(tmp_path / "more.csv", [rows[0], rows[1] | {"alternatives": "x|y"}], "model")
    assert (tmp_path / "more.csv").read_text().splitlines() == ["fact_id,alternatives", 'a,""', "b,x|y"]


def test_an_error_with_json_is_one_json_line_on_stderr(
    finished: Path, tiny_models: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(protocol, "PROGRAM", "this")
    for arguments, kind, said in (
        (["kn", str(finished), "--model", "no\x1bpe", "--json"], "input", "is not in the store"),
        (["kn", "--json", "--nonsense"], "input", "--nonsense"),
        (["query", str(tiny_models["decoder"]), "france is", "--json"], "failed", "the model's process"),
    ):
        code = run_app(arguments)
        captured = capsys.readouterr()
        error = json.loads(captured.err.splitlines()[-1])["error"]
        assert (error["kind"], error["exit_code"], captured.out) == (kind, code, "")
        assert code == {"input": 2, "failed": 1}[kind] and said in error["message"]
        assert "\x1b" not in captured.err


def test_query_refuses_a_prompt_that_cannot_be_asked_before_a_model_is_loaded(
    tiny_models: Mapping[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for prompt, options, said in (
        ("[X] is [Y]", [], "name the subject"),
        ("is [Y]", ["--subject", "france"], "does not contain the subject"),
        ("[Y] is [Y]", [], "more than one [Y]"),
        ("...", [], "the prompt has no word"),
        ("france is", ["--answer", " "], "the answer is empty"),
    ):
        assert run_app(["query", str(tiny_models["encoder"]), prompt, *options]) == 2
        assert said in capsys.readouterr().err.replace("\n", " ")


def test_query_shows_the_likeliest_answers_and_the_neurons_of_each_named_one(
    tiny_models: Mapping[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["query", str(tiny_models["decoder"]), "the capital of france is", "--json"]
    assert run_app([*asked, "--top", "3", "--answer", "paris", "--object", "berlin"]) == 0
    tables = {table["name"]: table["rows"] for table in json.loads(capsys.readouterr().out)["tables"]}
    assert len(tables["likeliest"]) == 3
    assert [(row["answer"], row["prompt"]) for row in tables["prediction"]] == [
        (answer, "the capital of france is") for answer in ("paris", "berlin")
    ]
    for answer in ("paris", "berlin"):
        scores = [row["score"] for row in tables["neurons"] if row["answer"] == answer]
        assert 0 < len(scores) <= 20 and scores == sorted(scores, reverse=True)
    monkeypatch.setattr(common, "child", inline_job.child)
    assert run_app([*asked, "--answer", "zzyzx"]) == 2
    assert "unknown to the model's tokenizer" in capsys.readouterr().err


def test_followed_run_reports_unusable_rows_with_reasons(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "facts.csv"
    data.write_text(
        "\n".join(tiny_facts.read_text().splitlines()[:2])
        + "\nbad1,P36,en,the capital of [X] is [Y],france,zzyzx"
        + "\nbad2,P36,en," + "the capital of " * 30 + "[X] is [Y],france,paris\n"
    )  # fmt: skip
    place = tmp_path / "new.knstore"
    options = ["--model", str(tiny_models["encoder"]), "--data", str(data), "--what", "attribution"]
    assert run_app(["run", str(place), *options, "--engine", "inline", "--follow"]) == 0
    said = capsys.readouterr().err
    assert "1 queries unusable (unknown-answer), such as fact bad1" in said
    assert "results of tiny-encoder@" in said.replace("\n", " ")
    assert "1 queries unusable (too-long), such as fact bad2" in said and "at most 40" in said
    with store.open(place) as reader:
        assert reader.sql("SELECT count(*) FROM attribution").item() == 1


@pytest.mark.parametrize(
    ("status", "total", "done", "code"),
    [("done", 9, 9, 0), ("failed", 0, 0, 2), ("failed", 9, 8, 1), ("lost", 9, 3, 1), ("cancelled", 9, 3, 130)],
)
def test_exit_code_is_2_if_a_run_failed_before_planning_any_result(
    status: str, total: int, done: int, code: int
) -> None:
    seen = RunStatus(run_files.RunRecord("one", beat=1, total=total, done=done), status, None, None)
    assert run.exit_code(seen) == code


@pytest.mark.parametrize(
    ("program", "said"), [("not_there", "No module named not_there"), ("this", "Namespaces are one")]
)
def test_run_that_ends_before_reporting_fails_with_its_last_log_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], program: str, said: str
) -> None:
    """`this` is a module of Python's that prints something and ends with 0."""
    monkeypatch.setattr(protocol, "PROGRAM", program)
    place = str(tmp_path / "early.knstore")
    asked = ["--model", "bert-en", "--data", "demo", "--facts", "1"]
    for arguments in (["run", place, *asked], ["run", place, *asked, "--follow"], ["status", place]):
        code = run_app(arguments)
        captured = capsys.readouterr()
        assert code == (0 if arguments[0] == "status" else 1), arguments
        assert "failed: its process ended before it began: " in captured.err and said in captured.err, arguments
    assert captured.out.count("failed") == 2


def test_status_and_cancel_of_a_run_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its process is stopped; it is ended all the same, and the run says so."""
    monkeypatch.setattr(protocol, "STOP_SECONDS", 0.2)
    place, now = store.create(tmp_path / "hung.knstore"), time.time()
    run = run_files.new_run(place, {})
    words = [sys.executable, "-c", "input()", protocol.PROGRAM, "job", str(place), run]
    child = subprocess.Popen(words, stdin=subprocess.PIPE)
    try:
        here, old = processes.identity(child.pid), now - 75
        run_files.write_run(
            place, run_files.RunRecord(run, "running", provenance=here, created=old, heartbeat=old, beat=9)
        )
        child.send_signal(signal.SIGSTOP)
        assert run_app(["status", str(place)]) == 0
        captured = capsys.readouterr()
        assert re.search(r"running, silent for \d+ s", captured.out), captured.out
        assert re.search(r"has not reported for \d+ s", captured.err), captured.err
        assert run_app(["cancel", str(place)]) == 0
        assert "has ended" in capsys.readouterr().err and child.wait(10) == -signal.SIGKILL
    finally:
        child.kill()
        child.communicate()
    assert run_files.read_run(place, run).status == "cancelled"
    assert run_app(["cancel", str(place), run]) == 0 and "is not active: cancelled" in capsys.readouterr().err


def test_demo_does_not_restart_a_complete_analysis(finished: Path) -> None:
    done = RunConfig.from_json(run_files.read_runs(finished)[-1].config)
    assert resume(finished, done) is None


def test_method_lists_keep_the_options_of_each_method_together() -> None:
    assert common.methods("amig,bkn") == ("amig", "bkn")
    assert len(common.methods("bkn+nodes=10,positions=all,amig")) == 2
    assert common.methods("amig,amig") == ("amig",)
    assert common.methods("amig+nodes=9,substitute=<a+b>,bkn") == ("amig+nodes=9,substitute=<a+b>", "bkn")


def test_examples_and_a_chat_message_of_a_question_are_checked_before_anything_is_started(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["query", "bert-en", "The capital of [X] is [Y]", "--subject", "France", "--object", "Paris"]
    assert run_app([*asked, "--example", "Germany"]) == 2
    assert "SUBJECT=ANSWER" in capsys.readouterr().err
    models = ["--model", "bert-en", "--model", "gpt2-en"]
    assert run_app(["run", "a.knstore", *models, "--data", "demo", "--chat", "Go on."]) == 2
    assert "one model" in capsys.readouterr().err
    assert run_app(["run", "a.knstore", *models, "--data", "demo", "--method", "amig+substitute=xyzzy"]) == 2
    assert "bert-en has no token of that name" in " ".join(capsys.readouterr().err.split())
    assert _solved("The capital of [X] is [Y]", "Kenya", ["Germany=Berlin", "Spain = Madrid"]) == (
        "The capital of Germany is Berlin\nThe capital of Spain is Madrid\n"
    )


def test_every_command_that_takes_a_table_takes_other_names_for_its_columns() -> None:
    known = {
        one["command"]: {name for option in one["options"] for name in option["names"]} for one in reference.commands()
    }
    assert [name for name, options in known.items() if "--data" in options and "--column" not in options] == []
    assert "--column" in known["data check"]


def test_sql_as_json_is_the_same_text_with_and_without_other_options(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--json` alone is answered without polars, whose import takes as long as the query."""
    statement = """
        SELECT i AS n, i::HUGEINT AS h, i / 3 AS x, 'nan'::DOUBLE AS nan, NULL AS nothing, i % 2 = 0 AS b, 'é\u202e' AS t,
            'ab'::BLOB AS bytes, DATE '2020-02-03' AS d, TIME '01:02:03' AS clock, TIMESTAMP '2020-02-03 04:05:06.7' AS at,
            1.50::DECIMAL(5, 2) AS m, [1, NULL, i] AS l, {'a': i, 'b': [1.5]} AS s, MAP {'k': i} AS map,
            '00000000-0000-0000-0000-00000000000a'::UUID AS u
        FROM range(3) r(i)
    """
    texts = []
    for options in (["--json"], ["--format", "json"], ["--json", "--limit", "3"]):
        assert run_app(["sql", str(finished), statement, *options]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] == texts[2] and len(json.loads(texts[0])["tables"][0]["rows"]) == 3
    assert run_app(["sql", "--json", str(finished), "SELECT 1 AS one"]) == 0
    assert json.loads(capsys.readouterr().out)["tables"][0]["rows"] == [{"one": 1}]


def test_exit_codes_are_an_interface_documented_alike_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["help", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["exit_codes"]
    assert list(told) == ["0", "1", "2", "130"]
    page = (Path(__file__).parents[2] / "docs" / "programs.md").read_text(encoding="utf-8")
    assert "Exit codes are stable: 0 done, 1 failed, 2 bad input, 130 cancelled" in page
    assert all(f"`{code}`: {meaning}" in reference.page([]) for code, meaning in told.items())


def test_main_takes_sigint_that_a_shell_ignores_in_the_background_and_bounds_library_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[object] = []
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setattr("knscope.store.safe_path.clean", lambda: None)
    monkeypatch.setattr("knscope.tui.printing.streams.take_over", lambda: None)
    monkeypatch.setattr("knscope.store.ending.end", taken.append)
    monkeypatch.setattr(cli, "run_app", lambda arguments: taken.append(signal.getsignal(signal.SIGINT)))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        cli.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert taken[0] is signal.default_int_handler
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("raised", "code", "kind"),
    [
        (None, 0, None),
        (ProcessFailed("the model's process was killed"), 1, "failed"),
        (UserError("the prompt is empty"), 2, "input"),
        (KeyboardInterrupt(), 130, None),
    ],
)
def test_a_command_leaves_with_the_code_of_what_happened(
    raised: BaseException | None,
    code: int,
    kind: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def child(*_: str) -> dict[str, object]:
        if raised is not None:
            raise raised
        return {"model": "m", "likeliest": [{"answer": "Nairobi", "p": 0.5}]}

    monkeypatch.setattr("knscope.tui.commands.common.child", child)
    assert run_app(["query", "gpt2-en", "The capital of Kenya is", "--json"]) == code
    said = capsys.readouterr()
    if kind is not None:
        assert json.loads(said.err.splitlines()[-1])["error"] == {
            "kind": kind,
            "message": str(raised),
            "exit_code": code,
        }
    assert bool(said.out) == (code == 0)
