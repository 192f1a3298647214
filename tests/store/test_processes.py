"""Processes of our own: which is which, whether one lives, how it ended."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from knscope.store import processes


def test_lives_tells_this_process_from_one_that_ended_and_from_one_it_cannot_see() -> None:
    here = processes.identity()
    assert here["pid"] == os.getpid() and processes.lives(here) is True
    for unseen in (
        {**here, "host": "another"},
        {**here, "boot": "another start of this machine, or another container"},
        {**here, "process_started": here["process_started"] - 60},  # the number is another process's by now
        {"host": here["host"], "pid": here["pid"]},
        {**here, "pid": 2**40},
        {**here, "pid": "7"},
        {},
    ):
        assert processes.lives(unseen) is None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        there = processes.identity(child.pid)
        assert processes.lives(there) is True
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert processes.lives(there) is False, "nobody has asked yet how it ended"
    assert processes.lives(there) is False


def test_lives_does_not_know_of_a_process_that_this_user_may_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(*_: object) -> None:
        raise PermissionError

    def absent(pid: int) -> None:
        raise psutil.NoSuchProcess(pid)

    here = processes.identity()
    monkeypatch.setattr(psutil, "Process", absent)
    monkeypatch.setattr(os, "kill", hidden)
    assert processes.lives(here) is None


def test_last_words_are_the_last_line_of_a_log_that_is_a_file(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert processes.last_words(log) == ""
    log.write_bytes(b"x" * 100_000 + b"\nloading 1%\rloading 2%\nRuntimeError: \xff gone\n \n")
    assert processes.last_words(log) == "RuntimeError: � gone"
    os.mkfifo(tmp_path / "fifo")
    assert processes.last_words(tmp_path / "fifo") == "", "nobody waits for it"


def test_find_names_the_processes_of_a_run_and_no_others() -> None:
    code = "input()"
    options = {"stdin": subprocess.PIPE}
    with (
        subprocess.Popen([sys.executable, "-c", code, "module", "job", "STORE", "run-1"], **options) as mine,
        subprocess.Popen([sys.executable, "-c", code, "module", "job", "STORE", "run-2"], **options),
        subprocess.Popen([sys.executable, "-c", code, "cancel", "STORE", "run-1"], **options),
    ):
        assert [one.pid for one in processes.find("module", "run-1")] == [mine.pid]
