"""Encoder-decoders read as decoders: what the encoder reads goes before what the decoder does, in one sequence of ids.

    source … </s> <start> <extra_id_0> answer tokens …

The source is the prompt with a sentinel where the answer goes, and the decoder is asked for what the sentinel stands for. Its
stack holds the neurons; the encoder runs once for every distinct source of a pass, and no edit reaches it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput


class Sourced(nn.Module):
    """The model, called with ids (rows, source + target); logits are (rows, target, vocabulary)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    @property
    def start(self) -> int:
        """The token that the decoder's own input begins with; no source holds it."""
        return int(self.config.decoder_start_token_id)

    @property
    def decoder(self) -> str:
        """Path of the decoder's stack."""
        stack = self.model.get_decoder()
        return next(str(name) for name, module in self.named_modules() if module is stack)

    def source_length(self, ids: Tensor) -> int:
        """Tokens before the decoder's; all rows have equally many."""
        return int((ids[0] == self.start).nonzero()[0, 0])

    def forward(self, input_ids: Tensor) -> Any:
        n = self.source_length(input_ids)
        sources, which = torch.unique(input_ids[:, :n], dim=0, return_inverse=True)
        read = self.model.get_encoder()(input_ids=sources).last_hidden_state[which]
        return self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=read), decoder_input_ids=input_ids[:, n:], use_cache=False
        )

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()  # type: ignore[no-any-return]

    def get_output_embeddings(self) -> nn.Module:
        return self.model.get_output_embeddings()  # type: ignore[no-any-return]
