"""`knscope report`: write a store's tables and figures, and a page that shows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from knscope.tui.commands.shown import Shown, opened, shows


@shows("t_low", "t_high", output=False)
def report(
    asked: Shown,
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="A new folder to write to.")],
) -> None:
    """Write every table and figure of STORE to a folder: report.html, tables/ (CSV, LaTeX), figures/ (PDF, SVG)."""
    from knscope.analysis.report import chapters as report_chapters
    from knscope.tui.printing import output
    from knscope.tui.printing.report_page import Report

    page = Report(folder, f"{asked.store.resolve().name}: knowledge neurons")
    with opened(asked.store) as reader:
        views = asked.views(reader)

        def chapters() -> Iterator[report_chapters.Chapter]:
            for view in views:
                output.say(f"{view.model}, {view.method}")
                yield report_chapters.chapter(reader, view)

        tables, figures = page.write(report_chapters.sources(reader), chapters(), report_chapters.experiments(reader))
    for failure in page.failures:
        output.say(failure)
    output.say(f"{tables} tables and {figures} figures written to {folder}; open {folder / 'report.html'}")
