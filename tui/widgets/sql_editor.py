"""A small SQL editor: highlighting, and a list of what the word at the cursor may become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.widgets import TextArea
from textual.widgets.text_area import TextAreaTheme

from knscope.tui import keymap
from knscope.tui.messages import SqlWanted
from knscope.tui.printing.format import one_line
from knscope.tui.widgets.line import PlainText
from knscope.tui.widgets.sql_words import Names, Word, fitting, names_of

if TYPE_CHECKING:
    from knscope.store.reader import Reader


class Candidates(PlainText):
    """What the word at the cursor may become; the marked one is in reverse. Takes no focus: the editor moves in it."""

    def __init__(self) -> None:
        super().__init__("", id="sql-candidates")
        self.words: Sequence[Word] = ()
        self.at = 0
        self.display = False

    def show(self, words: Sequence[Word]) -> None:
        if words != self.words:
            self.words, self.at = words, 0
            self.display = bool(words)
            self.styles.height = max(1, len(words))
            self._paint()

    def step(self, by: int) -> None:
        self.at = (self.at + by) % len(self.words)
        self._paint()

    def _paint(self) -> None:
        wide = max((cell_len(word.text) for word in self.words), default=0)
        text = Text(no_wrap=True, overflow="ellipsis")
        for place, word in enumerate(self.words):
            line = f"{' ' if place != self.at else '›'}{one_line(word.text)}{' ' * (wide - cell_len(word.text))}  "
            text.append(line, style="reverse bold" if place == self.at else "")
            text.append(f"{word.kind} {one_line(word.about)}\n", style="dim")
        text.rstrip()
        self.update(text, layout=False)


LOOKS = {
    "keyword": ("keyword", "keyword.operator", "conditional", "boolean", "type.qualifier", "storageclass", "attribute"),
    "function": ("function.call", "type", "type.builtin"),
    "string": ("string",),
    "number": ("number", "float"),
    "comment": ("comment",),
}
"""Styles of the sheet, and the parts of a statement that have them."""


class SqlEditor(TextArea):
    """TextArea with the names of the store. What the word at the cursor may become is listed in `candidates`: up and down mark, tab
    takes, escape hides."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *keymap.bindings("sql"),
        Binding("ctrl+a", "select_all", "select all", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"sql--{look}" for look in LOOKS}

    def __init__(self, text: str, candidates: Candidates, columns_of_view: Callable[[str], Sequence[Word]]) -> None:
        """:param columns_of_view: columns of `view.kn` and the like"""
        self.names = Names()
        self._candidates, self._columns_of_view = candidates, columns_of_view
        self._learned = False
        self._looks: dict[str, Style] = {}
        super().__init__(
            text, theme="css", show_line_numbers=False, highlight_cursor_line=False, compact=True,
            placeholder="SELECT … FROM view.kn  (the neurons at the current thresholds)",
        )  # fmt: skip
        self.cursor_blink = False

    def notify_style_update(self) -> None:
        """Take the colours of the theme: those that Textual has for code are made for a dark one."""
        super().notify_style_update()
        if not self.is_attached:
            return
        styles = {look: self.get_component_rich_style(f"sql--{look}", partial=True) for look in LOOKS}
        looks = {part: styles[look] for look, parts in LOOKS.items() for part in parts}
        if looks != self._looks:
            self._looks = looks
            self.theme = "css"  # taken anew where its name stays
            self.register_theme(TextAreaTheme("knscope", syntax_styles=looks))
            self.theme = "knscope"

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
            self.names = names_of(reader)

    def completions(self) -> tuple[str, Sequence[Word]]:
        """The word begun at the cursor, and what it may become; nothing inside a word."""
        row, column = self.cursor_location
        line = self.document.get_line(row)
        if column < len(line) and (line[column].isalnum() or line[column] == "_"):
            return "", ()
        before = "\n".join([*(self.document.get_line(one) for one in range(row)), line[:column]])
        return fitting(self.names, self.text, before, self._columns_of_view)

    def update_suggestion(self) -> None:
        """Textual asks for this after every edit."""
        self._candidates.show(self.completions()[1] if self.has_focus else ())

    def close_completion(self) -> bool:
        """Hide the list; False when there was none."""
        had = bool(self._candidates.words)
        self._candidates.show(())
        return had

    def on_blur(self) -> None:
        self.close_completion()

    async def _on_key(self, event: events.Key) -> None:
        words = self._candidates.words
        if event.key == "tab":  # with nothing to complete it does nothing: what is typed on must not go elsewhere
            if words:
                begun = self.completions()[0]
                row, column = self.cursor_location
                self.replace(words[self._candidates.at].text, (row, column - len(begun)), (row, column))
                self.close_completion()
        elif words and event.key in ("up", "down"):
            self._candidates.step(-1 if event.key == "up" else 1)
        else:
            await super()._on_key(event)
            return
        event.stop()
        event.prevent_default()

    # --- keys that the pane answers

    def action_run_sql(self) -> None:
        self.close_completion()  # or it would take the escape that leads to the result
        self.post_message(SqlWanted("run"))

    def action_cancel_sql(self) -> None:
        self.post_message(SqlWanted("cancel"))

    def action_recall(self, step: int) -> None:
        self.post_message(SqlWanted("older" if step < 0 else "newer"))

    def action_browse(self) -> None:
        self.post_message(SqlWanted("browse"))

    def action_search_history(self) -> None:
        self.post_message(SqlWanted("history"))

    def action_leave(self) -> None:
        if not self.close_completion():
            self.post_message(SqlWanted("leave"))
