from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from knscope import store
from knscope.store.reader import Reader
from tests.store import synthetic


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store nobody may write to."""
    return synthetic.build(tmp_path_factory.mktemp("made") / "made.knstore")


@pytest.fixture(scope="session")
def reader(made: Path) -> Iterator[Reader]:
    with store.open(made) as opened:
        yield opened
