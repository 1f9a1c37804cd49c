"""Explicit crosses of features of bounded degree."""

from __future__ import annotations

from torch import Tensor, nn


class CrossNetwork(nn.Module):
    """x_(l+1) = x_0 * (W_l x_l + b_l) + x_l, element by element: float [n, width] -> [n, width].

    After l layers the output holds products of up to l + 1 inputs.

    Source: Wang et al., DCN V2, WWW 2021 (full-rank form).
    """

    def __init__(self, width: int, *, layers: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for layer in self.layers:
            out = x * layer(out) + out
        return out
