"""What a table comes to in one plain sentence, from its own figures: what is looked at, and what it means at these thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

LANGUAGES = {
    "ar": "Arabic", "ca": "Catalan", "cs": "Czech", "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "fa": "Persian",
    "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
"""Names of common language codes; any other code stands for itself."""
_SHARED = {
    "own": "they are the fact's own",
    "of the answer": "they belong to the answer, not to the fact",
    "relation": "they belong to the relation, not to the fact",
    "generic": "none of them is the fact's own",
    "chance": "no more than by chance",
    "empty": "no neuron is in all of them",
    "undecided": "too few facts to say whose they are",
}
_EDITED = {
    "own": "the effect is the fact's own",
    "of the answer": "the effect is that of the answer, not of the fact",
    "relation": "the effect is that of the relation, not of the fact",
    "generic": "facts of any kind move as much",
    "undecided": "too few facts to say whose the effect is",
}


def language(code: str) -> str:
    return LANGUAGES.get(code.split("-")[0].lower(), code)


def together(codes: Sequence[str]) -> str:
    """`English and Chinese`, `English, German and Chinese`, `5 languages`."""
    named = [language(code) for code in codes]
    if len(named) > 3:
        return f"{len(named)} languages"
    return " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))


def every(codes: Sequence[str]) -> str:
    """`both English and Chinese`, `all of English, German and Chinese`, `all 5 languages`."""
    return f"{'both' if len(codes) == 2 else 'all of' if len(codes) == 3 else 'all'} {together(codes)}"


def number(value: float) -> str:
    """Two decimals; the minus sign of print."""
    return f"{value:.2f}".replace("-", "−")


def of_likn(frame: pl.DataFrame, langs: Sequence[str]) -> str:
    """Of the table `likn`: how much is shared at the thresholds, beside its controls, and whose it is."""
    if frame.is_empty():
        return ""
    row = frame.row(0, named=True)
    if row["observed"] is None:
        return f"No fact has neurons in {together(langs)}."
    said = f"{together(langs)} share {number(row['observed'])} neurons a fact"
    said += f": {_SHARED.get(str(row['verdict']), 'nothing can be said')}"
    beside = [
        f"{number(row[name])} with others of the same {what}{_interval(row, f'vs_{name}')}"
        for name, what in (("a", "relation"), ("c", "answer"))
        if row[name] is not None
    ]
    return f"{said}; a fact shares {', '.join(beside)}." if beside else f"{said}."


def _interval(row: Mapping[str, Any], name: str) -> str:
    """The interval of a difference, in brackets, as the table prints it."""
    text = row.get(f"{name}_interval", row.get(name))
    return (
        f" (difference {text.replace('-', '−').replace('…', ' … ')})" if isinstance(text, str) and "…" in text else ""
    )


def of_neurons(neurons: int, everywhere: int, langs: Sequence[str], own: Sequence[str] = ()) -> str:
    """Of one fact: how many neurons it has, and in how many languages.

    :param own: the languages in which it has any; a question is asked in one
    """
    if len(langs) < 2:
        return f"{neurons:,} neurons of this fact in {together(langs)}."
    if len(own) == 1:
        others = together([lang for lang in langs if lang not in own])
        several = f"{neurons:,} neuron{'' if neurons == 1 else 's'}"
        return f"This fact has {several} in {language(own[0])} and none in {'the other ' * (len(langs) > 4)}{others}."
    return f"{everywhere:,} of this fact's {neurons:,} neurons are found in {every(langs)}."


def of_pairs(rates: pl.DataFrame, kind: str) -> str:
    """Of counts by role (role, pairs, paper, strict): how many pairs back each other up, beside the same scan of other neurons."""
    found = {row["role"]: row for row in rates.iter_rows(named=True) if row["pairs"]}
    if "kn" not in found:
        return "No fact has two knowledge neurons that were removed in pairs."
    own = found["kn"]
    said = f"{own[kind]:,} of {own['pairs']:,} pairs ({_percent(own[kind] / own['pairs'])}) back each other up by the {kind} rule"
    others = [
        f"{_percent(found[role][kind] / found[role]['pairs'])} {where}"
        for role, where in (
            ("layer_control", "of other pairs in the same layers"),
            ("drop_control", "of pairs with the same single drops"),
        )
        if role in found
    ]
    return said + (f"; so do {' and '.join(others)}." if others else ".")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.001 or not share else f"{100 * share:.1g}%"


def of_sets(frame: pl.DataFrame) -> str:
    """Of the table `dkn_sets`: how many larger sets of knowledge neurons are degenerate, size by size, beside the controls."""
    if not frame["ablated"].sum():
        return "Of larger sets nothing is computed yet: R starts a run, with what: sets."
    said = []
    for part in frame.partition_by("size", maintain_order=True):
        own, *others = ("unknown" if n is None else f"{n:,}" for n in part["sets"])
        beside = f" (controls {' and '.join(others)})" if set(others) != {"0"} else ""
        said.append(f"{own} {'set' if own == '1' else 'sets'} of {part['size'][0]}{beside}")
    missing = int(frame["missing"].sum())
    more = f"; {missing:,} sets are not computed yet" if missing else ""
    return f"Degenerate sets of more than two neurons: {', '.join(said)}{more}."


def of_edits(frame: pl.DataFrame) -> str:
    """Of the table `edits`: what editing the first row's neurons does to their fact more than to others."""
    rows = [row for row in frame.iter_rows(named=True) if row["d"] is not None]
    if not rows:
        return ""
    judged = [row for row in rows if row.get("verdict")]
    row = next((row for row in judged if row["verdict"] != "undecided"), (judged or rows)[0])
    moved = f"moves their fact in {language(row['lang'])} by {number(row['d'])} in log p more than other facts"
    name, _, size = row["edited"].partition(", ")
    said = f"Editing the neurons of {name}{f', {size},' if size else ''} {moved}"
    meant = _EDITED.get(str(row.get("verdict")))
    return f"{said}{f': {meant}' if meant else ''}{_interval(row, 'vs_random')}."


def of_flips(facts: pl.DataFrame) -> str:
    """Of one row of edits fact by fact (rank, rank_suppressed, rank_enhanced): how many first answers it takes away, and gives."""
    read = facts.drop_nulls(["rank", "rank_suppressed", "rank_enhanced"])
    if read.is_empty():
        return ""
    first, others = read.filter(pl.col("rank") == 1), read.filter(pl.col("rank") > 1)
    lost = first.filter(pl.col("rank_suppressed") > 1).height
    gained = others.filter(pl.col("rank_enhanced") == 1).height
    said = []
    if first.height:
        said.append(f"Suppressed, {lost:,} of {first.height:,} answers that came first no longer do.")
    if others.height:
        said.append(f"Enhanced, {gained:,} of {others.height:,} others come first.")
    return " ".join(said)


def of_checks(frame: pl.DataFrame) -> str:
    """Of the table `factcheck`: the best judge by AUROC among those with an interval, and whether degenerate neurons are better than
    the probability."""
    rows = [row for row in frame.iter_rows(named=True) if row["auroc"] is not None]
    if not rows:
        return ""
    told = [row for row in rows if "…" in str(row["auroc_interval"])]
    if not told:
        return "Too few claims to tell the judges apart."
    best = max(told, key=lambda row: row["auroc"])
    said = f"The best judge is {best['judge']} in {language(best['lang'])} (AUROC {number(best['auroc'])})"
    own = next((row for row in told if row["judge"].startswith("DKN")), None)
    if own is None or own is best:
        return f"{said}."
    ends = str(own["vs_probability"] or "").lstrip("~").split("…")
    better = "no interval against the probability"
    if len(ends) == 2:
        low, high = (float(end) for end in ends)
        word = "better than" if low > 0 else "worse than" if high < 0 else "no better than"
        better = f"{word} the probability"
    return f"{said}; {own['judge']} in {language(own['lang'])}: {number(own['auroc'])}, {better}."


def of_serving(frame: pl.DataFrame, langs: Sequence[str]) -> str:
    """Of a list of neurons (layer, neuron, facts, all_langs), those of most facts first: which serves the most, how many are in all
    languages."""
    if frame.is_empty():
        return ""
    first = frame.row(0, named=True)
    facts = f"{first['facts']:,} fact{'' if first['facts'] == 1 else 's'}"
    said = f"Of {frame.height:,} neurons {first['layer']}:{first['neuron']} serves the most facts, {facts}"
    if len(langs) > 1:
        said += f"; {int((frame['all_langs'] > 0).sum()):,} serve a fact in {every(langs)}"
    return f"{said}."


_ROLES = {
    "knowledge neurons": "kn",
    "others, same layers": "layer_control",
    "others, same single drops": "drop_control",
}


def of_layers(frame: pl.DataFrame) -> str:
    """Of the table `enrichment`: the layer that holds the most of each language's neurons, and of those that all share."""
    told = []
    for part in frame.filter(~pl.col("kind").str.starts_with("DKN")).partition_by("kind", maintain_order=True):
        if not (known := part.drop_nulls("share")).is_empty():
            top = known.sort("share", descending=True).row(0, named=True)
            whose = "those of all languages" if top["kind"] == "LIKN" else language(top["kind"])
            told.append(f"{whose} {top['layer']} ({100 * top['share']:.0f}%)")
    return f"The layer with the most of a fact's neurons: {', '.join(told)}." if told else ""


def of_table(name: str, frame: pl.DataFrame, langs: Sequence[str]) -> str:
    """Of a table of a report, by its name; empty where there is nothing to say of it."""
    if frame.is_empty():
        return ""
    if name == "likn":
        return of_likn(frame, langs)
    if name == "enrichment":
        return of_layers(frame)
    if name == "dkn":  # the last language, or all of them
        last = frame.filter(frame["lang"] == frame["lang"][-1])
        roles = last.with_columns(role=pl.col("neurons").replace_strict(_ROLES, default="", return_dtype=pl.String))
        return of_pairs(roles.select("role", "pairs", "paper", "strict"), "strict")
    return of_edits(frame) if name == "edits" else of_checks(frame) if name == "factcheck" else ""
