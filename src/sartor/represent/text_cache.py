"""What an encoder has encoded, kept on disk by content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sartor import _storage
from sartor.errors import CorruptFile
from sartor.represent.encoder import TextEncoder, TokenVectors, Truncated, token_vectors

_SHARD = 4096
"""Texts per file: what an interruption loses at most."""


class Cached:
    """Any encoder, remembering on disk what it has encoded: safetensors shards of content hashes and vectors, one folder per vector space."""

    def __init__(self, encoder: TextEncoder, folder: Path) -> None:
        self.encoder, self.folder = encoder, folder / encoder.fingerprint
        self.fingerprint = encoder.fingerprint
        self.nested_dims: Sequence[int] = getattr(encoder, "nested_dims", ())
        self.hits = self.misses = 0
        """Distinct texts found and not found so far."""
        self._known: dict[bytes, np.ndarray] | None = None

    @property
    def dim(self) -> int:
        """Of the vectors; the encoder is asked only when nothing is known yet."""
        return int(next(iter(known.values())).size) if (known := self._read()) else self.encoder.dim

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """float32 [texts, dim]; only texts that were never seen before are encoded, each once."""
        known = self._read()
        hashes = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
        fresh = {key: text for key, text in zip(hashes, texts, strict=True) if key not in known}
        self.misses += len(fresh)
        self.hits += len(set(hashes)) - len(fresh)
        every = list(fresh)
        for start in range(0, len(every), _SHARD):
            part = every[start : start + _SHARD]
            vectors = self.encoder.encode([fresh[key] for key in part], progress=progress)
            keys = np.frombuffer(b"".join(part), np.uint8).reshape(-1, 16)
            shard = self.folder / f"{hashlib.blake2b(keys.tobytes(), digest_size=16).hexdigest()}.safetensors"
            _storage.write_atomically(shard, _storage.to_bytes({"keys": keys, "vectors": vectors}, {"fingerprint": self.fingerprint}))
            known.update(zip(part, vectors, strict=True))
        return np.stack([known[key] for key in hashes]) if hashes else np.empty((0, self.dim), np.float32)

    def encode_tokens(self, texts: Sequence[str], *, progress: bool = False) -> TokenVectors:
        """Straight from the encoder: vectors of tokens are too many to keep."""
        return token_vectors(self.encoder, texts, progress=progress)

    def _read(self) -> dict[bytes, np.ndarray]:
        if self._known is None:
            self._known = {}
            for shard in sorted(self.folder.glob("*.safetensors")):
                try:
                    arrays, _ = _storage.from_bytes(shard.read_bytes(), needs=("fingerprint",))
                except CorruptFile:
                    # It is only a cache: what cannot be read is encoded again.
                    shard.unlink()
                    continue
                self._known.update(zip((row.tobytes() for row in arrays["keys"]), arrays["vectors"], strict=True))
        return self._known


def uncached(encoder: TextEncoder) -> TextEncoder:
    """The same encoder, keeping nothing: for what people write (queries, profiles), which is theirs and must not outlive the request."""
    if isinstance(encoder, Cached):
        return encoder.encoder
    if isinstance(encoder, Truncated):
        inner = uncached(encoder.encoder)
        return encoder if inner is encoder.encoder else Truncated(inner, encoder.dim)
    return encoder
