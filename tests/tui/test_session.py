"""What a sitting starts with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from knscope import store
from knscope.store import runs
from knscope.store.shards import write_shard
from knscope.tui import session as tui_session
from knscope.tui import state
from knscope.tui.session import Session, Stored, look
from tests.store import synthetic


def test_a_store_opens_on_the_model_of_most_languages(tmp_path: Path) -> None:
    several = synthetic.Size(facts=3, models=("z-multi@00000000",), methods=("amig",), langs=("en", "zh"))
    path = synthetic.build(tmp_path / "a.knstore", several)
    one = synthetic.Size(facts=3, models=("a-english@11111111",), methods=("amig",), langs=("en",))
    other = synthetic.build(tmp_path / "b.knstore", one)
    with store.open(other) as reader:
        names = ("model", "site", "query", "prediction")
        frames = {name: reader.sql(f"FROM {name}") for name in names}
    write_shard(path, runs.new_run(path, {}), frames)
    with store.open(path) as reader:
        assert reader.models() == ["a-english@11111111", "z-multi@00000000"]
        session = Session(path)
        session.take(look(reader))
    assert session.view is not None
    assert (session.view.model, session.view.langs) == ("z-multi@00000000", ("en", "zh"))


def test_first_look_is_at_known_facts_if_there_are_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tui_session, "KNOWN_FIRST", True)
    for known in (3, 0):
        session = Session(tmp_path / "a.knstore")
        session.take(Stored(("m@1",), ("amig",), ("en",), facts=4, queries=9, known=known))
        assert session.view is not None and session.view.known is (known > 0)


def test_a_folder_whose_name_is_no_text_has_a_session_of_its_own(tmp_path: Path) -> None:
    places = [tmp_path / os.fsdecode(name) for name in (b"caf\xe9", b"caf\xe8", b"caf")]
    assert len({state.session_name(place) for place in places}) == 3
