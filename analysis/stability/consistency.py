"""How much of a fact's N stays when its wording, or its language, changes; from stored scores alone.

`stays`: of the neurons above τ on one template the share that is above it on another of the same language, mean over all
ordered pairs of templates, larger sets counting more: Σ h (h - 1) / ((Q - 1) Σ h), h being on how many of the Q templates a neuron
is above τ. The same over languages has N of a language in the place of the neurons of a template. Another fact's templates in the
place of the fact's own give what wording and relation bring by themselves, and in the same words and in others apart which of the two.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from knscope.analysis.statistics.bootstrap import DRAWS, mean_interval
from knscope.analysis.statistics.columns import spread
from knscope.analysis.statistics.table import Table
from knscope.analysis.stored.facts import subject_of
from knscope.analysis.types import Floats
from knscope.store.reader import Reader
from knscope.store.view import View

CONSISTENT = 0.5
"""A fact of which this much stays is consistent: a neuron that holds on one template does so on another at least as often as not."""
_EVERY = 1e-9  # a template share that one template is enough for
NOTES = (
    "size: neurons above tau on a template, mean; stays: of these the share that is above tau on another template of the language, mean "
    "over pairs of templates and languages; others: on a template of another fact of the relation (another subject), mean; above: share of "
    "these facts that share less than the fact's own templates do",
    "languages: of N in one language the share that is in N of another, mean over pairs of languages",
    f"consistent: stays is at least {CONSISTENT:g}; inconsistent: less; nothing where there is one template, or no neuron above tau",
)


def staying(hits: npt.ArrayLike, of: int) -> float | None:
    """Σ h (h - 1) / ((Q - 1) Σ h) of the hits h (neurons,) in `of` = Q sets; None with fewer than two sets or no neuron."""
    h = np.asarray(hits, dtype=np.float64)
    return float((h * (h - 1)).sum() / ((of - 1) * h.sum())) if of > 1 and h.sum() > 0 else None


def word(stays: pl.Expr) -> pl.Expr:
    """consistent, inconsistent, or null where there is nothing to tell by."""
    said = pl.when(stays >= CONSISTENT).then(pl.lit("consistent")).otherwise(pl.lit("inconsistent"))
    return pl.when(stays.is_not_null()).then(said)


def build(reader: Reader, view: View, seed: int = 0, draws: int = DRAWS) -> Table:
    """One row a fact, those that stay least first."""
    asked = reader.queries(view).filter(pl.col("n_kn").is_not_null())
    templates = {(fact, lang): n for fact, lang, n in asked.group_by("fact", "lang").len().iter_rows()}
    every = reader.kn(view.with_(template_share=_EVERY))  # share: on how many of the templates a neuron is above τ
    own = _by_place(every, templates)
    others = _others(every, templates, subject_of(reader))
    over_langs = _over_languages(reader.kn(view), templates)
    rows = []
    facts = asked.select("fact", "relation").unique(maintain_order=True).sort("relation", "fact")
    for fact, relation in facts.iter_rows():
        langs = [lang for name, lang in templates if name == fact]
        mine = [found for lang in langs if (found := own.get((fact, lang))) is not None]
        control = [others[fact, lang] for lang in langs if (fact, lang) in others]
        stays = _mean([one for one, _ in mine if one is not None])
        rows.append(
            {
                "fact": fact,
                "relation": relation,
                "langs": len(langs),
                "templates": max(templates[fact, lang] for lang in langs),
                "size": _mean([size for _, size in mine]),
                "stays": stays,
                **_beside(stays, control),
                "languages": over_langs.get(fact),
            }
        )
    frame = pl.DataFrame(rows, schema=_SCHEMA).with_columns(consistency=word(pl.col("stays")))
    ordered = frame.sort("stays", "fact", nulls_last=True)
    title = f"how much of N stays: {view.model}, {view.method}"
    wordings = _wordings(reader, view, asked, subject_of(reader))
    return Table("consistency", title, ordered, (*_summary(frame, subject_of(reader), wordings, seed, draws), *NOTES))


def _by_place(
    every: pl.DataFrame, templates: dict[tuple[str, str], int]
) -> dict[tuple[str, str], tuple[float | None, float]]:
    """What stays, and the mean size, of each fact and language."""
    found = {}
    for (fact, lang), rows in every.group_by("fact", "lang"):
        place, share = (str(fact), str(lang)), rows["share"].to_numpy()
        found[place] = staying(share * templates[place], templates[place]), float(share.sum())
    return found


def _others(
    every: pl.DataFrame, templates: dict[tuple[str, str], int], subject: dict[str, str]
) -> dict[tuple[str, str], Floats]:
    """For each fact and language the share of its neurons that is above τ on a template of another fact of its relation, by fact."""
    found = {}
    for (_, lang), rows in every.group_by("relation", "lang"):
        facts = rows["fact"].unique().sort().to_list()
        place = {fact: number for number, fact in enumerate(facts)}
        neuron = rows.select(pl.struct("layer", "neuron").rank("dense"))["layer"].to_numpy() - 1
        fact = rows["fact"].replace_strict(place, return_dtype=pl.Int64).to_numpy()
        matrix = sparse.csr_array((rows["share"].to_numpy(), (fact, neuron)), shape=(len(facts), int(neuron.max()) + 1))
        common = np.asarray((matrix @ matrix.T).toarray()) / np.asarray(matrix.sum(axis=1))[:, None]
        labels = np.array([subject[name] for name in facts])
        for number, name in enumerate(facts):
            found[name, str(lang)] = np.where(labels != labels[number], common[number], np.nan)
    return found


def _wordings(
    reader: Reader, view: View, asked: pl.DataFrame, subject: dict[str, str]
) -> tuple[float | None, float | None]:
    """What other facts of the relation share of a fact's neurons where they are asked in the same words, and in other words; means
    over facts and languages."""
    numbered = asked.with_columns(number=pl.col("template").rank("dense").over("relation", "lang") - 1)
    every = pl.concat(
        reader.kn(view.with_(queries=tuple(rows["query"]), template_share=_EVERY)).with_columns(number=pl.lit(number))
        for (number,), rows in numbered.group_by("number")
    )
    same: list[float] = []
    reworded: list[float] = []
    for (relation, lang), rows in numbered.group_by("relation", "lang"):
        facts = rows["fact"].unique().sort().to_list()
        has = np.zeros((len(facts), int(rows["number"].max()) + 1))  # type: ignore[arg-type]
        place = rows["fact"].replace_strict(facts, range(len(facts)), return_dtype=pl.Int64)
        has[place.to_numpy(), rows["number"].to_numpy()] = 1.0
        above = _matrices(
            every.filter((pl.col("relation") == relation) & (pl.col("lang") == lang)), facts, has.shape[1]
        )
        size = np.stack([np.asarray(one.sum(axis=1)).ravel() for one in above], axis=1)  # (facts, templates)
        alike = np.sum([(one @ one.T).toarray() for one in above], axis=0)
        whole = sum(above[1:], start=above[0])
        kinds = (
            (alike, size @ has.T, same),
            ((whole @ whole.T).toarray() - alike, np.outer(size.sum(1), has.sum(1)) - size @ has.T, reworded),
        )
        labels = np.array([subject[fact] for fact in facts])
        for common, neurons, found in kinds:
            asks = (labels[:, None] != labels) & (neurons > 0)
            share = np.divide(common, neurons, out=np.full(common.shape, np.nan), where=asks)
            found += [float(np.nanmean(row)) for row in share if np.isfinite(row).any()]
    return _mean(same), _mean(reworded)


def _matrices(every: pl.DataFrame, facts: list[str], templates: int) -> list[sparse.csr_array]:
    """Of each template (facts, neurons): 1 where a neuron is above τ."""
    fact = every["fact"].replace_strict(facts, range(len(facts)), return_dtype=pl.Int64).to_numpy()
    neuron = every.select(pl.struct("layer", "neuron").rank("dense"))["layer"].to_numpy() - 1
    shape = len(facts), int(neuron.max(initial=0)) + 1
    numbers = every["number"].to_numpy()
    found = []
    for number in range(templates):
        here = numbers == number
        found.append(sparse.csr_array((np.ones(int(here.sum())), (fact[here], neuron[here])), shape=shape))
    return found


def _beside(stays: float | None, control: list[Floats]) -> dict[str, float | None]:
    """The mean over other facts of what they share, and how many share less than `stays`; of those asked in all the languages."""
    alike = [one for one in control if len(one) == len(control[0])]
    means = np.mean(alike, axis=0) if alike else np.zeros(0)
    known = means[np.isfinite(means)]
    if not len(known):
        return {"others": None, "above": None}
    return {"others": float(known.mean()), "above": None if stays is None else float((known < stays).mean())}


def _over_languages(kn: pl.DataFrame, templates: dict[tuple[str, str], int]) -> dict[str, float | None]:
    """What stays of each fact's N over languages."""
    langs: dict[str, int] = {}
    for fact, _ in templates:
        langs[fact] = langs.get(fact, 0) + 1
    hits = kn.group_by("fact", "layer", "neuron").len()
    return {str(fact): staying(rows["len"].to_numpy(), langs[str(fact)]) for (fact,), rows in hits.group_by("fact")}


def _summary(
    frame: pl.DataFrame, subject: dict[str, str], wordings: tuple[float | None, float | None], seed: int, draws: int
) -> tuple[str, ...]:
    """The claim about all facts: how much stays, and how much more than with other facts' templates."""
    both = frame.drop_nulls(["stays", "others"])
    if both.is_empty():
        return ("no fact has two templates and neurons above tau: nothing is said of how much stays",)
    labels = [subject[fact] for fact in both["fact"]]
    stays, others = (both[name].to_numpy() for name in ("stays", "others"))
    lead = mean_interval(stays - others, labels, draws=draws, seed=seed)
    told = spread("lead", lead, ".2f")["lead_interval"]
    share = float((stays >= CONSISTENT).mean())
    same, reworded = ("–" if one is None else f"{one:.2f}" for one in wordings)
    return (
        f"{both.height} facts about {len(set(labels))} subjects: {stays.mean():.2f} stays, {others.mean():.2f} with other "
        f"facts' templates (difference {told}, 95 %, over subjects); {share:.0%} are consistent",
        f"with other facts' templates: {same} in the same words, {reworded} in other words",
    )


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


_SCHEMA = {
    "fact": pl.String,
    "relation": pl.String,
    "langs": pl.Int64,
    "templates": pl.Int64,
    **dict.fromkeys(("size", "stays", "others", "above", "languages"), pl.Float64),
}
