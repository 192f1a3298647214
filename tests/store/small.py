"""Makes tests/store/small.knstore.tar.gz, a store with rows in every table, and small.json, the values it holds.

They are kept so that a store written by an earlier version is opened by every later one. `python -m tests.store.small` makes
them anew, which is right only where stored values change on purpose: then the numerics version is raised as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from knscope import store
from knscope.store import schema
from knscope.store.reader import Reader

HERE = Path(__file__).parent
ARCHIVE, VALUES = HERE / "small.knstore.tar.gz", HERE / "small.json"
PLACES = "france paris,germany berlin,spain madrid,a b,c d,e f"


def unpack(folder: Path) -> Path:
    """The kept store, in a folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "small.knstore"


def table(reader: Reader, name: str, columns: Sequence[str]) -> dict[str, Any]:
    """A table's count of rows and a hash of all values, bit for bit; `columns`: those it had when the store was made."""
    quoted = ", ".join(f'"{column}"' for column in columns)
    rows = _rows(reader.sql(f"SELECT {quoted} FROM {name}"))
    return {
        "columns": list(columns),
        "rows": len(rows),
        "hash": hashlib.sha256("\n".join(rows).encode()).hexdigest(),
    }


def views(reader: Reader) -> dict[str, Any]:
    """N and the degenerate pairs at the default thresholds to nine digits, and the sums of the dense scores."""
    view = reader.view()
    nine = pl.selectors.float().round(9)
    keys = reader.sql("SELECT key FROM attribution ORDER BY key")["key"]
    return {
        "kn": _rows(reader.kn(view).with_columns(nine)),
        "dkn": _rows(reader.dkn(view).with_columns(nine)),
        "dense": {key: float(reader.dense(key).sum()) for key in keys},
    }


def _rows(frame: pl.DataFrame) -> list[str]:
    """Every row as JSON, sorted."""
    return sorted(json.dumps(row, ensure_ascii=False, default=str) for row in frame.iter_rows())


def main() -> None:
    from knscope.analysis.attribution.method import NUMERICS_VERSION
    from knscope.analysis.runs import job
    from knscope.analysis.runs.__main__ import make_executor
    from knscope.analysis.runs.config import PHASES, ModelSource, RunConfig
    from knscope.store import compaction
    from knscope.store import runs as run_files
    from tests.conftest import build_tiny_model

    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path()
        build_tiny_model(folder / "tiny", "encoder", width=12)
        lines = ["fact_id,relation,lang,template,subject,object"]
        for pair in PLACES.split(","):
            subject, answer = pair.split()
            for lang, template in (
                ("en", "the capital of [X] is [Y]"),
                ("en", "[X] capital is [Y]"),
                ("fr", "[X] est [Y]"),
            ):
                lines.append(f"P36-{subject},P36,{lang},{template},{subject},{answer}")
        lines.append("P36-w,P36,en,[Y] is the capital of [X],paris,xyz")
        data = folder / "facts.csv"
        data.write_text("\n".join(lines) + "\n", encoding="utf-8")
        place = store.create(folder / "small.knstore")
        config = RunConfig((ModelSource("./tiny"),), "./facts.csv", what=PHASES, engine="inline")
        run = run_files.new_run(place, config.to_json())
        done = job.execute(place, run, lambda c, cancelled: make_executor(place, run, c, cancelled))
        record = run_files.read_run(place, run)
        assert done == "done", record.message
        run_files.write_run(place, replace(record, provenance={"numerics_version": NUMERICS_VERSION}))
        compaction.compact(place)
        (place / "results.duckdb").unlink(missing_ok=True)
        with tarfile.open(ARCHIVE, "w:gz") as archive:
            archive.add(place, "small.knstore", filter=_anonymous)
        with store.open(place) as reader:
            tables = {name: table(reader, name, about.schema.names) for name, about in schema.tables().items()}
            assert all(one["rows"] for one in tables.values())
            document = {"tables": tables, **views(reader)}
            VALUES.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
