"""Where a command's output goes: slow pipes, full disks, closed descriptors. All of it is written, or the command says so."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from knscope.store.errors import ReaderGone, UserError
from knscope.tui.cli import run_app
from knscope.tui.printing import output
from knscope.tui.printing.streams import _Stdout

DATA = b"0123456789" * 50_000


def buffered(descriptor: int) -> io.BufferedWriter:
    return io.BufferedWriter(_Stdout(descriptor, "w", closefd=False))


def shell(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as "$0" of a script."""
    command = Path(sys.executable).with_name("knscope")
    words = ["bash", "-c", script, str(command), *arguments]
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )


@pytest.mark.parametrize("blocking", [True, False])
def test_stdout_writes_everything_into_a_pipe_that_is_read_slowly(blocking: bool) -> None:
    reading, end = os.pipe()
    os.set_blocking(end, blocking)
    got = list[bytes]()

    def read() -> None:
        while chunk := os.read(reading, 30_000):
            got.append(chunk)
            time.sleep(0.001)

    reader = threading.Thread(target=read)
    reader.start()
    with buffered(end) as out:
        out.write(DATA)
    os.close(end)
    reader.join(30)
    os.close(reading)
    assert b"".join(got) == DATA


def test_stdout_says_once_that_a_disk_is_full_and_lets_python_end() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    out = buffered(full)
    out.write(b"a")
    with pytest.raises(UserError, match=r"incomplete: .*No space left"):
        out.flush()
    out.close()
    os.close(full)


def test_stdout_tells_a_reader_that_is_gone_from_a_descriptor_that_is_closed() -> None:
    reading, end = os.pipe()
    os.close(reading)
    closed = os.open(os.devnull, os.O_RDONLY)
    for descriptor, expected in ((end, ReaderGone), (closed, UserError)):
        out = buffered(descriptor)
        out.write(b"a")
        with pytest.raises(expected):
            out.flush()
        out.close()
        os.close(descriptor)


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">/dev/full", 2, "No space left"),
        (">&-", 2, "it is closed"),
        (">&- 2>&-", 2, ""),
        ("2>/dev/full", 0, ""),
        ("<&- 2>&-", 0, ""),
        ("| true; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
def test_command_writes_all_output_or_ends_with_an_error(redirection: str, code: int, said: str) -> None:
    done = shell(f'"$0" --help {redirection}')
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == bool(said)


@pytest.mark.parametrize("form", ["csv", "table", "parquet"])
def test_unbuffered_output_on_a_disk_that_gets_full_is_an_error(form: str, made_store: Path, tmp_path: Path) -> None:
    statement = "SELECT hash(range)::VARCHAR || repeat('x', 3000) AS x FROM range(60)"
    done = shell(
        f'ulimit -f 64; "$0" sql "$1" "$2" --format {form} >"$3"', str(made_store), statement, str(tmp_path / "out"),
        PYTHONUNBUFFERED="1",
    )  # fmt: skip
    whole = form == "parquet"  # it is small enough
    assert done.returncode == (0 if whole else 2) and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("ending", ["csv", "parquet", "json", "tex"])
def test_writing_to_a_full_disk_is_an_error_and_leaves_no_file(ending: str, made_store: Path, tmp_path: Path) -> None:
    statement = (
        "SELECT string_agg(hash(2000 * range + i)::VARCHAR) AS x FROM range(10), range(2000) t(i) GROUP BY range"
    )
    done = shell('ulimit -f 64; "$0" sql "$1" "$2" -o "$3"', str(made_store), statement, str(tmp_path / f"a.{ending}"))
    assert done.returncode == 2 and "cannot be written (File too large)" in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_progress_is_a_bar_on_a_terminal_and_lines_on_a_dumb_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for term, drawn in (("xterm-256color", True), ("dumb", False)):
        shown = io.StringIO()
        terminal = Console(file=shown, force_terminal=True, width=80, markup=False, _environ={"TERM": term})
        monkeypatch.setattr(output, "messages", lambda terminal=terminal: terminal)
        with output.progress_bar() as bar:
            bar.show(0, 0, "queued")
            time.sleep(0.2)
            bar.show(3, 1000, "running [red]x[/red]", last=True)
        assert ("━" in shown.getvalue()) == drawn and "3 of 1,000 results  running [red]x[/red]" in shown.getvalue()


def test_print_table_works_in_a_terminal_of_a_few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, width in (("0", 80), ("1", output.LEAST), ("nonsense", 80), ("120", 120)):
        monkeypatch.setenv("COLUMNS", columns)
        assert output.messages().width == width


def test_a_dumb_terminal_is_refused_before_anything_is_drawn(
    made_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert run_app(["open", str(made_store)]) == 2
    captured = capsys.readouterr()
    assert "with TERM=dumb nothing can be drawn" in captured.err and not captured.out


def test_missing_working_folder_and_full_disk_give_one_sentence_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run_app(["status", "x.knstore"]) == 2 and "change to another" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    assert (
        run_app(["stability", "bert-en", "--facts", "1"]) == 2
        and "/tmp/x cannot be written (No space left" in capsys.readouterr().err
    )
