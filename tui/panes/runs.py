"""The runs pane: what is being computed, and what was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from knscope.store.text import duration
from knscope.tui import keymap
from knscope.tui.panes.pane import ROOMY, Pane
from knscope.tui.printing.format import one_line
from knscope.tui.widgets import cells
from knscope.tui.widgets.bars import bar
from knscope.tui.widgets.cells import Column
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.line import PlainText

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from knscope.analysis.runs.status import RunStatus

FEW, MANY = 3, 20
"""Failures told in full: in a low pane, and in one of ROOMY lines."""
GLYPHS = {
    "running": "▶", "queued": "…", "done": "✓", "failed": "✗", "cancelled": "■", "lost": "?", "silent": "?",
    "stopping": "■",
}  # fmt: skip
TONES = {"failed": "bad", "lost": "bad", "silent": "bad", "done": "good"}
SCHEMA = ("run", "status", "about", "progress", "done", "total", "rate", "left", "failures")
COLUMNS = (
    Column("status", "status", lambda status: f"{GLYPHS.get(status, ' ')} {status}", tone=lambda status: TONES.get(status, "")),
    Column("run", "started (UTC)", lambda run: began(run), most=24),
    Column("about", "computes", grow=True, least=10, most=80, drop=4),
    Column("progress", "progress", lambda share: bar(share, 8), drop=3),
    Column("done", "done", cells.count, right=True),
    Column("total", "of", cells.count, right=True),
    Column("rate", "per s", lambda rate: cells.NOTHING if rate is None else f"{rate:.1f}", right=True, drop=2),
    Column("left", "left", duration, right=True),
    Column("failures", "failures", cells.count, right=True, drop=1, tone=lambda n: "bad" if n else ""),
)  # fmt: skip


def began(run: str) -> str:
    """When a run was started, read from its name: `11-23 09:06`."""
    day, _, clock = run.partition("-")
    return f"{day[4:6]}-{day[6:8]} {clock[:2]}:{clock[2:4]}" if day.isdecimal() and len(day) == 8 else run


def share(one: RunStatus) -> float:
    return one.record.done / one.record.total if one.record.total else 0.0


def headline(statuses: Sequence[RunStatus], stopping: Collection[str] = ()) -> str:
    """What the header says: the run that goes on, or how the last one ended.

    :param stopping: runs that were told to stop
    """
    active = [one for one in statuses if one.status in ("running", "queued")]
    if active:
        one = active[-1]
        if one.run in stopping:
            return "▶ stopping …"
        if one.silent is not None:
            return f"▶ {one.status}, silent for {duration(one.silent)}"
        if not one.record.total:
            return f"▶ {one.record.message or one.status}"
        left = f" · {duration(one.left)} left" if one.left is not None else ""
        more = f" (+{len(active) - 1})" if len(active) > 1 else ""
        return f"▶ {one.status} {100 * share(one):.0f}%{left}{more}"
    if not statuses:
        return "no run yet"
    last = statuses[-1]
    failed = f", {cells.several(len(last.record.failures), 'failure')}" if last.record.failures else ""
    return f"{GLYPHS.get(last.status, ' ')} last run {last.status}{failed}"


class RunsPane(Pane):
    """Shows progress, rate, time left and failures of every run. The workbench's watcher feeds it."""

    TITLE = "runs"
    CONTEXT = "runs"
    PARTIAL = False
    HELP = (
        "Runs are processes of their own: closing the workbench or losing the line does not end them. A run whose process is gone"
        " is lost, or has failed if it had not begun; u starts it again, and what is stored is not computed twice. ^x cancels at "
        "the next pass; a run that does not answer is ended after a while."
    )

    BINDINGS: ClassVar[list[BindingType]] = list(keymap.bindings("runs"))

    def __init__(self) -> None:
        super().__init__(id="runs")
        self.statuses: Sequence[RunStatus] = ()
        self.worker_state = ""
        self.stopping: set[str] = set()
        """Runs that were told to stop here."""
        self._fed: object = None
        self._wanted_run = ""
        """A run that the cursor goes to when it is listed."""
        self._text = ""

    def compose(self) -> ComposeResult:
        yield self.note
        yield FrameTable("runs", empty="no run yet; r computes what the view lacks, n asks one question")
        yield PlainText("", id="run-text")

    def on_mount(self) -> None:
        self.entitle("runs")

    def _start(self) -> None:
        """Load nothing: the watcher feeds this pane."""

    def feed(self, statuses: Sequence[RunStatus], worker_state: str) -> None:
        """Show what the runs do now, as far as the pane is seen; repaint only what changed."""
        self.statuses = statuses
        if not all(node.display for node in self.ancestors_with_self if hasattr(node, "display")):
            return
        if (fed := (statuses, worker_state, frozenset(self.stopping))) == self._fed:
            return
        self._fed = fed
        import polars as pl

        self.statuses, self.worker_state = statuses, worker_state
        newest = list(reversed(statuses))
        rows = [
            (
                one.run,
                self._status(one),
                about(one),
                share(one),
                one.record.done,
                one.record.total,
                one.rate,
                one.left,
                len(one.record.failures),
            )
            for one in newest
        ]
        frame = pl.DataFrame(rows, schema=SCHEMA, orient="row", infer_schema_length=None)
        table = self.query_one(FrameTable)
        if not frame.equals(table.frame):
            there = any(one.run == self._wanted_run for one in statuses)
            table.show(frame, COLUMNS, ("run",), {"run": self._wanted_run} if there else None)
            self._wanted_run = "" if there else self._wanted_run
        self.entitle(below=worker_state)
        self._place()
        self.describe()

    def mark(self, run: str) -> None:
        """Bring the cursor to a run that has just been started."""
        self._wanted_run = run

    def _status(self, one: RunStatus) -> str:
        if one.silent is not None:
            return "silent"
        return "stopping" if one.run in self.stopping and one.status in ("running", "queued") else one.status

    def marked(self) -> RunStatus | None:
        row = self.query_one(FrameTable).current
        return next((one for one in self.statuses if row is not None and one.run == row["run"]), None)

    def _place(self) -> None:
        """The table as high as its rows, up to half of the pane; what the marked run is stands right below."""
        rows = self.query_one(FrameTable).row_count
        self.query_one(FrameTable).styles.height = max(2, min(rows + 1, self.size.height // 2))

    def on_resize(self) -> None:
        """Textual calls this beside `Pane`'s own."""
        self._place()
        self.describe()

    def on_row_moved(self) -> None:
        self.describe()

    def describe(self) -> None:
        """Show the marked run's message, configuration and failures below the table."""
        if (text := describe(self.marked(), FEW if self.size.height < ROOMY else MANY)) != self._text:
            self._text = text
            self.query_one("#run-text", PlainText).update(text)


def about(one: RunStatus) -> str:
    """The models of a run and what it computes of them."""
    models = [str(model.get("source", "?")).rsplit("/", 1)[-1] for model in one.record.config.get("models", ())]
    return f"{', '.join(models)} · {', '.join(one.record.config.get('what', ()))}" if models else "questions and views"


def describe(one: RunStatus | None, most: int = FEW) -> str:
    """What a run was asked to do, how it went with its first failures, and then what its results depend on.

    :param most: failures told in full
    """
    if one is None:
        return ""
    record = one.record
    config: dict[str, Any] = dict(record.config)
    if not config.get("models"):
        first = f"{record.run}: questions (n) and views (r) computed in a workbench"
    else:
        facts = "1 fact" if config.get("facts") == 1 else f"{config.get('facts') or 'all'} facts"
        methods = ", ".join(config.get("methods", ()))
        first = f"{about(one)} · {methods} · {facts} of {config.get('data', '?')}"
    return "\n".join([first, *_outcome(one, most), *_details(one)])


def _details(one: RunStatus) -> list[str]:
    """Line by line, as far as it is known: what was chosen, where and with what it ran, and how long that took."""
    record = one.record
    config, run = record.config, record.provenance
    took = duration(record.heartbeat - record.started) if record.started and record.heartbeat > record.started else ""
    libraries, every = run.get("libraries", {}), "all" if config.get("models") else ""
    told = (
        ("run", f"{record.run}{f', took {took}' if took else ''}"),
        ("results", f"{record.computed:,} computed, {max(0, record.done - record.computed):,} found stored"),
        *(
            (name, ", ".join(config.get(key) or ()) or every)
            for name, key in (("languages", "langs"), ("relations", "relations"))
        ),
        ("templates", config.get("templates")),
        ("precision", config.get("dtype")),
        ("device", run.get("device")),
        ("host", run.get("host")),
        ("seed", run.get("seed")),
        ("knscope", run.get("code")),
        *((name, libraries.get(name)) for name in ("torch", "transformers")),
    )
    return [f"{name:<13}{one_line(str(value))}" for name, value in told if value not in (None, "", ())]


def _outcome(one: RunStatus, most: int) -> list[str]:
    """The message of a run, and its first failures."""
    failures = list(one.record.failures)
    lines = [one.record.message] if one.record.message and one.record.message not in failures else []
    if one.silent is not None:
        lines.append(
            f"It has not been heard for {duration(one.silent)}: a model loads, a pass takes long, or it does not answer; ^x ends it."
        )
    lines += [f"✗ {failure}" for failure in failures[:most]]
    if len(failures) > most:
        lines.append(f"… and {len(failures) - most} more: knscope status --json lists them all")
    return lines
