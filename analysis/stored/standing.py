"""What every table that rests on attributions says below itself: what it leaves out, and how good the integrals are."""

from __future__ import annotations

from dataclasses import dataclass, replace

from knscope.analysis.statistics.table import Table
from knscope.store.reader import Reader
from knscope.store.view import View

_NAMED = ("model", "method", "langs", "relations", "facts")
"""Fields of a View that `_OF_VIEW` asks for."""
_OF_VIEW = """
    FROM attribution a JOIN query q USING (query) JOIN prediction p ON p.query = a.query AND p.model = a.model
    WHERE a.model = $model AND a.method = $method AND list_contains($langs, q.lang)
      AND (len($relations) = 0 OR list_contains($relations, q.relation)) AND (len($facts) = 0 OR list_contains($facts, q.fact))
"""
_COUNTS = f"""
    SELECT q.lang, count(DISTINCT q.fact) AS facts, count(DISTINCT CASE WHEN p.known THEN q.fact END) AS known,
        count(*) - count_if(p.known) AS prompts
    {_OF_VIEW} GROUP BY q.lang
"""
# The scale is that of the test of convergence, so that one that converged lies below the tolerance.
_PATHS = f"""
    WITH chosen AS (SELECT DISTINCT a.key {_OF_VIEW} AND (p.known OR NOT $known)),
    each AS (
        SELECT r.converged, r.residual / nullif(abs(r.f_end - r.f_start) + greatest(abs(r.f_end), abs(r.f_start)) / 100, 0) AS residual
        FROM path r SEMI JOIN chosen USING (key)
    )
    SELECT count(*) AS paths, count_if(NOT converged) / count(*) AS unconverged, median(coalesce(residual, 0)) AS median,
        quantile_cont(coalesce(residual, 0), 0.9) AS high
    FROM each
"""


@dataclass(frozen=True)
class Integrals:
    """The integrals along paths behind a View. Residuals are |Σ attribution − ΔF| over |ΔF| + max F / 100."""

    paths: int
    unconverged: float
    """Share of the paths whose residual is above the method's tolerance."""
    median: float
    high: float
    """90 % of the residuals are below."""

    def __str__(self) -> str:
        share = f"{self.unconverged:.1%}" if self.unconverged >= 0.001 or not self.unconverged else "less than 0.1%"
        return f"{share.replace('%', ' %')} of {self.paths:,} paths not converged; residual: median {self.median:.1g}, 90 % {self.high:.1g}"


def integrals(reader: Reader, view: View) -> Integrals | None:
    """None where the method has no integrals, or nothing is stored."""
    given = view.parameters(*_NAMED, "known")

    def look() -> Integrals | None:
        row = reader.sql(_PATHS, given).row(0)
        return Integrals(*row) if row[0] else None

    return reader.kept(("integrals", *(str(value) for value in given.values())), look)


def knows_any(reader: Reader, view: View) -> bool:
    """Whether the model knows any of the View's attributed facts: where it knows none, tables show all."""
    return any(row["known"] for row in reader.sql(_COUNTS, view.parameters(*_NAMED)).iter_rows(named=True))


def left_out(reader: Reader, view: View) -> str:
    """Attributed facts that the View leaves out because the model does not know them; empty where it leaves out none."""
    if not view.known:
        return ""
    counts = {str(row["lang"]): row for row in reader.sql(_COUNTS, view.parameters(*_NAMED)).iter_rows(named=True)}
    rows = [(lang, counts[lang]) for lang in view.langs if lang in counts and counts[lang]["prompts"]]
    if not rows:
        return ""
    facts = ", ".join(f"{lang} {row['facts'] - row['known']:,} of {row['facts']:,}" for lang, row in rows)
    prompts = sum(row["prompts"] for _, row in rows)
    return f"left out, as the model does not know them: facts {facts}; {prompts:,} prompts in all (--all shows them)"


def said_below(reader: Reader, view: View) -> tuple[str, ...]:
    """Both, a line each, as far as there is something to say."""
    found = integrals(reader, view)
    return tuple(filter(None, (left_out(reader, view), f"integrals: {found}" if found else "")))


def thresholds(view: View) -> str:
    """Everything that a table of the View depends on and that is no result."""
    taus = ", ".join(f"τ {lang} {tau:g}" for lang, tau in view.taus)
    pairs = f"T_low {view.t_low:g}, T_high {view.t_high:g} ({view.drop}), δ {view.delta:g}, t {view.dkn_share:g}"
    which = f"; relations {', '.join(view.relations)}" if view.relations else ""
    known = "; known queries only" if view.known else ""
    return f"{taus}; template share {view.template_share:g}; {pairs}; λ {view.lam:g}{which}{known}"


def captioned(table: Table, view: View) -> Table:
    """The table with the thresholds in its title, for files that nobody sees them beside."""
    return replace(table, title=f"{table.title}; {thresholds(view)}")


def with_standing(table: Table, reader: Reader, view: View) -> Table:
    """The table with these lines among its notes."""
    return replace(table, notes=(*table.notes, *said_below(reader, view)))
