"""What vectors that are learned by predicting words share: a vocabulary, and a sampled softmax over it."""

from __future__ import annotations

import difflib
import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from sartor import _storage
from sartor.errors import BadValue, CorruptFile, EmptyData, FileProblem, NotFitted, UnknownId, WrongType
from sartor.parts.losses import sampled_softmax
from sartor.parts.samplers import Popularity

Documents = Sequence[Sequence[str]]
"""Texts as lists of words."""


class Vocabulary:
    """Words by number, the most frequent first.

    Parameters
    ----------
    words, counts: each once, and how often it occurs, int64 [words].
    """

    def __init__(self, words: Sequence[str], counts: np.ndarray) -> None:
        self.words, self.counts = tuple(words), np.asarray(counts, np.int64)
        self._number = {word: number for number, word in enumerate(self.words)}

    @classmethod
    def of(cls, documents: Documents, *, min_count: int = 1, most: int = 100_000) -> Self:
        """The words that occur at least `min_count` times, at most `most`; raises `EmptyData` when there is none, `WrongType` for plain texts."""
        counts: Counter[str] = Counter()
        for document in _checked(documents):
            counts.update(document)
        kept = sorted(((-count, word) for word, count in counts.items() if count >= min_count))[:most]
        if not kept:
            raise EmptyData(f"no word occurs {min_count} times", fix="give more documents, or a smaller min_count")
        return cls([word for _, word in kept], np.array([-count for count, _ in kept]))

    def __len__(self) -> int:
        return len(self.words)

    def number(self, word: str) -> int:
        """Of one word; raises `UnknownId` (a KeyError) with near misses."""
        if word not in self._number:
            close = difflib.get_close_matches(str(word), self.words, n=3)
            fix = f"did you mean {' or '.join(map(repr, close))}?" if close else "only words of the training texts are known"
            raise UnknownId("this word was not in the training texts, or was too rare", id=word, fix=fix)
        return self._number[word]

    def numbers(self, documents: Documents) -> tuple[np.ndarray, np.ndarray]:
        """Words as numbers int32, unknown ones left out, and where each document begins, int64 [documents + 1]."""
        found = [[self._number[word] for word in document if word in self._number] for document in _checked(documents)]
        starts = np.concatenate([[0], np.cumsum([len(document) for document in found], dtype=np.int64)]).astype(np.int64)
        return np.array([word for document in found for word in document], np.int32), starts


class WordPredictor(nn.Module):
    """Scores of words given a vector, table @ vector + bias, trained against words that the whole batch shares as negatives.

    Biases start at the words' log frequency, so that vectors have to explain what frequency does not. Negatives are drawn by count ** 0.75
    and corrected for it; one that happens to be right is not taken out.
    """

    def __init__(self, vocabulary: Vocabulary, dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(len(vocabulary), dim))
        self.bias = nn.Parameter(torch.from_numpy(np.log(vocabulary.counts / vocabulary.counts.sum()).astype(np.float32)))
        self._sampler = Popularity(vocabulary.counts, 0.75)
        self.register_buffer("log_q", torch.from_numpy(self._sampler.log_q), persistent=False)
        self.log_q: Tensor

    def draw(self, rng: np.random.Generator, count: int) -> Tensor:
        """Negatives for one batch, int64 [count]."""
        return torch.from_numpy(self._sampler.draw(rng, count).astype(np.int64))

    def forward(self, vectors: Tensor, words: Tensor, negatives: Tensor) -> Tensor:
        """The mean loss of each row, float [B].

        vectors [B, dim]; words int64 [B, m], what the row should predict, -1 for none; negatives int64 [n].
        """
        there, own = words >= 0, words.clamp(min=0)
        positive = torch.bmm(nn.functional.embedding(own, self.table), vectors[:, :, None])[:, :, 0] + self.bias[own]
        log_count = self.log_q + float(np.log(negatives.shape[0]))
        against = torch.addmm((self.bias - log_count)[negatives], vectors, self.table[negatives].T)
        # All words of a row have the same negatives: their sum is made once, and enters as one.
        rest = torch.logsumexp(against, 1)[:, None].expand_as(positive)
        losses = sampled_softmax(positive.reshape(-1), rest.reshape(-1, 1), log_q_positive=log_count[own].reshape(-1), reduction="none")
        return (losses.view_as(positive) * there).sum(1) / there.sum(1).clamp(min=1)


class WordModel(ABC):
    """Something learned by predicting words, that can be kept: settings, a vocabulary, a network, and what `extra` names."""

    kind: ClassVar[str]
    """Of its files."""
    extra: ClassVar[tuple[str, ...]] = ()
    """Attributes that are learned arrays beside the network."""

    settings: dict[str, Any]
    """What the constructor was called with."""
    vocabulary: Vocabulary
    network: Any
    fingerprint: str = ""
    """Differs between any two learned models; empty before."""

    @abstractmethod
    def _make(self, vocabulary: Vocabulary) -> nn.Module:
        """The untrained network."""

    def save(self, file: str | Path) -> Path:
        """One safetensors file, written whole or not at all; the texts are not in it."""
        self._check_fitted()
        facts = {"kind": self.kind, "settings": self.settings, "words": list(self.vocabulary.words)}
        _storage.write_atomically(Path(file), _storage.to_bytes(self._arrays(), facts))
        return Path(file)

    @classmethod
    def load(cls, file: str | Path) -> Self:
        """The reverse of `save`; raises `FileProblem` or `CorruptFile`."""
        try:
            data = Path(file).read_bytes()
        except OSError as cause:
            raise FileProblem("there is no such file, or it cannot be read", file=file) from cause
        arrays, facts = _storage.from_bytes(data, needs=("kind", "settings", "words"))
        try:
            if facts["kind"] != cls.kind:
                raise ValueError(facts["kind"])
            model = cls(**facts["settings"])
            model.vocabulary = Vocabulary(facts["words"], arrays.pop("counts"))
            for name in cls.extra:
                setattr(model, name, arrays.pop(name))
            model.network = model._make(model.vocabulary).eval()
            model.network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
        except (KeyError, TypeError, ValueError, RuntimeError) as cause:
            raise CorruptFile(f"this is not a file of {cls.kind}", fix="fetch or write it again", file=file) from cause
        model._seal()
        return model

    def _key(self, flat: np.ndarray, starts: np.ndarray) -> str:
        """Tells a run's settings and data from another's."""
        return hashlib.blake2b(json.dumps(self.settings, sort_keys=True).encode() + flat.tobytes() + starts.tobytes(), digest_size=16).hexdigest()

    def _arrays(self) -> dict[str, np.ndarray]:
        learned = {name: one.detach().numpy() for name, one in self.network.state_dict().items()}
        return learned | {"counts": self.vocabulary.counts} | {name: getattr(self, name) for name in self.extra}

    def _seal(self) -> None:
        digest = hashlib.blake2b("\n".join(self.vocabulary.words).encode(), digest_size=16)
        for name, array in sorted(self._arrays().items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        self.fingerprint = digest.hexdigest()

    def _check_fitted(self) -> None:
        if not self.fingerprint:
            raise NotFitted(f"this model of {self.kind} has learned nothing yet", fix="call fit(documents), or load(file)")


def _checked(documents: Documents) -> Iterable[Sequence[str]]:
    for number, document in enumerate(documents):
        if isinstance(document, str):
            raise WrongType("this document is one text, not a list of words", fix="cut it into words, e.g. text.lower().split()", row=number)
        if not all(isinstance(word, str) and word for word in document):
            raise BadValue("a word is empty or not a text", fix="leave it out", row=number)
        yield document
