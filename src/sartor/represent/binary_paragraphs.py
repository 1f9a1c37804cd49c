"""Binary paragraph vectors: codes of documents whose bits were trained to predict the documents' words."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sartor.errors import ConfigError, EmptyData
from sartor.parts.samplers import order
from sartor.parts.trainer import Trainer, seeded
from sartor.represent.word_prediction import Documents, Vocabulary, WordModel, WordPredictor

CHUNK = 2048
"""New documents that are fitted at once."""


class Paragraphs(NamedTuple):
    """Documents as codes and as vectors."""

    codes: np.ndarray
    """uint8 [n, bits / 8], lowest bit first; what faiss's IndexBinaryFlat and `retrieve.code_search` take."""
    vectors: np.ndarray
    """float32 [n, dim], of which the codes are a projection; made to be compared by cosine when `real` is set."""


class BinaryParagraphs(WordModel):
    """Binary PV-DBOW, and with `real=True` Real-Binary PV-DBOW.

        model = BinaryParagraphs(bits=128)
        model.fit(documents).codes                               # documents are lists of words
        model.encode(new_documents).codes                        # uint8 [n, 16]

    A document's vector is projected on `bits` units, bit = round(sigmoid(W e + c)), and the bits predict its words by a sampled softmax.
    Backward, rounding counts as the identity (straight-through): the loss is that of the bits themselves, not of vectors that are rounded later.
    Real-Binary adds the loss of predicting the words from the vector itself, so that few documents, found by their codes, can be put in order
    by the cosine of their vectors. A new document fits its own vector with everything else frozen, in steps that do not depend on what other
    documents there are.

    Parameters
    ----------
    bits: of a code, a multiple of 8; 0 with `real` is plain PV-DBOW, without codes.
    dim: of the vector.
    real: vectors predict words, too.
    bigrams: pairs of neighbouring words are predicted as words are.
    min_count, vocabulary: rarer words are left out, and all but so many of the most frequent.
    words: how many of a document's words are predicted in one step, evenly spaced.
    negatives: words that a batch has as negatives.
    epochs, batch_size, learning_rate, document_rate, dropout: of training (Adam). A document is seen once an epoch, so that its vector has a larger
        rate than the words; words with a larger one, or more epochs, learn documents by heart. Dropout is the vector's.
    steps, step_size: of fitting a new document (Adam, the step falls to a tenth).

    Source: Grzegorczyk and Kurdziel, Binary Paragraph Vectors, RepL4NLP 2017. Their PV-DM form, whose input also has the window's words, is not
    here. The numbers are ours: theirs are not published with code.
    """

    kind: ClassVar[str] = "binary-paragraphs"

    def __init__(
        self, *, bits: int = 128, dim: int = 128, real: bool = False, bigrams: bool = False, min_count: int = 2, vocabulary: int = 100_000,
        words: int = 16, negatives: int = 256, epochs: int = 10, batch_size: int = 128, learning_rate: float = 0.001, document_rate: float = 0.1,
        dropout: float = 0.2, steps: int = 40, step_size: float = 0.1, seed: int = 0,
    ) -> None:  # fmt: skip
        if bits < 0 or bits % 8:
            raise ConfigError(f"codes of {bits} bits", fix="use a multiple of 8, e.g. 64 or 128")
        if not bits and not real:
            raise ConfigError("there is nothing to learn without bits and without real", fix="give bits, or real=True")
        if (
            min(dim, words, negatives, min_count, vocabulary, batch_size, steps, epochs) < 1
            or min(learning_rate, document_rate, step_size) <= 0
            or not 0 <= dropout < 1
        ):
            raise ConfigError("a size or a number of steps is below 1, or dropout not in [0, 1)", fix="use positive numbers")
        self.settings: dict[str, Any] = {name: value for name, value in locals().items() if name != "self"}
        self.bits, self.dim, self.real, self.bigrams, self.seed = bits, dim, real, bigrams, seed

    def fit(self, documents: Documents, *, progress: bool = True, checkpoint: str | Path | None = None) -> Paragraphs:
        """Learn the words, and codes and vectors of these documents.

        checkpoint: a folder for resumable progress. Raises `EmptyData` for a document without a word of the vocabulary, `Diverged`, `WrongType`.
        """
        own = self.settings
        terms = self._terms(documents)
        self.vocabulary = Vocabulary.of(terms, min_count=own["min_count"], most=own["vocabulary"])
        flat, starts = self._numbers(terms)
        with seeded(self.seed):
            self.network = self._make(self.vocabulary)
            table = nn.Parameter(torch.randn(len(documents), self.dim) / 10)
        holder = nn.ModuleDict({"network": self.network, "table": nn.ParameterList([table])})

        def batches(rng: np.random.Generator) -> Any:
            for rows in order(rng, len(documents), own["batch_size"]):
                yield torch.from_numpy(rows.astype(np.int64)), *self._task(rng, flat, starts, rows)

        def loss(batch: Any) -> Tensor:
            rows, words, negatives = batch
            vectors = nn.functional.dropout(table[rows], own["dropout"])
            losses: Tensor = self.network(vectors, words, negatives)
            return losses.mean()

        groups = [{"params": list(self.network.parameters())}, {"params": [table], "lr": own["document_rate"]}]
        trainer = Trainer(epochs=own["epochs"], learning_rate=own["learning_rate"], seed=self.seed)
        trainer.fit(
            holder, batches, loss, parameters=groups, progress=progress, checkpoint=None if checkpoint is None else Path(checkpoint),
            key=self._key(flat, starts), description="binary paragraphs",
        )  # fmt: skip
        self._seal()
        return self._paragraphs(table.detach())

    def _make(self, vocabulary: Vocabulary) -> nn.Module:
        return _Network(vocabulary, self.bits, self.dim, self.real)

    def encode(self, documents: Documents) -> Paragraphs:
        """Codes and vectors of new documents; raises `EmptyData` for one without a known word, `NotFitted`."""
        self._check_fitted()
        flat, starts = self._numbers(self._terms(documents))
        pieces = [self._infer(flat, starts[first : first + CHUNK + 1]) for first in range(0, len(documents), CHUNK)]
        return self._paragraphs(torch.cat(pieces) if pieces else torch.zeros(0, self.dim))

    def _infer(self, flat: np.ndarray, starts: np.ndarray) -> Tensor:
        steps, step_size = self.settings["steps"], self.settings["step_size"]
        # Everybody starts at the same place, and draws are the same for every document: a code does not depend on its neighbours.
        table = nn.Parameter(torch.zeros(len(starts) - 1, self.dim))
        rows = np.arange(len(starts) - 1)

        def batches(rng: np.random.Generator) -> Any:
            yield self._task(rng, flat, starts, rows)

        frozen = [(one, one.requires_grad) for one in self.network.parameters()]
        for one, _ in frozen:
            one.requires_grad_(False)
        try:
            trainer = Trainer(epochs=steps, learning_rate=step_size, lr_decay=0.1 ** (1 / steps), seed=self.seed)
            trainer.fit(nn.ParameterList([table]), batches, lambda task: self.network(table, *task).sum())
        finally:
            for one, learns in frozen:
                one.requires_grad_(learns)
        return table.detach()

    def _task(self, rng: np.random.Generator, flat: np.ndarray, starts: np.ndarray, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Evenly spaced words of each document, the same share of the way into all of them, and the batch's negatives."""
        count = self.settings["words"]
        share = (np.arange(count) + rng.random(count)) / count
        first, length = starts[rows], np.diff(starts)[rows]
        words = flat[first[:, None] + np.minimum((share * length[:, None]).astype(np.int64), length[:, None] - 1)]
        return torch.from_numpy(words.astype(np.int64)), self.network.draw(rng, self.settings["negatives"])

    def _terms(self, documents: Documents) -> Documents:
        if not self.bigrams:
            return documents
        # A plain text is left for the vocabulary to refuse.
        return [one if isinstance(one, str) else [*one, *map(" ".join, itertools.pairwise(one))] for one in documents]

    def _numbers(self, terms: Documents) -> tuple[np.ndarray, np.ndarray]:
        flat, starts = self.vocabulary.numbers(terms)
        if (empty := np.flatnonzero(np.diff(starts) == 0)).size:
            raise EmptyData(
                f"{empty.size} documents have no word of the vocabulary", fix="leave them out; a code would say nothing", row=int(empty[0])
            )
        return flat, starts

    def _paragraphs(self, vectors: Tensor) -> Paragraphs:
        with torch.no_grad():
            bits = self.network.project(vectors).numpy() > 0 if self.network.project is not None else np.zeros((len(vectors), 0), bool)
        return Paragraphs(np.packbits(bits, axis=1, bitorder="little"), vectors.numpy())


class _Network(nn.Module):
    """From documents' vectors to the loss of their words, through bits, directly, or both."""

    def __init__(self, vocabulary: Vocabulary, bits: int, dim: int, real: bool) -> None:
        super().__init__()
        self.project = nn.Linear(dim, bits) if bits else None
        if self.project is not None:
            # Every bit starts as 1 for half of the documents.
            nn.init.zeros_(self.project.bias)
        self.by_bits = WordPredictor(vocabulary, bits) if bits else None
        self.by_vector = WordPredictor(vocabulary, dim) if real else None

    def draw(self, rng: np.random.Generator, count: int) -> Tensor:
        predictor = self.by_bits or self.by_vector
        assert predictor is not None
        return predictor.draw(rng, count)

    def forward(self, vectors: Tensor, words: Tensor, negatives: Tensor) -> Tensor:
        """Losses float [B] of documents' vectors [B, dim] for words [B, m]."""
        losses = vectors.new_zeros(len(vectors))
        if self.project is not None and self.by_bits is not None:
            soft = torch.sigmoid(self.project(vectors))
            bits = soft + ((soft > 0.5).to(soft.dtype) - soft).detach()
            # +1 and -1 rather than 1 and 0: the same model, with another bias, and easier to train.
            losses = losses + self.by_bits(2 * bits - 1, words, negatives)
        return losses if self.by_vector is None else losses + self.by_vector(vectors, words, negatives)
