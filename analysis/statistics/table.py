"""The tables of the paper as a person reads them: a reader and a View in, one frozen result out. Knows no torch.

Each room has `build(reader, view) -> Table`. The command line prints them; the workbench shows them in its panes.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Table:
    """One result: `name` for files, `title` for people, `notes` say what was left out and how to read it.

    `aside` names columns that a text table leaves out for want of room; files and JSON have them.
    """

    name: str
    title: str
    frame: pl.DataFrame
    notes: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
