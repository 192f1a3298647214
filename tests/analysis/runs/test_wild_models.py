"""Families that nobody thought of when the paper was written, from a folder to tables 1-3; a random model knows nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from knscope import store
from knscope.analysis.attribution import table as kn_table
from knscope.analysis.dkn import table as dkn_table
from knscope.analysis.edits import table as edits_table
from knscope.analysis.factcheck import table as factcheck_table
from knscope.analysis.layers import table as layers_table
from knscope.analysis.likn import table as likn_table
from knscope.analysis.report import summary
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.statistics.table import Table
from knscope.store import runs as run_files
from knscope.store.reader import Reader
from knscope.store.view import View
from tests import families
from tests.analysis.runs.inline_job import execute

FACTS = """fact_id,relation,lang,template,subject,object
tz,P36,en,The capital of [X] is [Y],Tanzania,Dodoma
tz,P36,zh,[X]的首都是[Y],坦桑尼亚,多多马
fr,P36,en,The capital of [X] is [Y],France,Paris
fr,P36,zh,[X]的首都是[Y],法国,巴黎
ke,P36,en,The capital of [X] is [Y],Kenya,Nairobi
ke,P36,zh,[X]的首都是[Y],肯尼亚,内罗毕
"""
TABLES: dict[str, Callable[[Reader, View], Table]] = {
    "kn": kn_table.build,
    "layers": layers_table.build,
    "likn": likn_table.build,
    "dkn": dkn_table.build,
    "edits": lambda reader, view: edits_table.build(reader, view, draws=50),
    "factcheck": lambda reader, view: factcheck_table.build(reader, view),
}


@pytest.fixture(scope="module", params=["modernbert", "qwen3", "opt"])
def wild(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with everything of a family's random model, two methods, three facts in two languages."""
    place = tmp_path_factory.mktemp("wild")
    loaded = families.load(request.param, torch.float32)
    loaded.model.save_pretrained(place / request.param)
    loaded.tokenizer.save_pretrained(place / request.param)
    (place / "facts.csv").write_text(FACTS, encoding="utf-8")
    config = RunConfig(
        (ModelSource(str(place / request.param)),),
        str(place / "facts.csv"),
        methods=("amig", "bkn"),
        scan_methods=("amig",),
        what=("attribution", "dkn", "edit", "factcheck"),
        engine="inline",
        prefix="The capital of France is Paris. ",
    )
    execute(place / "wild.knstore", config)
    return place / "wild.knstore"


def test_an_unusual_family_runs_from_a_folder_to_every_table(wild: Path) -> None:
    record = run_files.read_runs(wild)[-1]
    assert (record.status, record.failures, record.done) == ("done", (), record.total)
    with store.open(wild) as reader:
        assert reader.sql("SELECT DISTINCT prompt_note FROM query").to_series().to_list() == [
            "The capital of France is Paris. "
        ]
        assert reader.sql("SELECT DISTINCT n_words FROM prediction").to_series().max() < 12, "the prefix has no words"
        assert set(reader.sql("SELECT DISTINCT method FROM attribution").to_series()) == {"amig", "bkn"}
        view = View(reader.models()[0], "amig", ("en", "zh"))
        tables = {name: build(reader, view) for name, build in TABLES.items()}
        assert summary.build(reader)
    assert set(tables["edits"].frame["table"]) >= {"1"}
    assert tables["edits"].frame["missing"].sum() == 0
    assert all(tables[name].frame.height for name in ("kn", "layers", "likn", "edits"))


@pytest.mark.parametrize("name", TABLES)
def test_a_model_that_knows_no_fact_gives_empty_tables_that_explain_themselves(wild: Path, name: str) -> None:
    with store.open(wild) as reader:
        view = View(reader.models()[0], "amig", ("en", "zh"), known=True)
        if reader.sql("SELECT any_value(known) FROM prediction WHERE known").item():
            pytest.skip("this random model happens to know one")
        table = TABLES[name](reader, view)
    assert table.notes or table.frame.height
