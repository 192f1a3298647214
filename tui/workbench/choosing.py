"""Lists to choose from: model, method, languages, relation, kept thresholds, columns, colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from knscope.tui.dialogs.choose import ChooseScreen
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.session import look, names

if TYPE_CHECKING:
    from knscope.store.view import View
    from knscope.tui.workbench.bench import Bench

Options = Sequence[tuple[str, str]]
"""Values with what is shown of each."""


class Choosing:
    """Opens a list and applies what was chosen to the View."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def choose(self, what: str) -> None:
        """Open the list of `model`, `method`, `langs`, `relation`, `set` or `theme`."""
        view = self._bench.session.view
        if what == "theme":
            self._choose_theme()
        elif view is None:
            self._bench.say("Nothing is stored yet.")
        else:
            lists = {
                "model": self._choose_model,
                "method": self._choose_method,
                "langs": self._choose_langs,
                "relation": self._choose_relation,
                "set": self._choose_set,
            }
            lists[what](view)

    def choose_columns(self) -> None:
        """Open the list of the query table's columns."""
        queries = self._bench.query_one(QueriesPane)
        options = [(column.name, text) for column, text in queries.offered()]
        self._ask("columns of the queries", options, queries.chosen, queries.choose, one="column")

    def _choose_theme(self) -> None:
        app = self._bench.app
        ours_first = sorted(app.available_themes, key=lambda name: (not name.startswith("knscope"), name))
        self._ask_one("colours", [(name, name) for name in ours_first], app.theme, self._bench.host.take_theme)

    def _choose_model(self, view: View) -> None:
        session = self._bench.session

        def take(model: str) -> None:
            if session.reader is not None:
                session.choose_model(model, look(session.reader, model))
                self._bench.follow()

        self._ask_one("model", list(names(session.stored.models).items()), view.model, take, live=True)

    def _choose_method(self, view: View) -> None:
        session = self._bench.session
        options = [(method, method) for method in session.stored.methods]
        take = lambda method: self._bench.change(method=method)  # noqa: E731
        screen = self._ask_one("attribution method", options, view.method, take, live=True)
        if (place := session.path) is not None:
            from knscope.analysis.faithfulness import stored

            verdict = partial(stored.verdict, place, view.model)
            self._bench.in_thread(verdict, screen.tell, lambda _: None, group="which method", exclusive=True)

    def _choose_relation(self, view: View) -> None:
        options = [("", "all relations"), *((one, one) for one in self._bench.session.stored.relations)]
        take = lambda relation: self._bench.change(relations=(relation,) if relation else ())  # noqa: E731
        self._ask_one("relation", options, view.relations[0] if view.relations else "", take, live=True)

    def _choose_langs(self, view: View) -> None:
        options = [(lang, lang) for lang in self._bench.session.stored.langs]
        take = lambda langs: self._bench.change(langs=langs)  # noqa: E731
        self._ask("languages", options, view.langs, take, one="language", live=True)

    def _choose_set(self, _: View) -> None:
        session = self._bench.session
        options = [
            (name, f"{name}   " + " ".join(f"{k.removeprefix('tau:')} {v:g}" for k, v in values.items()))
            for name, values in session.threshold_sets().items()
        ]

        def take(name: str) -> None:
            session.set_view(session.with_thresholds(name))
            self._bench.follow()

        self._ask_one("thresholds kept", options, "", take)

    def _ask_one(
        self, title: str, options: Options, current: str, take: Callable[[str], object], *, live: bool = False
    ) -> ChooseScreen:
        return self._ask(title, options, [current], lambda chosen: take(chosen[0]), live=live)

    def _ask(
        self, title: str, options: Options, current: Sequence[str], take: Callable[[tuple[str, ...]], object],
        *, one: str = "", live: bool = False,
    ) -> ChooseScreen:  # fmt: skip
        """:param one: what one of the options is called, where several may be chosen
        :param live: apply what is marked as one moves
        """
        session, before, shown = self._bench.session, self._bench.session.steps, list[tuple[str, ...]]()

        def preview(chosen: tuple[str, ...]) -> None:
            shown.append(chosen)
            take(chosen)

        def answer(chosen: tuple[str, ...] | None) -> None:
            if chosen:
                if not shown or shown[-1] != chosen:
                    take(chosen)
                session.as_one(before)
                return
            if chosen is not None:
                self._bench.say(f"At least one {one} must be chosen.")
            if session.steps > before:  # left, or nothing chosen: as it was
                session.as_one(before)
                session.undo()
                self._bench.follow()

        screen = ChooseScreen(title, options, current, several=bool(one), preview=preview if live else None)
        self._bench.app.push_screen(screen, answer)
        return screen
