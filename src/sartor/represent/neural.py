"""What neural text encoders share: batches of like length, every layer's vectors, token vectors, cutting in depth, training."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from sartor.errors import ConfigError, CorruptFile
from sartor.parts.pooling import Pooling, pool
from sartor.parts.transformer import Tokens
from sartor.parts.unit import unit
from sartor.progress import track
from sartor.represent.encoder import TextEncoder, TokenVectors, truncate


class NeuralEncoder(ABC):
    """A text encoder that is a network: can be trained (`represent.contrastive`), cut after any layer, and asked for token vectors."""

    name: str
    network: nn.Module
    dim: int
    depth: int
    """How many layers there are above the word vectors."""
    pooling: Pooling
    batch_size: int
    max_tokens: int
    device: str
    nested_dims: Sequence[int] = ()
    """Widths that it was trained to be cut to, its own included."""
    nested_layers: bool = False
    """Whether it was trained to be cut after any layer."""
    default_dim: int = 0
    """Width that `text_encoder` cuts to when it reads the folder of this encoder; 0 is the whole."""
    _digest: str | None = None

    # --- what subclasses do

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token numbers int [tokens] of each text, at most `max_tokens`."""

    @abstractmethod
    def states(self, tokens: Tokens) -> list[Tensor]:
        """Token states after 0, 1, ..., depth layers: depth + 1 of float [N, dim]."""

    @abstractmethod
    def stack(self) -> Sequence[nn.Module]:
        """The network's layers, first to last."""

    @abstractmethod
    def save(self, folder: str | Path) -> Path:
        """Write the encoder into a folder, from which `text_encoder(folder)` reads it."""

    @abstractmethod
    def _cut(self, layers: int) -> None: ...

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """What decides the vectors beside the weights."""

    # --- vectors

    @property
    def fingerprint(self) -> str:
        """32 hex digits over settings and weights."""
        if self._digest is None:
            made = hashlib.blake2b(repr(sorted(self._settings().items())).encode(), digest_size=16)
            for name, tensor in sorted(self.network.state_dict().items()):
                made.update(name.encode())
                made.update(tensor.detach().cpu().contiguous().numpy().tobytes())
            self._digest = made.hexdigest()
        return self._digest

    def changed(self) -> None:
        """To be called when the weights have changed: the vectors are of another space from now on."""
        self._digest = None

    def pool(self, states: Tensor, lengths: Tensor) -> Tensor:
        """From token states [N, dim] of any layer to vectors [B, dim], not scaled."""
        return pool(states, lengths, self.pooling)

    def pooled(self, tokens: Tokens) -> list[Tensor]:
        """One vector per text and depth, not scaled, with gradients: depth + 1 of float [B, dim]."""
        return [self.pool(state, tokens.lengths) for state in self.states(tokens)]

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """float32 [texts, dim]."""
        out = np.zeros((len(texts), self.dim), np.float32)
        for rows, tokens in self._batches(texts, progress):
            out[rows] = self.pool(self.states(tokens)[-1], tokens.lengths).float().cpu().numpy()
        return unit(out)

    def encode_layers(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """float32 [depth + 1, texts, dim]: what the encoder cut after 0, 1, ... layers would give, in one pass."""
        out = np.zeros((self.depth + 1, len(texts), self.dim), np.float32)
        for rows, tokens in self._batches(texts, progress):
            for layer, vectors in enumerate(self.pooled(tokens)):
                out[layer, rows] = vectors.float().cpu().numpy()
        return np.stack([unit(layer) for layer in out])

    def encode_tokens(self, texts: Sequence[str], *, progress: bool = False) -> TokenVectors:
        """A unit vector for every token of the last layer, special tokens included."""
        own: list[np.ndarray] = [np.empty((0, self.dim), np.float32)] * len(texts)
        for rows, tokens in self._batches(texts, progress):
            states = unit(self.states(tokens)[-1].float().cpu().numpy())
            for row, part in zip(rows, np.split(states, tokens.lengths.cumsum(0)[:-1].tolist()), strict=True):
                own[row] = part
        return TokenVectors.of(own, self.dim)

    def _batches(self, texts: Sequence[str], progress: bool) -> Iterator[tuple[np.ndarray, Tokens]]:
        """Row numbers and tokens, similar lengths together: padding costs as much as words. Texts without a token are left out."""
        made = self.tokenize(texts)
        self.network.eval()
        lengths = np.array([text.size for text in made], np.int64)
        order = np.argsort(lengths, kind="stable")
        order = order[lengths[order] > 0]
        batches = [order[start : start + self.batch_size] for start in range(0, order.size, self.batch_size)]
        for rows in track(batches, f"encoding with {self.name}", enabled=progress, unit="batch"):
            with torch.inference_mode():
                yield rows, Tokens.of([made[row] for row in rows], self._experts(rows), self.device)

    def _experts(self, rows: np.ndarray) -> np.ndarray | None:
        """Which expert serves each text, for encoders that have experts."""
        return None

    # --- cutting

    def _nested(self) -> dict[str, Any]:
        """What a saved encoder says of how it may be cut."""
        return {"nested_dims": list(self.nested_dims), "nested_layers": self.nested_layers, "default_dim": self.default_dim}

    def _set_nested(self, facts: Mapping[str, Any]) -> None:
        self.nested_dims = tuple(int(one) for one in facts.get("nested_dims", ()))
        self.nested_layers, self.default_dim = bool(facts.get("nested_layers")), int(facts.get("default_dim", 0))
        if not 0 <= self.default_dim <= self.dim:
            raise CorruptFile(f"vectors of {self.dim} dimensions should be cut to {self.default_dim}", fix="save the encoder again")

    def truncate(self, dim: int) -> TextEncoder:
        """The first dimensions only: see `represent.encoder.truncate`."""
        return truncate(self, dim)

    def cut(self, layers: int) -> Self:
        """A copy that ends after its first `layers` layers: faster, smaller, and of another space.

        Good for encoders that were trained for it (`represent.mse2d`).
        """
        if not 1 <= layers <= self.depth:
            raise ConfigError(f"{layers} of {self.depth} layers", fix=f"keep 1 to {self.depth}")
        other = copy.copy(self)
        other.network = copy.deepcopy(self.network)
        if layers < self.depth:
            other._cut(layers)
            other.depth = layers
            other.changed()
        return other
