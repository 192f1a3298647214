"""Two views of one store side by side: the figures that a change of thresholds, method or model moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from knscope.tui.panes.likn import overlaps
from knscope.tui.widgets import cells

if TYPE_CHECKING:
    import polars as pl

    from knscope.store.reader import Reader
    from knscope.store.view import View

Figures = dict[str, float | None]


def figures(reader: Reader, view: View) -> Figures:
    """What a view comes to. None where nothing is stored to say it from."""
    import polars as pl

    stored = reader.live.overlap(view)
    facts = {row["lang_a"]: row for row in stored.filter(pl.col("lang_a") == pl.col("lang_b")).iter_rows(named=True)}
    found: Figures = {}
    for lang in view.langs:
        own = facts.get(lang, {"facts": 0, "shared": 0})
        found[f"facts with neurons, {lang}"] = float(own["facts"])
        found[f"neurons a fact, {lang}"] = own["shared"] / own["facts"] if own["facts"] else None
    if len(view.langs) > 1:
        shared = overlaps(stored, view.langs)
        found["shared by all, a fact"] = shared.shared / shared.facts if shared.facts else None
        found["facts that share"] = float(shared.covered)
    rates = {
        row["role"]: row
        for row in reader.live.dkn_rate(view).group_by("role").agg(pl.col("pairs", "paper", "strict").sum()).to_dicts()
    }
    of_kn, control = rates.get("kn"), rates.get("layer_control")
    for kind in ("paper", "strict"):
        found[f"pairs, {kind}"] = float(of_kn[kind]) if of_kn else None
        found[f"of eligible pairs, {kind}"] = of_kn[kind] / of_kn["pairs"] if of_kn and of_kn["pairs"] else None
        found[f"control, {kind}"] = control[kind] / control["pairs"] if control and control["pairs"] else None
    return found


def agreement(reader: Reader, a: View, b: View) -> Figures:
    """By language, how far N is the same in both: neurons in both over neurons in either, mean over facts with any. Of two models
    nothing can be said: their neurons are others."""
    import polars as pl

    if a.model != b.model:
        return {}
    place = ["fact", "lang"]
    of_a, of_b = (reader.kn(view).select(*place, "layer", "neuron") for view in (a, b))
    both = of_a.join(of_b, on=[*place, "layer", "neuron"]).group_by(place).agg(both=pl.len())
    either = pl.concat([of_a, of_b]).unique().group_by(place).agg(either=pl.len()).join(both, on=place, how="left")
    means = either.group_by("lang").agg((pl.col("both").fill_null(0) / pl.col("either")).mean())
    shared = dict(means.iter_rows())
    return {f"neurons in both, {lang}": shared.get(lang) for lang in a.langs if lang in b.langs}


WHERE = ("only in A", "in both", "only in B")


def neurons(reader: Reader, a: View, b: View) -> pl.DataFrame | None:
    """Neurons in N of A, of B, or of both, by language: where, lang, layer, neuron, in how many facts of each, and their mean share of
    the maximum there. None for two models: their neurons are others."""
    import polars as pl

    if a.model != b.model:
        return None
    place = ["lang", "layer", "neuron"]
    sides = [
        reader.kn(view).group_by(place).agg(pl.len().alias(f"facts_{end}"), pl.col("rel").mean().alias(f"rel_{end}"))
        for view, end in ((a, "a"), (b, "b"))
    ]
    found = _placed(sides[0], sides[1], place, "facts").sort(
        pl.max_horizontal("rel_a", "rel_b"), *place, descending=[True, False, False, False]
    )
    return found.sort("order", maintain_order=True).select("where", *place, "facts_a", "rel_a", "facts_b", "rel_b")


def _placed(a: pl.DataFrame, b: pl.DataFrame, place: list[str], value: str) -> pl.DataFrame:
    """Both joined, with `where` a row is and the `order` of that. `value`_a and `value`_b are null in the side where it is not."""
    import polars as pl

    only_a, only_b = pl.col(f"{value}_b").is_null(), pl.col(f"{value}_a").is_null()
    order = pl.when(only_a).then(0).when(only_b).then(2).otherwise(1)
    joined = a.join(b, on=place, how="full", coalesce=True).with_columns(order=order)
    return joined.with_columns(where=pl.col("order").replace_strict(dict(enumerate(WHERE)), return_dtype=pl.String))


def listed(reader: Reader, view: View, a: str, b: str) -> pl.DataFrame:
    """Neurons only in list A, in both, or only in list B: where, layer, neuron, in N of how many facts of the view, and its name.

    :param b: a list; empty: N of the view
    """
    import polars as pl

    from knscope.analysis.neurons.notes import latest_sql, set_of

    place = ["layer", "neuron"]
    serves = reader.kn(view).group_by(place).agg(pl.col("fact").n_unique().alias("facts"))
    schema = pl.Schema({name: serves.schema[name] for name in place})

    def side(name: str, end: str) -> pl.DataFrame:
        rows = list(set_of(reader, view.model, name).neurons) if name else serves.select(place).rows()
        return pl.DataFrame(rows, schema, orient="row").with_columns(pl.lit(True).alias(f"in_{end}"))

    found = _placed(side(a, "a"), side(b, "b"), place, "in")
    named = reader.sql(f"SELECT layer, neuron, name FROM ({latest_sql(view.model)})")
    found = (
        found.join(serves, on=place, how="left")
        .join(named, on=place, how="left")
        .with_columns(pl.col("facts").fill_null(0))
    )
    return found.sort("order", *place).select("where", *place, "facts", "name")


def counted(found: pl.DataFrame) -> str:
    """`3 only in A · 12 in both · 1 only in B`."""
    many = dict(found.group_by("where").len().iter_rows())
    return " · ".join(f"{many.get(name, 0):,} {name}" for name in WHERE)


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return cells.NOTHING
    if name.startswith(("of eligible", "control")):
        return cells.percent(value)
    return f"{value:,.0f}" if name.startswith(("facts", "pairs")) else f"{value:.2f}"


def differences(a: View, b: View) -> list[tuple[str, str, str]]:
    """Fields that are not the same: name, in A, in B."""
    rows = []
    for name in a.__dataclass_fields__:
        one, other = getattr(a, name), getattr(b, name)
        if name == "taus":
            both = {lang: (a.tau.get(lang), b.tau.get(lang)) for lang in dict.fromkeys((*a.langs, *b.langs))}
            rows += [(f"τ {lang}", cells.plain(x), cells.plain(y)) for lang, (x, y) in both.items() if x != y]
        elif one != other:
            x, y = (" ".join(v) if isinstance(v, tuple) else cells.plain(v) for v in (one, other))
            rows.append((name, x, y))
    return rows


def side_by_side(a: View, b: View, of_a: Figures, of_b: Figures, agree: Figures | None = None) -> Text:
    """The table A | B: what differs first, then every figure and its change; 64 cells wide, as fits a terminal of 80."""
    text = Text(no_wrap=True)
    settings = differences(a, b)
    text.append(f"{'':<20}{'A':>22}{'B':>22}\n" if settings else "no setting differs\n", style="bold")
    for name, one, other in settings:
        short = [each.partition("@")[0][-21:] for each in (one, other)]
        if short[0] == short[1]:
            short = [one[-21:], other[-21:]]
        text.append(f"{name:<20}{short[0]:>22}{short[1]:>22}\n")
    text.append(f"\n{'':<28}{'A':>12}{'B':>12}{'B - A':>12}\n", style="bold")
    for name in dict.fromkeys((*of_a, *of_b)):
        one_value, other_value = of_a.get(name), of_b.get(name)
        change = None if one_value is None or other_value is None else other_value - one_value
        sign = "" if change is None or change < 0 else "+"
        moved = "=" if change == 0 else sign + _shown(name, change)
        text.append(f"{name:<28}{_shown(name, one_value):>12}{_shown(name, other_value):>12}")
        text.append(f"{moved:>12}\n", style="dim" if change in (0, None) else "bold")
    if agree:
        text.append(f"\n{'':<28}{'Jaccard':>12}\n", style="bold")
        for name, value in agree.items():
            text.append(f"{name:<28}{cells.NOTHING if value is None else f'{value:.2f}':>12}\n")
    text.rstrip()
    return text
