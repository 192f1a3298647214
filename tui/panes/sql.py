"""The SQL pane: an editor with highlighting and completion, and the result as a table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from textual.app import ComposeResult
from textual.widgets import TextArea
from textual.worker import Worker, WorkerState

from knscope.tui.dialogs.find import FindScreen
from knscope.tui.messages import RowEntered, SqlWanted
from knscope.tui.panes.pane import FINISHED, Pane
from knscope.tui.selection import Shown
from knscope.tui.state import remember_statement, statements
from knscope.tui.widgets import cells
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.line import PlainText
from knscope.tui.widgets.sql_editor import Candidates, SqlEditor
from knscope.tui.widgets.sql_words import AT_VIEW, Word

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.statistics.table import Table
    from knscope.store.reader import Reader
    from knscope.store.sandbox import Sandbox

LIMIT = 10_000
FIRST = "SELECT layer, neuron, count(DISTINCT fact) AS facts\nFROM view.kn\nGROUP BY ALL ORDER BY facts DESC"


class SqlPane(Pane):
    """ctrl+r (or F5) runs the statement, which can read everything stored and change nothing."""

    TITLE = "SQL"
    CONTEXT = "sql"
    PARTIAL = False
    HELPERS = False
    DRAWS = True
    HELP = (
        "Any SELECT over the stored tables and macros. ^r or F5 runs the statement, ^x stops it, F7 and F8 walk through the history, esc "
        "goes to the result. What the word at the cursor may become is listed: up and down mark, tab takes, also columns through "
        "aliases. F2 lists every table, column and macro with its comment, F9 looks for a statement run before, ^a selects all. Q in "
        "any other pane shows that pane's own SQL and can put it here. view.kn, view.likn, view.dkn, view.layer_hist and view.queries "
        "stand for the macro at the current thresholds; here.kn and so on for what is selected alone."
    )

    def __init__(self, editor_rows: int) -> None:
        super().__init__(id="sql")
        self._rows = editor_rows
        self._history: list[str] = statements()
        self._place = len(self._history)
        self._sandbox: Sandbox | None = None
        self._view_columns: dict[str, Sequence[Word]] = {}
        self._started = 0.0
        self._worker: Worker[Any] | None = None

    def compose(self) -> ComposeResult:
        candidates = Candidates()
        editor = SqlEditor(self._first_text(), candidates, self._columns_of_view)
        editor.styles.height = self._rows
        yield editor
        yield candidates
        yield PlainText("", id="sql-state")
        yield FrameTable("sql-result", empty="")

    def _first_text(self) -> str:
        """What stood here when this store was left, else the statement run last in any, else an example."""
        return str(self.session.saved.get("sql") or (self._history[-1] if self._history else FIRST))

    def _columns_of_view(self, name: str) -> Sequence[Word]:
        """Columns of `view.kn` and the like, asked of the store once."""
        reader, shown = self.session.reader, self.wanted
        at, _, macro = name.partition(".")
        if reader is None or shown is None or at not in ("view", "here") or macro not in AT_VIEW:
            return ()
        if macro not in self._view_columns:
            try:
                found = reader.sql(f"DESCRIBE SELECT * FROM ({reader.macro_sql(macro, shown.view)})")
            except Exception as error:  # noqa: BLE001 - what DuckDB raises here is of many kinds; completion is a convenience
                self.log.warning(f"columns of {name}: {error!r}")
                return ()
            self._view_columns[macro] = tuple(Word(str(row[0]), str(row[1]), "column") for row in found.iter_rows())
        return self._view_columns[macro]

    def _grow(self) -> None:
        """As many rows as the statement has, from those of the settings up to half of the pane."""
        editor = self.query_one(SqlEditor)
        rows = max(self._rows, min(editor.document.line_count + 1, self.size.height // 2))
        if editor.styles.height is None or editor.styles.height.value != rows:
            editor.styles.height = rows

    def on_resize(self) -> None:
        self._grow()

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self._grow()

    @property
    def statement(self) -> str:
        """What stands in the editor."""
        return self.query_one(SqlEditor).text

    def browse(self) -> None:
        """List every table, column and macro with its type and comment; the one taken goes into the statement."""
        editor = self.query_one(SqlEditor)
        options = [(word.text, f"{word.text:<34} {word.kind:<7} {word.about}") for word in editor.names.all()]

        def take(name: str | None) -> None:
            if name is not None:
                editor.insert(name)
            editor.focus()

        self.app.push_screen(FindScreen("what there is", options), take)

    def search_history(self) -> None:
        """Look for a statement run before, here or on the command line."""
        options = [(text, " ".join(text.split())) for text in dict.fromkeys(reversed(self._remembered()))]

        def take(text: str | None) -> None:
            if text is not None:
                self.put(text)
            self.query_one(SqlEditor).focus()

        self.app.push_screen(FindScreen("statements run before", options, whole=True), take)

    def on_mount(self) -> None:
        self.entitle("SQL")
        editor = self.query_one(SqlEditor)
        if self._history:
            editor.move_cursor(editor.document.end)
        else:
            editor.select_all()  # an example: the first key typed replaces it
        self.query_one("#sql-state", PlainText).update("^r runs · tab completes · F2 what there is · F7 F8 F9 history")

    def follow(self, shown: Shown) -> None:
        """Load nothing: the result belongs to the statement, not to the selection."""
        self.wanted = shown
        reader = self.session.reader
        if reader is not None:
            self.query_one(SqlEditor).learn(reader)

    def _start(self) -> None:
        """Load nothing: a statement runs when a person asks for it."""

    def focus_target(self) -> Any:
        return self.query_one(SqlEditor)

    def result(self, reader: Reader, shown: Shown) -> Table | None:
        """The rows shown, for a figure of them."""
        from knscope.analysis.statistics.table import Table

        return Table("sql", "the result of this statement", self.query_one(FrameTable).frame)

    # --- running

    def on_sql_wanted(self, message: SqlWanted) -> None:
        message.stop()
        if message.what == "run":
            self.run()
        elif message.what == "cancel":
            self.cancel()
        elif message.what == "browse":
            self.browse()
        elif message.what == "history":
            self.search_history()
        elif message.what == "leave":
            self.screen.set_focus(self.query_one(FrameTable))  # at once: the next key may be typed already
        else:
            self.recall(-1 if message.what == "older" else 1)

    def put(self, text: str) -> None:
        """Put another statement into the editor."""
        self.query_one(SqlEditor).text = text

    def run(self) -> None:
        """Run the statement in the editor."""
        reader = self.session.reader
        text = self.query_one(SqlEditor).text.strip().rstrip(";").strip()
        if reader is None or not text:
            self._state("Nothing to run: write a SELECT, or press Q in another pane to see its SQL.")
            return
        if self._worker is not None and not self._worker.is_finished:
            self._state("A statement is still running; ^x stops it.")
            return
        self._remember(text)
        sandbox = self._sandbox_of(reader)
        self._started = time.monotonic()
        self._state("running … ^x stops it")
        statement = self._spelled_out(text)
        self._worker = self.run_worker(
            lambda: _rows(sandbox, statement), thread=True, group="sql-run", exit_on_error=False, description="SQL"
        )

    def _sandbox_of(self, reader: Reader) -> Sandbox:
        """The running sandbox where it belongs to this store, else a new one."""
        from knscope.store.sandbox import Sandbox

        if self._sandbox is None or self._sandbox.store != reader.path:
            self._close()
            self._sandbox = Sandbox(reader)
        return self._sandbox

    def on_unmount(self) -> None:
        """End the sandbox: a statement that runs would keep the workbench from exiting."""
        self._close()

    def _close(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()

    def _spelled_out(self, text: str) -> str:
        """Replace `view.kn` and the like by the macro at the current thresholds, `here.kn` by that of the selection alone."""
        import re

        reader, shown = self.session.reader, self.wanted
        if shown is None or reader is None:
            return text
        views = {"view": shown.view, "here": shown.narrowed}
        macro = lambda found: f"({reader.macro_sql(found[2], views[found[1]])})"  # noqa: E731
        return re.sub(rf"\b(view|here)\.({'|'.join(AT_VIEW)})\b", macro, text)

    def cancel(self) -> None:
        """Stop the statement that runs."""
        if self._sandbox is not None and self._worker is not None and not self._worker.is_finished:
            self._sandbox.cancel()
        else:
            self._state("Nothing is running.")

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker.group != "sql-run":
            return
        event.stop()
        if event.state not in FINISHED:
            return
        took = time.monotonic() - self._started
        if event.state == WorkerState.SUCCESS:
            frame, more = cast("tuple[pl.DataFrame, bool]", event.worker.result)
            self.query_one(FrameTable).show(frame, cells.columns_of(frame))
            self.left_out = (
                f"These are the first {LIMIT:,} rows of more: knscope sql STORE … -o FILE writes all." * more
            )
            total = f"{frame.height:,} of >{LIMIT:,} rows" if more else cells.several(frame.height, "row")
            self._state(
                f"{total} · {1000 * took:,.0f} ms · "
                + ("add a LIMIT or an aggregate" if more else "esc: to the result, e exports it")
            )
            self.entitle(below=total)
        elif event.state == WorkerState.ERROR:
            # Otherwise rows of the statement before would pass for those of this one, on the screen and in an export.
            import polars as pl

            self.query_one(FrameTable).show(pl.DataFrame(), ())
            self.entitle(below="")
            said = str(event.worker.error).strip()
            name, _, is_macro = said.partition(" is a macro")
            here = f"\nview.{name} stands for it at the thresholds shown." if is_macro and name in AT_VIEW else ""
            self._state(said + here)

    def _state(self, text: str) -> None:
        self.query_one("#sql-state", PlainText).update(text)

    # --- history

    def _remembered(self) -> list[str]:
        """Those of other workbenches and of the command line too."""
        self._history = statements()
        return self._history

    def _remember(self, text: str) -> None:
        self._history = remember_statement(text)
        self._place = len(self._history)

    def recall(self, step: int) -> None:
        """Put an older (-1) or newer (1) statement into the editor."""
        if self._history:
            self._place = max(0, min(self._place + step, len(self._history) - 1))
            self.put(self._history[self._place])
            self._state(f"statement {self._place + 1} of {len(self._history)}")

    def on_row_entered(self, message: RowEntered) -> None:
        """Keep rows that name neither a neuron nor a fact: they lead nowhere."""
        row = message.row
        if not ({"layer", "neuron"} <= set(row) or "fact" in row):
            message.stop()


def _rows(sandbox: Sandbox, statement: str) -> tuple[pl.DataFrame, bool]:
    """The first rows of an answer, and whether there are more. Runs in a thread."""
    result = sandbox.run(statement, LIMIT)
    return result.frame, result.more
