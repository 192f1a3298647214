"""The base of all panes: it loads from the store in a thread, drops stale results, and shows its own failures."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Region
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from knscope.store.errors import UserError
from knscope.tui.host import host_of
from knscope.tui.printing.format import one_line
from knscope.tui.selection import Shown
from knscope.tui.widgets.fitting import clauses, leading_parts, wrapped
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.line import PlainText

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.statistics.table import Table
    from knscope.store.reader import Reader
    from knscope.tui.session import Session


LOW = 12
"""Height of a pane below which its sentence has one line."""
ROOMY = 18
"""Height from which on it has three; from twice LOW on four."""
SLOW = 0.4
"""Seconds after which a pane says that it is still loading."""
BUSY = "reading …"
FINISHED = (WorkerState.SUCCESS, WorkerState.ERROR, WorkerState.CANCELLED)


def unexpected() -> tuple[type[Exception], ...]:
    """The errors that a result of an unexpected shape raises while it is painted."""
    from polars.exceptions import PolarsError

    return (PolarsError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


def side_by_side(*questions: Callable[[], pl.DataFrame]) -> list[pl.DataFrame]:
    """Put several questions to the store at the same time; it answers each mostly on one core."""
    with ThreadPoolExecutor(len(questions)) as pool:
        return list(pool.map(lambda question: question(), questions))


def focused_pane(screen: Screen[Any]) -> Pane | None:
    """The pane that has the focus."""
    above = screen.focused.ancestors_with_self if screen.focused is not None else ()
    return next((node for node in above if isinstance(node, Pane)), None)


class Pane(Vertical):
    """One titled box. A subclass that shows what is stored overrides `load` (in a thread, no widgets) and `paint` (no store)."""

    ALLOW_MAXIMIZE: ClassVar[bool | None] = True
    TITLE: ClassVar[str] = ""
    CONTEXT: ClassVar[str] = ""
    """Which keys the footer names here: a name of keymap.CONTEXTS."""
    HELPERS: ClassVar[bool] = True
    """Whether columns of its table whose names begin with _ are internal to the pane and not exported."""
    PARTIAL: ClassVar[bool] = True
    """Whether what it shows is partial while a run goes on."""
    DRAWS: ClassVar[bool] = False
    """Whether `result` returns a table, so that a figure of what the pane shows can be drawn."""
    INTEGRALS: ClassVar[bool] = False
    """Whether it says in its last line how good the integrals are that it rests on; a subclass that does yields `foot`."""
    HELP: ClassVar[str] = ""
    """What this pane shows and how to read it, for the help screen."""

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.wanted: Shown | None = None
        self._loading: tuple[Worker[Any], Shown] | None = None
        self.painted: Shown | None = None
        self.border_title = self.TITLE  # before there is anything to show, so that the first paint says what is where
        self._entitled = {"border_title": self.TITLE}
        self._above = self.TITLE
        """The title without what the table is filtered by."""
        self._letter = ""
        self._painted_once = False
        self._said = ""
        self._summary: Text | str = ""
        self.note = PlainText("", classes="note")
        self.note.display = False
        self.sentence = PlainText("", classes="sentence")
        """What is looked at and what it means, in plain words: a subclass that says it yields this above its table."""
        self.sentence.display = False
        self.left_out = ""
        """What `whole` leaves out, for who takes it away; empty where it has all."""
        self._whole_sentence = ""
        self._told: tuple[Any, ...] = ("", 0, 0, "")
        """The sentence, its lines, and the height and the subject they were counted for."""
        self.foot = PlainText("", classes="foot")
        self.foot.display = False
        self._standing = ""
        """What the last line says."""
        self._foot_lines = 1

    @property
    def session(self) -> Session:
        return host_of(self).session

    @property
    def loading_still(self) -> bool:
        """Whether something is being loaded that newer results would make stale."""
        return self._loading is not None

    # --- for subclasses

    def load(self, reader: Reader, shown: Shown) -> Any:
        """Read from the store what to show for `shown`. Runs in a thread."""

    def paint(self, result: Any, shown: Shown) -> None:
        """Show what `load` returned."""

    def sql(self, reader: Reader, shown: Shown) -> str:
        """The SQL of what this pane shows; empty where there is none."""
        return ""

    def result(self, reader: Reader, shown: Shown) -> Table | None:
        """The paper's table that belongs to this pane, for its figure. Runs in a thread; None where there is none."""
        return None

    def table(self) -> FrameTable | None:
        """The table that is copied and exported."""
        return next(iter(self.query(FrameTable)), None)

    def whole(self) -> pl.DataFrame | None:
        """The rows that are exported: those of the table, unless it leaves some out."""
        table = self.table()
        return table.frame if table is not None and table.frame.height else None

    def focus_target(self) -> Any:
        """The widget that takes the focus when the pane is focused."""
        return self.table() or self

    @property
    def said(self) -> tuple[str, ...]:
        """What the pane says of its table: its sentence, and how good the integrals are."""
        return tuple(filter(None, (self._whole_sentence, self._standing)))

    def help_text(self) -> str:
        """The sentence, HELP, and what applies only to the result shown."""
        return "\n\n".join(filter(None, (self._whole_sentence, self.HELP, self._standing)))

    def go_out(self) -> bool:
        """One level up within the pane; False at the top."""
        return False

    # --- following

    def _load(self, reader: Reader, shown: Shown) -> tuple[Any, str]:
        """What `load` returns, and what the last line says."""
        loaded = self.load(reader, shown)
        if not self.INTEGRALS:
            return loaded, ""
        from knscope.analysis.stored.standing import integrals

        found = integrals(reader, shown.narrowed)
        return loaded, f"integrals: {found}" if found else ""

    def follow(self, shown: Shown) -> None:
        """Show this as soon as the pane is seen; drop what was asked for before."""
        self.wanted = shown
        self._start()

    def on_show(self) -> None:
        self._start()

    def again(self) -> None:
        """Load once more: something other than the selection changed."""
        self.painted = None
        self._start()

    def _start(self) -> None:
        reader = self.session.reader
        seen = self.is_attached and all(node.display for node in self.ancestors_with_self if hasattr(node, "display"))
        if reader is None or self.wanted is None or not seen or self._loading or self.painted == self.wanted:
            return  # a load under way looks here again when it ends: held keys become one load
        work = partial(self._load, reader, self.wanted)
        name = self.id or ""
        worker = self.run_worker(work, thread=True, group=name, description=f"{self.TITLE} loads", exit_on_error=False)
        self._loading = worker, self.wanted
        self.set_timer(SLOW, partial(self._still, worker))

    def _still(self, worker: Worker[Any]) -> None:
        """Say that a load takes long. What was shown before stays until it ends."""
        if self._loading is not None and self._loading[0] is worker:
            if self._painted_once or self.note.display:
                self.entitle(below=BUSY)
            else:
                self.entitle(self.TITLE)
                self.say(BUSY)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Take a loaded result. The event's state counts, not the worker's, which may be further on already."""
        if event.worker.group != self.id:
            return
        event.stop()
        if self._loading is None or event.worker is not self._loading[0] or event.state not in FINISHED:
            return
        loaded, self._loading = self._loading[1], None
        if loaded == self.wanted:
            self.painted = loaded
            if event.state == WorkerState.SUCCESS and event.worker.result is not None:
                result, self._standing = event.worker.result
                self._place_foot()
                self._paint(result, loaded)
            elif event.state == WorkerState.ERROR:
                self.broken(event.worker.error)
        self._start()

    def _paint(self, result: Any, shown: Shown) -> None:
        self.say("")
        self._painted_once = True
        try:
            self.paint(result, shown)
        except unexpected() as error:
            self.broken(error)

    def broken(self, error: BaseException | None) -> None:
        """Show an error in this pane; the other panes go on."""
        what = str(error).strip().splitlines() or ["unknown"]
        if isinstance(error, UserError):
            self.say("\n".join(what))
        else:
            self.say(
                f"This pane could not be shown: {type(error).__name__}: {what[0]}\nThe others go on; ^l tries again."
            )
            self.log.error(f"{self.TITLE}: {error!r}")

    @property
    def title(self) -> str:
        """The text in the upper border."""
        return self._entitled["border_title"]

    def entitle(self, above: str | None = None, below: str | None = None) -> None:
        """Change the texts in the border; of the lower one the last parts go where there is no room. Draws only the border's lines, and
        only those that change."""
        if above is not None:
            self._above, table = above, self.table()
            if self.PARTIAL and self.session.partial:
                above = f"{above} · so far"
            if table is not None and table.filter_text:
                above = f"{above} · /{table.filter_text}"
            if self._letter:
                above = f"({self._letter}) {above}"
        for name, text in (("border_title", above), ("border_subtitle", below)):
            if text is not None and self._entitled.get(name) != text:
                self._entitled[name] = text
                self._write_border(name)

    def _write_border(self, name: str) -> None:
        text, wide = one_line(self._entitled.get(name, "")), self.outer_size.width
        if name == "border_subtitle" and wide:
            text = leading_parts(text, wide - 6)
        setattr(self, f"_{name}", Content(text))
        self.refresh(Region(-2, -1 if name == "border_title" else self.size.height, wide, 1))

    def label(self, letter: str) -> None:
        """Show in the title the letter that jumps here; empty: none."""
        self._letter = letter
        self.entitle_again()

    def entitle_again(self) -> None:
        """What the title says beside its text has changed."""
        self.entitle(self._above)

    def filter_rows(self, text: str) -> bool:
        """Show only the rows of the table that hold these words; False where that changes nothing."""
        table = self.table()
        if table is None or table.filter_text == text:
            return False
        table.set_filter(text)
        self.entitle_again()
        return True

    def summarise(self, content: Text | str) -> None:
        """Change the text above the table. The layout is computed again only when the number of lines changes."""
        if content != self._summary:
            lines = [str(each).count("\n") for each in (content, self._summary)]
            self._summary = content
            self.query_one(".summary", PlainText).update(
                content, layout=lines[0] != lines[1] or isinstance(content, str)
            )

    def tell(self, text: str) -> None:
        """Say what is looked at in one plain sentence, in at most four lines (one in a low pane, if its first clause fits): as many of its
        clauses as fit; the help has all of it. The layout is computed again only when the number of lines changes."""
        self._whole_sentence = text = one_line(text)
        room, high = max(1, self.size.width), self.size.height
        most = 1 if high < LOW else 2 if high < ROOMY else 3 if high < 2 * LOW else 4
        short = clauses(text, room, most)
        text = (
            short if wrapped(short, room) <= most else clauses(text, room, most + 1)
        )  # rather a line more than half a word
        lines = wrapped(text, room)
        before, held, *place = self._told
        here = [self.size.height, self.painted.subject if self.painted is not None else ""]
        if text and place == here:  # a shorter one leaves its lines empty: no layout for every key
            lines = max(lines, held)
        if (text, lines) != (before, held):
            self._told = (text, lines, *here)
            self.sentence.display, self.sentence.styles.height = bool(lines), max(1, lines)
            self.sentence.update(text, layout=False)

    def _place_foot(self) -> None:
        """The last line, where there is room for one; `?` says the same."""
        shown = bool(self._standing) and self.size.height >= LOW and not self._said
        lines = 2 if self.size.height >= LOW + 2 and cell_len(self._standing) > self.size.width - 2 else 1
        if self.foot.display != shown or self._foot_lines != lines:
            self.foot.display, self.foot.styles.height, self._foot_lines = shown, lines, lines
        if shown:
            self.foot.update(self._standing, layout=False)

    def on_resize(self) -> None:
        """The sentence takes other lines in another room. Textual calls this beside a subclass's own."""
        self._place_foot()
        self._write_border("border_subtitle")
        if self._whole_sentence:
            self._told = ("", 0, 0, "")
            self.tell(self._whole_sentence)

    def say(self, text: str) -> None:
        """Show a text in place of the content; an empty text brings the content back."""
        if text == self._said:
            return
        self._said = text
        self.note.update(text)
        self.set_class(bool(text), "-note")
        self.note.display = bool(text)
        self._place_foot()
