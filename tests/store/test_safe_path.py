"""Where Python looks for modules: in no working folder and no folder of PYTHONPATH, here and in every process that is started."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from knscope.analysis.runs.protocol import PROGRAM
from knscope.store import processes, safe_path
from knscope.tui.commands.common import CLI

ROOT = Path(safe_path.ROOT)
PACKAGES = Path(processes.__file__).parents[1]
NAMES = ("analysis", "store", "tui", "knscope", "torch", "random", "queue", "inspect", "tokenize", "typing", "pathlib")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of a person's own code: each module writes down that it was run."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'run')!r}, 'a').write({name!r})\n")
    return folder


def installed(folder: Path) -> Path:
    """A folder as `pip install --target` leaves it."""
    (folder / "package-1.0.dist-info").mkdir(parents=True)
    return folder


@pytest.mark.parametrize("module", [PROGRAM, CLI])
def test_start_runs_nothing_of_the_working_folder_or_of_pythonpath(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{theirs}{os.pathsep}")
    with processes.start(module, "--help", cwd=theirs, stdout=subprocess.PIPE, text=True) as child:
        said, _ = child.communicate(timeout=120)
    assert child.returncode == 0 and "usage" in said.lower()
    assert not (tmp_path / "run").exists()


def test_command_line_runs_nothing_of_the_working_folder_or_of_pythonpath(theirs: Path, tmp_path: Path) -> None:
    """The console script imports `main` and calls it. What comes before that is Python's own: it must find our package."""
    (theirs / f"{CLI.partition('.')[0]}.py").unlink()
    code = (
        f"import sys; sys.path.append({str(ROOT)!r}); from {CLI} import main; sys.argv[1:] = ['run', '--help']; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(theirs)}
    done = subprocess.run([sys.executable, "-c", code], cwd=theirs, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run").exists()


def test_clean_keeps_installed_packages_and_drops_other_folders(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, script = installed(tmp_path / "there"), tmp_path / "bin"
    monkeypatch.chdir(theirs)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(theirs), str(there), safe_path.STANDARD]))
    monkeypatch.setattr(sys, "path", [str(script), "", str(theirs), str(there), safe_path.STANDARD, "/late"])
    monkeypatch.setenv("PYTHONSAFEPATH", "")  # so that what `clean` sets is undone
    safe_path.clean()
    assert sys.path == [str(there), safe_path.STANDARD, "/late"]
    found = os.environ["PYTHONPATH"].split(os.pathsep)
    assert found[:2] == [str(there), safe_path.STANDARD] and set(found[2:]) <= {str(ROOT)}
    assert os.environ["PYTHONSAFEPATH"] == "1"


def test_environment_is_the_same_when_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    once = safe_path.environment()
    monkeypatch.setattr(os, "environ", once)
    assert safe_path.environment() == once


def test_command_of_safe_path_starts_every_python_process() -> None:
    found = {
        path.relative_to(PACKAGES).as_posix()
        for top in ("store", "analysis", "tui")
        for path in (PACKAGES / top).rglob("*.py")
        if re.search(r"sys\.executable(?!\} -m pip)", path.read_text(encoding="utf-8"))
    }
    assert found == {"store/safe_path.py"}
