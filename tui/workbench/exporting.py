"""What is taken away as files: a pane's table, its figure, the screen."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from knscope.store.errors import ReaderGone, UserError
from knscope.store.layout import expanded
from knscope.tui.dialogs.form import Field, FormScreen
from knscope.tui.panes.pane import Pane, unexpected
from knscope.tui.printing import writing
from knscope.tui.terminal.picture import corrected
from knscope.tui.workbench.bench import Bench

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.statistics.table import Table


class Exporting(Bench):
    """The actions that write files."""

    def action_export(self) -> None:
        pane = self.pane()
        table = pane.table() if pane is not None else None
        frame = table.frame if table is not None and table.frame.height else None
        if pane is None or (frame is None and not pane.DRAWS):
            self.knscope.say("There is no table here to export.")
            return

        def write(values: dict[str, str] | None) -> None:
            if values is not None:
                self.run_worker(self._export(pane, frame, values["file"]), group="export", exit_on_error=False)

        folder = Path(self.knscope.settings.export_folder)
        endings = ", ".join(f".{ending}" for ending in (*writing.DATA, "tex"))
        figures = f"; its figure: {', '.join(f'.{ending}' for ending in writing.FIGURES)}" if pane.DRAWS else ""
        what = f"{frame.height:,} rows of {pane.TITLE}" if frame is not None else pane.TITLE
        named = str(unused(folder / f"{pane.TITLE.lower()}.csv"))
        field = Field("file", "file", named, "a name, or a path")
        self.app.push_screen(FormScreen(f"export {what}", [field], f"The ending says what: {endings}{figures}"), write)

    async def _export(self, pane: Pane, frame: pl.DataFrame | None, name: str) -> None:
        """Write what the pane shows, in a thread: a figure draws its intervals first."""
        try:
            said = await asyncio.to_thread(self._written, pane, frame, expanded(name))
        except (UserError, ReaderGone) as error:
            self.knscope.say(str(error))
        except unexpected() as error:
            self.knscope.say(f"{name} could not be written: {type(error).__name__}: {error}")
            self.log.error(f"export of {pane.TITLE}: {error!r}")
        else:
            self.knscope.say(said, "information")

    def _written(self, pane: Pane, frame: pl.DataFrame | None, path: Path) -> str:
        drawn = writing.format_of(path) in writing.FIGURES
        if frame is None or drawn:
            return writing.write([self._result(pane)], path)
        from knscope.analysis.statistics.columns import told_in_text
        from knscope.analysis.statistics.table import Table

        helpers = [name for name in frame.columns if name.startswith("_")] if pane.HELPERS else []
        kept = frame.drop(helpers)
        return writing.write([Table(pane.TITLE.lower(), pane.title, kept, aside=told_in_text(kept.schema))], path)

    def _result(self, pane: Pane) -> Table:
        reader, shown = self.session.reader, self.session.shown()
        table = pane.result(reader, shown) if reader is not None and shown is not None else None
        if table is None:
            raise UserError(f"There is no figure of {pane.TITLE} here; end the name in .csv, .json, .parquet or .tex.")
        return table

    def action_picture(self) -> None:
        from knscope.store.export import whole

        try:
            path = unused(expanded(self.knscope.settings.export_folder) / "knscope.svg")
            with whole(path) as temporary:
                temporary.write_text(corrected(self.app.export_screenshot(title="knscope")), encoding="utf-8")
        except UserError as error:
            self.knscope.say(str(error))
        else:
            self.knscope.say(f"picture written to {path}", "information")


def unused(path: Path) -> Path:
    """The path, or the first `name-2.csv`, `name-3.csv` … that is not there yet: nothing is overwritten unasked."""
    tries = (path.with_stem(f"{path.stem}-{number}") if number > 1 else path for number in range(1, 10_000))
    return next((one for one in tries if not os.path.lexists(os.path.expanduser(one))), path)  # noqa: PTH111 - never fails
