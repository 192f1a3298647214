"""What a statement may name, and which of it fits at the cursor: tables, columns (through aliases), macros, functions, keywords."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knscope.store.reader import Reader

KEYWORDS = (
    "SELECT", "FROM", "WHERE", "GROUP BY ALL", "ORDER BY", "LIMIT", "HAVING", "JOIN", "LEFT JOIN", "USING", "ON", "AS", "AND", "OR",
    "NOT", "IN", "BETWEEN", "LIKE", "IS NULL", "DISTINCT", "DESC", "WITH", "UNION ALL", "CASE WHEN", "THEN", "ELSE", "END",
)  # fmt: skip
AT_VIEW = {
    "kn": "knowledge neurons (eq. 6-7)", "likn": "neurons in every chosen language (eq. 8)", "dkn": "degenerate pairs (eq. 9-10)",
    "dkn_rate": "how many pairs qualify, by role", "layer_hist": "neurons by layer and language", "queries": "the query table",
    "edits": "answers under edits", "factcheck": "claims and their judges",
}  # fmt: skip
"""Macros that `view.` (at the current thresholds) and `here.` (of the selection alone) stand for."""
MOST = 8
"""Candidates that are shown."""
_COLUMN = re.compile(r'"(\w+)" ([A-Z][A-Z\[\]]*)')
_NAMED = re.compile(r"\b(?:FROM|JOIN)\s+([\w.]+)(?:\s*\([^()]*\))?(?:\s+(?:AS\s+)?(\w+))?", re.IGNORECASE)
_NO_ALIAS = ("WHERE", "JOIN", "LEFT", "GROUP", "ORDER", "USING", "ON", "LIMIT", "UNION", "HAVING")
_WORD = re.compile(r"[\w.]*$")
_FUNCTIONS = """
SELECT function_name, any_value(parameters) AS parameters FROM duckdb_functions()
WHERE function_type IN ('scalar', 'aggregate') AND function_name SIMILAR TO '[a-z]\\w+' AND NOT function_name LIKE '\\_%' ESCAPE '\\'
GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True)
class Word:
    """Something that may stand in a statement, and what it is: a type, a signature, a comment."""

    text: str
    about: str = ""
    kind: str = "keyword"
    """table, column, macro, view, function or keyword."""


@dataclass(frozen=True)
class Names:
    """Every name of a store. `columns` is by table; those of views (`view.kn`) are asked for when they are needed."""

    tables: tuple[Word, ...] = ()
    columns: Mapping[str, tuple[Word, ...]] = field(default_factory=dict)
    others: tuple[Word, ...] = ()
    """Macros, views and functions."""

    def all(self) -> Iterator[Word]:
        """For the list of what there is: each table before its columns, then macros and views."""
        for table in self.tables:
            yield table
            yield from (
                Word(f"{table.text}.{column.text}", column.about, "column") for column in self.columns[table.text]
            )
        yield from (word for word in self.others if word.kind != "function")


def names_of(reader: Reader) -> Names:
    """The names of a store, with their types and comments."""
    from knscope.store import schema

    known = {**schema.tables(), **schema.derived()}
    tables = tuple(Word(name, table.comment, "table") for name, table in known.items())
    columns = {
        name: tuple(
            Word(column, f"{type_}  {table.comments.get(column, '')}", "column")
            for column, type_ in _COLUMN.findall(table.ddl)
        )
        for name, table in known.items()
    }
    macros = tuple(
        Word(f"{name}(", f"({', '.join(macro.parameters)})  {macro.comment}", "macro")
        for name, macro in schema.macros().items()
    )
    views = tuple(Word(f"{at}.{name}", about, "view") for at in ("view", "here") for name, about in AT_VIEW.items())
    functions = tuple(
        Word(f"{name}(", f"({', '.join(str(one) for one in parameters or ())})", "function")
        for name, parameters in reader.sql(_FUNCTIONS).iter_rows()
    )
    return Names(tables, columns, (*views, *macros, *functions))


def named(text: str) -> dict[str, str]:
    """Tables of a statement by the name they go by: their alias, or their own."""
    found = {}
    for table, alias in _NAMED.findall(text):
        short = "" if alias.upper() in _NO_ALIAS else alias
        found[short or table.rpartition(".")[2]] = table
    return found


def fitting(
    names: Names, text: str, before: str, columns_of_view: Callable[[str], Sequence[Word]] = lambda name: ()
) -> tuple[str, list[Word]]:
    """The word begun at the end of `before`, and what it may become, the likeliest first.

    :param text: the whole statement, which says what the aliases are
    :param before: the statement up to the cursor
    :param columns_of_view: columns of `view.kn` and the like
    """
    match = _WORD.search(before)
    begun = match[0] if match is not None else ""
    tables = named(text)

    def columns(table: str) -> Sequence[Word]:
        return names.columns.get(table) or columns_of_view(table)

    alias, dot, rest = begun.rpartition(".")
    every = list({word.text: word for of_table in names.columns.values() for word in of_table}.values())
    # An alias may be told later: a SELECT comes before its FROM.
    if dot and (alias in tables or alias not in ("view", "here")):
        of_alias = columns(tables[alias]) if alias in tables else names.columns.get(alias, every)
        return rest, _matching(of_alias, rest)[:MOST]
    if len(begun) < 2:
        return begun, []
    after_from = re.search(r"\b(FROM|JOIN)\s+[\w.]*$", before, re.IGNORECASE) is not None
    of_tables = [word for table in dict.fromkeys(tables.values()) for word in columns(table)]
    if not tables:  # a statement begins with what it selects
        of_tables = every
    keywords = [Word(keyword) for keyword in KEYWORDS]
    if re.search(r"\b(GROUP|ORDER)\s+BY\s+\w*$", before, re.IGNORECASE):
        of_tables = [Word("ALL"), *of_tables]
    order = (names.tables, names.others) if after_from else (of_tables, keywords, names.others, names.tables)
    found: dict[str, Word] = {}
    for group in order:
        for word in _matching(group, begun):
            found.setdefault(word.text, word)
    return begun, [word for word in found.values() if word.text.lower() != begun.lower()][:MOST]


def _matching(words: Sequence[Word], begun: str) -> list[Word]:
    """Words that begin so, then those that hold it; shorter ones first."""
    low = begun.lower()
    holding = [word for word in words if low in word.text.lower()]
    return sorted(holding, key=lambda word: (not word.text.lower().startswith(low), len(word.text), word.text))
