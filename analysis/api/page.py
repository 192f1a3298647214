"""docs/api.md, made from the docstrings of `knscope`: `python -m knscope.analysis.api.page > docs/api.md`."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import knscope

PROPERTIES = (property, cached_property)
HEAD = """\
# Python

Made from the docstrings by `python -m knscope.analysis.api.page`; a test fails when this page is stale. A script that uses it:
[python.md](python.md). What `knscope.open` returns: [store.md](store.md#in-a-notebook).
"""


def page() -> str:
    """The page, whole."""
    parts = [HEAD]
    for name in knscope.__all__:
        if name != "__version__":
            parts += _section(f"knscope.{name}", getattr(knscope, name))
    return "\n".join(parts)


def _section(name: str, thing: Any) -> Iterator[str]:
    yield f"## {name}\n"
    if not inspect.isclass(thing):
        yield f"`{name}{_signature(thing)}`\n"
        yield _text(thing)
        return
    yield _text(thing)
    if is_dataclass(thing):
        said = _field_texts(thing)
        yield "".join(f"- `{one.name}`: {one.type}{said.get(one.name, '')}\n" for one in fields(thing))
    for member, value in vars(thing).items():
        call = getattr(value, "__func__", value)
        documented = inspect.getdoc(call) if inspect.isfunction(call) else inspect.getdoc(value)
        if member.startswith("_") or not documented or not (inspect.isfunction(call) or isinstance(value, PROPERTIES)):
            continue
        yield f"### {name}.{member}\n"
        if inspect.isfunction(call):
            yield f"`{member}{_signature(call)}`\n"
        yield _text(value if isinstance(value, PROPERTIES) else call)


def _field_texts(thing: type) -> dict[str, str]:
    """What stands below each field of a dataclass, for one line of a list."""
    (described,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    assert isinstance(described, ast.ClassDef)
    found = {}
    for field, below in pairwise(described.body):
        text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, str):
            found[field.target.id] = f". {' '.join(text.split())}"
    return found


def _signature(call: Any) -> str:
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(call)))
    return re.sub(r"\((self|cls)(, )?", "(", text, count=1)


def _text(thing: Any) -> str:
    """A docstring as Markdown: parameters and errors as a list."""
    text = inspect.getdoc(thing) or ""
    text = re.sub(r"^:param (\w+):", r"- `\1`:", text, flags=re.MULTILINE)
    text = re.sub(r"^:raises (\w+):", r"- raises `\1`:", text, flags=re.MULTILINE)
    text = re.sub(r"(?m)^(>>> .*(?:\n(?!\n).*)*)", r"```python\n\1\n```", text)
    return f"{text}\n"


if __name__ == "__main__":
    sys.stdout.write(page())
