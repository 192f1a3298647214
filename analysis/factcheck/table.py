"""Table 3: judging claims by degenerate neurons, beside everything that could do as well without them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl

from knscope.analysis.edits.sets import label_seed
from knscope.analysis.factcheck.auroc import Curve, roc
from knscope.analysis.factcheck.choose import judged, parts, scanned_neurons, seed_of, wanted
from knscope.analysis.factcheck.judge import (
    Claims,
    Contender,
    Judgement,
    NeuronRows,
    Verdicts,
    always_true,
    frequent_neurons,
    is_argmax,
    judge,
    mean_score,
)
from knscope.analysis.report import paper
from knscope.analysis.statistics.columns import RULE, span, span_columns, spread, spread_columns, told_in_text
from knscope.analysis.statistics.table import Table
from knscope.analysis.stored.facts import subject_of
from knscope.analysis.types import Floats
from knscope.store.address import Addresses
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.view import View

Members = dict[int, list[int]]
Unit = tuple[str, str]
ShareOf = Literal["most", "facts"]
MODELS = ("m-BERT", "m-GPT")
ASIDE = ("coverage", "precision_interval", "recall_interval", "f1_interval", "accuracy_interval")

_CLAIMS = """
    SELECT key, fact, relation, lang, query, object, correct, p_root, is_argmax
    FROM claim JOIN (SELECT key, count(*) AS neurons FROM claim_neuron GROUP BY key) USING (key)
    WHERE model = $model AND method = $method AND list_contains($langs, lang)
    -- a claim read again after more neurons were scanned is stored twice: the fuller reading counts
    QUALIFY row_number() OVER (PARTITION BY query, object ORDER BY neurons DESC, key) = 1
    ORDER BY lang, relation, fact, correct, object
"""
_VALUES = """
    SELECT n.key, n.layer, n.neuron, n.activation, n.attribution FROM claim_neuron n JOIN claim c USING (key)
    SEMI JOIN site s ON s.model = c.model AND s.layer = n.layer
    WHERE c.model = $model AND c.method = $method AND c.lang = $lang
"""
NOTES = (
    "claims: a fact with its right object, and with a wrong one of the same part and relation; subjects split 60/20/20 into neurons, "
    "thresholds, judged; every row is judged on the same claims, as many right as wrong",
    "degenerate neurons: in degenerate pairs of more than t of the count of the relation's most frequent one; attribution: of the "
    "claimed object; activation: with the object in the text, standardised on the middle part",
    "lam: judged true above it; fixed, or the best balanced accuracy on the middle part",
    "vs probability: interval (95 %) of the AUROC less that of p^(1/T), over subjects; help means: above 0. paired: share of facts whose "
    "right claim scores above their wrong one; too few: an interval wants 10 subjects",
    "paper, paper_accuracy: its F1 on m-BERT / m-GPT, and the accuracy that follows; its precision and recall are exchanged (below)",
)


def build(reader: Reader, view: View, seed: int | None = None, share_of: ShareOf = "most") -> Table:
    """All contenders in every language of the View; `share_of`: what t is a share of, the most frequent neuron's count or all
    facts of the first part. `seed`: of the split; none given: that of the store's claims.
    """
    seed = seed_of(reader) if seed is None else seed
    if share_of not in get_args(ShareOf):
        raise UserError(f"--dkn-share-of {share_of}: choose one of {', '.join(get_args(ShareOf))}")
    asked, missing = _asked(reader, view, seed, share_of)
    rows = [row for one in asked for row in _lang_rows(one)]
    notes: tuple[str, ...] = (f"{missing:,} claims are not computed yet",) if missing else ()
    if asked and not rows:
        notes += (
            "no claim is judged: no subject with one fell into the part that is (a fifth); this wants more facts",
        )
    elif not asked and not missing:
        notes += (_why_none(reader, view),)
    title = f"fact checking: {view.model}, {view.method}"
    return Table(
        "factcheck", title, pl.DataFrame(rows, schema=_SCHEMA), (*notes, *NOTES, RULE), (*ASIDE, *told_in_text(_SCHEMA))
    )


def _why_none(reader: Reader, view: View) -> str:
    if not scanned_neurons(reader, view):
        return f"no pairs are ablated yet with {view.method}, and claims are read at their neurons: run with --what dkn,factcheck"
    return (
        "no claim can be made: a wrong object is dealt from the other facts of the same relation and part of the subjects, "
        "and none has another answer there; this wants more facts a relation"
    )


def curves(reader: Reader, view: View, seed: int | None = None) -> dict[tuple[str, str], Curve]:
    """The ROC curve of every row of the table: (language, judge) -> curve, on the same claims as its AUROC."""
    found = {}
    for one in _asked(reader, view, seed_of(reader) if seed is None else seed)[0]:
        about, contenders, _ = _contenders(one)
        judged = about.test & np.all([np.isfinite(each.scores) for each in contenders.values()], axis=0)
        for name, contender in contenders.items():
            found[one.lang, name] = roc(contender.scores[judged], about.correct[judged])
    return found


def _asked(reader: Reader, view: View, seed: int, share_of: ShareOf = "most") -> tuple[list[_Asked], int]:
    """What is judged in every language that has claims, and how many claims are not computed yet."""
    names = {"model": view.model, "method": view.method}
    mine = [c for c in wanted(reader, view, seed) if not view.relations or c.query.relation in view.relations]
    place = {(c.main, c.query.object): c.part for c in mine}
    columns = {"query": pl.String, "object": pl.String}
    needed = pl.DataFrame([(c.main, c.query.object) for c in judged(mine)], schema=columns, orient="row")
    first = Counter((c.query.lang, c.query.relation, c.query.object) for c in mine if c.correct and c.part == "neurons")
    stored = reader.sql(_CLAIMS, {**names, "langs": list(view.langs)})
    # a claim dealt when fewer facts were stored may not be one now, be in another part, or be made on another query
    now = [place.get(key) for key in stored.select("query", "object").iter_rows()]
    claims = stored.with_columns(part=pl.Series(now, dtype=pl.String)).filter(pl.col("part").is_not_null())
    # a fact whose other claim the model cannot read makes none: both kinds stay equally many
    claims = claims.filter(pl.col("correct").n_unique().over("fact", "lang") == 2)
    asked = []
    for lang in view.langs:
        of_lang = claims.filter(pl.col("lang") == lang)
        if of_lang.height:
            values = reader.addresses(view.model).with_flat(reader.sql(_VALUES, {**names, "lang": lang}))
            asked.append(_Asked(reader, view, lang, of_lang, values, seed, share_of, first))
    lacking = needed.unique().join(claims, on=["query", "object"], how="anti")
    return asked, lacking.height


@dataclass(frozen=True)
class _Asked:
    reader: Reader
    view: View
    lang: str
    claims: pl.DataFrame
    values: pl.DataFrame
    seed: int
    share_of: ShareOf
    first: Mapping[tuple[str, str, str], int]
    """How often an object is a right one in the first part, by language, relation and object."""


def _lang_rows(asked: _Asked) -> list[dict[str, object]]:
    about, contenders, sizes = _contenders(asked)
    verdicts = judge(about, contenders)
    return [
        _row(asked.lang, name, verdicts, _size(name, sizes), judgement)
        for name, judgement in verdicts.judgements.items()
    ]


def _contenders(asked: _Asked) -> tuple[Claims, dict[str, Contender], dict[str, Members]]:
    """The claims of a language, a score of every contender that can judge any, and whose neurons they are."""
    claims = asked.claims
    relations = sorted(set(claims["relation"]))
    dkn, frequent, chance = _members(asked, relations)
    subject = subject_of(asked.reader)
    labels = [subject[fact] for fact in claims["fact"]]
    part = claims["part"].to_numpy()
    about = Claims(
        np.unique(labels, return_inverse=True)[1].astype(np.int64),
        claims["correct"].to_numpy(),
        part == "threshold",
        part == "test",
        np.unique(claims["fact"], return_inverse=True)[1].astype(np.int64),
    )
    attribution, activation = (_rows(asked, relations, name) for name in ("attribution", "activation"))
    n = claims.height
    middle = about.threshold
    by_attribution = mean_score(attribution, dkn, n)
    contenders = {
        "DKN, attribution": Contender(by_attribution, asked.view.lam),
        "DKN, attribution, best lam": Contender(by_attribution),
        "DKN, activation": Contender(mean_score(activation, dkn, n, middle)),
        "frequent, in no pair": Contender(mean_score(attribution, frequent, n)),
        "random, same layers": Contender(mean_score(attribution, chance, n)),
        "argmax": is_argmax(claims["is_argmax"].to_numpy()),
        "probability": Contender(claims["p_root"].to_numpy()),
        "always true": always_true(n),
        "object frequency": Contender(_object_frequency(asked)),
    }
    empty = [name for name, one in contenders.items() if not np.isfinite(one.scores[about.test]).any()]
    for name in empty:  # a contender that can judge nothing must not take the others' claims away
        del contenders[name]
    return about, contenders, {"DKN": dkn, "frequent": frequent, "random": chance}


def _members(asked: _Asked, relations: Sequence[str]) -> tuple[Members, Members, Members]:
    """By relation code: degenerate neurons, frequent ones in no pair, random ones; chosen on the first part only.

    The second and third have as many as the first, where there are that many.
    """
    part = parts(asked.reader, asked.view.model, asked.seed)
    view = asked.view.with_(langs=(asked.lang,))
    addresses = asked.reader.addresses(view.model)
    pairs = asked.reader.dkn(view).filter(pl.col("role") == "kn")
    in_pairs: dict[str, dict[int, set[str]]] = {}
    for row in pairs.iter_rows(named=True):
        if part.get(row["fact"]) == "neurons":
            for side in ("a", "b"):
                flat = int(addresses.flat(row[f"layer_{side}"], row[f"neuron_{side}"]))
                in_pairs.setdefault(row["relation"], {}).setdefault(flat, set()).add(row["fact"])
    in_sets: dict[str, dict[int, set[str]]] = {}
    for row in addresses.with_flat(asked.reader.kn(view)).iter_rows(named=True):
        if part.get(row["fact"]) == "neurons":
            in_sets.setdefault(row["relation"], {}).setdefault(row["flat"], set()).add(row["fact"])
    n_facts = _scanned_facts(asked, {fact for fact, name in part.items() if name == "neurons"})
    scanned = scanned_neurons(asked.reader, view)
    seen: dict[str, set[int]] = {}
    for relation, flat in (
        asked.values.join(asked.claims.select("key", "relation"), on="key")
        .select("relation", "flat")
        .unique()
        .iter_rows()
    ):
        seen.setdefault(relation, set()).add(flat)
    dkn: Members = {}
    frequent: Members = {}
    chance: Members = {}
    for code, relation in enumerate(relations):
        counts = in_pairs.get(relation, {})
        neurons = sorted(counts)
        kept = frequent_neurons(
            [len(counts[n]) for n in neurons], view.dkn_share, of=asked.share_of, n_facts=n_facts.get(relation, 0)
        )
        dkn[code] = [n for n, keep in zip(neurons, kept, strict=True) if keep]
        watched = set(scanned.get((relation, asked.lang), ()))
        others = {n: len(f) for n, f in in_sets.get(relation, {}).items() if n not in counts and n in watched}
        frequent[code] = sorted(others, key=lambda n: (-others[n], n))[: len(dkn[code])]
        rest = seen.get(relation, set()) - watched
        chance[code] = _same_layers(dkn[code], rest, addresses, label_seed(asked.seed, relation))
    return dkn, frequent, chance


def _same_layers(
    neurons: Sequence[int], among: Collection[int], addresses: Addresses, seed: Sequence[int]
) -> list[int]:
    """Random neurons of `among`, as many of each layer as `neurons` has there, as far as there are."""
    rng = np.random.default_rng(seed)
    pool = np.array(sorted(among), dtype=np.int64)
    of_pool, _ = addresses.split(pool)
    found: list[int] = []
    for layer, count in sorted(Counter(addresses.split(neurons)[0].tolist()).items()):
        found += rng.permutation(pool[of_pool == layer])[:count].tolist()
    return found


def _scanned_facts(asked: _Asked, first: set[str]) -> dict[str, int]:
    """Scanned facts of the first part, by relation."""
    frame = asked.reader.sql(
        "SELECT DISTINCT q.relation, q.fact FROM scan c JOIN query q USING (query) "
        "WHERE c.model = $model AND c.method = $method AND c.role = 'kn' AND q.lang = $lang",
        {"model": asked.view.model, "method": asked.view.method, "lang": asked.lang},
    )
    return dict(Counter(relation for relation, fact in frame.iter_rows() if fact in first))


def _rows(asked: _Asked, relations: Sequence[str], column: str) -> NeuronRows:
    place = pl.DataFrame({"key": asked.claims["key"], "claim": np.arange(asked.claims.height)})
    frame = asked.values.join(place, on="key")
    claim = frame["claim"].to_numpy()
    code = {relation: i for i, relation in enumerate(relations)}
    group = np.array([code[relation] for relation in asked.claims["relation"]], dtype=np.int64)[claim]
    return NeuronRows(claim, group, frame["flat"].to_numpy(), frame[column].to_numpy().astype(np.float64))


def _object_frequency(asked: _Asked) -> Floats:
    """How often the claimed object is a right one among the first part's facts of the relation."""
    places = asked.claims.select("relation", "object").iter_rows()
    return np.array([asked.first.get((asked.lang, relation, answer), 0) for relation, answer in places], np.float64)


def _size(name: str, sizes: Mapping[str, Members]) -> float | None:
    """Mean number of neurons a relation."""
    for word, members in sizes.items():
        if name.startswith(word):
            return float(np.mean([len(one) for one in members.values()])) if members else None
    return None


def _row(lang: str, name: str, verdicts: Verdicts, size: float | None, found: Judgement) -> dict[str, object]:
    printed, accuracy = _paper(lang, name)
    return {
        "lang": lang,
        "judge": name,
        "claims": verdicts.n,
        "subjects": verdicts.subjects,
        "coverage": verdicts.coverage,
        "neurons": size,
        "lam": found.lam,
        **spread("precision", found.precision),
        **spread("recall", found.recall),
        **spread("f1", found.f1),
        **spread("accuracy", found.accuracy),
        **spread("auroc", found.auroc),
        **span("vs_probability", found.auroc_over_probability),
        **spread("paired", found.paired),
        "paper": printed,
        "paper_accuracy": accuracy,
    }


def _paper(lang: str, name: str) -> tuple[str | None, str | None]:
    """F1 of the paper's rows, and the accuracy that follows once the two exchanged columns are put right."""
    with_dkn = {"DKN, attribution": True, "argmax": False}.get(name)
    primary = lang.replace("_", "-").split("-")[0].lower()
    found = [one for one in paper.TABLE_3 if one.lang == primary and one.with_dkn == with_dkn and one.model in MODELS]
    if not found:
        return None, None
    return " / ".join(f"{one.f1:.3g}" for one in found), " / ".join(f"{one.swapped.accuracy:.3f}" for one in found)


def printed() -> Table:
    """The paper's own table 3, with what arithmetic says about each row."""
    rows = [
        {
            "lang": one.lang,
            "model": one.model,
            "judge": "degenerate neurons" if one.with_dkn else "the model's answer",
            "precision": one.precision,
            "recall": one.recall,
            "f1": one.f1,
            "precision at least": one.lowest_precision,
            "possible": one.possible,
            "accuracy, exchanged": one.swapped.accuracy,
        }
        for one in paper.TABLE_3
    ]
    notes = (
        "one wrong claim for each right one: precision cannot be below R/(1+R), so rows that are not possible cannot be as printed. "
        "All are possible with precision and recall exchanged, as the released code computes them; accuracy follows then",
        "always true: precision .500, recall 1, F1 .667, accuracy .500",
    )
    return Table("paper_factcheck", "table 3 as printed in the paper", pl.DataFrame(rows), notes)


_SCHEMA = {
    "lang": pl.String, "judge": pl.String, "claims": pl.Int64, "subjects": pl.Int64,
    **dict.fromkeys(("coverage", "neurons", "lam"), pl.Float64), **spread_columns("precision"),
    **spread_columns("recall"), **spread_columns("f1"), **spread_columns("accuracy"), **spread_columns("auroc"),
    **span_columns("vs_probability"), **spread_columns("paired"), "paper": pl.String, "paper_accuracy": pl.String,
}  # fmt: skip
