"""One table of actions feeds bindings, help, footer, palette and docs/keys.md."""

from __future__ import annotations

from pathlib import Path

from knscope.tui import keymap
from knscope.tui.dialogs.help import help_text
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.sql_editor import SqlEditor
from knscope.tui.workbench.screen import WorkbenchScreen

HERE = Path(__file__).parents[2]


def test_docs_keys_page_equals_the_cheat_sheet() -> None:
    assert (HERE / "docs" / "keys.md").read_text(encoding="utf-8") == keymap.cheat_sheet(), (
        "run: python -m knscope.tui.keymap > docs/keys.md"
    )


def test_keymap_has_unique_ids_and_one_action_per_key_in_each_place() -> None:
    ids = [action.id for action in keymap.ACTIONS]
    assert len(ids) == len(set(ids))
    for places in (("workbench", "table"), ("workbench", "runs"), ("sql",)):
        keys = [key for action in keymap.ACTIONS if action.where in places for key in action.keys]
        assert len(keys) == len(set(keys)), sorted(key for key in keys if keys.count(key) > 1)


def test_keymap_actions_exist_where_they_are_bound() -> None:
    homes = {"workbench": (WorkbenchScreen,), "table": (FrameTable,), "sql": (SqlEditor,), "runs": (WorkbenchScreen,)}
    for action in keymap.ACTIONS:
        name = action.call.partition("(")[0].removeprefix("screen.")
        if not name.startswith("app."):
            assert any(hasattr(home, f"action_{name}") for home in homes[action.where]), action.id


def test_footer_contexts_name_existing_actions_and_groups_have_headings() -> None:
    assert {name for names in keymap.CONTEXTS.values() for name in names} <= {action.id for action in keymap.ACTIONS}
    assert all(len(set(names)) == len(names) >= 5 for names in keymap.CONTEXTS.values())


def test_help_lists_every_action_with_its_remapped_key() -> None:
    text = help_text(None, {"compute.missing": "ctrl+g"}).plain
    assert "^g" in text
    assert all(action.help.split()[0] in text for action in keymap.ACTIONS)


def test_remapped_keeps_known_ids_and_names_unknown_ones() -> None:
    assert keymap.remapped({"help": "f2", "nonsense": "x"}) == ({"help": "f2"}, ("nonsense",))


def test_keymap_uses_no_key_that_terminals_swallow() -> None:
    swallowed = {"ctrl+s", "ctrl+z", "ctrl+enter", "ctrl+comma", "ctrl+j", "ctrl+i", "ctrl+m"}
    assert not swallowed & {key for action in keymap.ACTIONS for key in action.keys}
