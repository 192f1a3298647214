"""Whether what a View names is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knscope.store.errors import UserError
from knscope.store.view import View

if TYPE_CHECKING:
    from knscope.store.reader import Reader


def validate(reader: Reader, view: View) -> None:
    """Raises UserError, listing what there is, where a View names what is not stored."""
    if view.model in reader.models() and not reader.methods(view.model):
        raise UserError(
            f"no attribution with {view.model} is stored yet; those of a run appear as they are computed{reader.unreadable()}"
        )
    for what, value, there in (
        ("model", view.model, reader.models()),
        ("method", view.method, reader.methods(view.model)),
    ):
        if value not in there:
            raise UserError(
                f"{what} {value!r} is not in this store; it has {', '.join(there) or 'none yet'}{reader.unreadable()}"
            )
    for what, wanted, there in (
        ("language", view.langs, reader.langs(view.model)),
        ("relation", view.relations, reader.relations()),
    ):
        if strange := [name for name in wanted if name not in there]:
            raise UserError(
                f"{what} {', '.join(strange)} is not stored for {view.model}; there is {', '.join(there) or 'none yet'}"
            )
    there = reader.catalog()["facts"] if view.facts else []
    if strange := sorted(set(view.facts) - set(there)):
        example = f", such as {min(there)}" if there else ""
        raise UserError(f"fact {', '.join(strange[:5])} is not stored; there are {len(there):,}{example}")
