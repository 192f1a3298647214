"""A store that somebody else made: whatever lies in it is named and put aside, the rest answers, and nothing outside it is touched."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from knscope import store
from knscope.store import compaction, files, ledger, parquet, runs, shards
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.view import View
from tests.store import synthetic

SIZE = synthetic.Size(facts=5, models=synthetic.MODELS[:1], methods=("amig",), langs=("en",), shard_facts=2, scanned=4)
VIEW = View(synthetic.MODELS[0], "amig", ("en",))
DEEP = "[" * 200_000 + "]" * 200_000
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.build(tmp_path_factory.mktemp("built") / "a.knstore", SIZE)


@pytest.fixture
def path(tmp_path: Path, built: Path) -> Path:
    return shutil.copytree(built, tmp_path / "a.knstore")


@pytest.fixture(autouse=True)
def _nothing_waits() -> Iterator[None]:
    """A test that waits for a pipe fails."""

    def late(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def link(file: Path) -> None:
    """The file lies elsewhere, and a link to it here."""
    outside = next(folder.parent for folder in file.parents if folder.suffix == ".knstore")
    file.symlink_to(file.rename(outside / f"elsewhere-{file.name}"))


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Change:
    """A file changed by who knows how to: the manifest has its new checksum."""

    def apply(shard: Path) -> None:
        content = change((shard / name).read_bytes())
        (shard / name).write_bytes(content)
        manifest(sha256={name: hashlib.sha256(content).hexdigest()})(shard)

    return apply


def manifest(**fields: Any) -> Change:
    def apply(shard: Path) -> None:
        document = json.loads((shard / "manifest.json").read_text())
        for name, value in fields.items():
            document[name] = {**document[name], **value} if isinstance(value, dict) else value
        (shard / "manifest.json").write_text(json.dumps(document))

    return apply


def table(name: str, change: Callable[[pa.Table], pa.Table]) -> Change:
    def apply(content: bytes) -> bytes:
        sink = io.BytesIO()
        pq.write_table(change(pq.read_table(io.BytesIO(content))), sink)
        return sink.getvalue()

    return rewritten(f"{name}.parquet", apply)


def column(name: str, make: Callable[[int], pa.Array]) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), make(rows.num_rows))


def all_of(name: str, column: str, value: object) -> Change:
    """One value in all rows of a table."""
    return table(
        name,
        lambda rows: rows.set_column(
            rows.schema.get_field_index(column),
            rows.schema.field(column),
            pa.array([value] * rows.num_rows, rows.schema.field(column).type),
        ),
    )


def array(*, wider: tuple[int, int] = (0, 0), **fields: object) -> Change:
    """A dense.npy whose header says something else."""

    def apply(content: bytes) -> bytes:
        rows = np.load(io.BytesIO(content))
        header: dict[str, Any] = {"descr": "<f4", "fortran_order": False, "shape": rows.shape, **fields}
        header["shape"] = tuple(np.add(header["shape"], wider).tolist())
        sink = io.BytesIO()
        np.lib.format.write_array_header_1_0(sink, header)
        return sink.getvalue() + rows.tobytes()

    return rewritten("dense.npy", apply)


def repeated(rows: int) -> pa.Array:
    """A text of one megabyte again and again, which takes next to nothing on disk."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * (1 << 20)]).cast(pa.string())


DAMAGE: dict[str, tuple[Change, str]] = {
    **{f"{name} is a pipe": (lambda s, name=name: pipe(s / name), name) for name in ("manifest.json", "query.parquet", "dense.npy")},
    **{f"{name} is a link": (lambda s, name=name: link(s / name), name) for name in ("manifest.json", "query.parquet", "dense.npy")},
    "manifest names a device": (manifest(sha256={"/dev/zero": "x"}), "'/dev/zero', which is no file of a shard"),
    "manifest names a file above": (manifest(sha256={"../../run.json": "x"}), "which is no file of a shard"),
    "manifest counts rows elsewhere": (manifest(rows={"../../x": 1}), "which is no file of a shard"),
    "manifest has no rows": (manifest(rows=[]), "manifest.json is not what knscope writes"),
    "manifest has texts for counts": (manifest(rows={"query": "x"}), "manifest.json is not what knscope writes"),
    "manifest has numbers for checksums": (manifest(sha256={"query.parquet": 5}), "manifest.json is not what"),
    "manifest has a text for sums": (manifest(dense_sums="12"), "manifest.json is not what knscope writes"),
    "manifest without a checksum": (manifest(sha256=[], rows={}), "manifest.json is not what knscope writes"),
    "manifest is nested": (lambda s: (s / "manifest.json").write_text(DEEP), "nested too deeply"),
    "manifest is a list": (lambda s: (s / "manifest.json").write_text("[1]"), "does not hold a JSON object"),
    "manifest holds half a character": (lambda s: (s / "manifest.json").write_text('{"\\ud800": 1}'), "surrogates not allowed"),
    "manifest is a folder": (lambda s: ((s / "manifest.json").unlink(), (s / "manifest.json").mkdir()), "no regular file"),
    "dense scores are pickled": (rewritten("dense.npy", lambda _: pickle.dumps([1])), "does not hold"),
    "dense scores are objects": (array(descr="|O"), "does not hold"),
    "dense scores by columns": (array(fortran_order=True), "does not hold"),
    "dense scores without end": (array(wider=(0, 10**14)), "does not hold"),
    "dense scores of more rows": (array(wider=(1, 0)), "does not hold"),
    "dense scores of fewer neurons": (array(wider=(0, -5)), "bytes, which is not"),
    "rows that are not counted": (table("query", lambda rows: rows[:0]), "query.parquet has 0 rows, not"),
    "no table": (rewritten("query.parquet", lambda _: b"PAR1" * 9), "query.parquet"),
    "columns of another kind": (table("query", lambda rows: rows.drop_columns(["lang"])), "other columns"),
    "rows of dense scores that are not there": (all_of("attribution", "dense_row", 99), "99"),
    "rows without a key": (all_of("attribution", "key", None), "rows without a key"),
    "options that are no JSON": (all_of("method", "options", "{"), "Expecting"),
    "rows without a role": (all_of("scan", "role", None), "rows without a role"),
    "neurons that the model has not": (all_of("score", "neuron", 99999), "score has neuron 99999"),
    "layers that the model has not": (all_of("ablation", "layer_b", -1), "ablation has layer_b -1"),
    "positions without a bit": (all_of("scan_neuron", "position", 127), "position 127"),
    "layers without end": (all_of("site", "width", 2**31 - 1), "table site"),
    "texts that are none": (
        table("query", column("subject", lambda n: pa.array([b"\xff"] * n).view(pa.string()))),
        "UTF8",
    ),
}  # fmt: skip


def test_reader_and_verify_name_every_false_shard_and_read_the_others(tmp_path: Path) -> None:
    size = replace(
        SIZE, facts=len(DAMAGE) + 2, shard_facts=1, templates=synthetic.TEMPLATES[:1], langs=("en", "zh"), scanned=2
    )
    path = synthetic.build(tmp_path / "a.knstore", size)
    said = {}
    for shard, (change, why) in zip(shards.list_shards(path), DAMAGE.values(), strict=False):
        change(shard)
        said[str(shard)] = why
    with store.open(path) as reader:
        assert {
            (why, reader.damaged.get(place, ""))
            for place, why in said.items()
            if why not in reader.damaged.get(place, "")
        } == set()
        assert reader.damaged.keys() == said.keys()
        assert reader.queries(VIEW).height
    bad = {str(path / "runs" / name) for name, why in shards.verify(path).items() if why}
    assert bad == said.keys()
    compaction.compact(path)
    assert all(map(os.path.isdir, said))


@pytest.mark.parametrize("limit", ["FILE_BYTES", "DECODED_BYTES"])
def test_reader_refuses_a_table_that_takes_too_much_memory(
    path: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurt = next(iter(shards.list_shards(path)))
    table("query", column("subject", repeated))(hurt)
    assert store.open(path).damaged == {}
    assert (hurt / "query.parquet").stat().st_size < 1 << 20
    monkeypatch.setattr(parquet, limit, 3 << 19 if limit == "DECODED_BYTES" else 100)
    with store.open(path) as reader:
        assert str(hurt) in reader.damaged


@pytest.mark.parametrize("name", ["zero", "../dev/zero", "/dev/zero", "..", "", ".hidden", "a\x1b[31m", "fd"])
def test_opened_refuses_devices_folders_and_names_that_leave_the_folder(name: str) -> None:
    with pytest.raises(OSError), files.opened(Path("/dev"), name):
        pass


def test_opened_refuses_a_file_that_is_larger_than_any_knscope_writes(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(files.MOST + 1)
    with pytest.raises(OSError, match="bytes, and knscope writes at most"), files.opened(tmp_path, "large"):
        pass


def run(**fields: Any) -> Change:
    return lambda folder: (folder / "run.json").write_text(
        json.dumps({**json.loads((folder / "run.json").read_text()), **fields})
    )


RECORDS: dict[str, tuple[Change, str]] = {
    "a pipe": (lambda run: pipe(run / "run.json"), "no regular file"),
    "nested": (lambda run: (run / "run.json").write_text(DEEP), "nested too deeply"),
    "config of wrong types": (run(config={"models": "x", "data": 5}), "config.models"),
    "config with a model that is none": (run(config={"models": [7]}), "config.models"),
    "status is a list": (run(status=["a"]), "status"),
    "pid -1": (run(provenance={"pid": -1}), "provenance.pid"),
    "pid 10^30": (run(provenance={"pid": 10**30}), "provenance.pid"),
    "provenance is a list": (run(provenance=[1]), "provenance"),
    "a pace of three numbers": (run(provenance={"speed": {"a": {"edit": [1, 2, 3]}}}), "provenance.speed.a.edit"),
    "provenance of models without labels": (run(provenance={"models": {"a": "b"}}), "provenance.models.a"),
    "begun in a far future": (run(started=1e300), "started"),
    "begun at no time": (run(started=float("nan")), "started"),
    "a truth for a count": (run(done=True), "done"),
    "computed without end": (run(computed=10**30), "computed"),
    "failures are a number": (run(failures=5), "failures"),
}


def test_runs_name_every_record_that_cannot_be_used_and_give_the_others(path: Path) -> None:
    others = runs.read_runs(path)
    said = {}
    for change, why in RECORDS.values():
        name = runs.new_run(path, {})
        change(path / "runs" / name)
        said[name] = why
    found = runs.read_runs(path)
    damaged = {one.run: one.message for one in found if one.status == "damaged"}
    assert {run for run, why in said.items() if why not in damaged.get(run, "")} == set()
    assert [one for one in found if one.run not in said] == others
    assert {name for name, why in shards.verify(path).items() if why} == {f"{run}/run.json" for run in said}


def test_a_run_record_with_only_some_of_the_fields_is_read(path: Path) -> None:
    record = runs.read_runs(path)[0]
    (path / "runs" / record.run / "run.json").write_text('{"status": "done", "config": {}, "of a later version": 1}')
    assert runs.read_runs(path)[0] == runs.RunRecord(record.run, "done")


@pytest.mark.parametrize("depth", ["shard", "shards", "run"])
def test_links_to_folders_elsewhere_are_named_and_neither_read_nor_changed(
    path: Path, tmp_path: Path, depth: str
) -> None:
    shard = next(iter(shards.list_shards(path)))
    place = {"shard": shard, "shards": shard.parent, "run": shard.parent.parent}[depth]
    outside = place.rename(tmp_path / "outside")
    (outside / ".tmp-of-somebody").mkdir()
    os.utime(outside / ".tmp-of-somebody", (0, 0))
    place.symlink_to(outside)
    before = sorted(outside.rglob("*"))
    with store.open(path) as reader:
        assert "is a link" in reader.damaged[str(place)]
        assert reader.queries(VIEW)["fact"].n_unique() < SIZE.facts
        shards.set_aside(reader.damaged)
    assert depth == "shard" or str(place.relative_to(path / "runs")) in shards.verify(path)
    compaction.compact(path)
    assert sorted(outside.rglob("*")) == before


def test_a_store_whose_runs_are_elsewhere_is_refused(path: Path, tmp_path: Path) -> None:
    (path / "runs").rename(tmp_path / "runs")
    (path / "runs").symlink_to(tmp_path / "runs")
    with pytest.raises(UserError, match="is a link, and nothing in a store may be one"):
        store.open(path)


def test_ledger_names_outside_the_store_are_reported_and_remove_nothing(path: Path, tmp_path: Path) -> None:
    (outside := tmp_path / "outside").mkdir()
    book = next((path / "runs").glob(f"*/{ledger.LEDGER}"))
    book.write_text(book.read_text() + "+" + "../" * 12 + "etc\n-" + "../" * 4 + "outside\n")
    with store.open(path) as reader:
        assert "2 of its lines name no shard" in reader.damaged[str(book)]
        assert reader.queries(VIEW)["fact"].n_unique() == SIZE.facts
    compaction.compact(path)
    assert outside.is_dir()


@pytest.mark.parametrize("change", [pipe, link])
def test_ledger_that_is_not_a_file_is_not_appended_to(path: Path, change: Change) -> None:
    book = max(path.glob(f"runs/*/{ledger.LEDGER}"), key=lambda one: one.stat().st_size)
    change(book)
    with pytest.raises(OSError):
        ledger.note(book.parent, "a")
    with pytest.raises(UserError, match="committed cannot be written"):
        compaction.compact(path)
    with store.open(path) as reader:
        assert str(book) in reader.damaged
        assert reader.queries(VIEW)["fact"].n_unique() == SIZE.facts
    elsewhere = path.parent / f"elsewhere-{ledger.LEDGER}"
    assert change is pipe or elsewhere.read_text().count("\n") == 2


def test_request_to_stop_a_run_follows_no_link(path: Path, tmp_path: Path) -> None:
    run = runs.read_runs(path)[-1].run
    (path / "runs" / run / "cancel").symlink_to(tmp_path / "made")
    with pytest.raises(UserError, match="is a link"):
        runs.request_cancel(path, run)
    assert not (tmp_path / "made").exists()


def test_reader_finds_a_file_cut_short_while_it_reads(path: Path) -> None:
    with Reader(path, dense="rows") as reader:
        key = reader.sql("SELECT key FROM attribution LIMIT 1").item()
        for file in path.rglob("dense.npy"):
            os.truncate(file, 200)
        with pytest.raises(UserError, match="bytes, which is not"):
            reader.dense(key)
        assert pl.DataFrame(reader.queries(VIEW)).height
