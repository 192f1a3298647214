"""A proof is made once for a model as it is loaded, and never believed of another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from knscope.analysis.engine import proof, remembered
from knscope.analysis.engine.models import LoadedModel, load_model
from knscope.analysis.engine.replay import Edit, Engine
from knscope.analysis.engine.ways import Case
from tests import families
from tests.analysis.engine.test_replay import samples


@pytest.fixture
def loaded(tiny_models: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return load_model(tiny_models["decoder"])


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows with every proof that is made."""
    made: list[bool] = []
    real = proof._Literal
    monkeypatch.setattr(proof, "_Literal", lambda c, m, whole: made.append(whole) or real(c, m, whole))  # type: ignore[func-returns-value]
    return made


def file_of(loaded: LoadedModel) -> Path:
    found = remembered.Remembered.of(loaded)
    assert found is not None
    return found._file


def test_second_engine_of_a_model_proves_nothing_and_computes_the_same(loaded: LoadedModel, proofs: list[bool]) -> None:
    first = Engine(loaded)
    first.proof.way(Case(whole=True))
    assert proofs == [False, True]
    second = Engine(loaded)
    assert second.proof.way(Case(whole=True)) == first.proof.way(Case(whole=True))
    assert proofs == [False, True]
    assert (second.recipe, second.proof.cost) == (first.recipe, first.proof.cost)
    assert (second.proof.error, second.proof.refused) == (first.proof.error, first.proof.refused)
    (query,) = samples(loaded, (8,))
    one, two = (engine.edited(query, [Edit.suppress([3, 40])])[0].p_steps for engine in (first, second))
    assert one.tolist() == two.tolist()


@pytest.mark.parametrize("changed", ["weights_hash", "tokenizer_hash", "dtype", "attention", "architecture"])
def test_remembered_proof_of_another_model_is_ignored(loaded: LoadedModel, proofs: list[bool], changed: str) -> None:
    """Not even where its file takes the other's name."""
    Engine(loaded)
    other = replace(
        loaded, identity=replace(loaded.identity, **{changed: "float64" if changed == "dtype" else "other"})
    )
    assert file_of(other) != file_of(loaded)
    file_of(loaded).rename(file_of(other))
    known = remembered.Remembered.of(other)
    assert known is not None and known.way(Case()) is None and known.cost() is None


@pytest.mark.parametrize("what", ["libraries", "engine", "neurons"])
def test_remembered_proof_of_other_code_is_ignored(
    loaded: LoadedModel, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Engine(loaded)
    if what == "libraries":
        monkeypatch.setattr(remembered.torch, "__version__", "1.0")
    elif what == "engine":
        monkeypatch.setattr(remembered, "_engine_hash", lambda: "other")
    else:
        loaded = replace(loaded, anatomy=replace(loaded.anatomy, sites=loaded.anatomy.sites[:1]))
    known = remembered.Remembered.of(loaded)
    assert known is not None and known.way(Case()) is None


@pytest.mark.parametrize(
    "how", ["writable by others", "a link", "cut off", "no object", "another type", "too long", "a folder"]
)
def test_untrusted_proof_file_is_ignored(loaded: LoadedModel, how: str, proofs: list[bool]) -> None:
    Engine(loaded)
    file, before = file_of(loaded), len(proofs)
    text = file.read_text()
    if how == "writable by others":
        file.chmod(0o666)
    elif how == "a link":
        file.rename(file.with_suffix(".real"))
        file.symlink_to(file.with_suffix(".real"))
    elif how == "a folder":
        file.unlink()
        file.mkdir()
    else:
        document = json.loads(text)
        document["ways"]["whole=False prefix=True linear=True"]["recipe"]["enter"] = 1
        texts = {
            "cut off": text[:-20],
            "no object": "[]",
            "another type": json.dumps(document),
            "too long": text + " " * 2**20,
        }
        file.write_text(texts[how])
    known = remembered.Remembered.of(loaded)
    assert known is not None and known.way(Case()) is None
    assert Engine(loaded).recipe.prefix
    assert len(proofs) == before + 1


def test_proof_files_are_readable_by_their_owner_only(loaded: LoadedModel) -> None:
    Engine(loaded)
    file = file_of(loaded)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_unwritable_cache_folder_is_ignored(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proofs: list[bool]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert Engine(loaded).recipe == Engine(loaded).recipe
    assert len(proofs) == 2


def test_model_in_memory_is_proven_every_time(proofs: list[bool]) -> None:
    """Whoever made it may have changed more than its weights."""
    made = families.load("gpt2")
    assert remembered.Remembered.of(made) is None
