"""What DuckDB says of a statement that it refuses, in a few lines: what is wrong, and the names that were perhaps meant."""

from __future__ import annotations

import difflib
import re

import duckdb

from knscope.store import schema

MOST = 5
"""Names that are offered."""
LINES = 6
"""Lines of DuckDB's own words."""
_UNKNOWN = re.compile(
    r"""Referenced\ (?P<kind>column|table)\ "(?P<name>[^"]+)"\ not\ found
    | (?P<of>Table|Values\ list)\ "(?P<table>[^"]+)"\ does\ not\ have\ a\ column\ named\ "(?P<column>[^"]+)"
    | (?P<called>Table|Table\ Function|Scalar\ Function|Aggregate\ Function)\ with\ name\ "?(?P<thing>[^\s"]+)"?\ does\ not\ exist""",
    re.VERBOSE,
)
_KIND = re.compile(r"^(?:Binder|Catalog|Parser|Conversion|Invalid Input|Out of Range) Error: ")


def explained(error: Exception, sql: str = "") -> str:
    """DuckDB's message in short, with a sentence of our own where its reason is one of the limits or a name that is not there."""
    text = str(error).strip()
    if any(why in text for why in ("disabled by configuration", "configuration has been locked", "Cannot open file")):
        return "files, network and settings are out of reach here: this SQL reads what is stored and nothing else"
    if ("read-only" in text.lower() and "transaction" in text.lower()) or "base table" in text:
        return "what is stored is only read here; this statement writes"
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException) or "Out of Memory" in text:
        return "not enough memory for this statement; ask for less, or use results.duckdb with a client of your own"
    if found := _UNKNOWN.search(text):
        offered = re.findall(r'"([^"]+)"', text[found.end() :])
        return _unknown(found, offered, sql)
    lines = [line for line in _KIND.sub("", text).splitlines() if line.strip()]
    return "\n".join([*lines[:LINES], *(["…"] if len(lines) > LINES else [])])


def _unknown(found: re.Match[str], offered: list[str], sql: str) -> str:
    """Of a column, table or function that is not there."""
    name = found["name"] or found["column"] or found["thing"]
    at, _, macro_name = name.partition(".")
    if at in ("view", "here") and macro_name:
        return (
            f"{name} is spelled out in the workbench only; the macro is {macro_name}, and F2 there lists its arguments"
        )
    if macro := schema.macros().get(name):
        return f"{name} is a macro and takes arguments: {name}({', '.join(macro.parameters)})"
    if found["called"]:
        ours = [*schema.tables(), *schema.derived(), *schema.macros()]
        offered = [*difflib.get_close_matches(name, ours, MOST), *offered]
    columns = {column for table in (*schema.tables().values(), *schema.derived().values()) for column in table.columns}
    if not offered and (found["of"] or found["kind"] == "column"):
        begun = sorted(column for column in columns if column.startswith(name.lower()))
        offered = [*begun, *difflib.get_close_matches(name, columns, MOST)]
    what = found["kind"] or ("column" if found["of"] else "table" if found["called"] == "Table" else "function")
    where = f" in {found['table']}" if found["of"] else ""
    names = [one for one in dict.fromkeys(offered) if not one.startswith(("duckdb_", "pg_"))][:MOST]
    meant = f"; did you mean {', '.join(names)}?" if names else ""
    quoted = f"\nA text stands in single quotes: '{name}'" if what == "column" and f'"{name}"' in sql else ""
    return f"there is no {what} {name}{where}{meant}{quoted}"
