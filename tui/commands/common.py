"""Parse the values of options."""

from __future__ import annotations

CLI = "knscope.tui.cli"
"""The module that a process is which runs a `knscope` command."""


def words(option: str, text: str | None) -> tuple[str, ...]:
    """`en, zh` -> ("en", "zh"); an empty tuple for an option that is not given.

    :raises UserError: for an option that is given but empty, which would count as not given
    """
    from knscope.store.errors import UserError

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
    from knscope.store.errors import UserError

    found = methods(text)
    if len(found) != 1:
        raise UserError(f"--method {text}: give one method")
    return found[0]


def taus(text: str | None) -> dict[str, float]:
    """`en=0.3,zh=0.2` -> {"en": 0.3, "zh": 0.2}; a bare number counts for every language (key "")."""
    from knscope.store.errors import UserError

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
    from knscope.store.errors import UserError

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


def prefix(text: str) -> str:
    """Text before every template, as it stands; `@FILE` reads it from a file, its line breaks included."""
    from knscope.store.errors import UserError
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
    from knscope.store.errors import UserError

    if text == "all":
        return None
    if not text.isdecimal() or int(text) == 0:
        raise UserError(f"{option} {text}: give a positive whole number, or all")
    return int(text)


def choose(kind: str, wanted: str | None, stored: list[str]) -> str:
    """The label that is meant: exact, by name (the part before @), or by unique prefix; None means the only label stored.

    :raises UserError: listing what is stored
    """
    from knscope.store.errors import UserError

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
