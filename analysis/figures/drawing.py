"""Which table is drawn how, and writing the figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from knscope.analysis.figures import layers, neurons, pairs, shared
from knscope.analysis.figures.chart import chart
from knscope.analysis.figures.fonts import Fonts, fonts_for
from knscope.analysis.figures.forest import Forest, forest
from knscope.analysis.figures.style import paper_style
from knscope.analysis.statistics.charted import kind_of
from knscope.analysis.statistics.table import Table
from knscope.store.errors import UserError
from knscope.store.export import whole
from knscope.store.text import one_line


class UndrawableError(UserError):
    """A table has a figure, and its numbers or names cannot be drawn."""


ENDINGS = ("pdf", "svg", "png")
DPI = 300
CONTROLS = ("argmax", "probability", "always true", "object frequency", "random, same layers", "frequent, in no pair")

_EDITS = Forest(
    "edited", "d", "d_low", "d_high", "intended change less what other facts change (D), in log p",
    panel=("lang",), heading=("table",), counts=("facts",),
)  # fmt: skip
_CHECKS = Forest(
    "judge", "auroc", "auroc_low", "auroc_high", "AUROC: right claims above wrong ones", panel=("lang",), nothing=0.5,
    ends=(0.0, 1.0), counts=("claims", "subjects"),
)  # fmt: skip
_FAITHFULNESS = Forest(
    "method", "area (reported)", "low", "high", "area under the deletion curve, above other facts'", counts=("facts", "subjects"),
)  # fmt: skip
_STABILITY = Forest(
    "variant", "jaccard", "low", "high", "neurons in common (Jaccard)", heading=("against",), nothing=None, ends=(0.0, 1.0),
    counts=("sets", "subjects"), by_block=True,
)  # fmt: skip


def _edits(table: pl.DataFrame) -> Figure:
    controls = [name for name in table["edited"].unique() if "random" in name or name == "mismatched"]
    return forest(table.with_columns(table=pl.format("table {}", "table")), _EDITS, controls)


def _stability(table: pl.DataFrame) -> Figure:
    form = replace(_STABILITY, panel=("model",)) if "model" in table.columns else _STABILITY
    return forest(table.with_columns(against=pl.format("{}, against {}", "what", "reference")), form)


def _faithfulness(table: pl.DataFrame) -> Figure:
    return forest(table, _FAITHFULNESS, table.filter("control")["method"].to_list())


_DRAWN: Mapping[str, Callable[[pl.DataFrame], Figure]] = {
    "activations": neurons.activations,
    "enrichment": layers.enrichment,
    "likn": shared.likn,
    "dkn": pairs.dkn,
    "dkn_sets": pairs.sets,
    "edits": _edits,
    "factcheck": partial(forest, form=_CHECKS, controls=CONTROLS),
    "faithfulness": _faithfulness,
    "sql": chart,
    "stability": _stability,
}


def is_drawn(table: Table) -> bool:
    """Whether the table has a figure, and rows to draw."""
    return table.name in _DRAWN and not table.frame.is_empty()


def draw(table: Table) -> Figure:
    """The figure of a table.

    :raises UserError: for a table that has none, or no rows
    """
    if table.name not in _DRAWN:
        raise UserError(f"there is no figure of {table.title}; end the name in .csv, .json, .parquet or .tex")
    if table.frame.is_empty():
        raise UserError(f"there is nothing to draw: {table.title} has no rows")
    if table.name == "sql" and not kind_of(table.frame):
        raise UserError("there is nothing to draw: no column of this result holds numbers")
    fonts = _fonts(table.frame)
    with paper_style(fonts.families):
        return _DRAWN[table.name](_visible(table.frame, fonts))


def _fonts(frame: pl.DataFrame) -> Fonts:
    texts = (text or "" for name in frame.select(pl.col(pl.String)).columns for text in frame[name])
    return fonts_for([*frame.columns, *texts])


def _visible(frame: pl.DataFrame, fonts: Fonts) -> pl.DataFrame:
    """Names as they stand in one line wherever they are shown, in characters that can be drawn."""

    def drawn(text: str) -> str:
        return fonts.spelled(one_line(text))

    lines = pl.col(pl.String).fill_null("–").map_elements(drawn, return_dtype=pl.String)
    return frame.with_columns(lines).rename({name: drawn(name) for name in frame.columns})


def write_figure(tables: Sequence[Table], path: Path, form: str | None = None) -> str:
    """Draw the first table, which is a command's own, and write the file whole or not at all. What a person should know of it.

    :raises UndrawableError: where the table has a figure that cannot be drawn
    :raises UserError: for a table that has none, or no rows, and a place that cannot be written
    """
    table = tables[0]
    content = _rendered(table, form or path.suffix.lstrip(".").lower())
    with whole(path) as temporary:
        temporary.write_bytes(content)
    return _fonts(table.frame).sentence


def _rendered(table: Table, form: str) -> bytes:
    made = BytesIO()
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(form, {})
    try:
        figure = draw(table)
        with paper_style(_fonts(table.frame).families):
            figure.savefig(made, format=form, dpi=DPI, metadata=undated)
    except UserError:
        raise
    except Exception as error:  # whatever matplotlib meets in somebody's numbers
        why = f"{type(error).__name__}: {error}".split("\n", 1)[0]
        raise UndrawableError(f"{table.title}: the figure could not be drawn ({why})") from error
    return made.getvalue()
