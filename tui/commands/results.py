"""The tables of an analysis, printed: facts, kn, layers, likn, dkn, edits, factcheck."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from knscope.tui.commands import common
from knscope.tui.commands.common import Format, Json, Method, Model, Output, Store

if TYPE_CHECKING:
    from knscope.analysis.statistics.table import Table
    from knscope.store.reader import Reader
    from knscope.store.view import View

Langs = Annotated[str | None, typer.Option("--langs", help="Languages, as in en,zh. Default: all that are attributed.")]
Relations = Annotated[str | None, typer.Option("--relations", help="Relations, as in P36,P37. Default: all.")]
Tau = Annotated[str | None, typer.Option("--tau", help="Threshold by language, as in en=0.3,zh=0.2; or one number.")]
Share = Annotated[float | None, typer.Option("--template-share", help="Share of templates a neuron must hold in.")]
TLow = Annotated[float | None, typer.Option("--t-low", help="A single ablation may lose at most this.")]
THigh = Annotated[float | None, typer.Option("--t-high", help="The pair must lose more than this.")]
Delta = Annotated[float | None, typer.Option("--delta", help="Strict pairs: interaction below -delta.")]
Drop = Annotated[str | None, typer.Option("--drop", help="relative or absolute drops.")]
DknShare = Annotated[float | None, typer.Option("--dkn-share", help="t: how often a neuron must be degenerate.")]
Lam = Annotated[float | None, typer.Option("--lam", help="Claims scoring above this are judged true.")]
Known = Annotated[bool, typer.Option("--known", help="Only queries the model answers rightly.")]

COMPUTED = {"dkn": ("scan", "dkn"), "edits": ("edit", "edit"), "edits_others": ("edit", "edit")}
"""Where the results behind a command's table are stored, and what --what computes them."""


def facts(store: Store, form: Format = "table", out: Output = None, as_json: Json = False) -> None:
    """Facts known, by model and language, and what could not be used."""
    from knscope.analysis.report import facts_known

    with opened(store) as reader:
        _emit([facts_known.build(reader)], form, out, as_json)


def kn(
    store: Store,
    model: Model = None,
    method: Method = None,
    langs: Langs = None,
    relations: Relations = None,
    tau: Tau = None,
    template_share: Share = None,
    known: Known = False,
    form: Format = "table",
    out: Output = None,
    as_json: Json = False,
) -> None:
    """Knowledge neurons (equations 6-7): one row a fact, language and neuron."""
    from knscope.analysis.attribution import kn_table as room

    given = {"template_share": template_share, "known": known or None}
    _show(store, room.build, (model, method, langs, relations, tau), given, (form, out, as_json))


def layers(
    store: Store,
    model: Model = None,
    method: Method = None,
    langs: Langs = None,
    relations: Relations = None,
    tau: Tau = None,
    template_share: Share = None,
    known: Known = False,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Intervals, and enrichment of LIKN and DKN over N.")
    ] = False,
    t_low: TLow = None,
    t_high: THigh = None,
    form: Format = "table",
    out: Output = None,
    as_json: Json = False,
) -> None:
    """Neurons by layer and language, with what the languages share beside it; --intervals: and is any layer special?"""
    from knscope.analysis.layers import enrichment as layers_enrichment
    from knscope.analysis.layers import table as layers_table
    from knscope.store.errors import UserError

    given: dict[str, Any] = {"template_share": template_share, "known": known or None}
    if intervals:
        given |= {"t_low": t_low, "t_high": t_high}
    elif t_low is not None or t_high is not None:
        raise UserError(
            "--t-low and --t-high choose the degenerate pairs, which stand in the table of --intervals only"
        )
    _show(
        store,
        layers_enrichment.build if intervals else layers_table.build,
        (model, method, langs, relations, tau),
        given,
        (form, out, as_json),
    )


def likn(
    store: Store,
    model: Model = None,
    method: Method = None,
    langs: Langs = None,
    relations: Relations = None,
    tau: Tau = None,
    template_share: Share = None,
    known: Known = False,
    by_fact: Annotated[bool, typer.Option("--facts", help="One row a fact.")] = False,
    form: Format = "table",
    out: Output = None,
    as_json: Json = False,
) -> None:
    """Neurons shared by the languages (equation 8), against chance and against mismatched facts."""
    from knscope.analysis.likn import table as likn_table

    given = {"template_share": template_share, "known": known or None}
    _show(
        store,
        likn_table.facts if by_fact else likn_table.build,
        (model, method, langs, relations, tau),
        given,
        (form, out, as_json),
    )


def dkn(
    store: Store,
    model: Model = None,
    method: Method = None,
    langs: Langs = None,
    relations: Relations = None,
    tau: Tau = None,
    template_share: Share = None,
    t_low: TLow = None,
    t_high: THigh = None,
    delta: Delta = None,
    drop: Drop = None,
    known: Known = False,
    pairs: Annotated[bool, typer.Option("--pairs", help="The degenerate pairs themselves, one row each.")] = False,
    form: Format = "table",
    out: Output = None,
    as_json: Json = False,
) -> None:
    """Degenerate pairs (equations 9-10), as in the paper and strict, beside both controls."""
    from knscope.analysis.dkn import table as dkn_table

    given: dict[str, Any] = {"template_share": template_share, "known": known or None, "drop": drop}
    given |= {"t_low": t_low, "t_high": t_high, "delta": delta}
    build = dkn_table.pairs if pairs else dkn_table.build
    _show(store, build, (model, method, langs, relations, tau), given, (form, out, as_json))


def edits(
    store: Store,
    model: Model = None,
    method: Method = None,
    langs: Langs = None,
    relations: Relations = None,
    tau: Tau = None,
    template_share: Share = None,
    known: Known = False,
    change: Annotated[str, typer.Option(help="What a change of p is: absolute, relative or ratio.")] = "absolute",
    exclude: Annotated[
        str, typer.Option(help="Leave out: none, known (unknown facts) or caps (as released).")
    ] = "none",
    per_token: Annotated[bool, typer.Option("--per-token", help="Judge p^(1/T) in place of p.")] = False,
    suppress: Annotated[str, typer.Option(help="What suppressed neurons became: zero, mean or resample.")] = "zero",
    others: Annotated[
        bool,
        typer.Option(
            "--others", help="By the facts read: itself, other relations, other answers, the same answer; and flips."
        ),
    ] = False,
    form: Format = "table",
    out: Output = None,
    as_json: Json = False,
) -> None:
    """Success rates of suppressing and enhancing (equation 11, tables 1 and 2), with intervals."""
    from knscope.analysis.edits import others as edits_others
    from knscope.analysis.edits import table as edits_table
    from knscope.analysis.edits.lookup import Judging

    given = {"template_share": template_share, "known": known or None}
    judging = Judging(cast(Any, change), cast(Any, exclude), per_token, cast(Any, suppress))
    _show(
        store,
        partial((edits_others if others else edits_table).build, judging=judging),
        (model, method, langs, relations, tau),
        given,
        (form, out, as_json),
    )


def factcheck(
    store: Store,
    model: Model = None,
    method: Method = None,
    langs: Langs = None,
    relations: Relations = None,
    tau: Tau = None,
    template_share: Share = None,
    t_low: TLow = None,
    t_high: THigh = None,
    dkn_share: DknShare = None,
    dkn_share_of: Annotated[
        str, typer.Option(help="t is a share of: most (frequent neuron's count) or facts.")
    ] = "most",
    lam: Lam = None,
    known: Known = False,
    form: Format = "table",
    out: Output = None,
    as_json: Json = False,
) -> None:
    """Judging claims by degenerate neurons (table 3), beside the contenders."""
    from knscope.analysis.factcheck import table as factcheck_table

    given: dict[str, Any] = {"template_share": template_share, "known": known or None, "t_low": t_low}
    given |= {"t_high": t_high, "dkn_share": dkn_share, "lam": lam}
    _show(
        store,
        partial(factcheck_table.build, share_of=cast(Any, dkn_share_of)),
        (model, method, langs, relations, tau),
        given,
        (form, out, as_json),
        (factcheck_table.printed(),),
    )


def _show(
    store: Path,
    build: Callable[[Reader, View], Table],
    choice: tuple[str | None, ...],
    given: dict[str, Any],
    output: tuple[str, Path | None, bool],
    also: Sequence[Table] = (),
) -> None:
    holds_data = _holds_data(*output)
    with opened(store) as reader:
        view = view_of(reader, *choice, **{name: value for name, value in given.items() if value is not None})
        table = build(reader, view)
        _tell_missing(reader, view, table.name, store)
        _emit([labelled(table, view) if holds_data else table, *also], *output)


def _tell_missing(reader: Reader, view: View, name: str, store: Path) -> None:
    """Say on stderr which run computes a table of which nothing is stored yet."""
    from knscope.tui.printing import output

    stored, what = COMPUTED.get(name, ("", ""))
    if stored and not reader.sql(f"SELECT 1 FROM {stored} WHERE model = $model LIMIT 1", {"model": view.model}).height:
        command = f"knscope run {store} --model M --data D --method {view.method} --what {what}"
        output.say(f"none of this is computed yet for {view.model}; do so with: {command}")


def labelled(table: Table, view: View) -> Table:
    """With the model and the method in columns of their own: files have no title, and are put together."""
    import polars as pl

    names = (pl.lit(view.model).alias("model"), pl.lit(view.method).alias("method"))
    return replace(table, frame=table.frame.select(*names, pl.all()))


def _holds_data(form: str, out: Path | None, as_json: bool) -> bool:
    from knscope.tui.printing import output, writing

    form = "json" if as_json else form
    output.check(form, out)
    if out is not None:
        return writing.format_of(out, None if form == "table" else form) in writing.DATA
    return form in (*writing.DATA, "spreadsheet")


def view_of(
    reader: Reader,
    model: str | None,
    method: str | None,
    langs: str | None = None,
    relations: str | None = None,
    tau: str | None = None,
    **thresholds: Any,
) -> View:
    """The View a command line describes, over what is stored. Raises UserError listing what there is."""
    from knscope.store.errors import UserError

    label = common.choose("model", model, reader.models())
    chosen = common.choose("method", method, reader.methods(label))
    stored = reader.langs(label)
    wanted = common.words("--langs", langs) or tuple(stored)
    if missing := [lang for lang in wanted if lang not in stored]:
        raise UserError(f"--langs {missing[0]}: nothing is stored for it; there is: {', '.join(stored) or 'none yet'}")
    given = {"relations": common.words("--relations", relations), **thresholds}
    return thresholds_of(wanted, tau, model=label, method=chosen, **given)


def thresholds_of(langs: tuple[str, ...], tau: str | None, **fields: Any) -> View:
    """The View of these languages with what --tau says. Raises UserError for what no View can have."""
    from knscope.store.view import View

    taus = common.taus(tau)
    everywhere = taus.pop("", None)
    if everywhere is not None:
        taus = dict.fromkeys(langs, everywhere) | taus
    return View(langs=langs, taus=tuple(taus.items()), **fields)


@contextmanager
def opened(store: Path) -> Iterator[Reader]:
    """A reader over everything STORE holds now; says on stderr what of it cannot be read."""
    from knscope.store import open as open_existing
    from knscope.tui.printing import output

    with open_existing(store) as reader:
        reader.poll()
        if reader.damaged:
            output.say(f"{store}: {reader.unreadable().removeprefix('; ')}")
        if reader.passed_over:
            output.say(f"{store}: {reader.passed_over}")
        yield reader


def _emit(tables: Sequence[Table], form: str, out: Path | None, as_json: bool) -> None:
    from knscope.tui.printing import output

    output.emit(tables, "json" if as_json else form, out)
