"""Every action of the workbench: its id, its keys and what it does.

Bindings, the footer, the help screen, the command palette and docs/keys.md are all made from this table, so none can
say what another does not. `id` is what a config file remaps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True)
class Action:
    """One thing a person can do."""

    id: str
    named: str
    """Its keys as Textual calls them (`question_mark ctrl+p`); the first is the one shown."""
    label: str
    """Two words at most, for the footer."""
    help: str
    """One line that says what happens."""
    call: str
    """Textual's action string."""
    where: str = "workbench"
    """`workbench`: anywhere. Otherwise the widget that must have the focus: `table`, `layers`, `thresholds`, `sql`, `runs`."""

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self.named.split())


BY_GROUP: Mapping[str, tuple[Action, ...]] = {
    "Move": (
        Action("cursor.up", "up k", "up", "One row up", "cursor(-1)", "table"),
        Action("cursor.down", "down j", "down", "One row down", "cursor(1)", "table"),
        Action("cursor.page-up", "pageup ctrl+b", "page up", "One page up", "page(-1)", "table"),
        Action("cursor.page-down", "pagedown ctrl+f", "page down", "One page down", "page(1)", "table"),
        Action("cursor.first", "home g", "first", "To the first row", "edge(-1)", "table"),
        Action("cursor.last", "end G", "last", "To the last row", "edge(1)", "table"),
        Action("cursor.left", "left h", "left",
               "Mark the column at the left (s sorts by it), or the bin", "across(-1)", "table"),
        Action("cursor.right", "right l", "right", "Mark the column at the right, or the bin", "across(1)", "table"),
        Action("go.in", "enter", "go in", "Into what the cursor is on: relation, fact, query; bin, neuron", "go_in"),
        Action("go.out", "escape", "go out", "Back out: one level up, or close what is open", "go_out"),
        Action("go.back", "left_square_bracket", "back", "What was looked at before", "history(-1)"),
        Action("go.forward", "right_square_bracket", "forward", "What was looked at after that", "history(1)"),
        Action("focus.next", "tab", "next pane", "To the next pane", "focus_pane(1)"),
        Action("focus.previous", "shift+tab", "previous pane", "To the previous pane", "focus_pane(-1)"),
        Action("focus.jump", "ctrl+o apostrophe", "jump", "Label every pane with a letter and jump", "jump"),
        Action("sql.older", "f7 ctrl+up", "older", "SQL: the statement run before", "recall(-1)", "sql"),
        Action("sql.newer", "f8 ctrl+down", "newer", "SQL: the statement run after", "recall(1)", "sql"),
        Action("sql.find", "f9", "search", "SQL: look for a statement run before", "search_history", "sql"),
        Action("sql.leave", "escape", "leave", "SQL: from the editor to its result", "leave", "sql"),
    ),
    "Look at": (
        Action("queries.filter", "slash", "filter",
               "Filter the pane one is in, or the queries, by any words (!word excludes, =en+zh: in exactly these languages)", "filter"),
        Action("undo", "U backspace", "undo", "Take back the last filter, choice or threshold", "undo"),
        Action("queries.known", "K", "known only", "Only facts the model knows, or all", "known"),
        Action("queries.columns", "C", "columns", "Choose the columns of the queries", "columns"),
        Action("queries.sort", "s", "sort",
               "Sort by the marked column (← →), turned round, then as given", "sort(1)", "table"),
        Action("queries.reverse", "S", "reverse", "Turn the order round", "sort(0)", "table"),
        Action("choose.model", "m", "model", "Choose the model", "choose('model')"),
        Action("choose.method", "M", "method", "Choose the attribution method", "choose('method')"),
        Action("choose.langs", "L", "languages", "Choose the languages", "choose('langs')"),
        Action("choose.relation", "f", "relation", "Choose one relation, or all", "choose('relation')"),
        Action("layers.share", "percent_sign", "share/count",
               "Layers: share of the neurons, or their number", "layer_unit"),
        Action("dkn.strict", "d", "paper/strict/sets",
               "DKN: pairs by the paper's rule, pairs by the strict one, larger sets", "pair_kind"),
        Action("compare", "c", "compare A|B",
               "Compare this view (A) with another method, model or threshold set (B), or two lists, side by side", "compare"),
        Action("neuron.note", "w", "note",
               "Name the marked neuron, tag it, write a note of it; the store keeps that", "note"),
        Action("sql.browse", "f2", "what there is",
               "SQL: every table, column and macro, with its comment", "browse", "sql"),
    ),
    "Thresholds": (
        Action("threshold.next", "full_stop", "next threshold", "The next threshold", "threshold(1)"),
        Action("threshold.previous", "comma", "previous threshold", "The threshold before", "threshold(-1)"),
        Action("threshold.up", "plus equals_sign", "raise", "Raise the marked threshold", "nudge(1)"),
        Action("threshold.down", "minus", "lower", "Lower the marked threshold", "nudge(-1)"),
        Action("threshold.all-down", "underscore", "lower all τ", "Lower the τ of every language", "nudge_taus(-1)"),
        Action("threshold.all-up", "asterisk", "raise all τ", "Raise the τ of every language", "nudge_taus(1)"),
        Action("threshold.type", "t", "thresholds",
               "Go to the threshold bar: digits type a value, ⏎ takes it and goes back", "type_threshold"),
        Action("threshold.reset", "x", "reset", "The marked threshold back to its default", "reset_threshold(False)"),
        Action("threshold.reset-all", "X", "reset all", "Every threshold back to its default", "reset_threshold(True)"),
        Action("threshold.drop", "D", "drop kind",
               "Drops relative to the answer's probability, or absolute", "drop_kind"),
        Action("threshold.keep", "b", "keep set", "Keep these thresholds under a name", "keep_set"),
        Action("threshold.load", "B", "load set", "Load thresholds kept under a name", "choose('set')"),
    ),
    "Compute": (
        Action("compute.missing", "r", "compute", "Say what this view lacks, and compute it", "compute"),
        Action("compute.ask", "n", "new question", "Ask the model a new question and attribute it", "ask"),
        Action("compute.what-if", "i", "what if",
               "Scale the neurons that are looked at, and see at once what the model answers", "what_if"),
        Action("compute.what-if-set", "I", "what if, file",
               "The same with the neurons of a file, whoever made it, read on the marked fact", "what_if_set"),
        Action("run.start", "R", "start run", "Start a run: which model, data, languages, methods", "start_run"),
        Action("run.cancel", "ctrl+x", "cancel",
               "Stop the marked run, or the model worker; what is computed stays", "cancel_run"),
        Action("run.resume", "u", "resume run",
               "Start the marked run again; what is stored stays", "screen.resume_run", "runs"),
        Action("sql.run", "ctrl+r f5", "run", "SQL: run the statement", "run_sql", "sql"),
        Action("sql.cancel", "ctrl+x", "cancel", "SQL: stop the statement that runs", "cancel_sql", "sql"),
    ),
    "Take away": (
        Action("take.copy", "y", "copy", "Copy the row; in the SQL pane too", "copy('row')"),
        Action("take.copy-table", "Y", "copy table", "Copy the whole table, tab separated", "copy('table')"),
        Action("take.sql", "Q", "its SQL", "Show the SQL of this pane; from there copy it or open it", "show_sql"),
        Action("take.export", "e", "export",
               "Write this table (CSV, JSON, Parquet, LaTeX) or its figure (PDF, SVG)", "export"),
        Action("take.chart", "v", "draw", "Draw the rows of this table: bars, a line or a histogram", "chart"),
        Action("take.screen", "E", "picture", "Write the screen as SVG", "picture"),
    ),
    "Panes": (
        Action("tab.layers", "1", "layers", "Layers: where the neurons are", "tab('layers')"),
        Action("tab.likn", "2", "LIKN",
               "LIKN: neurons the languages share, and what chance would share", "tab('likn')"),
        Action("tab.dkn", "3", "DKN", "DKN: pairs that back each other up", "tab('dkn')"),
        Action("tab.edits", "4", "edits", "Edits: suppress and enhance, success rates", "tab('edits')"),
        Action("tab.checks", "5", "checks", "Checks: fact checking", "tab('checks')"),
        Action("tab.neuron", "6", "neuron", "Neuron: everything stored of one neuron", "tab('neuron')"),
        Action("tab.sql", "7", "SQL", "SQL over everything stored", "tab('sql')"),
        Action("tab.runs", "8", "runs", "Runs: progress, rate, time left, failures", "tab('runs')"),
        Action("focus.queries", "0", "queries", "To the query table", "focus_queries"),
        Action("pane.zoom", "z f10", "maximise", "This pane alone on the screen, or all again", "zoom"),
        Action("pane.narrower", "left_parenthesis", "narrower", "Less room for the queries", "resize(-1)"),
        Action("pane.wider", "right_parenthesis", "wider", "More room for the queries", "resize(1)"),
    ),
    "Workbench": (
        Action("help", "question_mark f1", "help", "This list, for the pane one is in", "help"),
        Action("palette", "ctrl+p colon", "palette",
               "Every action by name, every fact by its words, any neuron as layer:neuron", "app.command_palette"),
        Action("reload", "ctrl+l", "draw again", "Ask the store and draw everything again", "reload"),
        Action("theme", "ctrl+t", "theme", "Choose the colours", "choose('theme')"),
        Action("copy-or-quit", "ctrl+c", "quit",
               "Copy what the mouse marked; with nothing marked, leave", "copy_or_quit"),
        Action("quit", "q ctrl+q", "quit", "Leave; runs go on", "quit_workbench"),
    ),
}  # fmt: skip
"""By heading of the help screen and the cheat sheet, in order."""
ACTIONS = tuple(action for actions in BY_GROUP.values() for action in actions)

CONTEXTS: Mapping[str, tuple[str, ...]] = {
    "queries": ("go.in", "queries.filter", "threshold.type", "queries.known", "choose.model",
                "compare", "compute.ask", "choose.langs", "compute.what-if", "take.export"),
    "thresholds": ("threshold.down", "threshold.up", "threshold.next", "threshold.all-down", "threshold.reset"),
    "layers": ("go.in", "layers.share", "threshold.down", "threshold.all-down", "take.sql",
               "pane.zoom", "take.export", "compare", "choose.langs"),
    "likn": ("go.in", "threshold.down", "threshold.all-down", "tab.dkn", "take.export",
             "compare", "compute.what-if", "take.sql", "pane.zoom"),
    "dkn": ("go.in", "dkn.strict", "threshold.down", "threshold.up", "take.export",
            "compare", "compute.what-if", "take.sql", "pane.zoom"),
    "edits": ("go.in", "go.out", "compute.missing", "take.export", "pane.zoom"),
    "checks": ("go.in", "go.out", "compute.missing", "take.export", "pane.zoom"),
    "neuron": ("go.in", "go.back", "take.copy", "take.sql", "take.export",
               "neuron.note", "compute.what-if", "pane.zoom"),
    "sql": ("sql.run", "sql.browse", "sql.find", "sql.cancel", "sql.leave"),
    "result": ("take.chart", "take.export", "take.copy", "tab.sql", "go.out"),
    "runs": ("run.start", "run.cancel", "run.resume", "compute.missing", "compute.ask"),
    "": ("go.in", "take.sql", "take.export", "pane.zoom", "tab.sql"),
}  # fmt: skip
"""The keys that the footer names, by what has the focus, as many as there is room for; `? help` and `q quit` follow them."""

_GLYPHS = {
    "question_mark": "?", "slash": "/", "comma": ",", "full_stop": ".", "plus": "+", "minus": "-", "equals_sign": "=",
    "percent_sign": "%", "left_square_bracket": "[", "right_square_bracket": "]", "left_parenthesis": "(",
    "right_parenthesis": ")", "apostrophe": "'", "colon": ":", "enter": "⏎", "escape": "esc", "up": "↑", "down": "↓",
    "underscore": "_", "asterisk": "*", "left": "←", "right": "→", "pageup": "pgup", "pagedown": "pgdn",
}  # fmt: skip


def glyph(key: str) -> str:
    """A key as a person reads it: `ctrl+p` -> `^p`, `question_mark` -> `?`."""
    stem, _, last = key.rpartition("+")
    prefix = {"": "", "ctrl": "^", "shift": "⇧"}.get(stem, stem + "+")
    return prefix + _GLYPHS.get(last, last)


def typeable(key: str) -> bool:
    """Whether an editor would take the key as text."""
    return len(key) == 1 or (key in _GLYPHS and len(_GLYPHS[key]) == 1 and _GLYPHS[key].isascii())


def find(action_id: str) -> Action:
    return next(action for action in ACTIONS if action.id == action_id)


def bindings(where: str) -> list[Binding]:
    """Textual's bindings of one place. None is shown by Textual: the footer is made from CONTEXTS."""
    return [
        Binding(",".join(action.keys), action.call, action.label, show=False, id=action.id, tooltip=action.help)
        for action in ACTIONS
        if action.where == where
    ]


def remapped(keys: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """What Textual's `set_keymap` takes, from a config's `[keys]`, and the ids that name no action."""
    known = {action.id for action in ACTIONS}
    return {name: key for name, key in keys.items() if name in known}, tuple(sorted(set(keys) - known))


def keys_of(action: Action, remap: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(remap[action.id].split(",")) if action.id in remap else action.keys


def cheat_sheet() -> str:
    """docs/keys.md, whole."""
    lines = [
        "# Keys",
        "",
        "Made from `tui/keymap.py` by `python -m knscope.tui.keymap`; a test fails when this page is stale. The ids are what",
        "`[keys]` in the config file remaps. `^x` is ctrl+x.",
    ]
    for group, actions in BY_GROUP.items():
        lines += ["", f"## {group}", "", "| keys | what happens | where | id |", "|---|---|---|---|"]
        for action in actions:
            shown = " ".join(f"`{glyph(key)}`" for key in action.keys)
            lines.append(f"| {shown} | {action.help.replace('|', chr(92) + '|')} | {action.where} | `{action.id}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(cheat_sheet())
