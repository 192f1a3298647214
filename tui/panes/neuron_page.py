"""Everything known of one neuron, in a few lines: what it serves, writes, reads, where it fires, and its company."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from knscope.tui.panes.pane import side_by_side
from knscope.tui.printing.format import one_line
from knscope.tui.widgets import cells

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.neurons.notes import Note
    from knscope.store.reader import Reader
    from knscope.store.view import View

A_LINE = 3
"""Languages whose histograms stand in one line."""
UNREAD = "promotes   not read yet: R, with what: neurons"


@dataclass(frozen=True)
class Page:
    """What is stored of a neuron beside the facts that it serves; frames as `analysis.neurons` makes them."""

    note: Note
    writes: pl.DataFrame
    reads: pl.DataFrame
    kinds: pl.DataFrame
    fired: pl.DataFrame
    company: pl.DataFrame


def page_of(reader: Reader, view: View, layer: int, neuron: int) -> Page:
    """Runs in a thread."""
    from functools import partial

    from knscope.analysis.neurons import activations, notes, table

    kinds = f"FROM ({table.kinds_sql(reader, view)}) WHERE layer = {layer} AND neuron = {neuron}"
    asked = (
        table.writes_sql(view.model, layer, neuron),
        table.reads_sql(view.model, layer, neuron),
        kinds,
        activations.fires_sql(reader, view, layer, neuron),
        f"{table.company_sql(reader, view, layer, neuron)} LIMIT 6",
    )
    return Page(
        notes.read(reader, view.model, layer, neuron), *side_by_side(*(partial(reader.sql, one) for one in asked))
    )


def lines_of(address: str, frame: pl.DataFrame, page: Page) -> list[str]:
    """The lines of a page, what one asks for first on top. `frame`: the facts that the neuron serves (`table.one_sql`)."""
    lines = [_noted(page.note), *_written(page.writes), *_served(address, frame), *_fired(page.fired)]
    return [line for line in (*lines, _kinds(page.kinds), *_read(page.reads), *_company(page)) if line]


def words(tokens: list[str] | None, most: int) -> str:
    """The first tokens of a list, strongest first; nothing where what the neuron promotes is not read."""
    return " · ".join(shown for token in tokens[:most] if (shown := token.strip() or repr(token))) if tokens else ""


def _noted(note: Note) -> str:
    tags = f"[{', '.join(note.tags)}]" if note.tags else ""
    return "  ".join(filter(None, (note.name, tags, note.text)))


def _served(address: str, frame: pl.DataFrame) -> tuple[str, ...]:
    if frame.is_empty():
        return (f"{address} is no knowledge neuron of anything here, at these thresholds.",)
    relations = (
        frame.select("fact", "relation")
        .unique()
        .group_by("relation")
        .len()
        .sort("len", "relation", descending=[True, False])
    )
    of = ", ".join(f"{relation} {n}" for relation, n in relations.iter_rows())
    by_lang = " ".join(f"{lang} {n}" for lang, n in frame.group_by("lang").len().sort("lang").iter_rows())
    scanned = frame["drop_p"].drop_nulls()
    effect = f"alone Δp {float(scanned.sum()) / scanned.len():+.3f}" if scanned.len() else "never removed alone"
    lang, _ = frame.group_by("lang").len().sort("len", "lang", descending=[True, False]).row(0)
    answers = frame.filter(lang=lang).group_by("object").len().sort("len", "object", descending=[True, False])
    said = (
        f"{cells.several(answers.height, 'answer')} in {lang}, most often {answers['object'][0]} ({answers['len'][0]})"
    )
    best, pairs = min(frame["place"].to_list()), sum(frame["pairs"].to_list())
    return (
        f"in N of    {cells.several(frame['fact'].n_unique(), 'fact')}: {of} · {by_lang}",
        f"  of       {said}",
        f"           {effect} · best place {best} · {cells.several(pairs, 'pair')}",
    )


def _written(writes: pl.DataFrame) -> tuple[str, ...]:
    if writes.is_empty():
        return (UNREAD,)
    return (
        f"promotes   {words(writes['promotes'].to_list(), 8)}",
        f"suppresses {words(writes['suppresses'].to_list(), 5)}",
        f"head sees  {writes['seen'][0]:.1f} × what it sees of random vectors",
    )


def _fired(fired: pl.DataFrame) -> tuple[str, ...]:
    """A histogram a language over one range, and the two ends with their prompts."""
    if fired.is_empty():
        return ()
    from knscope.analysis.neurons.activations import BINS, bars

    every = fired["activation"].to_numpy()
    langs = sorted(fired["lang"].unique())
    bins = BINS if len(langs) < 4 else 8
    drawn = [f"{lang} ▕{bars(every[(fired['lang'] == lang).to_numpy()], every, bins)}▏" for lang in langs]
    ends = f"{_number(every.min())} … {_number(every.max())} over {fired.height:,} queries"
    most, least = fired.row(0, named=True), fired.row(fired.height - 1, named=True)
    return (
        f"fires      {ends}",
        *(f"           {' '.join(drawn[first : first + A_LINE])}" for first in range(0, len(drawn), A_LINE)),
        f"  most     {_prompt(most)}",
        f"  least    {_prompt(least)}",
    )


def _prompt(row: Mapping[str, Any]) -> str:
    return f"{_number(row['activation'])} {row['lang']}: {one_line(row['prompt'])} → {one_line(row['object'])}"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.1g}"


def _kinds(kinds: pl.DataFrame) -> str:
    """How often it serves other facts besides one that it serves: no word is given to a single neuron."""
    if kinds.is_empty():
        return ""
    row = kinds.row(0, named=True)
    named = (("answer", "same_answer"), ("relation", "same_relation"), ("others", "other_relation"))
    shares = (f"{name} {cells.NOTHING if row[of] is None else f'{row[of]:.0%}'}" for name, of in named)
    return f"also in N  {' · '.join(shares)}"


def _read(reads: pl.DataFrame) -> tuple[str, ...]:
    if reads.is_empty() or reads["reads"][0] is None:
        return ()
    gated = reads["up"][0] is not None
    signed = (
        [f"{'+' if by > 0 else '−'}{token.strip()}" for token, by in zip(reads["up"], reads["up_by"], strict=True)]
        if gated
        else []
    )
    first = words(reads["reads"].to_list(), 8)
    return (f"reads      {'gate: ' if gated else ''}{first}", f"           up: {words(signed, 8)}" if gated else "")


def _company(page: Page) -> tuple[str, str]:
    """The neurons in N of most facts together with it, and those with the nearest output vectors."""
    beside = " · ".join(
        f"{a}:{b} ({n:,})" for a, b, n in page.company.select("layer", "neuron", "together").iter_rows()
    )
    near = " · ".join(f"{other} ({by:.2f})" for other, by in page.reads.select("near", "near_by").head(4).iter_rows())
    return beside and f"beside     {beside}", near and f"writes as  {near}"
