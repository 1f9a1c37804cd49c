"""A transformer over words that gives the token states of every layer, so that it can be cut in depth, and its vectors in width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.parts.sequence import SequenceEncoder


class Tokens(NamedTuple):
    """A ragged batch of tokenised texts, one after another."""

    ids: Tensor
    """int64 [N], numbers in the vocabulary."""
    lengths: Tensor
    """int64 [B], tokens per text, each at least 1."""
    experts: Tensor | None = None
    """int64 [B], which expert serves each text, for networks that have experts (`parts.experts`)."""

    @classmethod
    def of(cls, texts: Sequence[np.ndarray], experts: np.ndarray | None = None, device: str = "cpu") -> Tokens:
        """From the token numbers of each text."""
        ids = torch.from_numpy(np.concatenate(texts).astype(np.int64)) if texts else torch.empty(0, dtype=torch.int64)
        lengths = torch.tensor([text.size for text in texts], dtype=torch.int64)
        routed = None if experts is None else torch.from_numpy(experts.astype(np.int64)).to(device)
        return cls(ids.to(device), lengths.to(device), routed)

    def padded(self, value: int) -> tuple[Tensor, Tensor]:
        """Token numbers int64 [B, longest], filled up with `value`, and bool [B, longest], True where there is a token."""
        longest = int(self.lengths.max())
        mask = torch.arange(longest, device=self.ids.device)[None, :] < self.lengths[:, None]
        return torch.full(mask.shape, value, dtype=self.ids.dtype, device=self.ids.device).masked_scatter(mask, self.ids), mask

    def alike(self, size: int) -> list[tuple[Tokens, Tensor]]:
        """Parts of at most `size` texts of like length, with the places int64 of their tokens among all: padding costs as much as words."""
        starts = self.lengths.cumsum(0) - self.lengths
        parts = []
        for rows in torch.argsort(self.lengths, stable=True).split(size):
            own = self.lengths[rows]
            places = torch.arange(int(own.sum()), device=own.device) + (starts[rows] - own.cumsum(0) + own).repeat_interleave(own)
            parts.append((Tokens(self.ids[places], own, None if self.experts is None else self.experts[rows]), places))
        return parts


class TextTransformer(nn.Module):
    """Word vectors and a bidirectional stack of transformer blocks (`SequenceEncoder`: pre-norm, learned positions, GELU).

    Parameters
    ----------
    vocabulary: how many words.
    dim, layers, heads, dropout: as usual.
    feedforward: hidden width of the feed-forward part; 4 * dim by default.
    max_tokens: longest text.
    """

    def __init__(
        self, vocabulary: int, dim: int = 128, *, layers: int = 4, heads: int = 4, feedforward: int | None = None, dropout: float = 0.1,
        max_tokens: int = 64,
    ) -> None:  # fmt: skip
        super().__init__()
        if vocabulary < 1 or dim < 1 or layers < 1 or max_tokens < 1:
            what = f"vocabulary {vocabulary}, dim {dim}, layers {layers}, max_tokens {max_tokens}"
            raise ConfigError(what, fix="use at least 1 of each")
        self.words = nn.Embedding(vocabulary, dim)
        nn.init.normal_(self.words.weight, std=dim**-0.5)
        self.encoder = SequenceEncoder(
            dim, blocks=layers, heads=heads, dropout=dropout, max_length=max_tokens, feedforward=feedforward or 4 * dim, activation="gelu",
            count_from="start", attention="bidirectional",
        )  # fmt: skip

    @property
    def depth(self) -> int:
        """How many blocks there are."""
        return len(self.encoder.blocks)

    def forward(self, tokens: Tokens) -> list[Tensor]:
        """Token states after 0, 1, ..., depth blocks: depth + 1 of float [N, dim], all through the same last norm."""
        return self.encoder.states(self.words(tokens.ids), tokens.lengths)

    def cut(self, layers: int) -> None:
        """Leave away all blocks after the first `layers`."""
        if not 1 <= layers <= self.depth:
            raise ConfigError(f"{layers} of {self.depth} layers", fix=f"keep 1 to {self.depth}")
        self.encoder.blocks = self.encoder.blocks[:layers]
