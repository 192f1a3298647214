"""A | B: two views of one store side by side, over threshold sets, methods or models."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text

from knscope.store.view import View
from knscope.tui.dialogs.choose import ChooseScreen
from knscope.tui.dialogs.compare import CompareScreen
from knscope.tui.panes.comparison import Figures, agreement, figures, listed, neurons, side_by_side
from knscope.tui.session import names

if TYPE_CHECKING:
    import polars as pl

    from knscope.tui.workbench.bench import Bench

KEEP = "keep"


class Comparison:
    """Compares the current view (A) with one picked from a list (B); or keeps A until `c` is pressed again on B."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def compare(self) -> None:
        """What the key does: compare with the kept view, or ask what to compare with."""
        session = self._bench.session
        if session.view is None or session.reader is None:
            self._bench.say("Nothing is stored yet.")
        elif session.kept is not None:
            self._compare(session.kept, session.view)
        else:
            screen = ChooseScreen("compare this view (A) with B", self._others(session.view), [])
            self._bench.app.push_screen(screen, self._chosen)

    def _others(self, view: View) -> list[tuple[str, str]]:
        """What B can be, each with a label."""
        session = self._bench.session
        stored = session.stored
        return [
            (KEEP, "keep this view as A; change anything, then press c again"),
            *((f"method:{one}", f"method {one}") for one in stored.methods if one != view.method),
            *((f"model:{one}", f"model {name}") for one, name in names(stored.models).items() if one != view.model),
            *((f"list:{one}", f"the list {one} with another list or this view") for one in self._lists(view)),
            *((f"set:{one}", f"thresholds {one}") for one in session.threshold_sets()),
            ("set:", "thresholds at their defaults"),
        ]

    def _lists(self, view: View) -> list[str]:
        from knscope.analysis.neurons.notes import lists

        reader = self._bench.session.reader
        return list(lists(reader, view.model)) if reader is not None else []

    def _with_list(self, view: View, a: str) -> None:
        """Ask what the list A is compared with."""

        def compare(chosen: tuple[str, ...] | None) -> None:
            reader = self._bench.session.reader
            if not chosen or reader is None:
                return
            (b,) = chosen
            text = Text(f"A  the list {a}\nB  {f'the list {b}' if b else 'the neurons of this view'}")

            def show(found: pl.DataFrame) -> None:
                self._bench.app.push_screen(CompareScreen(f"A | B · {a} | {b or 'this view'}", text, found))

            self._bench.in_thread(
                partial(listed, reader, self._bench.session.selection.narrow(view), a, b),
                show,
                lambda error: self._bench.say(f"A and B cannot be compared: {error}"),
                group="compare",
                what="comparing A and B",
            )

        others = [
            ("", "the neurons of this view"),
            *((one, f"the list {one}") for one in self._lists(view) if one != a),
        ]
        self._bench.app.push_screen(ChooseScreen(f"compare the list {a} (A) with B", others, []), compare)

    def _chosen(self, chosen: tuple[str, ...] | None) -> None:
        session, say = self._bench.session, self._bench.say
        view = session.view
        if not chosen or view is None:
            return
        kind, _, name = chosen[0].partition(":")
        if kind == KEEP:
            session.kept = view
            self._bench.follow()
            say("This view is A. Change thresholds, method or model, then press c again.", "information")
        elif kind == "method":
            self._compare(view, view.with_(method=name))
        elif kind == "list":
            self._with_list(view, name)
        elif kind == "set":
            self._compare(view, session.with_thresholds(name))
        elif session.reader is not None:
            there = session.reader.langs(name)
            langs = tuple(lang for lang in view.langs if lang in there)
            methods = session.reader.methods(name)
            if not langs or not methods:
                say("The two models have no language in common, or one has no attributions.")
                return
            method = view.method if view.method in methods else methods[0]
            self._compare(view, view.with_(model=name, langs=langs, method=method))

    def _compare(self, a: View, b: View) -> None:
        reader, narrow = self._bench.session.reader, self._bench.session.selection.narrow
        if reader is None:
            return
        a, b = narrow(a), narrow(b)
        self._bench.in_thread(
            lambda: (figures(reader, a), figures(reader, b), agreement(reader, a, b), neurons(reader, a, b)),
            lambda found: self._show(a, b, *found),
            lambda error: self._bench.say(f"A and B cannot be compared: {error}"),
            group="compare",
            what="comparing A and B",
        )

    def _show(self, a: View, b: View, of_a: Figures, of_b: Figures, agree: Figures, found: pl.DataFrame | None) -> None:
        session = self._bench.session
        answers = [("b", "b", "looks at B")]
        if session.kept is not None:
            answers = [("c", "end", "ends comparing"), ("a", "a", "goes back to A")]
        shown = session.shown()
        title = f"A | B · {shown.subject if shown else ''}"
        screen = CompareScreen(title, side_by_side(a, b, of_a, of_b, agree), found, answers)
        self._bench.app.push_screen(screen, lambda word: self._answered(word, b))

    def _answered(self, word: str | None, b: View) -> None:
        session = self._bench.session
        if word == "a" and session.kept is not None:
            session.set_view(session.kept)
        elif word == "b" and session.view is not None:
            session.set_view(b.with_(relations=session.view.relations, facts=(), queries=()))
        if word:
            session.kept = None
        self._bench.follow()
