"""Figures show the numbers of their tables, the same file for the same table, and nothing where there is nothing."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.text import Text

from knscope.analysis.figures import fonts
from knscope.analysis.figures.drawing import UndrawableError, draw, is_drawn, write_figure
from knscope.analysis.figures.palette import places
from knscope.analysis.statistics.table import Table
from knscope.store import UserError

ACTIVATIONS = pl.DataFrame({"lang": ["en", "en", "zh"], "activation": [-1.0, 2.0, 2.0]})
ENRICHMENT = pl.DataFrame(
    {
        "kind": ["en", "en", "LIKN", "LIKN"],
        "layer": [0, 1, 0, 1],
        "share": [0.3, 0.7, 0.1, 0.9],
        "share_low": [0.2, 0.6, None, 0.8],
        "share_high": [0.4, 0.8, None, 1.0],
        "expected": [None, None, 0.3, 0.7],
        "enrichment": [None, None, 0.5, 1.25],
        "enrichment_low": [None, None, 0.25, 1.0],
        "enrichment_high": [None, None, 1.0, 1.5],
    }
)
LIKN = pl.DataFrame(
    {
        "sets": ["at the thresholds", "en + zh"],
        "facts": [6, 5],
        "observed": [2.0, 3.0],
        "chance": [0.5, 0.25],
        "a": [1.0, 1.5],
        "b": [0.75, None],
        "c": [1.25, None],
        "vs_a_low": [0.5, None],
        "vs_a_high": [1.5, None],
        "vs_c_low": [-0.25, None],
        "vs_c_high": [0.75, None],
    }
)
DKN = pl.DataFrame(
    {
        "lang": ["en", "en", "zh", "zh"],
        "neurons": ["knowledge neurons", "others"] * 2,
        "paper_rate": [0.02, 0.01, 0.04, None],
        "paper_low": [0.01, 0.0, 0.03, None],
        "paper_high": [0.03, 0.02, 0.06, None],
        "strict_rate": [0.01, 0.0, 0.02, None],
        "strict_low": [0.005, 0.0, 0.01, None],
        "strict_high": [0.02, 0.0, 0.03, None],
    }
)
EDITS = pl.DataFrame(
    {
        "table": ["1", "1", "2", "1"],
        "lang": ["en", "en", "en", "zh"],
        "edited": ["amig", "bkn", "LIKN", "amig"],
        "d": [0.5, 1.5, None, -0.5],
        "d_low": [0.25, None, None, -1.0],
        "d_high": [1.0, None, None, 0.0],
    }
)


def axes_of(name: str, frame: pl.DataFrame) -> list[Axes]:
    return list(draw(Table(name, name, frame)).axes)


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """What is drawn under a name: places along both axes."""
    return {
        str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata()))
        for line in axes.get_lines()
        if not str(line.get_label()).startswith("_")
    }


def bars(axes: Axes) -> list[list[tuple[float, float]]]:
    """Ends of every interval drawn, a list of points each."""
    return [[tuple(point) for point in segment] for held in axes.collections for segment in held.get_segments()]


def test_activations_are_a_histogram_a_language_over_the_same_bins() -> None:
    (axes,) = axes_of("activations", ACTIVATIONS)
    english, chinese = (patch.get_data() for patch in axes.patches)
    assert english.edges.tolist() == chinese.edges.tolist()
    assert (english.values[0], english.values[-1], english.values.sum()) == (1, 1, 2)
    assert (chinese.values[-1], chinese.values.sum()) == (1, 1)


def test_enrichment_stands_beside_the_shares_with_the_intervals_of_both() -> None:
    share, ratio = axes_of("enrichment", ENRICHMENT)
    assert lines(share)["en"][1] == [0.3, 0.7] and lines(share)["LIKN"][1] == [0.1, 0.9]
    assert lines(ratio)["LIKN"][1] == [0.5, 1.25] and "en" not in lines(ratio)
    ends = [sorted(round(y, 9) for _, y in segment) for segment in bars(share)]
    assert ends == [[0.2, 0.4], [0.6, 0.8], [0.1, 0.1], [0.8, 1.0]]
    assert [sorted(y for _, y in segment) for segment in bars(ratio)] == [[0.25, 1.0], [1.0, 1.5]]


def test_what_languages_share_stands_beside_chance_and_all_mismatches() -> None:
    (axes,) = axes_of("likn", LIKN)
    drawn = lines(axes)
    assert drawn["by chance"] == ([0.5, 0.25], [0, 1])
    assert next(places for name, (places, _) in drawn.items() if name.startswith("observed")) == [2.0, 3.0]
    assert drawn["another fact of the relation (a)"][0] == [1.0, 1.5]
    assert drawn["a fact of another relation (b)"][0][0] == 0.75
    assert drawn["another fact with the same answer (c)"][0][0] == 1.25
    over = [[(1.5, -0.12), (2.5, -0.12)], [(1.0, 0.12), (2.0, 0.12)]]
    assert bars(axes) == over, "intervals of the lead, measured from (a) and from (c); none where they are unknown"


def points(axes: Axes) -> list[tuple[float, float]]:
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.get_lines() if line.get_marker() == "o"]


def texts(axes: Axes) -> list[str]:
    """Names at the axis, and headings above blocks of them."""
    return [text.get_text() for text in (*axes.get_yticklabels(), *axes.texts)]


def test_rates_of_pairs_are_a_block_a_language_with_intervals_of_both_rules() -> None:
    paper, strict = axes_of("dkn", DKN)
    assert points(paper) == [(2.0, 1), (1.0, 2), (4.0, 4)], "a rate that is not known is not a rate of 0"
    assert points(strict) == [(1.0, 1), (0.0, 2), (2.0, 4)]
    assert bars(strict) == [[(0.5, 1), (2.0, 1)], [(0.0, 2), (0.0, 2)], [(1.0, 4), (3.0, 4)]]
    assert texts(paper) == ["knowledge neurons", "others", "knowledge neurons", "others", "en", "zh"]
    assert paper.get_lines()[0].get_color() != paper.get_lines()[2].get_color(), "a language has its colour"


def test_wide_interval_of_a_rate_of_0_ends_in_an_arrow_and_flattens_no_other() -> None:
    frame = DKN.with_columns(paper_high=pl.when(neurons="others").then(0.9).otherwise("paper_high"))
    figure = draw(Table("dkn", "dkn", frame))
    paper = figure.axes[0]
    assert 6.0 < paper.get_xlim()[1] < 13.0 and paper.get_xlim()[0] > -0.5, "three times the largest value"
    arrows = [line.get_ydata()[0] for line in paper.get_lines() if line.get_marker() == ">"]
    assert arrows == [2] and "goes on" in figure.get_supxlabel()


def test_figures_say_of_how_many_facts_pairs_and_subjects_they_are() -> None:
    paper, _ = axes_of("dkn", DKN.with_columns(pairs=pl.Series([9, 9, 1200, 1100]), facts=4))
    assert texts(paper)[-2:] == ["en, 9 pairs", "zh, 1,100–1,200 pairs"]
    assert paper.get_figure().get_supxlabel() == "degenerate, % of the pairs of 4 facts"
    english, chinese = axes_of("edits", EDITS.with_columns(facts=pl.Series([14, 14, 12, 9])))
    assert (english.get_title(loc="left"), chinese.get_title(loc="left")) == ("en, 12–14 facts", "zh, 9 facts")
    (judges,) = axes_of("factcheck", FACTCHECK.with_columns(claims=14, auroc_low=None, auroc_high=None))
    assert judges.get_title(loc="left") == "en, 14 claims, too few for intervals"
    (legend,) = draw(
        Table("enrichment", "shares", ENRICHMENT.with_columns(subjects=pl.when(kind="LIKN").then(1).otherwise(14)))
    ).legends
    assert [text.get_text() for text in legend.get_texts()] == ["en (14 subjects)", "LIKN (1 subject)"]


def test_a_small_rate_has_an_axis_of_its_own() -> None:
    paper, strict = axes_of("dkn", DKN.with_columns(paper_rate=0.3, paper_high=0.5))
    assert paper.get_xlim()[1] > 40 and strict.get_xlim()[1] < 10
    zeros = DKN.with_columns(strict_rate=None, strict_low=None, strict_high=None)
    assert axes_of("dkn", zeros)[1].get_xlim() == (-0.02, 1.02), "a panel without values has no negative axis"


def test_larger_sets_are_a_panel_a_size_and_a_block_a_method() -> None:
    frame = pl.DataFrame(
        {
            "method": ["amig", "amig", "bkn"],
            "size": [3, 4, 3],
            "neurons": ["knowledge neurons"] * 3,
            "rate": [0.01, 0.0, 0.02],
            "rate_low": [0.0, 0.0, 0.01],
            "rate_high": [0.02, 0.01, 0.03],
        }
    )
    three, four = axes_of("dkn_sets", frame)
    assert (three.get_title(loc="left"), four.get_title(loc="left")) == ("3 neurons", "4 neurons")
    assert points(three) == [(1.0, 1), (2.0, 3)] and points(four) == [(0.0, 1)]
    assert texts(three)[-2:] == ["amig", "bkn"]


def test_stability_is_a_block_a_kind_and_a_panel_a_model() -> None:
    models = [STABILITY.select(pl.lit(name).alias("model"), pl.all()) for name in ("one", "two")]
    one, two = axes_of("stability", pl.concat(models))
    assert points(one) == points(two) == [(0.5, 1), (0.9, 3)]
    assert texts(one) == ["a", "b", "nodes, against x", "seed, against y"]
    alone = draw(Table("stability", "stability", STABILITY))
    assert alone.axes[0].get_title(loc="left") == "" and alone.get_supxlabel() == "neurons in common (Jaccard)"


def test_two_layers_are_points_and_three_are_a_line() -> None:
    share, _ = axes_of("enrichment", ENRICHMENT)
    assert {line.get_linestyle() for line in share.get_lines()} == {"None"}
    third = ENRICHMENT.filter(layer=1).with_columns(layer=pl.lit(2, pl.Int64))
    share, _ = axes_of("enrichment", pl.concat([ENRICHMENT, third]).sort("kind", "layer"))
    assert {line.get_linestyle() for line in share.get_lines() if not str(line.get_label()).startswith("_")} == {
        "-",
        "--",
    }


def test_a_language_keeps_its_colour_whatever_others_there_are() -> None:
    assert places(["zh", "en"]) == {"en": 0, "zh": 1} and places(["fr", "zh"]) == {"zh": 1, "fr": 2}
    many = places(["zh-hans", "zh-hant", "xx", "en", "aa"])
    assert many["en"] == 0 and many["zh-hans"] == 1 and len(set(many.values())) == 5


def test_what_no_font_has_is_spelled_out_and_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fonts, "_others", tuple)
    frame = pl.DataFrame({"answer": ["贝宁", "Bénin"], "n": [1, 2]})
    (axes,) = axes_of("sql", frame)
    assert [label.get_text() for label in axes.get_yticklabels()] == [r"\u8d1d\u5b81", "Bénin"]
    assert write_figure([Table("sql", "sql", frame)], tmp_path / "a.png").startswith("no font of this machine has 宁贝")
    assert write_figure([Table("sql", "sql", frame[1:])], tmp_path / "b.png") == ""


def test_figures_fit_a_page_and_say_what_the_table_has_beside() -> None:
    many = pl.concat([LIKN.head(1).with_columns(sets=pl.lit(f"pair {n}")) for n in range(60)])
    repeated = LIKN.head(1).with_columns(sets=pl.lit("top 7, en + zh"))
    figure = draw(Table("likn", "likn", pl.concat([many, repeated])))
    assert figure.get_figheight() < 11 and figure.get_suptitle() == "28 more rows in the table"
    langs = pl.concat([FACTCHECK.with_columns(lang=pl.lit(f"l{n}")) for n in range(6)])
    figure = draw(Table("factcheck", "checks", langs))
    assert figure.get_figwidth() <= 7 and len([axes for axes in figure.axes if axes.get_visible()]) == 6
    assert all(axes.get_xlim()[0] > -0.05 for axes in figure.axes), "an AUROC is never negative"


def test_result_of_sql_is_drawn_as_the_bars_line_or_histogram_that_its_columns_make() -> None:
    (axes,) = axes_of("sql", pl.DataFrame({"lang": ["en", "zh"], "n": [8, None]}))
    assert axes.patches[0].get_width() == 8 and axes.get_xlabel() == "n"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["en", "zh"]
    (axes,) = axes_of("sql", pl.DataFrame({"x": [2, 1], "y": [5, 10]}))
    assert list(axes.get_lines()[0].get_xydata().flat) == [1, 10, 2, 5]
    (axes,) = axes_of("sql", pl.DataFrame({"x": [float(value) for value in range(100)]}))
    assert sum(bar.get_height() for bar in axes.patches) == 100
    with pytest.raises(UserError, match="no column of this result holds numbers"):
        axes_of("sql", pl.DataFrame({"lang": ["en"]}))


def test_edits_are_a_panel_a_language_with_a_row_a_set_under_its_table() -> None:
    english, chinese = axes_of("edits", EDITS)
    assert texts(english) == ["amig", "bkn", "LIKN", "table 1", "table 2"]
    assert points(english) == [(0.5, 1), (1.5, 2)], "a set without a figure has a row and no point"
    assert bars(english) == [[(0.25, 1.0), (1.0, 1.0)], [(1.5, 2.0), (1.5, 2.0)]]
    assert bars(chinese) == [[(-1.0, 1.0), (0.0, 1.0)]]


FACTCHECK = pl.DataFrame(
    {
        "lang": ["en", "en"],
        "judge": ["DKN", "argmax"],
        "auroc": [0.75, 0.5],
        "auroc_low": [0.5, None],
        "auroc_high": [0.9, None],
    }
)
FAITHFULNESS = pl.DataFrame(
    {
        "method": ["amig", "bkn"],
        "control": [False, True],
        "area (reported)": [1.0, 2.0],
        "low": [0.5, 1.5],
        "high": [1.5, 2.5],
    }
)
STABILITY = pl.DataFrame(
    {
        "what": ["nodes", "seed"],
        "reference": ["x", "y"],
        "variant": ["a", "b"],
        "jaccard": [0.5, 0.9],
        "low": [0.4, None],
        "high": [0.6, None],
    }
)
DRAWN = {
    "enrichment": ENRICHMENT, "likn": LIKN, "dkn": DKN, "edits": EDITS, "factcheck": FACTCHECK,
    "faithfulness": FAITHFULNESS, "stability": STABILITY, "activations": ACTIVATIONS,
}  # fmt: skip
FLOATS = pl.selectors.float()
NOTHING = {
     "null": pl.lit(None), "NaN": pl.lit(float("nan")), "infinite": pl.lit(float("inf")),
}  # fmt: skip


def said(name: str, frame: pl.DataFrame) -> str:
    """What the figure of a table says is missing; it is written as well."""
    table = Table(name, name, frame)
    write_figure([table], Path("/dev/null"), "svg")
    return draw(table).get_suptitle().replace("\n", " ")


@pytest.mark.parametrize("name", DRAWN)
def test_figure_without_values_says_so(name: str) -> None:
    frame = DRAWN[name]
    for nothing in NOTHING.values():
        blank = frame.with_columns(nothing.alias(column) for column, kind in frame.schema.items() if kind == pl.Float64)
        assert said(name, blank).startswith("no value: ")
    assert said(name, frame.head(1).with_columns(FLOATS.fill_null(0.0))) == ""


def test_figure_draws_known_values_and_names_missing_ones() -> None:
    assert said("dkn", DKN) == "no value: others, zh, the paper's rule; others, zh, strict: less together than apart"
    assert said("likn", LIKN) == "no value: b of en + zh; c of en + zh"
    assert said("edits", EDITS) == "no value: LIKN, table 2, en"
    gap = ENRICHMENT.with_columns(enrichment=pl.when(pl.col("layer") == 0).then(None).otherwise("enrichment"))
    assert said("enrichment", gap) == "no value: enrichment of LIKN in layer 0"
    deep = [ENRICHMENT.filter(layer=1).with_columns(layer=pl.lit(layer, pl.Int64)) for layer in range(8)]
    gone = pl.col("layer").is_in([1, 2, 3, 6]).not_()
    deep = pl.concat(deep).with_columns(enrichment=pl.when(gone).then("enrichment"))
    assert said("enrichment", deep) == "no value: enrichment of LIKN in layers 1–3, 6"
    many = pl.concat([EDITS.filter(edited="LIKN").with_columns(edited=pl.lit(f"set {n}")) for n in range(9)])
    assert said("edits", many).endswith("set 5, table 2, en and 3 more")


@pytest.mark.parametrize("odd", [r"_$x_1$ \frac <b>&", r"$\frac{1}{$", "a\x1b[31mb\x00\nc--d->"])
def test_figure_labels_are_drawn_literally(tmp_path: Path, odd: str) -> None:
    literal = re.sub(r"[\x00-\x1f]", "·", odd)
    for name, frame in DRAWN.items():
        table = frame.with_columns(
            pl.col(pl.String).replace({"en": odd, "amig": odd, "DKN": odd, "en + zh": odd, "a": odd})
        )
        path = tmp_path / f"{name}.svg"
        write_figure([Table(name, name, table)], path)
        ElementTree.parse(path)
        figure = draw(Table(name, name, table))
        figure.savefig(path)
        assert any(literal in text.get_text() for text in figure.findobj(Text)), name


@pytest.mark.parametrize("ending", ["pdf", "svg", "png"])
def test_write_figure_makes_the_same_file_whatever_a_matplotlibrc_says(tmp_path: Path, ending: str) -> None:
    table = Table("enrichment", "shares", ENRICHMENT)
    first, second = tmp_path / f"one.{ending}", tmp_path / f"two.{ending}"
    with rc_context({"axes.facecolor": "red"}):
        write_figure([table], first)
    write_figure([table], second)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith({"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}[ending])


def test_failed_drawing_says_why_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "figure.pdf"
    for table, why in (
        (Table("kn", "knowledge neurons", ENRICHMENT), "there is no figure of knowledge neurons"),
        (Table("enrichment", "neurons by layer", ENRICHMENT.clear()), "nothing to draw"),
    ):
        assert not is_drawn(table)
        with pytest.raises(UserError, match=why):
            write_figure([table], path)
    with pytest.raises(UserError, match="cannot be written"):
        write_figure([Table("enrichment", "neurons by layer", ENRICHMENT)], tmp_path / "none" / "figure.pdf")
    assert not list(tmp_path.iterdir())


def test_a_figure_that_cannot_be_drawn_names_its_table() -> None:
    with pytest.raises(UndrawableError, match="neurons by layer: the figure could not be drawn"):
        write_figure([Table("enrichment", "neurons by layer", ENRICHMENT.drop("layer"))], Path("none.svg"))
