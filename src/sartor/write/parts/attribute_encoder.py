"""What is known of a person as pairs of key and value: one vector per key, and one persona vector for the moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.parts.field_embedding import FieldEmbedding
from sartor.parts.fields import Field

Fusion = Literal["average", "concat", "attention"]
"""How the vectors of the keys become one: their mean; a linear map of all of them; a mean weighted by what is being said."""


class AttributeEncoder(nn.Module):
    """Declared attributes as vectors: a table per key, tags by their mean, and a vector of its own for "unspecified".

        vectors = encoder.vectors(codes)             # once per person: float [B, keys, dim]
        persona, weights = encoder.fuse(vectors, s)  # at every word: float [B, dim], and which key acts, [B, keys]

    Source: the trait fusion of Zheng et al., Personalized Dialogue Generation with Diversified Traits, 2019.

    Parameters
    ----------
    fields: the keys, as a `parts.fields.FieldCodec` has them; numbers are a learned line.
    dim: of each key's vector and of the persona vector.
    fusion: see `Fusion`.
    query: width of what attention asks with, e.g. a decoder's state.
    drop: in training, the share of values that are hidden, by which "unspecified" is learned.
    """

    def __init__(self, fields: Sequence[Field], dim: int = 32, *, fusion: Fusion = "attention", query: int = 0, drop: float = 0.0) -> None:
        super().__init__()
        if fusion not in get_args(Fusion):
            raise ConfigError(f"there is no fusion '{fusion}'", fix=f"use one of {', '.join(get_args(Fusion))}")
        if (fusion == "attention") != (query > 0):
            raise ConfigError(f"fusion '{fusion}' with a query of {query}", fix="attention needs the width of what asks, the others need none")
        if dim < 1 or not 0 <= drop < 1:
            raise ConfigError(f"dim {dim}, drop {drop}", fix="use dim >= 1 and a drop from 0 to below 1")
        self.table = FieldEmbedding(fields, dim, init=dim**-0.5)
        self.dim, self.fusion, self.drop = dim, fusion, drop
        self.join = nn.Linear(dim * len(fields), dim) if fusion == "concat" else None
        if fusion == "attention":
            self.asks, self.keys, self.score = nn.Linear(query, dim), nn.Linear(dim, dim, bias=False), nn.Linear(dim, 1, bias=False)

    @property
    def names(self) -> list[str]:
        """Of the keys."""
        return [field.name for field in self.table.fields]

    def vectors(self, codes: Mapping[str, Tensor]) -> Tensor:
        """One vector per key, float [B, keys, dim], of codes as `FieldCodec.encode` gives them."""
        keys, rows = len(self.table.fields), len(next(iter(codes.values())))
        hidden = torch.rand(rows, keys) < self.drop if self.training and self.drop else None
        return self.table(codes, hidden=hidden).unflatten(1, (keys, self.dim))

    def fuse(self, vectors: Tensor, query: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The persona vector float [..., dim], and how much each key has in it, float [..., keys]; of `concat` all alike.

        Parameters
        ----------
        vectors: float [..., keys, dim].
        query: float [..., width], for attention; its other dimensions and those of the vectors broadcast.
        """
        alike = torch.full(vectors.shape[:-1], 1 / vectors.shape[-2], dtype=vectors.dtype, device=vectors.device)
        if self.join is not None:
            return self.join(vectors.flatten(-2)), alike
        if self.fusion == "average":
            return vectors.mean(-2), alike
        if query is None:
            raise ConfigError("attention has nothing to ask with", fix="give the decoder's state")
        weights = self.score(torch.tanh(self.asks(query)[..., None, :] + self.keys(vectors)))[..., 0].softmax(-1)
        return (weights[..., None] * vectors).sum(-2), weights
