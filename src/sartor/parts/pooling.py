"""From the token states of a ragged batch to one vector per text.

Shapes: N tokens of B texts one after another; states float [N, d], lengths int64 [B], each at least 1.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from sartor.errors import ConfigError

Pooling = Literal["mean", "last", "first"]


def pool(states: Tensor, lengths: Tensor, how: Pooling = "mean") -> Tensor:
    """One vector per text, [B, d]: the mean of its tokens, its last or its first token."""
    if how == "mean":
        owner = torch.arange(lengths.numel(), device=states.device).repeat_interleave(lengths, output_size=states.shape[0])
        return states.new_zeros(lengths.numel(), states.shape[1]).index_add(0, owner, states) / lengths[:, None]
    if how not in get_args(Pooling):
        raise ConfigError(f"there is no pooling '{how}'", fix=f"use one of {', '.join(get_args(Pooling))}")
    ends = lengths.cumsum(0)
    return states[ends - 1] if how == "last" else states[ends - lengths]


class Projection(nn.Module):
    """A pooled vector made fit for comparison: LayerNorm -> Linear -> tanh -> Linear, [B, dim] -> [B, out]."""

    def __init__(self, dim: int, out: int | None = None) -> None:
        super().__init__()
        self.norm, self.inner, self.outer = nn.LayerNorm(dim), nn.Linear(dim, dim), nn.Linear(dim, out or dim)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.inner(self.norm(pooled))))
