"""Where a command's output goes: slow pipes, full disks, closed descriptors. All of it is written, or the command says so."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from knscope.store.errors import ReaderGone, UserError
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
    with pytest.raises(UserError, match=r"not whole: .*No space left"):
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
def test_a_command_ends_with_a_sentence_or_with_everything_written(redirection: str, code: int, said: str) -> None:
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
def test_a_file_that_does_not_fit_on_the_disk_is_an_error_and_leaves_nothing(
    ending: str, made_store: Path, tmp_path: Path
) -> None:
    statement = (
        "SELECT string_agg(hash(2000 * range + i)::VARCHAR) AS x FROM range(10), range(2000) t(i) GROUP BY range"
    )
    done = shell('ulimit -f 64; "$0" sql "$1" "$2" -o "$3"', str(made_store), statement, str(tmp_path / f"a.{ending}"))
    assert done.returncode == 2 and "cannot be written (File too large)" in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())
