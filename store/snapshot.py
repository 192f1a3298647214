"""results.duckdb: everything stored in one read-only file that any DuckDB client opens, old ones included, with the macros inside.

It is made beside its final place and renamed, so a client sees the old file or the new one, and whoever has the old one open keeps it. The
format is that of DuckDB 1.0 (`STORAGE`). Dense scores stay outside: a τ below the floor is an error there that names the floor. Behind
the database lies its checksum (store/attached.py).
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from knscope.store import attached, files, schema
from knscope.store.compaction import sweep
from knscope.store.database import prepare
from knscope.store.dense import DamagedShardError
from knscope.store.errors import UserError
from knscope.store.ingest import insert
from knscope.store.intake import Intake, portions
from knscope.store.layout import SNAPSHOT, check, list_shards, place_of
from knscope.store.shards import Alike, Shard, read_shard
from knscope.store.view import sql_literal

STORAGE = "v1.0.0"
"""The oldest DuckDB that opens the file."""
MEMORY = "1GB"
LOOKS = 5
"""How often to look for what came, or was merged, while shards were read."""
READ_INTO = frozenset("?\\")
"""Signs in a folder's name that DuckDB takes for more than a name, as it does the `word:` that a relative one may begin with."""


def publish(store: Path | str) -> Path:
    """Write STORE/results.duckdb anew; returns its path. Damaged shards are left out. Raises UserError where it cannot be written.

    Where shards came while it was written, or were merged, it is written once more: a run that ended meanwhile may have published fewer.
    """
    folder = check(store)
    for _ in range(2):
        found = _publish(folder)
        if set(list_shards(folder)) == found:
            break
    return folder / SNAPSHOT


def _publish(folder: Path) -> set[Path]:
    """Write it; the shards that were there when it was made."""
    final = folder / SNAPSHOT
    sweep(folder, f".{SNAPSHOT}-*")  # of processes that were killed: drafts, and the folders that DuckDB spilled into
    temporary = folder / f".{SNAPSHOT}-{secrets.token_hex(4)}"
    try:
        if READ_INTO.isdisjoint(str(folder.resolve())):
            found = _build(folder, temporary.resolve())
        else:
            with TemporaryDirectory(prefix="knscope-") as scratch:
                draft = Path(scratch) / SNAPSHOT
                found = _build(folder, draft)
                shutil.copyfile(draft, temporary)
        attached.seal(temporary)
        files.flush(temporary)
        temporary.replace(final)
        files.flush(folder)
    except (OSError, duckdb.Error) as error:
        raise UserError(
            f"{final} cannot be written ({error}); free space or make the folder writable, then `knscope store compact {folder}`: "
            "what is stored is kept"
        ) from error
    finally:
        for left in (temporary, temporary.with_name(f"{temporary.name}.wal")):
            left.unlink(missing_ok=True)
    return found


def _build(folder: Path, path: Path) -> set[Path]:
    with duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": f"{path}.tmp"}) as connection:
        connection.execute(f"ATTACH {sql_literal(str(path))} AS results (STORAGE_VERSION '{STORAGE}')")
        connection.execute("USE results")
        prepare(connection)
        intake = Intake()
        taken, seen = set[Path](), set[Path]()
        for _ in range(LOOKS):
            found = set(list_shards(folder))
            if found <= seen:
                break
            for some in portions(_readable(sorted(found - seen))):
                _, refused = intake.take_in(connection, some)
                taken.update(shard.path for shard in some if shard.path not in refused)
            seen |= found
        _record(connection, taken & found, intake)
        connection.execute("CHECKPOINT")
        connection.execute("USE memory")
        connection.execute("DETACH results")
    return found


def _record(connection: duckdb.DuckDBPyConnection, shards: set[Path], intake: Intake) -> None:
    """What a reader needs to know to start from here: in which of these shards the results are."""
    held = sorted(map(place_of, shards))
    copies = [
        (key, place_of(dense.path.parent), row)
        for key, found in intake.dense.items()
        for dense, row in found
        if dense.path.parent in shards
    ]
    rows: Mapping[str, Sequence[tuple[object, ...]]] = {
        "held": [(shard, schema.fingerprint()) for shard in held],
        "dense_place": copies,
        "numerics": list(intake.numerics.items()),
    }
    for name, (what, meanings) in attached.HELD.items():
        connection.execute(attached.ddl(name))
        columns = dict(zip(meanings, zip(*rows[name], strict=True), strict=False))
        if columns:
            insert(connection, name, pa.table(columns))
        connection.execute(f"COMMENT ON TABLE {name} IS {sql_literal(what)}")
        for column, meaning in meanings.items():
            connection.execute(f"COMMENT ON COLUMN {name}.{column} IS {sql_literal(meaning)}")


def _readable(paths: Iterable[Path]) -> Iterator[Shard]:
    alike: Alike = {}
    for path in paths:
        try:
            yield read_shard(path, alike=alike)
        except DamagedShardError:
            continue
