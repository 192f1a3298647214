"""What the model was asked in the marked row, and what it says: the prompt with the answer in its place, p, rank, likeliest words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.text import Text

from knscope.tui.printing.format import one_line
from knscope.tui.widgets import cells

if TYPE_CHECKING:
    from knscope.store.reader import Reader

Says = Sequence[tuple[str, float]]
_SAYS = "SELECT says, says_p FROM prediction WHERE model = ? AND query = ?"


def says_of(reader: Reader, model: str, query: str) -> Says | None:
    """The model's likeliest words for a query, and their probabilities; None where they are not stored."""
    found = reader.sql(_SAYS, [model, query])
    words, chances = found.row(0) if found.height else (None, None)
    return None if words is None else tuple(zip(words, chances, strict=True))


def chance(p: float) -> str:
    """`.91`, and `<.01`: what two digits say of a probability."""
    return "<.01" if 0 < p < 0.005 else "1.0" if p >= 0.995 else f"{p:.2f}"[1:]


def prompt_text(row: Mapping[str, Any], width: int) -> Text:
    """The template with its subject, the answer underlined in its place; cut at the left, where the answer is far."""
    before, _, after = str(row["template"]).partition("[Y]")
    before, after = (one_line(part.replace("[X]", str(row["subject"]))) for part in (before, after))
    answer = one_line(str(row["object"]))
    room = width - cell_len(answer) - 1
    while len(before) > 1 and cell_len(before) > room:
        before = "…" + before[2:]
    if before.startswith("…") and " " in before[1:].rstrip():
        before = f"… {before[1:].lstrip().partition(' ')[2]}"  # whole words only
    text = Text(before, no_wrap=True, overflow="ellipsis")
    text.append(answer, style="bold underline")
    text.append(after, style="dim")
    return text


def says_text(row: Mapping[str, Any], says: Says | None, width: int, *, known: bool) -> Text:
    """What the model says, as many words as there is room for; p and rank of the answer too, or first where it is not among these words.

    :param known: whether `says` has been read
    """
    text = Text(no_wrap=True, overflow="ellipsis")
    if row["p"] is None:
        return text.append("not predicted", style="dim")
    own = Text().append("answer p ", style="dim").append(cells.prob(row["p"]))
    own.append(", rank ", style="dim").append(cells.count(row["rank"]))
    if not known:
        return own
    if says is None:
        return own.append(" · its other answers are not stored", style="dim")
    answer = str(row["object"]).strip().casefold()
    known_word = answer in {word.strip().casefold() for word, _ in says}
    text.append("says ", style="dim")
    for place, (word, p) in enumerate(says):
        part = Text().append(" · " if place else "", style="dim")
        part.append(one_line(word) or "·", style="bold underline" if word.strip().casefold() == answer else "")
        part.append(f" {chance(p)}")
        if place and text.cell_len + part.cell_len > width - (0 if known_word else own.cell_len + 2):
            break  # whole words only
        text.append_text(part)
    if not known_word:
        return own.append("  ").append_text(text)
    return text.append("  ").append_text(own) if text.cell_len + 2 + own.cell_len <= width else text
