"""Any frame as CSV or Parquet, any document as JSON; and files that are written whole or not at all."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knscope.store.errors import ReaderGone, UserError

if TYPE_CHECKING:
    import polars as pl

_FORMULA = r"^[=+\-@＝＋－＠\t\r\n]"
"""How a text begins that spreadsheet programs take for a formula."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place beside `path` to write a file or folder to, in a folder of its own that nobody else can guess or write into; it takes
    the name of `path` once written. Raises UserError where that fails, ReaderGone of a pipe.

    Links are followed, and a device or pipe is written into: taking its name would put a file in its place.
    """
    with ExitStack() as stack:
        try:
            special = path.exists() and not path.is_file() and not path.is_dir()
            where = None if special else path.resolve().parent
            scratch = tempfile.TemporaryDirectory(prefix=".knscope-", dir=where, ignore_cleanup_errors=True)
            temporary = Path(stack.enter_context(scratch)) / "part"
            yield temporary
            if special:
                with temporary.open("rb") as written, path.open("wb") as device:
                    shutil.copyfileobj(written, device)
            else:
                temporary.replace(path.resolve())
        except BrokenPipeError as error:
            raise ReaderGone(f"{path}: its reader has closed it") from error
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror or error}); name another place") from error


def as_csv(frame: pl.DataFrame, separator: str = ",") -> str:
    """CSV: lists and structs as JSON, bytes as hex."""
    import polars as pl

    nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
    flat = frame.with_columns(pl.col(name).map_elements(_json, return_dtype=pl.String) for name in nested)
    return flat.with_columns(pl.col(pl.Binary).bin.encode("hex")).write_csv(separator=separator)


def as_parquet(frame: pl.DataFrame) -> bytes:
    """Made in memory: what polars writes to a full disk itself fails with an error that does not say so."""
    made = io.BytesIO()
    frame.write_parquet(made)
    return made.getvalue()


def for_spreadsheets(frame: pl.DataFrame) -> str:
    """CSV that spreadsheet programs open as text: UTF-8 with its mark, and an apostrophe before what they take for a formula."""
    import polars as pl
    from polars import selectors

    def literal(text: pl.Expr) -> pl.Expr:
        return pl.when(text.str.contains(_FORMULA)).then("'" + text).otherwise(text).name.keep()

    texts = frame.with_columns(literal(selectors.string(include_categorical=True).cast(pl.String)))
    return "\ufeff" + as_csv(texts.rename(lambda name: f"'{name}" if re.match(_FORMULA, name) else name))


def as_json_text(document: Any) -> str:
    """JSON that every reader takes: floats that are no numbers become null, bytes hex."""
    try:
        return json.dumps(document, ensure_ascii=False, indent=2, default=_plain, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(document), ensure_ascii=False, indent=2, default=_plain, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _json(value: Any) -> str:
    plain = _finite(value if isinstance(value, dict | list | tuple) else value.to_list())
    return json.dumps(plain, ensure_ascii=False, default=_plain)
