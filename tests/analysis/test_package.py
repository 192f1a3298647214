"""`bkn-eleuther` is the package knowledge-neurons 0.0.2, number for number. Runs where that package is installed: `make bench`
installs it into an environment of its own, never into the project's."""

from __future__ import annotations

import numpy as np
import pytest

from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.replay import Engine
from knscope.analysis.prompts.encode import Query, encode
from tests import random_models

package = pytest.importorskip("knowledge_neurons", reason="knowledge-neurons is not installed here")

PROMPT = "The capital of Tanzania is"


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("kind", ["bert", "gpt"])
def test_bkn_eleuther_equals_the_package_to_1e_5_of_the_largest(kind: str, steps: int) -> None:
    loaded = random_models.bert() if kind == "bert" else random_models.gpt2()
    answer, end = ("Nairobi", " .") if kind == "bert" else ("Paris", "")
    query = encode(loaded, Query("tz", "P36", "en", f"The capital of [X] is [Y]{end}", "Tanzania", answer))
    assert len(query.steps) == 1
    (found,) = attribute(Engine(loaded), [query], parse_method(f"bkn-eleuther+nodes={steps}"))
    other = package.KnowledgeNeurons(loaded.model, loaded.tokenizer, model_type=kind, device="cpu")
    prompt, truth = (f"{PROMPT} [MASK] .", answer) if kind == "bert" else (PROMPT, f" {answer}")
    scores = other.get_scores(prompt, truth, batch_size=steps, steps=steps, pbar=False)
    expected = scores.detach().numpy().reshape(-1)
    assert np.abs(found.scores - expected).max() <= 1e-5 * np.abs(expected).max()
    (unlike,) = attribute(Engine(loaded), [query], parse_method(f"bkn+nodes={steps}"))
    assert np.abs(unlike.scores - expected).max() > 1e-3 * np.abs(expected).max()
