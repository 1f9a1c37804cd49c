"""Cross-encoders: query and item read together by one transformer. The most exact way to compare two texts, and the most expensive."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from sartor import _storage
from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, FileProblem, MissingExtra, NotFitted
from sartor.parts.hashing import keys, rows
from sartor.parts.sequence import SequenceEncoder
from sartor.parts.trainer import History, Trainer, seeded
from sartor.progress import track

_WORD = re.compile(r"\w+")
_QUERY, _ITEM, _RESERVED = 0, 1, 2


@dataclass(kw_only=True, eq=False)
class CrossEncoder:
    """A small transformer from scratch over the words of both texts; learns from pairs that belong together.

        scorer = CrossEncoder().fit(queries, items, positives)      # positives int [n, 2]: query number, item number
        scorer(["short noir novel"], ["The Big Sleep"])             # float32 [1]

    For when no pretrained cross-encoder fits, and as a real scorer where none can be had. Words are hashed, so that it reads any
    vocabulary, but knows only words that it was trained on.

    Source: Nogueira and Cho, Passage Re-ranking with BERT, 2019; the head "pair" is of Yadav et al., EMNLP 2022: each text has a mark, and the
    score is the inner product of both marks' outputs, which gives score matrices of lower rank than a number read off one mark ("mark").
    """

    dim: int = 64
    """Width of the transformer."""
    blocks: int = 2
    heads: int = 4
    head: Literal["pair", "mark"] = "pair"
    buckets: int = 16_384
    """Rows that words are hashed to."""
    max_words: tuple[int, int] = (16, 48)
    """Words read of a query and of an item."""
    negatives: int = 7
    """Random items that each positive is told from."""
    epochs: int = 10
    batch_size: int = 32
    """Positives per step."""
    learning_rate: float = 1e-3
    dropout: float = 0.1
    seed: int = 0

    network_: Network | None = field(init=False, repr=False, default=None)
    history_: History | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        small = {name: getattr(self, name) for name in ("dim", "blocks", "heads", "buckets", "negatives", "batch_size") if getattr(self, name) < 1}
        if small or min(self.max_words) < 1 or self.epochs < 0:
            raise ConfigError(f"{small or {'max_words': self.max_words, 'epochs': self.epochs}}", fix="use at least 1, and epochs from 0")
        if self.head not in ("pair", "mark"):
            raise ConfigError(f"there is no head '{self.head}'", fix="use pair or mark")
        self.max_words = (int(self.max_words[0]), int(self.max_words[1]))

    def fit(self, queries: Sequence[str], items: Sequence[str], positives: np.ndarray, *, progress: bool = True) -> Self:
        """Learn to tell each positive's item from random others of the same query, by a softmax over their scores.

        positives: int [n, 2], numbers of queries and items that belong together.
        """
        positives = np.asarray(positives)
        if positives.ndim != 2 or positives.shape[1] != 2 or not len(positives):
            raise EmptyData(f"positives of shape {list(positives.shape)}", fix="give int [n, 2]: query number and item number")
        if positives.min() < 0 or positives[:, 0].max() >= len(queries) or positives[:, 1].max() >= len(items):
            raise BadValue("a positive names a query or an item that is not there", fix="count from 0")
        asked, about = self._words(queries, 0), self._words(items, 1)
        known = set(map(tuple, positives.tolist()))
        with seeded(self.seed):
            self.network_ = Network(self)

        def batches(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            order = rng.permutation(len(positives))
            for start in range(0, order.size, self.batch_size):
                own = positives[order[start : start + self.batch_size]]
                others = rng.integers(len(items), size=(len(own), self.negatives))
                for row, column in np.argwhere([[(q, other) in known for other in line] for (q, _), line in zip(own.tolist(), others.tolist())]):
                    # Another draw: one that belongs to the query, too, is no negative.
                    while (int(own[row, 0]), int(others[row, column])) in known and len(known) < len(queries) * len(items):
                        others[row, column] = rng.integers(len(items))
                yield np.repeat(own[:, 0], self.negatives + 1), np.concatenate([own[:, 1:], others], 1).reshape(-1)

        def loss(batch: tuple[np.ndarray, np.ndarray]) -> Tensor:
            assert self.network_ is not None
            logits = self.network_(_pack(asked, about, *batch)).view(-1, self.negatives + 1)
            return nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))

        trainer = Trainer(epochs=self.epochs, learning_rate=self.learning_rate, seed=self.seed, clip_norm=1.0)
        self.history_ = trainer.fit(self.network_, batches, loss, progress=progress, description="cross-encoder")
        return self

    def __call__(self, queries: Sequence[str], items: Sequence[str]) -> np.ndarray:
        """float32 [n], of each pair."""
        if self.network_ is None:
            raise NotFitted("the cross-encoder is not fitted", fix="call fit(queries, items, positives), or CrossEncoder.load(file)")
        if len(queries) != len(items):
            raise BadValue(f"{len(queries)} queries and {len(items)} items are no pairs", fix="give as many of one as of the other")
        asked, query_of = _distinct(queries)
        about, item_of = _distinct(items)
        q, i = self._words(asked, 0), self._words(about, 1)
        # Similar lengths together: attention costs length squared.
        order = np.argsort(q.lengths[query_of] + i.lengths[item_of], kind="stable")
        out = np.empty(len(queries), np.float32)
        with torch.inference_mode():
            for start in range(0, order.size, 1024):
                own = order[start : start + 1024]
                out[own] = self.network_.eval()(_pack(q, i, query_of[own], item_of[own])).numpy()
        return out

    def _words(self, texts: Sequence[str], side: int) -> Words:
        """Numbers of the words, with the side's mark in front."""
        most = self.max_words[side]
        each = [_WORD.findall(text.lower())[:most] for text in texts]
        hashed = rows(keys(pl.Series([word for own in each for word in own], dtype=pl.String)), self.buckets) + _RESERVED
        lengths = np.array([len(own) + 1 for own in each], np.int64)
        ends = np.cumsum(lengths)
        flat = np.full(int(ends[-1]) if lengths.size else 0, _QUERY if side == 0 else _ITEM, np.int64)
        flat[np.setdiff1d(np.arange(flat.size), ends - lengths)] = hashed
        return Words(flat, ends - lengths, lengths)

    def save(self, file: str | Path) -> Path:
        """Write settings and weights into one file, all or nothing."""
        if self.network_ is None:
            raise NotFitted("the cross-encoder is not fitted", fix="call fit first")
        facts = {one.name: getattr(self, one.name) for one in fields(self) if one.init}
        arrays = {name: tensor.numpy() for name, tensor in self.network_.state_dict().items()}
        _storage.write_atomically(Path(file), _storage.to_bytes(arrays, {"settings": facts}))
        return Path(file)

    @classmethod
    def load(cls, file: str | Path) -> Self:
        """The reverse of `save`; raises `FileProblem`, `CorruptFile`."""
        if not Path(file).is_file():
            raise FileProblem("there is no saved cross-encoder here", fix="give the file that save() wrote", file=file)
        arrays, facts = _storage.from_bytes(Path(file).read_bytes(), needs=("settings",))
        try:
            made = cls(**facts["settings"])
            made.network_ = Network(made)
            made.network_.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
        except (TypeError, RuntimeError, ConfigError) as cause:
            raise CorruptFile("this is not a whole cross-encoder of this version", fix="save it again", file=file) from cause
        made.network_.eval()
        return made


class Words(NamedTuple):
    """Word numbers of some texts, one text after another."""

    flat: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray


class Pairs(NamedTuple):
    """Pairs of texts as one ragged batch: the query's words, then the item's."""

    words: Tensor
    """int64 [N]."""
    of_item: Tensor
    """int64 [N]: 0 for the query's words, 1 for the item's."""
    lengths: Tensor
    """int64 [B]."""
    marks: Tensor
    """int64 [B, 2]: where each pair's two marks stand."""


class Network(nn.Module):
    """Words of both texts through one transformer, and a number out."""

    def __init__(self, settings: CrossEncoder) -> None:
        super().__init__()
        dim = settings.dim
        self.word, self.side = nn.Embedding(settings.buckets + _RESERVED, dim), nn.Embedding(2, dim)
        self.encoder = SequenceEncoder(
            dim, blocks=settings.blocks, heads=settings.heads, dropout=settings.dropout, max_length=sum(settings.max_words) + 2, feedforward=2 * dim,
            activation="gelu", attention="bidirectional", count_from="start",
        )  # fmt: skip
        self.read: nn.Module = nn.Linear(dim, 1) if settings.head == "mark" else nn.Linear(dim, dim)
        self.pair = settings.head == "pair"
        for table in (self.word, self.side):
            nn.init.normal_(table.weight, std=dim**-0.5)

    def forward(self, pairs: Pairs) -> Tensor:
        """float [B]."""
        hidden = self.encoder.ragged(self.word(pairs.words) + self.side(pairs.of_item), pairs.lengths)
        query, item = hidden[pairs.marks[:, 0]], hidden[pairs.marks[:, 1]]
        if not self.pair:
            return self.read(query)[:, 0]
        return (self.read(query) * item).sum(1) / query.shape[1] ** 0.5


def _pack(queries: Words, items: Words, query_of: np.ndarray, item_of: np.ndarray) -> Pairs:
    """Ragged words of some pairs."""
    lengths = np.stack([queries.lengths[query_of], items.lengths[item_of]], 1)
    starts = np.stack([queries.starts[query_of], items.starts[item_of] + queries.flat.size], 1)
    flat, ends = lengths.reshape(-1), np.cumsum(lengths.reshape(-1))
    at = np.arange(ends[-1]) - np.repeat(ends - flat - starts.reshape(-1), flat)
    words = np.concatenate([queries.flat, items.flat])[at]
    side = np.repeat(np.tile(np.array([0, 1]), len(lengths)), flat)
    marks = (ends - flat).reshape(-1, 2)
    return Pairs(*(torch.from_numpy(np.ascontiguousarray(one)) for one in (words, side, lengths.sum(1), marks)))


def _distinct(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Different texts, and which of them each one is."""
    numbers: dict[str, int] = {}
    of = np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)
    return list(numbers), of


class TransformersCrossEncoder:
    """Any sequence classification model of transformers, from a local folder, as a scorer of pairs; nothing is downloaded.

    Parameters
    ----------
    folder: of a model with one output (a score), or two (unrelated, related), whose difference is the score.
    label: for models with more outputs, which one is the score.
    max_tokens, batch_size, device: of the forward passes.
    """

    def __init__(self, folder: str | Path, *, label: int | None = None, max_tokens: int = 256, batch_size: int = 64, device: str = "cpu") -> None:
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise FileProblem(
                "this is not the folder of a transformers model", fix="it holds config.json, the weights and the tokenizer", file=folder
            )
        try:
            import transformers
        except ImportError as missing:
            raise MissingExtra("transformers", "text") from missing
        kinds = json.loads((folder / "config.json").read_text()).get("architectures") or []
        if not any("SequenceClassification" in kind for kind in kinds):
            raise ConfigError(f"the model is a {', '.join(kinds) or 'model of no kind'}", fix="give one for sequence classification", file=folder)
        transformers.utils.logging.disable_progress_bar()
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).to(device).eval()
        outputs = int(self._model.config.num_labels)
        if (label is None and outputs > 2) or (label is not None and not 0 <= label < outputs):
            raise ConfigError(f"label {label} of a model with {outputs} outputs", fix=f"say which one is the score, 0 to {outputs - 1}")
        self.label, self.max_tokens, self.batch_size, self.device = label, max_tokens, batch_size, device

    def __call__(self, queries: Sequence[str], items: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """float32 [n], of each pair, before any sigmoid."""
        order = np.argsort([len(query) + len(item) for query, item in zip(queries, items, strict=True)], kind="stable")
        out = np.empty(order.size, np.float32)
        for start in track(range(0, order.size, self.batch_size), "scoring pairs", enabled=progress, unit="batch"):
            own = order[start : start + self.batch_size]
            tokens = self._tokenizer(
                [queries[at] for at in own], [items[at] for at in own], padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
            )
            with torch.inference_mode():
                logits = self._model(**tokens.to(self.device)).logits.float().cpu()
            if self.label is not None:
                out[own] = logits[:, self.label].numpy()
            else:
                out[own] = (logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]).numpy()
        return out
