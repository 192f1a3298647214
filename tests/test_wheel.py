"""What is given away: the wheel holds everything that runs and nothing else, and one version stands everywhere."""

from __future__ import annotations

import re
import shutil
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MOST = 25 * 2**20
"""Bytes of a wheel."""


def built(root: Path, into: Path) -> Path:
    """The wheel of a source tree, by the project's own build backend."""
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed here")
    return Path(next(wheel.WheelBuilder(str(root)).build(directory=str(into), versions=["standard"])))


def files_of(wheel: Path) -> set[str]:
    """What it installs, without what describes it."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(HERE, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_every_file_of_the_three_packages_and_no_other(wheel: Path) -> None:
    there = {
        f"knscope/{path.relative_to(HERE)}"
        for package in ("tui", "analysis", "store")
        for path in (HERE / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files_of(wheel) == there | {"knscope/__init__.py", "knscope/py.typed"}
    assert wheel.stat().st_size < MOST


def test_the_wheel_is_the_same_out_of_the_source_archive(wheel: Path, tmp_path: Path) -> None:
    sdist = pytest.importorskip("hatchling.builders.sdist", reason="hatchling is not installed here")
    archive = next(sdist.SdistBuilder(str(HERE)).build(directory=str(tmp_path), versions=["standard"]))
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    unpacked = tmp_path / f"{PROJECT['name']}-{PROJECT['version']}"
    assert files_of(built(unpacked, tmp_path / "again")) == files_of(wheel)
    assert (unpacked / "CITATION.cff").is_file() and (unpacked / "tests" / "test_wheel.py").is_file()


def test_the_container_copies_what_the_wheel_is_built_of(wheel: Path, tmp_path: Path) -> None:
    copies = re.findall(r"^COPY (.+) (\S+)$", (HERE / "Containerfile").read_text(encoding="utf-8"), re.MULTILINE)
    for sources, into in copies:
        for source in sources.split():
            place = tmp_path / into / (source if into == "./" else "")
            if (HERE / source).is_dir():
                shutil.copytree(HERE / source, place, symlinks=True)
            else:
                shutil.copy(HERE / source, place)
    assert files_of(built(tmp_path, tmp_path / "dist")) == files_of(wheel)


def test_one_version_stands_everywhere(wheel: Path) -> None:
    version = PROJECT["version"]
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"knscope-{version}.dist-info/METADATA").decode()
        scripts = archive.read(f"knscope-{version}.dist-info/entry_points.txt").decode()
    assert f"\nVersion: {version}\n" in metadata and f"\nRequires-Python: {PROJECT['requires-python']}\n" in metadata
    assert "knscope = knscope.tui.cli:main" in scripts
    citation = (HERE / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == version
    newest = re.search(r"^## (.+)$", (HERE / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert newest in (version, "Unreleased")
