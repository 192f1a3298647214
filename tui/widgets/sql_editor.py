"""A small SQL editor: highlighting, and completion of tables, columns and macros with tab."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import BindingType
from textual.widgets import TextArea

from knscope.tui import keymap
from knscope.tui.messages import SqlWanted

if TYPE_CHECKING:
    from knscope.store.reader import Reader

WORDS = (
    "SELECT", "FROM", "WHERE", "GROUP BY ALL", "ORDER BY", "LIMIT", "HAVING", "JOIN", "LEFT JOIN", "USING", "DISTINCT", "count",
    "avg", "sum", "min", "max", "median", "DESC", "WITH", "UNION ALL", "CASE WHEN", "view.kn", "view.likn", "view.dkn",
    "view.layer_hist", "view.queries", "view.dkn_rate", "view.edits", "view.factcheck",
    "here.kn", "here.likn", "here.dkn", "here.layer_hist", "here.queries",
)  # fmt: skip
_NAMES = """
SELECT table_name AS name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views() WHERE NOT internal
UNION SELECT column_name FROM duckdb_columns() WHERE NOT internal
UNION SELECT function_name FROM duckdb_functions() WHERE NOT internal AND function_type IN ('macro', 'table_macro')
"""


class SqlEditor(TextArea):
    """TextArea with the names of the store. What would be completed stands grey behind the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = list(keymap.bindings("sql"))

    def __init__(self, text: str) -> None:
        super().__init__(
            text, theme="css", show_line_numbers=False, highlight_cursor_line=False, compact=True,
            placeholder="SELECT … FROM view.kn  (the neurons at the current thresholds)",
        )  # fmt: skip
        self.cursor_blink = False
        self._names: tuple[str, ...] = WORDS
        self._learned = False

    def on_show(self) -> None:
        """Highlighting takes a tenth of a second to get ready: not before the editor is seen, and after it is."""
        self.call_after_refresh(self._highlight)

    def _highlight(self) -> None:
        selection = self.selection
        self.language = "sql"  # makes the document anew
        self.selection = selection

    def learn(self, reader: Reader) -> None:
        """Take the names from the store, once."""
        if not self._learned:
            self._learned = True
            names = [str(name) for name in reader.sql(_NAMES)["name"]]
            self._names = (*WORDS, *sorted(set(names)))

    def completion(self) -> str:
        """What is missing of the word at the cursor; empty when nothing fits or the cursor is inside a word."""
        row, column = self.cursor_location
        line = self.document.get_line(row)
        if column < len(line) and re.match(r"\w", line[column]):
            return ""
        found = re.search(r"[\w.]{2,}$", line[:column])
        if found is None:
            return ""
        begun = found[0]
        fitting = [name for name in self._names if name.lower().startswith(begun.lower()) and len(name) > len(begun)]
        return min(fitting, key=len)[len(begun) :] if fitting else ""

    def update_suggestion(self) -> None:
        """Textual asks for this after every edit."""
        self.suggestion = self.completion()

    def close_completion(self) -> bool:
        """Hide the suggestion; False when there was none."""
        had = bool(self.suggestion)
        self.suggestion = ""
        return had

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "tab":  # with nothing to complete it does nothing: what is typed on must not go elsewhere
            self.insert(self.suggestion)
            self.suggestion = ""
            event.stop()
            event.prevent_default()
            return
        await super()._on_key(event)

    # --- keys that the pane answers

    def action_run_sql(self) -> None:
        self.post_message(SqlWanted("run"))

    def action_cancel_sql(self) -> None:
        self.post_message(SqlWanted("cancel"))

    def action_recall(self, step: int) -> None:
        self.post_message(SqlWanted("older" if step < 0 else "newer"))

    def action_leave(self) -> None:
        if not self.close_completion():
            self.post_message(SqlWanted("leave"))
