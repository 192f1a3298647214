"""Making a store where another process makes it too, or one was killed while it did."""

import threading
from pathlib import Path

import pytest

from knscope import store
from knscope.store.errors import UserError
from knscope.store.layout import STORE_FILE


def test_create_works_from_many_processes_at_once(tmp_path: Path) -> None:
    failures: list[UserError] = []

    def make(place: Path) -> None:
        try:
            store.create(place)
        except UserError as error:
            failures.append(error)

    for number in range(20):
        threads = [threading.Thread(target=make, args=(tmp_path / f"{number}.knstore",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_create_finishes_what_a_killed_create_began(tmp_path: Path) -> None:
    place = tmp_path / "a.knstore"
    place.mkdir()
    (place / f".{STORE_FILE}.1234abcd").write_text('{"form')
    assert store.create(place) == place and (place / STORE_FILE).exists()


def test_create_refuses_a_folder_that_holds_other_files(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match="is no store of results"):
        store.create(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["runs"]
