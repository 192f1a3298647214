"""A store that is kept as a file: made once, opened by every later version."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from knscope import store
from knscope.store import schema, shards
from tests.store import small


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.unpack(tmp_path_factory.mktemp("small"))


def test_a_kept_store_opens_and_gives_the_same_values(kept: Path) -> None:
    expected = json.loads(small.VALUES.read_text(encoding="utf-8"))
    with store.open(kept) as reader:
        found = {name: small.table(reader, name, one["columns"]) for name, one in expected["tables"].items()}
        assert found == expected["tables"] and not reader.damaged
        assert {name: expected[name] for name in ("kn", "dkn", "dense")} == small.views(reader)
    assert expected["tables"].keys() <= schema.tables().keys(), "a stored table is gone"


def test_kept_store_passes_verify_and_holds_no_pickle(kept: Path) -> None:
    assert not any(shards.verify(kept).values())
    files = [Path(folder, name) for folder, _, names in os.walk(kept) for name in names]
    assert {path.suffix for path in files} == {".json", ".parquet", ".npy", ""}
    assert not any(path.read_bytes().startswith(b"\x80") for path in files)
