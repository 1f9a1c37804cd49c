"""A trained copy head: which words of a person's own history may be said now."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sartor.write.parts.memory_attention import masked_softmax


class HistoryCopy(nn.Module):
    """Attention of a decoder's state over history tokens, as a distribution over their (extended) vocabulary ids.

    The probabilities of a word that stands in the history several times add up (`scattered`, `foretold`). Hooks of a decoder:
    `write.parts.logits.CopyHead` where all words are tokens, `write.parts.extended_vocabulary.Spelling` where some are not.

    Source: See et al., Get To The Point: Summarization with Pointer-Generator Networks, 2017; over a history instead of the source: Ma et al.,
    One Chatbot Per Person, 2021.

    Parameters
    ----------
    query: width of the decoder's states.
    dim: of the history's token outputs.
    """

    def __init__(self, query: int, dim: int) -> None:
        super().__init__()
        self.asks = nn.Linear(query, dim)
        self.scale = dim**-0.5

    def forward(self, states: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Weights float [B, L, T] that sum to 1 (to 0 where a row has no token): states [B, L, query], tokens [B, T, dim], mask bool [B, T]."""
        return masked_softmax(self.scale * self.asks(states) @ tokens.transpose(1, 2), mask[:, None])


def foretold(weights: Tensor, ids: Tensor, targets: Tensor) -> Tensor:
    """Probability float [B, L] that the copied word is the target: weights [B, L, T], ids int64 [B, T], targets int64 [B, L]."""
    return (weights * (ids[:, None] == targets[:, :, None])).sum(-1)


def scattered(weights: Tensor, ids: Tensor, size: int) -> Tensor:
    """The same as a distribution over `size` ids, float [B, L, size]."""
    out = weights.new_zeros(*weights.shape[:2], size)
    return out.scatter_add(2, ids[:, None].expand_as(weights), weights)


def mixture(generated: Tensor, copied: Tensor, gate: Tensor, something: Tensor) -> Tensor:
    """g p_gen + (1 - g) p_copy, of probabilities; where there is nothing to copy (bool `something`) all is generated."""
    gate = torch.where(something, gate, torch.ones_like(gate))
    return gate * generated + (1 - gate) * copied
