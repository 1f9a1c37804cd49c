"""Key-value memory: what was answered is found by what it answered."""

from __future__ import annotations

from torch import Tensor, nn


class KeyValueMemory(nn.Module):
    """Attention over pairs: softmax(W q . key) weighs the values (Miller et al., Key-Value Memory Networks, 2016).

    Parameters
    ----------
    query: width of what asks.
    dim: of keys.
    """

    def __init__(self, query: int, dim: int) -> None:
        super().__init__()
        self.asks = nn.Linear(query, dim)
        self.scale = dim**-0.5

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What is found float [B, L, values' dim], and the weights float [B, L, P]; all zero where a row has no pair.

        query float [B, L, query]; keys [B, P, dim] and values [B, P, any]; mask bool [B, P], True where there is a pair.
        """
        weights = masked_softmax(self.scale * self.asks(query) @ keys.transpose(1, 2), mask[:, None])
        return weights @ values, weights


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension where the mask is True, 0 elsewhere; all 0 where it is False throughout."""
    lowest = scores.new_full((), -1e30)
    return scores.where(mask, lowest).softmax(-1) * mask
