"""What leaves the workbench: a table or a figure as a file, a picture of the screen, rows and SQL on the clipboard."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from knscope.store.errors import ReaderGone, UserError
from knscope.store.layout import expanded
from knscope.tui.dialogs.completing import path as path_of
from knscope.tui.dialogs.form import Field, FormScreen
from knscope.tui.dialogs.text import TextScreen
from knscope.tui.panes.pane import Pane
from knscope.tui.panes.sql import SqlPane
from knscope.tui.printing import writing
from knscope.tui.terminal import clipboard
from knscope.tui.terminal.picture import corrected
from knscope.tui.widgets.cells import plain, several

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.statistics.table import Table
    from knscope.tui.workbench.bench import Bench


class Exporting:
    """Exports and copies from the pane that has the focus."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    # --- files

    def export(self, pane: Pane | None = None, kept: str = "", error: str = "") -> None:
        """Ask for a file name, and write the pane's table or figure to it.

        :param kept: the name that could not be written the last time, because of `error`
        """
        pane = pane or self._bench.pane()
        frame = pane.whole() if pane is not None else None
        if pane is None or (frame is None and not pane.DRAWS):
            self._bench.say("There is no table here to export.")
            return

        def write(values: dict[str, str] | None) -> None:
            if values is not None:
                self._write(pane, frame, values["file"])

        folder = Path(self._bench.host.settings.export_folder)
        endings = ", ".join(f".{ending}" for ending in (*writing.DATA, "tex"))
        figures = f"; its figure: {', '.join(f'.{ending}' for ending in writing.FIGURES)}" if pane.DRAWS else ""
        what = f"{several(frame.height, 'row')} of {pane.TITLE}" if frame is not None else pane.TITLE
        named = kept or str(unused(folder / f"{pane.TITLE.lower()}.csv"))
        about = f"The ending says what: {endings}{figures}\nA name without a folder is written into {Path.cwd()}"
        form = FormScreen(
            f"export {what}",
            [Field("file", "file", named, "a name, or a path", complete=path_of)],
            "\n".join(filter(None, (about, pane.left_out))),
            partial(_unwritable, pane, set()),
            error,
        )
        self._bench.app.push_screen(form, write)

    def _write(self, pane: Pane, frame: pl.DataFrame | None, name: str) -> None:
        """Write in a thread: drawing a figure first computes its intervals. After an error the form is there again."""

        def failed(error: BaseException) -> None:
            said = str(error)
            if not isinstance(error, UserError | ReaderGone):
                said = f"{name} could not be written: {type(error).__name__}: {error}"
                self._bench.log.error(f"export of {pane.TITLE}: {error!r}")
            if self._bench.app.screen is self._bench:
                self.export(pane, name, said)
            else:
                self._bench.say(said)

        said = partial(self._bench.say, severity="information")
        self._bench.in_thread(
            lambda: self._written(pane, frame, expanded(name).absolute()),
            said,
            failed,
            group="export",
            what=f"writing {name}",
        )

    def _written(self, pane: Pane, frame: pl.DataFrame | None, path: Path) -> str:
        form = writing.format_of(path)
        if frame is None or form in writing.FIGURES:
            return writing.write([_labelled(self._result(pane), pane, form)], path)
        from knscope.analysis.statistics.columns import told_in_text
        from knscope.analysis.statistics.table import Table
        from knscope.analysis.stored.standing import captioned

        helpers = [name for name in frame.columns if name.startswith("_")] if pane.HELPERS else []
        kept = frame.drop(helpers)
        if form == "tex":
            kept = _as_shown(pane, kept)
        table = Table(pane.TITLE.lower(), pane.title, kept, pane.said, told_in_text(kept.schema))
        if pane.painted is not None:  # it shows the selection, and a file has to say of what
            view = pane.painted.narrowed
            table = captioned(replace(table, title=f"{pane.title}: {view.model}, {view.method}"), view)
        return writing.write([_labelled(table, pane, form)], path)

    def _result(self, pane: Pane) -> Table:
        reader, shown = self._bench.session.reader, self._bench.session.shown()
        table = pane.result(reader, shown) if reader is not None and shown is not None else None
        if table is None:
            raise UserError(f"There is no figure of {pane.TITLE} here; end the name in .csv, .json, .parquet or .tex.")
        return table

    def picture(self) -> None:
        """Write the screen as SVG."""
        from knscope.store.export import whole

        try:
            path = unused(expanded(self._bench.host.settings.export_folder) / "knscope.svg")
            with whole(path) as temporary:
                temporary.write_text(corrected(self._bench.app.export_screenshot(title="knscope")), encoding="utf-8")
        except UserError as error:
            self._bench.say(str(error))
        else:
            self._bench.say(f"picture written to {path}", "information")

    # --- clipboard

    def copy(self, what: str) -> None:
        """Copy the row under the cursor (`row`) or the whole table (`table`)."""
        pane = self._bench.pane()
        table = pane.table() if pane is not None else None
        if table is None or not table.frame.height:
            self._bench.say("There is no table here to copy from.")
            return
        frame = table.frame.select([column.name for column in table.columns])
        if what == "row":
            self.copy_text("\t".join(plain(value) for value in frame.row(table.cursor)), "row copied")
        else:
            from knscope.store.export import as_csv

            self.copy_text(as_csv(frame, "\t"), f"{several(frame.height, 'row')} copied")

    def copy_text(self, text: str, said: str) -> None:
        """Copy by OSC 52, and into tmux inside tmux; then say what may keep it from the system's clipboard."""
        self._bench.app.copy_to_clipboard(text)
        clipboard.into_tmux(text, os.environ)
        advice = clipboard.advice(os.environ)
        self._bench.say(f"{said}{'; ' + advice if advice else ''}", "information")

    def show_sql(self) -> None:
        """Show the pane's SQL, to be copied or opened in the SQL pane."""
        pane, reader, shown = self._bench.pane(), self._bench.session.reader, self._bench.session.shown()
        text = pane.sql(reader, shown) if pane is not None and reader is not None and shown is not None else ""
        if not text or pane is None:
            self._bench.say("This pane shows no stored query.")
            return

        def answer(word: str | None) -> None:
            if word == "copy":
                self.copy_text(text, "SQL copied")
            elif word == "open":
                self._bench.query_one(SqlPane).put(text)
                self._bench.show_tab("sql")

        answers = (("y", "copy", "copies"), ("o", "open", "opens it in the SQL pane"))
        self._bench.app.push_screen(TextScreen(f"the SQL of {pane.TITLE}", text, answers), answer)


def _as_shown(pane: Pane, frame: pl.DataFrame) -> pl.DataFrame:
    """For a page, a list of rows as the pane shows it: its columns by their titles. A table of the paper stays whole: what the pane
    joins into one cell has columns of its own there."""
    table = pane.table()
    columns = table.columns if table is not None and table.frame.height == frame.height else ()
    titles = {column.name: column.title for column in columns if column.name in frame.columns}
    if len(titles) < len(columns) or len({*titles.values()}) < len(titles) or not titles:
        return frame
    return frame.select(list(titles)).rename(titles)


def _labelled(table: Table, pane: Pane, form: str) -> Table:
    """In a file of data also the model and the method of what the pane shows, unless the table names one itself."""
    from knscope.tui.commands.shown import labelled

    if pane.painted is None or form not in writing.DATA or {"model", "method"} & {*table.frame.columns}:
        return table
    return labelled(table, pane.painted.narrowed)


def _unwritable(pane: Pane, asked: set[str], values: Mapping[str, str]) -> tuple[str, str] | None:
    """Why a file cannot be written where the form says, as far as can be told beforehand; one that is there is replaced when asked twice.

    :param asked: names of files that are there, of which a person was told
    """
    from knscope.tui.printing.output import check

    name = values["file"]
    try:
        path = expanded(name)
        check("table", path)
        if writing.format_of(path) in writing.FIGURES and not pane.DRAWS:
            return "file", f"There is no figure of {pane.TITLE}; end the name in .csv, .json, .parquet or .tex."
        if path.is_file() and name not in asked:
            asked.add(name)
            return "file", f"{name} is there already; enter again replaces it"
    except UserError as error:
        return "file", str(error)
    except OSError as error:
        return "file", f"{name} cannot be written ({error.strerror}); choose another path"
    return None


def unused(path: Path) -> Path:
    """The path, or the first of `name-2.csv`, `name-3.csv` … that does not exist: no file is overwritten unless asked."""
    tries = (path.with_stem(f"{path.stem}-{number}") if number > 1 else path for number in range(1, 10_000))
    return next((one for one in tries if not os.path.lexists(os.path.expanduser(one))), path)  # noqa: PTH111 - never fails
