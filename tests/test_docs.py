"""What the documentation shows exists, and what exists is documented."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from knscope.store import schema
from knscope.store.view import View
from knscope.tui.cli import run_app
from knscope.tui.commands import reference
from knscope.tui.commands.reference import app
from knscope.tui.config import Settings
from tests.store import small

HERE = Path(__file__).parents[1]
PAGES = [HERE / "README.md", HERE / "CONTRIBUTING.md", *sorted((HERE / "docs").rglob("*.md"))]
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
CHEAP = ("facts", "kn", "layers", "likn", "dkn", "status")
"""Commands that read a store within a second; the others have tests of their own."""


def commands_in(text: str) -> Iterator[tuple[bool, list[str]]]:
    """The words of every call of knscope; True where a code block shows the whole line."""
    for block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if (line := line.removeprefix("$ ")).startswith("knscope "):
                words = shlex.split(line, comments=True)
                yield True, words[: next((place for place, word in enumerate(words) if word in ("|", ">", "&&")), None)]
    for line in re.findall(r"`(knscope [^`]*)`", FENCE.sub("", text).replace("\n", " ")):
        yield False, shlex.split(line)


def shown() -> list[tuple[str, bool, str]]:
    """Page and command line of everything that is shown; `kn|layers STORE` is two commands."""
    found = set()
    for page, text in TEXT.items():
        for whole, (_, first, *rest) in commands_in(text):
            found |= {(page.name, whole, shlex.join([name, *rest])) for name in first.split("|")}
    return sorted(found)


@functools.cache
def command_line() -> Any:
    return typer.main.get_command(app)


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and what is left of them."""
    command = command_line()
    while words and getattr(command, "commands", None) is not None:
        if words[0] not in command.commands:
            break
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize(("page", "whole", "line"), shown())
def test_every_command_shown_exists_and_parses(page: str, whole: bool, line: str) -> None:
    """Lines of code blocks parse as the command line does; of a call within a sentence the command and its options exist."""
    command, words = command_of(shlex.split(line))
    options = {name for one in command.params for name in one.opts} | {"--help"}
    assert {word for word in words if re.match("-{1,2}[a-z]", word)} <= options, page
    if whole:
        command.make_context("knscope", list(words))
    elif getattr(command, "commands", None):
        assert not words or words[0] in options, f"{page}: no command {words[0]}"


@pytest.mark.parametrize("name", CHEAP)
def test_a_command_that_reads_a_store_runs_on_a_kept_one(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = small.unpack(tmp_path)
    assert run_app([name, str(place)]) == 0
    assert capsys.readouterr().out


def test_the_page_of_commands_is_made_from_the_command_line() -> None:
    page = (HERE / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == reference.page(reference.commands()), (
        "run: python -m knscope.tui.commands.reference > docs/commands.md"
    )


def test_every_table_column_setting_and_threshold_is_documented() -> None:
    everything = "\n".join(TEXT.values())
    store_page = TEXT[HERE / "docs" / "store.md"]
    assert [name for name in schema.tables() if f"`{name}`" not in store_page] == []
    assert [
        one.name
        for one in fields(Settings)
        if f"`{one.name}`" not in everything and f"`[{one.name}]`" not in everything
    ] == []
    assert [one.name for one in fields(View) if f"`{one.name}`" not in everything] == []
    assert [
        (one.name, name) for one in schema.tables().values() for name, said in one.comments.items() if not said
    ] == []
    assert [name for name in schema.macros() if f"`{name}`" not in store_page] == []


def test_every_page_is_in_the_index() -> None:
    index = TEXT[HERE / "docs" / "README.md"]
    assert [
        page.name
        for page in PAGES
        if page.parent.name == "docs" and page.name != "README.md" and page.name not in index
    ] == []


def anchors(text: str) -> set[str]:
    """The names by which links reach the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower().strip()).replace(" ", "-") for heading in headings}


def test_every_link_leads_to_a_file_or_heading_that_is_there() -> None:
    lost = []
    for page, text in TEXT.items():
        for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", FENCE.sub("", text)):
            name, _, heading = link.partition("#")
            place = (page.parent / name).resolve() if name else page
            if not place.exists() or (heading and heading not in anchors(place.read_text(encoding="utf-8"))):
                lost.append((page.name, link))
    assert lost == []
