"""A table as LaTeX: a `table` with booktabs' rules, its notes as comments, to be \\input into a paper."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from knscope.tui.printing.format import cell, one_line

if TYPE_CHECKING:
    from knscope.analysis.statistics.table import Table

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "`": r"\textasciigrave{}",
    "…": r"\ldots{}", "–": "--", "λ": r"$\lambda$", "τ": r"$\tau$", "δ": r"$\delta$", "Δ": r"$\Delta$", "≤": r"$\leq$", "≥": r"$\geq$",
    "→": r"$\rightarrow$", "∞": r"$\infty$", "×": r"$\times$", "−": "$-$", "|": r"\textbar{}",
}  # fmt: skip
_INTERVAL = re.compile(r"^(~?)(-?\d[\d.,e+-]*)…(-?\d[\d.,e+-]*)$")
_POWER = re.compile(r"^(-?\d(?:\.\d+)?)e([+-]\d+)$")


def latex(table: Table) -> str:
    """One `table` environment, without the columns that a text table leaves out. Needs \\usepackage{booktabs}."""
    shown = table.frame.drop(table.aside)
    numeric = [dtype.is_numeric() for dtype in shown.schema.values()]
    lines = [
        f"% {one_line(table.title)}",
        *(f"% {one_line(line)}" for note in table.notes for line in note.split("\n")),
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escaped(table.title)}}}",
        rf"  \label{{tab:{table.name.replace('_', '-')}}}",
        rf"  \begin{{tabular}}{{{''.join('r' if one else 'l' for one in numeric)}}}",
        r"    \toprule",
        _row(escaped(name.replace("_", " ")) for name in shown.columns),
        r"    \midrule",
        *(_row(_cell(value) for value in row) for row in shown.iter_rows()),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Any text as LaTeX prints it; hyphens stay hyphens, two of which would be a dash."""
    apart = re.split("(?<=-)(?=-)", one_line(text))
    return "{}".join("".join(_SPECIAL.get(character, character) for character in part) for part in apart)


def _row(cells: Iterable[str]) -> str:
    r"""Begins with {} where the first cell would be read as an argument of the \\ before it."""
    line = " & ".join(cells)
    return f"    {'{}' if line.startswith(('[', '*')) else ''}{line} \\\\"


def _cell(value: Any) -> str:
    text = cell(value)
    if isinstance(value, str) and (ends := _INTERVAL.match(value)):
        rough = r"\sim" if ends[1] else ""
        return f"${rough}[{ends[2]}, {ends[3]}]$"
    power = _POWER.match(text) if isinstance(value, float) else None
    if power:
        return rf"${power[1]}\cdot 10^{{{int(power[2])}}}$"
    if isinstance(value, (int, float)) and text.startswith("-"):
        return f"${text}$"
    return escaped(text)
