"""One question's answer and the neurons that hold it, for a store with a single query."""

from __future__ import annotations

from knscope.analysis.prompts.words import WITHOUT_PATH
from knscope.analysis.statistics.table import Table
from knscope.store.reader import Reader

_PREDICTION = """
    SELECT p.prompt, q.object AS answer, p.p, p.p_root, p.rank, p.known, p.answer_tokens, p.argmax_tokens, p.p_steps,
        p.n_words AS words, p.words_without_path
    FROM prediction p JOIN query q USING (query)
"""
_NEURONS = """
    SELECT s.layer, s.neuron, s.score, s.rel FROM score s JOIN attribution a USING (key)
    WHERE a.method = $method ORDER BY s.rel DESC, s.layer, s.neuron LIMIT 20
"""
_RESIDUAL = "SELECT paths, converged, max_residual, max_score FROM attribution WHERE method = $method"


def build(reader: Reader, method: str) -> list[Table]:
    """The prediction, then the twenty neurons of highest score."""
    neurons = reader.sql(_NEURONS, {"method": method})
    notes: list[str] = []
    for paths, converged, residual, best in reader.sql(_RESIDUAL, {"method": method}).iter_rows():
        notes.append(f"{converged:,} of {paths:,} paths converged; largest residual {residual:.2e}")
        if best <= 0:
            notes.append("no neuron has a positive score: none is a knowledge neuron of this query")
    return [
        Table("prediction", "what the model answers", reader.sql(_PREDICTION), (WITHOUT_PATH,)),
        Table("neurons", f"neurons of highest score ({method})", neurons, tuple(notes)),
    ]
