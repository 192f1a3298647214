"""The product with the vocabulary in pieces is the product."""

import pytest
import torch
from torch import nn

from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.circuit import Circuit
from knscope.analysis.engine.inspection import sample_query
from knscope.analysis.engine.replay import Engine
from knscope.analysis.engine.vocabulary import in_pieces
from tests import random_models

ROWS, HIDDEN = 5, 300


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("vocabulary", [3_500, 9_001])
def test_vocabulary_in_pieces_gives_the_logits_and_gradient_of_one_product(bias: bool, vocabulary: int) -> None:
    torch.manual_seed(0)
    head = nn.Linear(HIDDEN, vocabulary, bias=bias, dtype=torch.float64).requires_grad_(False)
    x = torch.randn(ROWS, 1, HIDDEN, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(ROWS, 1, vocabulary, dtype=torch.float64)
    found = in_pieces(head)
    assert found is not None
    logits, expected = found(x), head(x)
    assert logits.shape == expected.shape and torch.allclose(logits, expected, rtol=1e-12)
    gradients = [torch.autograd.grad((out * direction).sum(), x)[0] for out in (logits, expected)]
    assert torch.allclose(*gradients, rtol=1e-12)


def test_heads_other_than_plain_linears_keep_their_forward() -> None:
    class Scaled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    assert in_pieces(Scaled(HIDDEN, 9_001)) is None
    assert in_pieces(nn.Embedding(9_001, HIDDEN)) is None
    assert in_pieces(nn.Linear(8, 20)) is None
    assert in_pieces(nn.Linear(HIDDEN, 9_001, dtype=torch.bfloat16)) is None


def test_head_gets_its_forward_back_after_a_pass() -> None:
    loaded = random_models.bert(torch.float64)
    head = loaded.model.get_output_embeddings()
    with pytest.raises(ZeroDivisionError), Circuit(loaded).wired(lambda *_: None, lambda *_: None):
        1 / 0  # noqa: B018
    assert "forward" not in vars(head)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_head_runs_only_when_logits_are_asked_for(kind: str) -> None:
    """Activations need none, and paths that end in the prompt read them off that end."""
    engine = Engine({"encoder": random_models.bert, "decoder": random_models.gpt2}[kind](torch.float64))
    query, widths = sample_query(engine.loaded, 9, 3), list[int]()
    head = engine.loaded.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda _module, _args, out: widths.append(out.shape[-1]))
    try:
        engine.activations(query)
        assert widths == [engine.loaded.model.config.hidden_size]
        for method, times in (("bkn+rule=right", 1), ("bkn+rule=left", 2)):
            widths.clear()
            next(attribute(engine, [query], parse_method(method)))
            assert widths.count(head.weight.shape[0]) == times, widths
    finally:
        handle.remove()
