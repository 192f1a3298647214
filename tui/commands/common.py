"""Parse the values of options."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from knscope.store.errors import ProcessFailed, UserError

CLI = "knscope.tui.cli"
"""The module that a process is which runs a `knscope` command."""


def words(option: str, text: str | None) -> tuple[str, ...]:
    """`en, zh` -> ("en", "zh"); an empty tuple for an option that is not given.

    :raises UserError: for an option that is given but empty, which would count as not given
    """
    if text is None:
        return ()
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise UserError(f"{option} {text!r} is empty; give a value, or leave {option} out")
    return found


def methods(text: str) -> tuple[str, ...]:
    """`amig,bkn+nodes=10,target=logit` -> two methods: a part with an option's `=` continues the method before it."""
    from knscope.analysis.attribution.method import parse_method

    found: list[str] = []
    for part in words("--method", text):
        if "=" in part and "+" not in part.partition("=")[0] and found:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return tuple(dict.fromkeys(parse_method(method).label for method in found))


def one_method(text: str) -> str:
    """The label of a single method."""
    found = methods(text)
    if len(found) != 1:
        raise UserError(f"--method {text}: give one method")
    return found[0]


def taus(text: str | None) -> dict[str, float]:
    """`en=0.3,zh=0.2` -> {"en": 0.3, "zh": 0.2}; a bare number counts for every language (key "")."""
    found: dict[str, float] = {}
    for part in words("--tau", text):
        lang, _, value = part.rpartition("=")
        if lang in found:
            raise UserError(f"--tau {text}: {lang or 'a number for every language'} is given twice")
        try:
            found[lang] = float(value)
        except ValueError:
            raise UserError(f"--tau {part}: give a language and a number, as in --tau en=0.3,zh=0.2") from None
    return found


def size(text: str | None) -> int | None:
    """`8GiB`, `512MB` or a count of bytes."""
    if text is None:
        return None
    units = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
    units |= {f"{name}ib": 2 ** (10 * power) for power, name in enumerate("kmgt", 1)}
    units |= {f"{name}b": 10 ** (3 * power) for power, name in enumerate("kmgt", 1)}
    digits = text.strip().lower().rstrip("bgikmt")
    unit = text.strip().lower()[len(digits) :]
    try:
        found = int(float(digits) * units[unit])
    except (ValueError, KeyError, OverflowError):
        found = 0
    if found <= 0:
        raise UserError(f"--memory {text}: give a size such as 8GiB or 512MB")
    return found


def prefix(text: str, chat: str = "", models: Sequence[str] = ()) -> str:
    """The text before every template: the message `chat` in the model's own chat template, then `text` (or the file @FILE names).

    :raises UserError: for a file that cannot be read, a model without a chat template, or several models
    """
    from knscope.analysis.engine.sources import absolute_source

    if not chat:
        return _text_of(text)
    if len(models) != 1:
        raise UserError("--chat renders one model's own chat template; give one model per run")
    return str(child("chat", absolute_source(models[0]), "--", chat)["prefix"]) + _text_of(text)


def _text_of(text: str) -> str:
    """Text before every template, as it stands; `@FILE` reads it from a file, its line breaks included."""
    from knscope.store.layout import expanded

    if not text.startswith("@"):
        return text
    place = expanded(text[1:])
    try:
        return place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"--prefix {text}: {place} cannot be read ({why})") from error


def facts_count(text: str, option: str = "--facts") -> int | None:
    """`all` -> None; otherwise a positive whole number."""
    if text == "all":
        return None
    if not text.isdecimal() or int(text) == 0:
        raise UserError(f"{option} {text}: give a positive whole number, or all")
    return int(text)


def choose(kind: str, wanted: str | None, stored: list[str]) -> str:
    """The label that is meant: exact, by name (the part before @), or by unique prefix; None means the only label stored.

    :raises UserError: listing what is stored
    """
    listed = "\n".join(f"  {label}" for label in stored) or "  (none yet)"
    if wanted is None:
        if len(stored) == 1:
            return stored[0]
        if not stored:
            raise UserError(f"the store has no {kind} yet; compute one with: knscope run STORE --model M --data D")
        raise UserError(f"the store has several {kind}s; choose one with --{kind}:\n{listed}")
    for match in (
        [label for label in stored if label == wanted],
        [label for label in stored if label.partition("@")[0] == wanted],
        [label for label in stored if label.startswith(wanted)],
    ):
        if len(match) == 1:
            return match[0]
        if match:
            raise UserError(
                f"--{kind} {wanted} is ambiguous; it matches:\n" + "\n".join(f"  {label}" for label in match)
            )
    raise UserError(f"--{kind} {wanted} is not in the store, which has:\n{listed}")


def child(part: str, *arguments: str) -> dict[str, Any]:
    """Ask a process that may import torch, showing its progress. Its answer is the last line on stdout, a JSON document.

    :raises UserError: with the error that the process reports
    :raises ProcessFailed: if it ends without a document
    """
    from knscope.analysis.runs.protocol import ERROR, PROGRAM
    from knscope.store import processes
    from knscope.tui.printing import output

    said = ""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log, output.progress_bar() as bar:
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": log}
        with processes.start(
            PROGRAM, part, *arguments, text=True, encoding="utf-8", errors="replace", **pipes
        ) as child:
            for said in child.stdout or ():
                if said.startswith('{"event": "progress"'):
                    event = json.loads(said)
                    bar.show(event["done"], event["total"], "prompts answered", last=event["done"] == event["total"])
        log.seek(0)
        why = log.read()
    if child.returncode == 2 and ERROR in why:
        raise UserError(why.rpartition(ERROR)[2].strip())  # what libraries said before it helps nobody
    with suppress(ValueError):
        answer: dict[str, Any] = json.loads(said)
        if child.returncode == 0:
            return answer
    raise ProcessFailed(processes.without_result("the model's process", child.returncode, processes.last_line(why)))
