"""A | B: two views of one store side by side, over threshold sets, methods or models."""

from __future__ import annotations

from typing import cast

from textual.worker import Worker, WorkerState

from knscope.store.view import View
from knscope.tui.dialogs.choose import ChooseScreen
from knscope.tui.dialogs.text import TextScreen
from knscope.tui.panes.comparison import Figures, agreement, figures, side_by_side
from knscope.tui.session import names
from knscope.tui.workbench.bench import Bench

KEEP = "keep"


class Comparing(Bench):
    """A is kept, and B is what is looked at when c is pressed again; or B is picked from what there is."""

    def action_compare(self) -> None:
        session = self.session
        if session.view is None or session.reader is None:
            self.knscope.say("Nothing is stored yet.")
        elif session.kept is not None:
            self._compare(session.kept, session.view)
        else:
            screen = ChooseScreen("compare this view (A) with B", self._others(session.view), [])
            self.app.push_screen(screen, self._chosen)

    def _others(self, view: View) -> list[tuple[str, str]]:
        """What B can be, each with a label."""
        stored = self.session.stored
        return [
            (KEEP, "keep this view as A; change anything, then press c again"),
            *((f"method:{one}", f"method {one}") for one in stored.methods if one != view.method),
            *((f"model:{one}", f"model {name}") for one, name in names(stored.models).items() if one != view.model),
            *((f"set:{one}", f"thresholds {one}") for one in self.session.threshold_sets()),
            ("set:", "thresholds at their defaults"),
        ]

    def _chosen(self, chosen: tuple[str, ...] | None) -> None:
        view = self.session.view
        if not chosen or view is None:
            return
        kind, _, name = chosen[0].partition(":")
        if kind == KEEP:
            self.session.kept = view
            self.follow()
            self.knscope.say("This view is A. Change thresholds, method or model, then press c again.", "information")
        elif kind == "method":
            self._compare(view, view.with_(method=name))
        elif kind == "set":
            self._compare(view, self.session.with_thresholds(name))
        elif self.session.reader is not None:
            there = self.session.reader.langs(name)
            langs = tuple(lang for lang in view.langs if lang in there)
            methods = self.session.reader.methods(name)
            if not langs or not methods:
                self.knscope.say("The two models have no language in common, or one has no attributions.")
                return
            method = view.method if view.method in methods else methods[0]
            self._compare(view, view.with_(model=name, langs=langs, method=method))

    def _compare(self, a: View, b: View) -> None:
        reader, narrow = self.session.reader, self.session.selection.narrow
        if reader is None:
            return
        a, b = narrow(a), narrow(b)
        self.run_worker(
            lambda: (a, b, figures(reader, a), figures(reader, b), agreement(reader, a, b)),
            thread=True,
            group="compare",
            exit_on_error=False,
        )

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker.group != "compare":
            return
        if event.state == WorkerState.ERROR:
            self.knscope.say(f"A and B cannot be compared: {event.worker.error}")
        elif event.state == WorkerState.SUCCESS:
            a, b, of_a, of_b, agree = cast("tuple[View, View, Figures, Figures, Figures]", event.worker.result)
            answers = [("b", "b", "looks at B")]
            if self.session.kept is not None:
                answers = [("c", "end", "ends the comparison"), ("a", "a", "goes back to A")]
            shown = self.session.shown()
            title = f"A | B · {shown.subject if shown else ''}"
            screen = TextScreen(title, side_by_side(a, b, of_a, of_b, agree), answers)
            self.app.push_screen(screen, lambda word: self._compared(word, b))

    def _compared(self, word: str | None, b: View) -> None:
        session = self.session
        if word == "a" and session.kept is not None:
            session.set_view(session.kept)
        elif word == "b" and session.view is not None:
            session.set_view(b.with_(relations=session.view.relations, facts=(), queries=()))
        if word:
            session.kept = None
        self.follow()
