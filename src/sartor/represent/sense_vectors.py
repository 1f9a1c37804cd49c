"""Disambiguated skip-gram: one vector per sense of a word, the sense chosen by the context, and a person's own leaning towards some senses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from sartor import _storage
from sartor.errors import BadValue, ConfigError, EmptyData, StateMismatch
from sartor.method import State
from sartor.parts.samplers import order
from sartor.parts.trainer import Trainer, seeded
from sartor.represent.word_prediction import Documents, Vocabulary, WordModel, WordPredictor

BATCH = 4096
"""Occurrences whose senses are looked up at once."""


class SenseVectors(WordModel):
    """Skip-gram whose word has up to K vectors.

        model = SenseVectors(senses=3).fit(documents)                            # documents are lists of words
        model.probabilities(["apple"], [["pie", "sugar"]])                       # float32 [1, 3]
        person = model.adapt(her_documents)                                      # a State
        model.probabilities(["apple"], [["new"]], person)

    For word w and context c, the mean of the output vectors of the words around, p(k | w, c) = softmax(c W_w + b_w), W_w its own and zero at
    first. In training a relaxed one-hot sample of p (Gumbel-softmax) weighs the word's K vectors, and their sum predicts the words around by a
    sampled softmax: choosing a sense has a gradient. c itself has none. With one sense this is skip-gram, to the bit. After training, senses
    whose prior, the mean of p over the word's occurrences, is below `prune` are dropped, so that K is what a word may have, not what it has.

    Parameters
    ----------
    dim, senses, window: of the vectors; K; words to each side.
    min_count, vocabulary: rarer words are left out, and all but so many of the most frequent.
    negatives, epochs, batch_size, learning_rate: of training (Adam).
    temperature: of the relaxed sample, the first one where `learn_temperature` is set.
    entropy: weight of a penalty on the entropy of p.
    prune: the smallest prior that a sense may have; a word's largest always stays.
    smoothing: occurrences that a person's leaning starts with, spread as everybody's.

    Source: Grzegorczyk and Kurdziel, Disambiguated Skip-gram Model, EMNLP 2018. Their penalties on parallel vectors and on W, and their SGD with
    a rising momentum, are not here; a person's leaning is ours.
    """

    kind: ClassVar[str] = "sense-vectors"
    extra: ClassVar[tuple[str, ...]] = ("priors",)
    network: SkipGram

    def __init__(
        self, *, dim: int = 100, senses: int = 3, window: int = 5, min_count: int = 5, vocabulary: int = 100_000, negatives: int = 64,
        epochs: int = 5, batch_size: int = 512, learning_rate: float = 0.01, temperature: float = 0.5, learn_temperature: bool = False,
        entropy: float = 0.0, prune: float = 0.05, smoothing: float = 2.0, seed: int = 0,
    ) -> None:  # fmt: skip
        if min(dim, senses, window, min_count, vocabulary, negatives, epochs, batch_size) < 1:
            raise ConfigError("a size or a number of steps is below 1", fix="use at least 1")
        if temperature <= 0 or smoothing <= 0 or not 0 <= prune <= 1 / senses:
            raise ConfigError(f"temperature {temperature}, smoothing {smoothing}, prune {prune}", fix="above 0, above 0, and from 0 to 1 / senses")
        self.settings: dict[str, Any] = {name: value for name, value in locals().items() if name != "self"}
        self.senses, self.seed = senses, seed
        self.priors = np.empty((0, senses), np.float32)
        """float32 [words, K]: how often each sense is meant; 0 for those that were dropped."""

    def fit(self, documents: Documents, *, progress: bool = True, checkpoint: str | Path | None = None) -> Self:
        """Learn from texts as lists of words. Raises `EmptyData`, `WrongType`, `Diverged`.

        checkpoint: a folder for resumable progress.
        """
        own = self.settings
        self.vocabulary = Vocabulary.of(documents, min_count=own["min_count"], most=own["vocabulary"])
        flat, starts = self.vocabulary.numbers(documents)
        windows = _Windows(flat, starts, own["window"])
        if not windows.places.size:
            raise EmptyData("no word has another one beside it", fix="give longer documents, or a smaller min_count")
        with seeded(self.seed):
            self.network = self._make(self.vocabulary)

        def batches(rng: np.random.Generator) -> Any:
            for chosen in order(rng, windows.places.size, own["batch_size"]):
                words, around = windows.of(windows.places[chosen])
                yield words, around, self.network.predictor.draw(rng, own["negatives"])

        trainer = Trainer(epochs=own["epochs"], learning_rate=own["learning_rate"], seed=self.seed)
        trainer.fit(
            self.network, batches, lambda batch: self.network(*batch).mean(), progress=progress,
            checkpoint=None if checkpoint is None else Path(checkpoint), key=self._key(flat, starts), description="sense vectors",
        )  # fmt: skip
        self.priors = self._learn_priors(windows)
        self._seal()
        return self

    def _make(self, vocabulary: Vocabulary) -> SkipGram:
        own = self.settings
        return SkipGram(vocabulary, own["dim"], self.senses, own["temperature"], learn_temperature=own["learn_temperature"], entropy=own["entropy"])

    def _learn_priors(self, windows: _Windows) -> np.ndarray:
        sums = np.zeros((len(self.vocabulary), self.senses))
        for first in range(0, windows.places.size, BATCH):
            words, around = windows.of(windows.places[first : first + BATCH])
            np.add.at(sums, words.numpy(), self._raw(words, around))
        total = sums.sum(1, keepdims=True)
        priors = np.where(total > 0, sums / np.maximum(total, 1e-12), 1 / self.senses)
        kept = (priors >= self.settings["prune"]) | (priors == priors.max(1, keepdims=True))
        priors = np.where(kept, priors, 0)
        return np.asarray(priors / priors.sum(1, keepdims=True), np.float32)

    def _raw(self, words: Tensor, around: Tensor) -> np.ndarray:
        with torch.no_grad():
            return torch.softmax(self.network.logits(words, around), 1).numpy()

    # --- senses

    @property
    def vectors(self) -> np.ndarray:
        """float32 [words, K, dim]; rows of dropped senses are there, but have a prior of 0."""
        self._check_fitted()
        return self.network.senses.detach().numpy()

    def probabilities(self, words: Sequence[str], contexts: Documents, state: State | None = None) -> np.ndarray:
        """p(k | word, context), float32 [n, K], 0 for dropped senses; with a person's state multiplied by her leaning.

        contexts: the words around each word, as many as there are; unknown ones say nothing. Raises `UnknownId` (a KeyError) with near misses.
        """
        self._check_state(state)
        if len(words) != len(contexts):
            raise ConfigError(f"{len(words)} words with {len(contexts)} contexts", fix="give one context per word")
        numbers = np.array([self.vocabulary.number(word) for word in words], np.int64)
        flat, starts = self.vocabulary.numbers(contexts)
        lengths = np.diff(starts)
        around = np.full((len(words), max(1, int(lengths.max(initial=0)))), -1, np.int64)
        around[np.arange(around.shape[1]) < lengths[:, None]] = flat
        found = self._alive(numbers, torch.from_numpy(around))
        if state is not None and len(state["words"]):
            at = np.minimum(np.searchsorted(state["words"], numbers), len(state["words"]) - 1)
            known = state["words"][at] == numbers
            found[known] *= state["leaning"][at[known]].astype(np.float32)
        return np.asarray(found / found.sum(1, keepdims=True), np.float32)

    def _alive(self, numbers: np.ndarray, around: Tensor) -> np.ndarray:
        found = self._raw(torch.from_numpy(numbers), around) * (self.priors[numbers] > 0)
        # A dropped sense may be all that a context speaks for.
        found = np.where(found.sum(1, keepdims=True) > 1e-12, found, self.priors[numbers])
        return np.asarray(found / found.sum(1, keepdims=True), np.float32)

    def adapt(self, documents: Documents, state: State | None = None) -> State:
        """A person's leaning: for every word with several senses that she used, how much more or less often than everybody she means each.

        With `state`, updates it. Her arrays: words int32 [m], ascending; counts float32 [m, K], expected; leaning float16 [m, K], the ratio of her
        smoothed share of a sense to everybody's, its largest 1, which `probabilities` multiplies in.
        """
        self._check_state(state)
        windows = _Windows(*self.vocabulary.numbers(documents), self.settings["window"])
        counts = np.zeros((len(self.vocabulary), self.senses), np.float32)
        for first in range(0, windows.places.size, BATCH):
            words, around = windows.of(windows.places[first : first + BATCH])
            np.add.at(counts, words.numpy(), self._alive(words.numpy(), around))
        counts[(self.priors > 0).sum(1) < 2] = 0
        if state is not None:
            counts[state["words"]] += state["counts"]
        used = np.flatnonzero(counts.sum(1) > 0).astype(np.int32)
        own, everybody = counts[used], self.priors[used]
        share = (own + self.settings["smoothing"] * everybody) / (own.sum(1, keepdims=True) + self.settings["smoothing"])
        ratio = np.divide(share, everybody, out=np.zeros_like(share), where=everybody > 0)
        leaning = (ratio / ratio.max(1, keepdims=True, initial=1e-12)).astype(np.float16)
        seen = windows.places.size + (state.examples if state is not None else 0)
        version = 1 if state is None else state.version + 1
        return State({"words": used, "counts": own, "leaning": leaning}, type(self).__name__, self.fingerprint, version, seen)

    def export(self, file: str | Path) -> Path:
        """word2vec's text format, one line per sense that was kept, named word#k; k counts as in `probabilities`, from 0."""
        self._check_fitted()
        if wrong := [word for word in self.vocabulary.words if any(char.isspace() for char in word)]:
            raise BadValue("a word with a space in it cannot be written", fix="join its parts, e.g. by _", id=repr(wrong[0]))
        kept = np.argwhere(self.priors > 0)
        lines = [f"{len(kept)} {self.vectors.shape[2]}"]
        lines += [f"{self.vocabulary.words[word]}#{sense} " + " ".join(f"{one:.6g}" for one in self.vectors[word, sense]) for word, sense in kept]
        _storage.write_atomically(Path(file), ("\n".join(lines) + "\n").encode())
        return Path(file)

    def _check_state(self, state: State | None) -> None:
        self._check_fitted()
        if state is not None and state.fingerprint != self.fingerprint:
            raise StateMismatch("the state was made by another model", fix="adapt the person again with this model")


class SkipGram(nn.Module):
    """The network: senses, their choice, and the words they predict."""

    def __init__(
        self, vocabulary: Vocabulary, dim: int, senses: int, temperature: float = 0.5, *, learn_temperature: bool = False, entropy: float = 0.0
    ) -> None:
        super().__init__()
        self.senses = nn.Parameter(torch.randn(len(vocabulary), senses, dim) / dim**0.5)
        self.weight = nn.Parameter(torch.zeros(len(vocabulary), dim, senses))
        self.bias = nn.Parameter(torch.zeros(len(vocabulary), senses))
        self.predictor = WordPredictor(vocabulary, dim)
        self.log_temperature = nn.Parameter(torch.tensor(float(np.log(temperature))), requires_grad=learn_temperature)
        self.entropy = entropy

    def logits(self, words: Tensor, around: Tensor) -> Tensor:
        """Of the senses, [B, K]; words int64 [B], around int64 [B, m], -1 for none."""
        there = (around >= 0).to(torch.float32)
        share = there / there.sum(1, keepdim=True).clamp(min=1)
        # The mean of what is around, without a gradient.
        context = torch.bmm(share[:, None], nn.functional.embedding(around.clamp(min=0), self.predictor.table.detach()))
        return torch.baddbmm(self.bias[words][:, None], context, self.weight[words])[:, 0]

    def forward(self, words: Tensor, around: Tensor, negatives: Tensor) -> Tensor:
        """Losses float [B] of predicting the words around."""
        logits = self.logits(words, around)
        weights = self.choose(logits)
        losses: Tensor = self.predictor(torch.einsum("bk,bkd->bd", weights, self.senses[words]), around, negatives)
        if self.entropy:
            log_p = torch.log_softmax(logits, 1)
            losses = losses - self.entropy * (log_p.exp() * log_p).sum(1)
        return losses

    def choose(self, logits: Tensor) -> Tensor:
        """Weights of the senses, [B, K]: a relaxed sample."""
        return nn.functional.gumbel_softmax(logits, tau=self.log_temperature.exp(), dim=1)  # type: ignore[arg-type]  # a tensor works, and learns


class _Windows:
    """The words around each place of the documents; those alone in theirs are left out."""

    def __init__(self, flat: np.ndarray, starts: np.ndarray, window: int) -> None:
        self.flat, lengths = flat.astype(np.int64), np.diff(starts)
        self.first, self.last = np.repeat(starts[:-1], lengths), np.repeat(starts[1:], lengths)
        self.places = np.flatnonzero(self.last - self.first > 1)
        self.steps = np.array([step for step in range(-window, window + 1) if step])

    def of(self, places: np.ndarray) -> tuple[Tensor, Tensor]:
        """Words int64 [B], and those around, int64 [B, 2 * window], -1 beyond the document."""
        at = places[:, None] + self.steps
        inside = (at >= self.first[places, None]) & (at < self.last[places, None])
        around = np.where(inside, self.flat[np.clip(at, 0, self.flat.size - 1)], -1)
        return torch.from_numpy(self.flat[places]), torch.from_numpy(around)
