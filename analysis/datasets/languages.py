"""Choose languages and relations of a dataset."""

from collections.abc import Iterable, Sequence

from knscope.store.errors import UserError

SHOWN = 50
"""So many relations are listed in an error."""


def choose_langs(available: Iterable[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The dataset's codes of the languages asked for; all if none is.

    A code matches itself, or the one language it is the primary subtag of: `zh` finds `zh-hans` unless `zh-hant` is
    there too: they are different languages. Raises UserError for a code without a match.
    """
    codes = tuple(dict.fromkeys(available))
    if not wanted:
        return codes
    chosen = []
    for code in wanted:
        matches = [code] if code in codes else [have for have in codes if have.split("-")[0] == code]
        if len(matches) > 1:
            raise UserError(f"language {code!r} may mean {' or '.join(matches)}: write the one you want")
        if not matches:
            raise UserError(f"language {code!r} is not in the data; it has {', '.join(sorted(codes))}")
        chosen += matches
    return tuple(dict.fromkeys(chosen))


def choose_relations(available: Iterable[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The relations asked for, all of them when none is. Raises UserError for one that is not there."""
    names = tuple(dict.fromkeys(available))
    missing = [name for name in wanted if name not in names]
    if missing:
        more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
        raise UserError(f"relation {missing[0]!r} is not in the data; it has {', '.join(sorted(names)[:SHOWN])}{more}")
    return tuple(dict.fromkeys(wanted)) or names
