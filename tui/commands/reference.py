"""Every command with its arguments and options: `knscope help`, and docs/commands.md.

`python -m knscope.tui.commands.reference > docs/commands.md` writes the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from knscope.store.errors import UserError
from knscope.tui.commands.listing import kind_of
from knscope.tui.commands.options import Json
from knscope.tui.commands.tree import app as app  # for cli: with `help`, which is added here

EXIT_CODES = {
    0: "done, and all output was written",
    1: "the work failed, or something is damaged; finished results are kept",
    2: "bad input or usage; nothing was started",
    130: "cancelled; finished results are kept",
}
PAGE_HEAD = """\
# Commands

Made from the command line by `python -m knscope.tui.commands.reference`; a test fails when this page is stale. `knscope help` prints
this page and `knscope help --json` the same as data. `knscope` alone opens the last store; `knscope --version` prints the version.

Results go to standard output, messages to standard error. Exit codes:

"""


@app.command(name="help")
def help_command(
    name: Annotated[str | None, typer.Argument(metavar="COMMAND", help="One command, as in run. Default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Every command, argument, option, type and default, for people and for programs."""
    from knscope.tui.printing import output

    chosen = [one for one in commands() if name is None or one["command"].split()[0] == name.split()[0]]
    if not chosen:
        raise UserError(f"there is no command {name}; see all with: knscope help")
    if as_json:
        output.write_json({"exit_codes": EXIT_CODES, "commands": chosen})
    else:
        output.write_data((page(chosen) if name is None else "\n".join(_section(one) for one in chosen)).encode())


def commands() -> list[dict[str, Any]]:
    """A document for each command: command (without `knscope`), help, arguments, options."""
    return [
        {
            "command": name,
            "help": command.help,
            "arguments": [_parameter(one) for one in command.params if one.param_type_name == "argument"],
            "options": [_parameter(one) for one in command.params if one.param_type_name == "option"],
        }
        for name, command in _leaves("", typer.main.get_command(app))
    ]


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    parts = getattr(command, "commands", None)
    if parts is None:
        yield name, command
        return
    for part, one in parts.items():
        yield from _leaves(f"{name} {part}".strip(), one)


def _parameter(one: Any) -> dict[str, Any]:
    kind = "flag" if getattr(one, "is_flag", False) else kind_of(one)
    names = [(one.metavar or one.name.upper()).strip("[].")] if one.param_type_name == "argument" else one.opts
    return {
        "names": names,
        "type": kind,
        "default": None if one.multiple or one.nargs != 1 else one.default,
        "required": one.required,
        "repeated": one.multiple or one.nargs != 1,
        "help": one.help,
    }


def page(chosen: list[dict[str, Any]]) -> str:
    """docs/commands.md, whole."""
    codes = "\n".join(f"- `{code}`: {meaning}" for code, meaning in EXIT_CODES.items())
    return f"{PAGE_HEAD}{codes}\n\n" + "\n".join(_section(one) for one in chosen)


def _section(one: dict[str, Any]) -> str:
    usage = " ".join(["knscope", one["command"], *map(_placed, one["arguments"])])
    lines = [f"## {one['command']}", "", f"`{usage}`", "", " ".join(one["help"].split()), ""]
    if rows := [*one["arguments"], *one["options"]]:
        lines += ["| | type | default | |", "|---|---|---|---|"]
        lines += [_row(part) for part in rows]
        lines.append("")
    return "\n".join(lines)


def _placed(argument: dict[str, Any]) -> str:
    """An argument as a line of usage has it: `STORE`, `[RUN]`, `[WORD]...`."""
    name = argument["names"][0]
    return f"{name if argument['required'] else f'[{name}]'}{'...' if argument['repeated'] else ''}"


def _row(part: dict[str, Any]) -> str:
    names = ", ".join(f"`{name}`" for name in part["names"])
    empty = part["default"] in (None, "") or part["default"] is False
    default = "required" if part["required"] else "" if empty else f"`{part['default']}`"
    kind = part["type"] + (", repeated" if part["repeated"] else "")
    return f"| {names} | {kind} | {default} | {part['help'].replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    import sys

    sys.stdout.write(page(commands()))
