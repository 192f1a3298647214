"""The screen shown when no store is open."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import Screen

from knscope.store.errors import UserError
from knscope.store.layout import expanded
from knscope.tui import config
from knscope.tui.dialogs.form import Field, FormScreen
from knscope.tui.host import host_of
from knscope.tui.widgets.line import PlainText

TEXT = """\
Which neurons of a language model hold a fact, in which languages,
and which of them back each other up.

  d   analyse the bundled facts with the bundled models, and look on
  o   open a store
  q   leave

Or on the command line:

  knscope run STORE --model FOLDER --data FILE.csv
  knscope open STORE
"""


class WelcomeScreen(Screen[None]):
    """Offers the demo and any store."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,enter", "demo", "demo", show=False),
        Binding("o", "open", "open", show=False),
        Binding("q,escape,ctrl+c,ctrl+q", "app.quit", "leave", show=False),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(id="welcome") as box:
            box.border_title = "knscope"
            yield PlainText(TEXT)
            yield PlainText(classes="bad")

    def action_demo(self) -> None:
        from knscope.analysis.demo import start

        try:
            place = config.demo_store()
            start.resume(place, start.demo_config(60))
        except UserError as error:
            self.query_one(".bad", PlainText).update(str(error))
            return
        host_of(self).open_store(place)

    def action_open(self) -> None:
        def answer(values: dict[str, str] | None) -> None:
            if not values:
                return
            try:
                place = expanded(values["store"])
            except UserError as error:
                self.query_one(".bad", PlainText).update(str(error))
            else:
                host_of(self).open_store(place)

        self.app.push_screen(FormScreen("open a store", [Field("store", "folder", hint="my.knstore")]), answer)
