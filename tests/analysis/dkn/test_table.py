"""The table of degenerate pairs, on a made-up store."""

from __future__ import annotations

from pathlib import Path

import pytest

from knscope import store
from knscope.analysis.dkn import table as dkn_table
from knscope.store.view import View
from tests.store import synthetic


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = synthetic.Size(facts=10, models=synthetic.MODELS[:1], methods=("amig",))
    return synthetic.build(tmp_path_factory.mktemp("dkn") / "s.knstore", size)


def test_pairs_too_near_certainty_for_an_interaction_are_counted_in_the_notes(path: Path) -> None:
    """Fact 6 is certain in Chinese."""
    view = View(synthetic.MODELS[0], "amig", synthetic.LANGS, taus=tuple((lang, 0.1) for lang in synthetic.LANGS))
    with store.open(path) as reader:
        certain = reader.dkn(view).filter(fact="fact-00006", lang="zh").height
        own = reader.dkn(view).filter(fact="fact-00006", lang="zh", role="kn").height
        assert certain > own > 1
        assert dkn_table.build(reader, view).notes[-1].startswith(f"{certain} pairs are too near certainty")
        assert dkn_table.pairs(reader, view).notes[-1].startswith(f"{own} pairs are too near certainty")
        for table in (dkn_table.build, dkn_table.pairs):
            notes = table(reader, view.with_(langs=("en", "fr"), taus=view.taus[::2])).notes
            assert not any("certainty" in note for note in notes)


def test_the_table_and_the_rates_count_the_same_pairs(path: Path) -> None:
    view = View(synthetic.MODELS[0], "amig", synthetic.LANGS, taus=tuple((lang, 0.1) for lang in synthetic.LANGS))
    with store.open(path) as reader:
        columns = ("facts", "pairs", "paper", "strict", "expressed")
        table = dkn_table.build(reader, view).frame.filter(lang="zh").select("neurons", *columns)
        rates = reader.dkn_rate(view).filter(lang="zh")
        for role, name in dkn_table.ROLES.items():
            assert rates.filter(role=role).select(columns).rows() == table.filter(neurons=name).select(columns).rows()
