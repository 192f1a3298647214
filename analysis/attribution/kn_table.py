"""Knowledge neurons as they are (eq. 6-7): one row a fact, language and neuron."""

from __future__ import annotations

from knscope.analysis.statistics.table import Table
from knscope.store.reader import Reader
from knscope.store.view import View


def build(reader: Reader, view: View) -> Table:
    """Every neuron in N, strongest first within its fact and language."""
    frame = reader.kn(view).sort(
        "relation", "fact", "lang", "rel", "layer", "neuron", descending=[False] * 3 + [True] + [False] * 2
    )
    taus = ", ".join(f"{lang} {tau:g}" for lang, tau in view.taus)
    note = f"rel > tau ({taus}) on at least {view.template_share:g} of the fact's templates; rel is the highest of them"
    return Table("kn", f"knowledge neurons: {view.model}, {view.method}", frame, (note,))
