"""The actions of keymap.py that move, look, change thresholds and take results away."""

from __future__ import annotations

import os

from knscope.tui import keymap
from knscope.tui.dialogs.choose import ChooseScreen
from knscope.tui.dialogs.form import Field, FormScreen
from knscope.tui.dialogs.help import help_text
from knscope.tui.dialogs.text import TextScreen
from knscope.tui.panes.dkn import DknPane
from knscope.tui.panes.layers import LayersPane
from knscope.tui.panes.pane import Pane
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.panes.sql import SqlPane
from knscope.tui.session import look, names
from knscope.tui.terminal import clipboard
from knscope.tui.thresholds import reset, thresholds, value_of
from knscope.tui.widgets.cells import plain
from knscope.tui.widgets.footer_line import FooterLine
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.layer_grid import LayerGrid
from knscope.tui.widgets.threshold_bar import ThresholdBar
from knscope.tui.workbench.below import Below
from knscope.tui.workbench.bench import SPLITS
from knscope.tui.workbench.comparing import Comparing
from knscope.tui.workbench.exporting import Exporting


class Doing(Below, Comparing, Exporting):
    """Everything a key does that computes nothing."""

    async def action_do(self, action_id: str) -> None:
        """An action by its id, as the footer and the palette call it."""
        action = keymap.find(action_id)
        if action.where == "sql":
            self.action_tab("sql")
        name = f"action_{action.call.partition('(')[0]}"
        inside = self.focused.ancestors_with_self if self.focused is not None and action.where != "workbench" else ()
        able = next(
            (node for node in inside if hasattr(node, name)), self
        )  # a widget may have an action of that name too
        if hasattr(able, name) or "." in action.call:
            await self.app.run_action(action.call, default_namespace=able)
        else:
            self.knscope.say(f"{action.label} is for {action.where}: go there first.")

    # --- move

    def action_go_in(self) -> None:
        focused = self.focused
        if isinstance(focused, FrameTable | LayerGrid):
            focused.enter()

    def action_go_out(self) -> None:
        """What is open closes first, then the selection widens by a level."""
        pane, queries = self.pane(), self.query_one(QueriesPane)
        if self.maximized is not None:
            self.minimize()
        elif self.stop_below() or (pane is not None and pane.go_out()):
            return
        elif (pane is queries and queries.close_filter(keep=False)) or pane is not queries:
            self.query_one("#queries FrameTable").focus()
        elif self.session.select(self.session.selection.shallower()):
            self.follow()

    def action_history(self, step: int) -> None:
        if self.session.travel(step):
            self.follow()
        else:
            self.knscope.say("This is where the road " + ("begins." if step < 0 else "ends."))

    def action_focus_pane(self, step: int) -> None:
        panes = [pane for pane in self.seen_panes() if pane.focus_target() is not None]
        now = self.pane()
        place = panes.index(now) if now in panes else -step
        panes[(place + step) % len(panes)].focus_target().focus()

    def action_focus_queries(self) -> None:
        self.query_one(QueriesPane).focus_target().focus()

    def action_jump(self) -> None:
        self.query_one(FooterLine).jump(self.seen_panes())

    # --- look at

    def action_tab(self, name: str) -> None:
        self.open_tab = name
        self.place_panes()
        pane = self.query_one(LayersPane) if name == "layers" else self.query_one(f"ContentSwitcher > #{name}", Pane)
        self.set_focus(pane.focus_target())  # at once: what is typed ahead on a slow line belongs there

    def action_filter(self) -> None:
        self.query_one(QueriesPane).open_filter()

    def action_known(self) -> None:
        if self.session.view is not None:
            self.session.change(known=not self.session.view.known)
            self.follow()

    def action_columns(self) -> None:
        queries = self.query_one(QueriesPane)

        def take(chosen: tuple[str, ...] | None) -> None:
            if chosen:
                queries.choose(chosen)
            elif chosen is not None:
                self.knscope.say("At least one column must be chosen.")

        options = [(column.name, text) for column, text in queries.offered()]
        self.app.push_screen(ChooseScreen("columns of the queries", options, queries.chosen, several=True), take)

    def action_reload(self) -> None:
        """Everything asked and drawn anew."""
        for pane in self.query(Pane):
            pane.again()
        self.refresh(layout=True)

    def action_layer_unit(self) -> None:
        self.query_one(LayersPane).turn_unit()

    def action_pair_kind(self) -> None:
        self.query_one(DknPane).turn_kind()

    def action_choose(self, what: str) -> None:
        """A list to choose from: model, method, langs, relation, set or theme."""
        view, stored = self.session.view, self.session.stored
        if what == "theme":
            every = [
                (name, name)
                for name in sorted(self.app.available_themes, key=lambda name: (not name.startswith("knscope"), name))
            ]
            self._ask_one("colours", every, self.app.theme, self.knscope.take_theme)
            return
        if view is None:
            self.knscope.say("Nothing is stored yet.")
            return
        if what == "model":
            self._ask_one("model", list(names(stored.models).items()), view.model, self._take_model)
        elif what == "method":
            self._ask_one(
                "attribution method", [(m, m) for m in stored.methods], view.method, lambda m: self._change(method=m)
            )
        elif what == "relation":
            every = [("", "all relations"), *((one, one) for one in stored.relations)]
            self._ask_one("relation", every, view.relations[0] if view.relations else "", self._take_relation)
        elif what == "set":
            kept = self.session.threshold_sets()
            listed = [
                (name, f"{name}   " + " ".join(f"{k.removeprefix('tau:')} {v:g}" for k, v in values.items()))
                for name, values in kept.items()
            ]
            self._ask_one("thresholds kept", listed, "", self._take_set)
        else:
            screen = ChooseScreen("languages", [(one, one) for one in stored.langs], view.langs, several=True)
            self.app.push_screen(screen, self._take_langs)

    def _ask_one(self, title: str, options: list[tuple[str, str]], current: str, then: object) -> None:
        def answer(chosen: tuple[str, ...] | None) -> None:
            if chosen and callable(then):
                then(chosen[0])

        self.app.push_screen(ChooseScreen(title, options, [current]), answer)

    def _change(self, **changes: object) -> None:
        self.session.change(**changes)
        self.follow()

    def _take_model(self, model: str) -> None:
        if self.session.reader is not None:
            self.session.choose_model(model, look(self.session.reader, model))
            self.follow()

    def _take_relation(self, relation: str) -> None:
        self._change(relations=(relation,) if relation else ())

    def _take_set(self, name: str) -> None:
        self.session.set_view(self.session.with_thresholds(name))
        self.follow()

    def _take_langs(self, langs: tuple[str, ...] | None) -> None:
        if langs:
            self._change(langs=langs)
        elif langs is not None:
            self.knscope.say("At least one language must be chosen.")

    # --- thresholds

    def set_threshold(self, name: str, value: float) -> None:
        """The value repaints at once; the panes follow when the keys that wait are done."""
        self.session.set_threshold(name, value)
        self.query_one(ThresholdBar).view = self.session.view
        self.follow_soon()

    def action_threshold(self, step: int) -> None:
        self.query_one(ThresholdBar).step(step)

    def action_nudge(self, steps: int) -> None:
        view, marked = self.session.view, self.query_one(ThresholdBar).current()
        if view is not None and marked is not None:
            value = marked.nudged(value_of(view, marked.name), steps)
            if value != value_of(view, marked.name):
                self.set_threshold(marked.name, value)

    def action_nudge_taus(self, steps: int) -> None:
        """Every τ by one step, so that languages keep their distance."""
        view = self.session.view
        if view is None:
            return
        bar = self.query_one(ThresholdBar)
        for one in thresholds(view):
            if one.name.startswith("tau:"):
                self.session.set_threshold(one.name, one.nudged(value_of(view, one.name), steps))
        bar.view = self.session.view
        self.follow_soon()

    def action_type_threshold(self) -> None:
        self.query_one(ThresholdBar).type_here(self.focused)

    def action_reset_threshold(self, everything: bool) -> None:
        marked = self.query_one(ThresholdBar).current()
        if self.session.view is not None and marked is not None:
            self.session.set_view(reset(self.session.view, None if everything else marked.name))
            self.follow()

    def action_drop_kind(self) -> None:
        if self.session.view is not None:
            self._change(drop="absolute" if self.session.view.drop == "relative" else "relative")

    def action_keep_set(self) -> None:
        view = self.session.view
        if view is None:
            return

        def keep(values: dict[str, str] | None) -> None:
            if values:
                self.session.keep_thresholds(values["name"])
                self.knscope.say(f"Kept as {values['name']}; B brings it back.", "information")

        text = "  ".join(f"{one.symbol} {one.show(value_of(view, one.name))}" for one in thresholds(view))
        self.app.push_screen(
            FormScreen("keep these thresholds", [Field("name", "name", hint="a word to find them by")], text), keep
        )

    # --- take away

    def _table(self) -> FrameTable | None:
        pane = self.pane()
        return pane.table() if pane is not None else None

    def action_copy(self, what: str) -> None:
        table = self._table()
        if table is None or not table.frame.height:
            self.knscope.say("There is no table here to copy from.")
            return
        names_ = [column.name for column in table.columns]
        if what == "row":
            text, said = "\t".join(plain(value) for value in table.frame.select(names_).row(table.cursor)), "row copied"
        else:
            from knscope.store.export import as_csv

            text, said = as_csv(table.frame.select(names_), "\t"), f"{table.frame.height:,} rows copied"
        self.copy_text(text, said)

    def copy_text(self, text: str, said: str) -> None:
        """By OSC 52, and into tmux where there is one; then say what may stand in the way."""
        self.app.copy_to_clipboard(text)
        clipboard.into_tmux(text, os.environ)
        advice = clipboard.advice(os.environ)
        self.knscope.say(f"{said}{'; ' + advice if advice else ''}", "information")

    def action_show_sql(self) -> None:
        pane, reader, shown = self.pane(), self.session.reader, self.session.shown()
        text = pane.sql(reader, shown) if pane is not None and reader is not None and shown is not None else ""
        if not text or pane is None:
            self.knscope.say("This pane shows no stored query.")
            return

        def answer(word: str | None) -> None:
            if word == "copy":
                self.copy_text(text, "SQL copied")
            elif word == "open":
                self.query_one(SqlPane).put(text)
                self.action_tab("sql")

        answers = (("y", "copy", "copies"), ("o", "open", "opens it in the SQL pane"))
        self.app.push_screen(TextScreen(f"the SQL of {pane.TITLE}", text, answers), answer)

    # --- panes and the workbench

    def action_zoom(self) -> None:
        pane = self.pane()
        if self.maximized is not None:
            self.minimize()
        elif pane is not None:
            self.maximize(pane, container=False)

    def action_resize(self, step: int) -> None:
        self.split = max(0, min(self.split + step, len(SPLITS) - 1))
        self.place_panes()

    def action_help(self) -> None:
        self.app.push_screen(TextScreen("help", help_text(self.pane(), self.knscope.settings.keys)))

    def action_copy_or_quit(self) -> None:
        if text := self.get_selected_text():
            self.copy_text(text, "copied")
        else:
            self.action_quit_workbench()

    def action_quit_workbench(self) -> None:
        self.knscope.leave()

    def save(self) -> None:
        """Keep where one is for the next sitting."""
        queries, table = self.query_one(QueriesPane), self.query_one("#queries FrameTable", FrameTable)
        self.session.save(
            {
                "tab": self.open_tab,
                "split": self.split,
                "filter": queries.filter_text,
                "sorting": table.sorted_by,
                "columns": queries.chosen,
            }
        )
