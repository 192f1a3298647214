"""How `--help` lists commands and names the types of values."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperGroup

KINDS = {"str": "text", "list": "text", "int": "integer", "float": "number"}
"""What help calls the types of values; others by their own names."""


class Listed(TyperGroup):
    """A command with commands below it. Lists each with the whole first sentence of its help, under the headings of `groups`."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for command in self.commands.values():
            for one in command.params:
                if one.param_type_name == "option" and not getattr(one, "is_flag", False) and one.metavar is None:
                    one.metavar = kind_of(one).upper()

    def groups(self) -> dict[str, list[str]]:
        """Names of commands by heading."""
        return {"Commands": list(self.commands)}

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, names in self.groups().items():
            with formatter.section(title):
                formatter.write_dl([(name, _first_sentence(self.commands[name].help or "")) for name in names])


def kind_of(parameter: Any) -> str:
    """The type of a parameter's value, in a person's words."""
    name: str = parameter.type_descriptor.annotation.__name__.lower()
    return KINDS.get(name, name)


def _first_sentence(text: str) -> str:
    return " ".join(re.split(r"\n\n|(?<=\.)\s", text)[0].split())
