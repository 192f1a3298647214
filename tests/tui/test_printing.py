"""What commands print and write: on any terminal, into pipes and files, and what of it they leave out."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from knscope import store
from knscope.analysis.layers import table as layers_table
from knscope.analysis.runs import facts
from knscope.analysis.statistics.table import Table
from knscope.store import UserError, export
from knscope.store.errors import ReaderGone
from knscope.tui.cli import run_app
from knscope.tui.commands import common, measure, shown
from knscope.tui.printing import output, writing
from knscope.tui.printing.format import cell

TWO = [Table("first", "the first", pl.DataFrame({"a": [1]})), Table("second", "the second", pl.DataFrame({"b": [2]}))]


def test_print_table_leaves_columns_out_before_it_breaks_a_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    label = "bert-multi@c4919b59"
    frame = pl.DataFrame({"model": [label], "lang": ["en"], **{f"a_long_number_{i}": [0.5] for i in range(5)}})
    assert output.fitted([19, 4, 15, 15, 15, 15, 15], [False, False, *[True] * 5], 60, [19, 4, *[15] * 5])[0] == 19
    monkeypatch.setattr(output, "console", lambda needed=0: output._console(width=60))
    output.print_table(Table("t", "", frame))
    printed = capsys.readouterr().out
    assert label in printed and "more columns with --format csv: a_long_number_1" in printed


def test_column_names_are_printed_without_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "console", lambda needed=0: output._console(width=20))
    frame = pl.DataFrame({"[/red]": ["a"], "b": [1], "[bold]\x1b[2J": [1_000_000], "[/x]": [1]})
    output.print_table(Table("t", "", frame))
    printed = capsys.readouterr().out
    assert "[/red]" in printed and "[/x]" in printed and "[bold]·[2J" in printed and "\x1b[2J" not in printed


def test_large_numbers_are_written_short_and_bytes_as_hex() -> None:
    assert [cell(value) for value in (1e300, -2.5e12, 123456.0, b"ab")] == [
        "1.00e+300",
        "-2.50e+12",
        "123,456",
        "6162",
    ]


def test_csv_and_parquet_name_the_tables_they_leave_out(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit(TWO, "csv")
    captured = capsys.readouterr()
    assert captured.out == "a\n1\n" and captured.err == "left out: the second; --json has every table\n"
    output.emit(TWO, "json")
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["tables"]) == 2 and captured.err == ""


def test_command_without_formats_hints_at_json(
    made_store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "console", lambda needed=0: output._console(width=60))
    assert run_app(["status", str(made_store)]) == 0
    printed = capsys.readouterr().out
    assert "more columns with --json: " in printed and "--format" not in printed


def test_csv_writes_lists_and_structs_as_strict_json() -> None:
    frame = pl.DataFrame({"l": [[float("nan"), 1.5]], "s": [{"a": float("inf")}]})
    row = pl.read_csv(export.as_csv(frame).encode()).row(0)
    assert [json.loads(cell) for cell in row] == [[None, 1.5], {"a": None}]


def test_export_keeps_devices_pipes_and_symlinks(tmp_path: Path) -> None:
    pipe, link, target = tmp_path / "pipe", tmp_path / "link.csv", tmp_path / "target.csv"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    target.write_text("before")
    link.symlink_to(target)
    for place in (pipe, link):
        writing.write(TWO[:1], place, "csv")
    assert os.read(reading, 100) == b"a\n1\n" and stat.S_ISFIFO(pipe.stat().st_mode)
    os.close(reading)
    assert link.is_symlink() and target.read_text() == "a\n1\n"
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"link.csv", "target.csv"}
    with pytest.raises(UserError, match="cannot be written"):
        writing.write(TWO[:1], tmp_path / "missing" / "a.csv")


def test_closed_pipe_raises_reader_gone(tmp_path: Path) -> None:
    reading, end = os.pipe()
    os.close(reading)
    with pytest.raises(ReaderGone):
        writing.write(TWO[:1], Path(f"/dev/fd/{end}"), "csv")
    os.close(end)


@pytest.mark.parametrize("option", ["--tau", "--langs", "--relations"])
@pytest.mark.parametrize("value", ["", ",", " , "])
def test_empty_option_values_are_refused(
    option: str, value: str, made_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(["kn", str(made_store), f"{option}={value}"]) == 2
    capsys.readouterr()
    with pytest.raises(UserError, match=f"{option} .* is empty"):
        common.words(option, value)
    assert common.words(option, None) == ()


def test_run_refuses_empty_lists_before_it_starts(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["run", str(tmp_path / "new"), "--model", str(tiny_models["encoder"]), "--data", str(tiny_facts)]
    for option in ("--what", "--method", "--suppress"):
        assert run_app([*asked, option, ","]) == 2
        assert f"{option} ',' is empty" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_stability_checks_thresholds_before_it_computes(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["stability", str(tiny_models["encoder"]), "--data", str(tiny_facts), "--store", str(tmp_path / "new")]
    for tau, why in (("xx=0.3", "τ is given for xx, but the languages are"), ("7", "out of range")):
        assert run_app([*asked, "--tau", tau]) == 2
        assert why in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", [["models", "inspect"], ["data", "check", "demo", "--model"]])
def test_models_inspect_and_data_check_refuse_unknown_devices(
    command: list[str], tiny_models: Mapping[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app([*command, str(tiny_models["encoder"]), "--device", "foo"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("knscope: --device foo: write auto") and captured.out == ""


def test_sql_result_without_numbers_has_no_figure(
    made_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(["sql", str(made_store), "SELECT lang FROM query", "-o", str(tmp_path / "a.pdf")]) == 2
    assert "no column of this result holds numbers" in capsys.readouterr().err and not list(tmp_path.glob("*.pdf"))


def test_printed_layer_shares_do_not_depend_on_rounding() -> None:
    class Reader:
        def __init__(self, share: float) -> None:
            self.share = share

        def layer_hist(self, view: object) -> pl.DataFrame:
            return pl.DataFrame({"kind": ["en"], "layer": [0], "n": [1], "share": [self.share]})

    class View:
        model, method = "m", "amig"

    first, second = (layers_table.build(Reader(share), View()) for share in (0.1 + 0.2, 0.3))  # type: ignore[arg-type]
    assert first.frame.equals(second.frame)


def test_empty_table_names_the_run_that_computes_it(made_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with store.open(made_store) as reader:
        counts = {name: reader.sql(f"SELECT count(*) FROM {name}").item() for name in ("scan", "edit")}
        model = reader.models()[0]
    assert counts["scan"] and not counts["edit"]
    for command, told in (("edits", True), ("dkn", False)):
        assert run_app([command, str(made_store), "--model", model]) == 0
        assert ("--what edit" in capsys.readouterr().err.replace("\n", " ")) == told


def test_output_path_is_checked_before_anything_is_computed(
    made_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").mkdir()
    monkeypatch.setattr(shown, "opened", lambda _: pytest.fail("the store is opened"))
    monkeypatch.setattr(facts, "load_facts", lambda _: pytest.fail("the facts are read"))
    for options, why in (
        (["-o", str(tmp_path / "a.csv")], "it is a folder"),
        (["-o", str(tmp_path / "missing" / "a.csv")], "there is no folder"),
        (["-o", str(tmp_path / "b.csv"), "--format", "json"], "differ"),
    ):
        for command in (["edits", str(made_store)], ["faithfulness"], ["stability"]):
            assert run_app([*command, *options]) == 2
            assert why in capsys.readouterr().err.replace("\n", " ")
    assert run_app(["edits", str(made_store), "--json", "-o", str(tmp_path / "b.csv")]) == 2


def test_stability_leaves_a_model_out_that_has_none_of_the_languages(
    made_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with store.open(made_store) as reader:
        model = reader.models()[0]
        assert measure._view(reader, model, "amig", "xx", None) is None
        assert f"{model} is left out" in capsys.readouterr().err.replace("\n", " ")
        view = measure._view(reader, model, "amig", "en,xx", "xx=0.4,0.2")
    assert view is not None and view.langs == ("en",) and view.tau == {"en": 0.2}


def test_in_order_sorts_measurements_of_all_processes() -> None:
    rows = [{"fact": fact, "lang": lang, "method": name} for fact in "ab" for lang in ("en", "fr") for name in "yx"]
    first = {"m": {"model": "m", "rows": rows, "groups": []}, "n": {"model": "n", "rows": [], "groups": rows[:4]}}
    other = {"n": first["n"], "m": {**first["m"], "rows": rows[4:] + rows[:4]}}
    assert measure.in_order(first) == measure.in_order(other) == list(first.values())
