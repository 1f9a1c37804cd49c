"""Low-rank changes in two halves each: one that somebody learns, and one that is frozen and the same for everybody, so that they can be joined."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sartor.draw.parts.picture_files import digest
from sartor.draw.parts.supplied import linears

Halves = Mapping[str, Tensor]
"""down.<layer> [rank, half of in], up.<layer> [half of out, rank]."""
DOWN, UP, LAST = "down.", "up.", ".to_out.0"


def widest(unet: nn.Module) -> int:
    """Of the projections that have an orthogonal basis; 1280 on Stable Diffusion, as in the authors' code (Xu et al., B4M, 2025)."""
    return max(layer.in_features for name, layer in linears(unet).items() if layer.in_features == layer.out_features)


def frozen(unet: nn.Module, rank: int, basis: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The halves that nobody learns, from the seed `basis` alone: of square projections disjoint rows of one orthogonal matrix; of others, and of
    those behind the heads, random below and zero above."""
    draw, tallest = torch.Generator().manual_seed(basis), widest(unet)
    made: dict[str, Tensor] = {}
    for name, layer in linears(unet).items():
        left, above = layer.in_features // 2, layer.out_features // 2
        if layer.in_features == layer.out_features and not name.endswith(LAST):
            # As tall as the widest layer of this denoiser: of a taller matrix the rows would be too short to count.
            rows = torch.linalg.qr(torch.randn(tallest, rank, generator=draw).to(dtype))[0]
            order = torch.randperm(len(rows), generator=draw)
            down, up = rows[order[:left]].T, rows[order[left : left + above]]
        else:
            down, up = torch.randn(rank, left, generator=draw) / rank, torch.zeros(above, rank)
        made |= {f"{DOWN}{name}": down, f"{UP}{name}": up}
    return made


def fingerprint(unet: nn.Module, rank: int, basis: int) -> str:
    """32 hex digits of the frozen halves; made in double precision and rounded, so that they are the same on every machine."""
    return digest({name: half.to(torch.float16).numpy() for name, half in frozen(unet, rank, basis, torch.float64).items()})


def joined(still: Halves, live: Halves) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer -> D [rank, in], U [out, rank], the frozen half first."""
    layers = [name.removeprefix(DOWN) for name in still if name.startswith(DOWN)]
    return {
        one: (torch.cat([still[f"{DOWN}{one}"], live[f"{DOWN}{one}"]], 1), torch.cat([still[f"{UP}{one}"], live[f"{UP}{one}"]])) for one in layers
    }
