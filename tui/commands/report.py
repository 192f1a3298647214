"""`knscope report`: what a store holds as a page to read, and as tables and figures for a paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from knscope.tui.commands import common
from knscope.tui.commands.common import Method, Model, Store
from knscope.tui.commands.results import Known, Langs, Relations, Share, Tau, THigh, TLow, opened, view_of


def report(
    store: Store,
    out: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="A new folder to write to.")],
    model: Model = None,
    method: Method = None,
    langs: Langs = None,
    relations: Relations = None,
    tau: Tau = None,
    template_share: Share = None,
    t_low: TLow = None,
    t_high: THigh = None,
    known: Known = False,
) -> None:
    """Every table and figure of STORE in a folder: report.html, tables/ (CSV, LaTeX), figures/ (PDF, SVG)."""
    from knscope.analysis.report import chapters as report_chapters
    from knscope.tui.printing import output
    from knscope.tui.printing.report_page import Report

    given = {"template_share": template_share, "t_low": t_low, "t_high": t_high, "known": known or None}
    thresholds = {name: value for name, value in given.items() if value is not None}
    page = Report(out, f"{store.resolve().name}: knowledge neurons")
    with opened(store) as reader:
        models = [common.choose("model", model, reader.models())] if model or not reader.models() else reader.models()
        views = [
            view_of(reader, label, one, langs, relations, tau, **thresholds)
            for label in models
            for one in ([method] if method else reader.methods(label))
        ]

        def chapters() -> Iterator[report_chapters.Chapter]:
            for view in views:
                output.say(f"{view.model}, {view.method}")
                yield report_chapters.chapter(reader, view)

        tables, figures = page.write(report_chapters.sources(reader), chapters())
    for failure in page.failures:
        output.say(failure)
    output.say(f"{tables} tables and {figures} figures written to {out}; open {out / 'report.html'}")
