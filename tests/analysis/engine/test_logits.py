"""Softmax in float32 against float64, at a vocabulary where torch's own is off."""

from __future__ import annotations

import torch

from knscope.analysis.engine.logits import log_probabilities, probabilities


def logits(dtype: torch.dtype) -> torch.Tensor:
    drawn = 3 * torch.randn(4, 50_257, generator=torch.Generator().manual_seed(0))
    drawn[:, 5] = 16
    return drawn.to(dtype)


def off(found: torch.Tensor) -> float:
    exact = logits(torch.float64).softmax(-1)
    return float(((found.double() - exact).abs() / exact).max())


def test_float32_probabilities_of_a_large_vocabulary_are_exact_to_2e_6() -> None:
    assert off(probabilities(logits(torch.float32))) < 2e-6
    assert off(log_probabilities(logits(torch.float32)).double().exp()) < 4e-6
    assert off(logits(torch.float32).softmax(-1)) > 1e-5, "torch's own would do by now: use it again"


def test_probabilities_of_float64_and_saturated_logits_equal_torchs() -> None:
    assert off(probabilities(logits(torch.float64))) < 1e-12
    assert off(log_probabilities(logits(torch.float64)).exp()) < 1e-12
    far = torch.tensor([[0.0, -2000.0, 3e4]])
    assert torch.equal(probabilities(far), far.softmax(-1))
    assert torch.equal(log_probabilities(far), far.log_softmax(-1))
