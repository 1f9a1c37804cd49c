"""From features of pictures or people to tokens that attention can read, and from time and layer to what conditions them."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.parts.trainer import seeded


def projector(
    kind: Literal["global", "resampler"], dim_in: int, dim_out: int, *, tokens: int = 4, depth: int = 2, heads: int = 4, seed: int = 0
) -> Any:  # fmt: skip
    """A module from features to `tokens` tokens, as IP-Adapter has it, in diffusers' own classes so that its files load.

    "global": one vector [B, dim_in] -> [B, tokens, dim_out], a linear map and a norm. "resampler": patches [B, n, dim_in] -> [B, tokens, dim_out],
    learned queries that attend to them `depth` times (Perceiver).
    """
    from diffusers.models.embeddings import ImageProjection, IPAdapterPlusImageProjection

    if tokens < 1 or dim_out % heads:
        raise ConfigError(f"tokens {tokens}, {dim_out} numbers for {heads} heads", fix="tokens >= 1, dim_out a multiple of heads")
    with seeded(seed):
        if kind == "global":
            return ImageProjection(image_embed_dim=dim_in, cross_attention_dim=dim_out, num_image_text_embeds=tokens)
        return IPAdapterPlusImageProjection(
            embed_dims=dim_in, output_dims=dim_out, hidden_dims=dim_out, depth=depth, dim_head=dim_out // heads, heads=heads, num_queries=tokens
        )


class Position(nn.Module):
    """Random Fourier features of (time, layer), of length one: what makes a module different for every noise level and layer.

    Source: Tancik et al. 2020; the widths are those of NeTI (Alaluf et al. 2023). The directions are drawn from the seed and never trained.
    """

    directions: Tensor

    def __init__(self, *, features: int = 1024, time: float = 0.03, layer: float = 2.0, seed: int = 0) -> None:
        super().__init__()
        drawn = torch.randn(features, 2, generator=torch.Generator().manual_seed(seed)) * torch.tensor([time, layer])
        self.register_buffer("directions", drawn)

    @property
    def size(self) -> int:
        """Numbers per position."""
        return 2 * self.directions.shape[0]

    def forward(self, time: Tensor, layer: Tensor) -> Tensor:
        """float [..., size] of times and layer numbers of one shape."""
        turned = torch.stack([time.float(), layer.float()], -1) @ self.directions.T
        return torch.cat([turned.sin(), turned.cos()], -1) / math.sqrt(self.directions.shape[0])
