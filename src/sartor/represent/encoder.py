"""What every text encoder is: texts in, vectors out, and a fingerprint that names their space."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from sartor.errors import ConfigError
from sartor.parts.unit import unit


class TextEncoder(Protocol):
    """What turns texts into vectors."""

    @property
    def dim(self) -> int: ...

    @property
    def fingerprint(self) -> str:
        """32 hex digits that name the vector space."""

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """float32 [texts, dim], each of unit length (zeros for a text without content)."""


@dataclass(frozen=True, eq=False)
class TokenVectors:
    """A vector for every token of every text, one text after another."""

    vectors: np.ndarray
    """float32 [tokens, dim], each of unit length."""
    offsets: np.ndarray
    """int64 [texts + 1]: text i has the rows offsets[i] to offsets[i + 1]."""

    def __len__(self) -> int:
        return self.offsets.size - 1

    def __getitem__(self, text: int) -> np.ndarray:
        """float32 [tokens of this text, dim]."""
        return self.vectors[self.offsets[text] : self.offsets[text + 1]]

    @classmethod
    def of(cls, texts: Sequence[np.ndarray], dim: int) -> TokenVectors:
        """From the token vectors of each text."""
        offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
        return cls(np.concatenate([np.empty((0, dim), np.float32), *texts]).astype(np.float32, copy=False), offsets)


@runtime_checkable
class TokenEncoder(Protocol):
    """A text encoder that also gives a vector per token, for multi-vector search."""

    @property
    def dim(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray: ...

    def encode_tokens(self, texts: Sequence[str], *, progress: bool = False) -> TokenVectors:
        """A unit vector for every token, special ones included."""


def token_vectors(encoder: TextEncoder, texts: Sequence[str], *, progress: bool = False) -> TokenVectors:
    """Token vectors of texts; raises `ConfigError` when the encoder gives one vector per text only."""
    if not isinstance(encoder, TokenEncoder):
        raise ConfigError(f"{type(encoder).__name__} gives one vector per text", fix="use an encoder that we run ourselves, such as minilm")
    return encoder.encode_tokens(texts, progress=progress)


def digest(*parts: str | bytes) -> str:
    """32 hex digits of a space's fingerprint."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        made.update(part.encode() if isinstance(part, str) else part)
    return made.hexdigest()


def truncate(encoder: TextEncoder, dim: int) -> TextEncoder:
    """The first `dim` dimensions of an encoder's vectors, scaled to unit length again: another space, with another fingerprint.

    Good for encoders that were trained for it (`represent.mse2d`, Matryoshka models), which say so by `nested_dims`; with others, and
    with widths that were not trained, a warning says what is lost. Raises `ConfigError` when the encoder has fewer dimensions.
    """
    if not 1 <= dim <= encoder.dim:
        raise ConfigError(f"vectors of {encoder.dim} dimensions cannot be cut to {dim}", fix=f"choose 1 to {encoder.dim}")
    if dim == encoder.dim:
        return encoder
    trained: Sequence[int] = getattr(encoder, "nested_dims", ())
    if not trained:
        warnings.warn(f"this encoder was not trained to be cut: {dim} of its {encoder.dim} dimensions may hold little", stacklevel=2)
    elif dim not in trained:
        near = min(trained, key=lambda one: abs(one - dim))
        warnings.warn(f"this encoder was trained and judged at {sorted(trained)} dimensions, not at {dim}: the nearest is {near}", stacklevel=2)
    return Truncated(encoder, dim)


class Truncated:
    """An encoder's vectors cut to their first dimensions; made by `truncate`."""

    def __init__(self, encoder: TextEncoder, dim: int) -> None:
        self.encoder, self.dim = encoder, dim
        self.fingerprint = digest(f"truncated-1:{dim}:", encoder.fingerprint)
        self.nested_dims = tuple(one for one in getattr(encoder, "nested_dims", ()) if one <= dim)

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """float32 [texts, dim]."""
        return self.narrow(self.encoder.encode(texts, progress=progress))

    def encode_tokens(self, texts: Sequence[str], *, progress: bool = False) -> TokenVectors:
        """The same for token vectors."""
        whole = token_vectors(self.encoder, texts, progress=progress)
        return TokenVectors(self.narrow(whole.vectors), whole.offsets)

    def narrow(self, vectors: np.ndarray) -> np.ndarray:
        """What was kept at the encoder's own width, at this one: float [n, encoder.dim] -> [n, dim]."""
        if vectors.ndim != 2 or vectors.shape[1] != self.encoder.dim:
            raise ConfigError(f"vectors of shape {list(vectors.shape)}", fix=f"give [n, {self.encoder.dim}], as the whole encoder makes them")
        return unit(np.ascontiguousarray(vectors[:, : self.dim]))
