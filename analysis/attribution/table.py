"""Knowledge neurons as they are (eq. 6-7): one row a fact, language and neuron."""

from __future__ import annotations

import polars as pl

from knscope.analysis.statistics.table import Table
from knscope.analysis.stored.negative import Sign, negative_neurons
from knscope.store.reader import Reader
from knscope.store.view import View


def build(reader: Reader, view: View, sign: Sign = "positive") -> Table:
    """Every neuron in N, or in the set of those that push the answer down, strongest first within its fact and language."""
    negative = sign == "negative"
    found = negative_neurons(reader, view) if negative else reader.kn(view)
    frame = found.sort(
        "relation", "fact", "lang", "rel", "layer", "neuron", descending=[False] * 3 + [True] + [False] * 2
    )
    tau = pl.col("lang").replace_strict(dict(view.taus), return_dtype=pl.Float64)
    frame = frame.with_columns(tau=tau, template_share=pl.lit(view.template_share))
    taus = ", ".join(f"{lang} {tau:g}" for lang, tau in view.taus)
    of = "score / lowest score" if negative else "score / highest score"
    note = f"rel ({of}) > tau ({taus}) on at least {view.template_share:g} of the fact's templates; rel is the highest of them"
    names = ("kn_negative", "negative neurons") if negative else ("kn", "knowledge neurons")
    return Table(names[0], f"{names[1]}: {view.model}, {view.method}", frame, (note,), ("tau", "template_share"))
