"""Texts as hashed words, word pairs and letter triples: no training, no dependency."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np

from sartor.errors import ConfigError
from sartor.parts.unit import unit
from sartor.represent.encoder import TokenVectors, digest


class HashedNgrams:
    """Words, word pairs and letter triples, each hashed to a signed dimension; rare repetitions count by their square root.

    Knows shared words and parts of words, not meaning. The same text gives the same vector on every machine.
    Source: Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML 2009.
    """

    def __init__(self, dim: int = 512) -> None:
        if dim < 8:
            raise ConfigError(f"{dim} dimensions", fix="use at least 8; 512 is usual")
        self.dim = dim
        self.fingerprint = digest(f"hashed-ngrams-1:{dim}")

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """float32 [texts, dim]."""
        import polars as pl

        from sartor.parts.hashing import keys, mix, rows

        grams = [_grams(text) for text in texts]
        row = np.repeat(np.arange(len(grams)), [len(own) for own in grams])
        hashed = keys(pl.Series([gram for own in grams for gram in own], dtype=pl.String))
        cells, at = np.unique(row * np.int64(self.dim) + rows(hashed, self.dim), return_inverse=True)
        sums = np.bincount(at, np.where(mix(hashed, 1) & np.uint64(1), 1.0, -1.0), cells.size)
        out = np.zeros((len(grams), self.dim), np.float32)
        out.reshape(-1)[cells] = np.sign(sums) * np.sqrt(np.abs(sums))
        return unit(out)

    def encode_tokens(self, texts: Sequence[str], *, progress: bool = False) -> TokenVectors:
        """Every word on its own."""
        words = [_words(text) for text in texts]
        known = {word: at for at, word in enumerate(dict.fromkeys(itertools.chain.from_iterable(words)))}
        vectors = self.encode(list(known))
        return TokenVectors.of([vectors[[known[word] for word in own]] for own in words], self.dim)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _grams(text: str) -> list[str]:
    words = _words(text)
    pairs = [f"{a} {b}" for a, b in itertools.pairwise(words)]
    letters = [f"~{padded[at : at + 3]}" for word in words for padded in [f"^{word}$"] for at in range(len(padded) - 2)]
    # Words three times, so that whole names outweigh shared endings.
    return [*words, *words, *words, *pairs, *letters]
