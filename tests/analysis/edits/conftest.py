"""The hand-wired model's store, which several files look at."""

from __future__ import annotations

import pytest

from tests.analysis.planted_store import PlantedStore


@pytest.fixture(scope="package")
def full(tmp_path_factory):
    """A store with attributions, scans, every wanted edit and every wanted claim."""
    made = PlantedStore(tmp_path_factory.mktemp("planted") / "planted.knstore")
    made.attribute()
    made.edit()
    made.claim()
    return made


@pytest.fixture
def reader(full):
    with full.reader() as opened:
        yield opened
