"""A layer whose units carry names: a text's token states -> one logit per concept, supervised by the concepts that the text is known to have."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WEIGHT_OF_POSITIVES = 20.0
"""At most so many times as much as a missing concept counts a concept that is there: positives are rare."""


class RecurrentTower(nn.Module):
    """Token numbers -> GRU -> attention pooling -> logits of concepts.

    Shapes: tokens int64 [N] of B texts one after another, lengths int64 [B], each at least 1 -> [B, concepts].
    """

    def __init__(self, words: int, dim: int, hidden: int, concepts: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.words = nn.Embedding(words, dim)
        self.encoder = nn.GRU(dim, hidden, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(2 * hidden, 1)
        self.dropout = nn.Dropout(dropout)
        self.concepts = nn.Linear(2 * hidden, concepts)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        embedded = self.dropout(self.words(tokens))
        padded = nn.utils.rnn.pad_sequence(list(embedded.split(lengths.tolist())), batch_first=True)
        packed = nn.utils.rnn.pack_padded_sequence(padded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
        there = torch.arange(states.shape[1], device=states.device) < lengths[:, None].to(states.device)
        weights = self.attention(states).squeeze(-1).masked_fill(~there, -torch.inf).softmax(1)
        return self.concepts(self.dropout((weights[:, :, None] * states).sum(1)))


def concept_loss(logits: Tensor, labels: Tensor, counts: Tensor, texts: int) -> Tensor:
    """Mean binary cross-entropy over all units; a concept that is there weighs as many times more as it is rare, 20 times at most.

    Parameters
    ----------
    logits, labels: [B, concepts]; labels are 0 or 1.
    counts: [concepts], how many of all `texts` have each concept.
    """
    weights = ((texts - counts) / counts.clamp(min=1)).clamp(max=WEIGHT_OF_POSITIVES)
    return F.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights)
