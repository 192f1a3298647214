"""The tables of an analysis, printed: facts, kn, layers, likn, dkn, edits, factcheck."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from knscope.store.errors import UserError
from knscope.tui.commands import shown
from knscope.tui.commands.options import Format, Json, Output, SetOrList, Store
from knscope.tui.commands.shown import Shown, shows

if TYPE_CHECKING:
    from knscope.analysis.statistics.table import Table
    from knscope.store.reader import Reader
    from knscope.store.view import View

Sign = Annotated[
    str, typer.Option(help="positive, or negative: neurons that push the answer down, as sets of their own.")
]


def facts(store: Store, form: Format = "table", out: Output = None, as_json: Json = False) -> None:
    """Count known facts by model and language, and list the facts that could not be used."""
    from knscope.analysis.report import facts_known
    from knscope.tui.printing import output

    with shown.opened(store) as reader:
        output.emit([facts_known.build(reader)], "json" if as_json else form, out)


@shows()
def kn(
    asked: Shown,
    consistency: Annotated[
        bool, typer.Option("--consistency", help="How much of N stays over templates and languages: one row per fact.")
    ] = False,
    sign: Sign = "positive",
) -> None:
    """Knowledge neurons (equations 6-7): one row per fact, language and neuron."""
    from knscope.analysis.attribution import table as kn_table
    from knscope.analysis.stability import consistency as by_fact

    asked.show(by_fact.build if consistency else partial(kn_table.build, sign=shown.sign(sign)))


@shows("t_low", "t_high")
def layers(
    asked: Shown,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Intervals, and enrichment of LIKN and DKN over N.")
    ] = False,
) -> None:
    """Neurons by layer and language, and those that all languages share. With --intervals, and in a figure: enrichment by layer."""
    from knscope.analysis.layers import enrichment as layers_enrichment
    from knscope.analysis.layers import table as layers_table

    intervals = intervals or asked.draws
    if not intervals and (asked.t_low, asked.t_high) != (None, None):
        raise UserError("--t-low and --t-high choose degenerate pairs, which only the table of --intervals shows")
    asked.show(layers_enrichment.build if intervals else layers_table.build)


@shows()
def likn(asked: Shown, by_fact: Annotated[bool, typer.Option("--facts", help="One row per fact.")] = False) -> None:
    """Neurons that languages share, compared with chance and with mismatched facts (equation 8)."""
    from knscope.analysis.likn import table as likn_table

    asked.show(likn_table.facts if by_fact else likn_table.build)


@shows("t_low", "t_high", "delta", "drop")
def dkn(
    asked: Shown,
    pairs: Annotated[bool, typer.Option("--pairs", help="One row per degenerate pair.")] = False,
    size: Annotated[
        int | None,
        typer.Option(help="Sets of 3 to this many neurons (at most 6), a row a size; computed by run --what sets."),
    ] = None,
) -> None:
    """Degenerate pairs by the paper's rule and by the strict rule, beside two controls (equations 9-10)."""
    from knscope.analysis.dkn import sets_table
    from knscope.analysis.dkn import table as dkn_table

    if size is not None:
        asked.show(partial(sets_table.build, size=size))
    else:
        asked.show(dkn_table.pairs if pairs else dkn_table.build)


@shows()
def edits(
    asked: Shown,
    change: Annotated[
        str, typer.Option(help="How a change of p is measured: absolute, relative or ratio.")
    ] = "absolute",
    exclude: Annotated[
        str, typer.Option(help="Leave out: none, known (unknown facts) or caps (as released).")
    ] = "none",
    per_token: Annotated[bool, typer.Option("--per-token", help="Judge p^(1/T) instead of p.")] = False,
    suppress: Annotated[
        str, typer.Option(help="Edits that set suppressed neurons to: zero, mean or resample.")
    ] = "zero",
    others: Annotated[
        bool,
        typer.Option(
            "--others", help="By the facts read: itself, other relations, other answers, the same answer; and flips."
        ),
    ] = False,
    sign: Sign = "positive",
    neurons: SetOrList = None,
) -> None:
    """Success rates of suppressing and enhancing neurons, with intervals (equation 11, tables 1 and 2)."""
    from knscope.analysis.edits import others as edits_others
    from knscope.analysis.edits import table as edits_table
    from knscope.analysis.edits.lookup import Judging
    from knscope.analysis.neurons.notes import names_file, set_of

    build = edits_others.build if others else edits_table.build
    named = "" if neurons is None else neurons.stem if names_file(neurons) else str(neurons)

    def table(reader: Reader, view: View) -> Table:
        given = None if neurons is None else (named, set_of(reader, view.model, str(neurons)))
        judged = cast(Any, change), cast(Any, exclude), per_token, cast(Any, suppress), shown.sign(sign), given
        return build(reader, view, judging=Judging(*judged))

    asked.show(table)


@shows("t_low", "t_high", "dkn_share", "lam")
def factcheck(
    asked: Shown,
    dkn_share_of: Annotated[
        str, typer.Option(help="t is a share of: most (frequent neuron's count) or facts.")
    ] = "most",
) -> None:
    """Judge claims by degenerate neurons, beside other judges (table 3)."""
    from knscope.analysis.factcheck import table as factcheck_table

    share_of = cast(Any, dkn_share_of)
    asked.show(lambda reader, view: (factcheck_table.build(reader, view, share_of=share_of), factcheck_table.printed()))
