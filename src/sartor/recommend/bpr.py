"""Matrix factorisation learned from pairs: what a person chose should score above what they did not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

from sartor.errors import ConfigError, Diverged
from sartor.method import Run
from sartor.parts.checkpoint import Checkpoint
from sartor.parts.fold_in import fold_in
from sartor.progress import bar
from sartor.recommend._base import PersonalArrays, VectorRecommender
from sartor.recommend._validation import validation

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Population

ADAPT_NEGATIVES = 256
"""Random items that a new person's own are compared with: enough for the same vector within noise, in a quarter of the time of 1,024."""
LAST_RATE = 0.02
"""The learning rate after the last epoch, as a share of the first."""


@dataclass(kw_only=True, eq=False)
class BPR(VectorRecommender):
    """Vectors of people and items and an item bias, by stochastic gradient descent on log sigmoid(score of a chosen item - score of a random
    item the person has not chosen).

    For implicit feedback where ranking matters more than reconstruction; wants more passes and more tuning than ALS. Training goes through
    the events one by one in one thread, so that a seed decides every number. The learning rate falls in a straight line, to about a
    fiftieth in the last epoch: steps of one size leave noise in the vectors that costs several percent of NDCG.

    Source: Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009. Differs from the paper in: an epoch visits
    every event once in random order, where the paper draws events with replacement.

    State: `vector` float32 [factors + 1] (the last number is 1 and meets the item bias), `items` int32 [n]. A new person's vector minimises
    the same objective with all items frozen.
    """

    factors: int = 64
    learning_rate: float = 0.05
    """In the first epoch."""
    regularization: float = 0.01
    """L2 on the vectors that a step touches."""
    bias_regularization: float | None = None
    """L2 on the biases that a step touches; None is that of the vectors."""
    epochs: int = 60
    patience: int = 0
    """Validations without a better score before stopping; 0 never stops early."""
    validate_every: int = 5
    """Epochs between validations."""
    anneal: bool = True
    """Whether the learning rate falls; without, it stays what it is, and a fit may be continued with more epochs."""
    adapt_steps: int = 50
    """Gradient steps for a new person."""

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        self._check()
        had = data.matrix()
        indptr, indices = had.indptr.astype(np.int64), had.indices
        rows = np.repeat(np.arange(had.shape[0], dtype=np.int32), np.diff(indptr))
        rng = np.random.default_rng(self.seed)
        people, items = (((rng.random((n, self.factors), np.float32)) - np.float32(0.5)) / np.float32(self.factors) for n in had.shape)
        biases = np.zeros(had.shape[1], np.float32)
        settings = {name: getattr(self, name) for name in ("factors", "learning_rate", "regularization", "bias_regularization", "anneal", "seed")}
        if self.anneal:
            settings["epochs"] = self.epochs
        checkpoint = Checkpoint(run.checkpoint, {**settings, "data": run.key})
        done, best, best_score, waited = 0, None, -np.inf, 0
        on_bias = self.regularization if self.bias_regularization is None else self.bias_regularization
        if left := checkpoint.resume():
            arrays, facts = left
            people, items, biases, done = arrays["people"], arrays["items"], arrays["biases"], int(facts["epoch"])
            if "best_items" in arrays:
                best, best_score, waited = (
                    tuple(arrays[f"best_{name}"] for name in ("people", "items", "biases")),
                    facts["score"],
                    int(facts["waited"]),
                )
        judge = validation(self, data, run)
        with bar("BPR", self.epochs, enabled=run.progress, unit="epoch") as shown:
            shown.advance(done)
            for epoch in range(done, self.epochs):
                if self.patience and waited >= self.patience:
                    break
                order = np.random.default_rng([self.seed, epoch]).permutation(rows.size)
                rate = self.learning_rate * (1 - (1 - LAST_RATE) * epoch / self.epochs if self.anneal else 1)
                skipped = _epoch(
                    order, rows, indices, indptr, people, items, biases, np.float32(rate), np.float32(self.regularization),
                    np.float32(on_bias), self.seed * 1_000_003 + epoch,
                )  # fmt: skip
                if not np.isfinite(items).all():
                    raise Diverged(
                        f"vectors are not finite in epoch {epoch + 1}", fix=f"try learning_rate={self.learning_rate / 2:g}", epoch=epoch + 1
                    )
                note = f"{1 - skipped / max(1, rows.size):.1%} of pairs still wrong"
                if judge is not None and (epoch + 1) % self.validate_every == 0:
                    self._export(people, items, biases)
                    score = judge()
                    note += f", validation {score:.4f}"
                    if score > best_score:
                        best, best_score, waited = (people.copy(), items.copy(), biases.copy()), score, 0
                    else:
                        waited += 1
                kept = dict(zip(("best_people", "best_items", "best_biases"), best, strict=True)) if best is not None else {}
                checkpoint.leave({"people": people, "items": items, "biases": biases, **kept}, epoch=epoch + 1, score=best_score, waited=waited)
                shown.advance(note=note)
        self._export(*(best if best is not None else (people, items, biases)))
        checkpoint.done()

    def _check(self) -> None:
        shrinks = (self.regularization, self.bias_regularization or 0.0)
        if self.factors < 1 or self.epochs < 0 or self.learning_rate <= 0 or min(shrinks) < 0 or self.validate_every < 1:
            raise ConfigError(
                f"factors {self.factors}, epochs {self.epochs}, learning_rate {self.learning_rate}, regularization {shrinks}",
                fix="use factors >= 1, epochs >= 0, learning_rate > 0, regularizations >= 0, validate_every >= 1",
            )

    def _export(self, people: np.ndarray, items: np.ndarray, biases: np.ndarray) -> None:
        self.item_vectors_ = np.column_stack([items, biases])
        self.population_vector_ = np.append(people.mean(axis=0), np.float32(1)).astype(np.float32)

    def _encode(self, histories: Interactions) -> PersonalArrays:
        own = histories.matrix()
        offset = np.zeros((own.shape[0], self.factors + 1), np.float32)
        offset[:, -1] = 1.0
        # The bias is not the person's to learn, so only the first directions are.
        basis = np.eye(self.factors, self.factors + 1, dtype=np.float32)
        learned_part = fold_in(
            self.item_vectors_, own.indptr.astype(np.int64), own.indices, self.population_vector_[:-1], offset=offset, basis=basis,
            steps=self.adapt_steps, l2=self.regularization / 2, negatives=ADAPT_NEGATIVES, seed=self.seed,
        )  # fmt: skip
        return {"vector": learned_part @ basis + offset}


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz", "arcp"})
def _epoch(order, rows, indices, indptr, people, items, biases, rate, regularization, bias_regularization, seed):  # type: ignore[no-untyped-def]
    """One pass of SGD, in place; returns how many pairs were already in the right order."""
    np.random.seed(seed & 0x7FFFFFFF)  # noqa: NPY002  numba's own generator
    count, factors = items.shape
    right = 0
    for at in order:
        person, had = rows[at], indices[at]
        start, stop = indptr[person], indptr[person + 1]
        if stop - start >= count:
            continue
        while True:
            other = np.random.randint(0, count)  # noqa: NPY002
            place = start + np.searchsorted(indices[start:stop], other)
            if place == stop or indices[place] != other:
                break
        gap = biases[had] - biases[other]
        for a in range(factors):
            gap += people[person, a] * (items[had, a] - items[other, a])
        right += gap > 0
        push = rate / (np.float32(1) + np.exp(gap))
        shrink, bias_shrink = np.float32(1) - rate * regularization, np.float32(1) - rate * bias_regularization
        for a in range(factors):
            x, v, w = people[person, a], items[had, a], items[other, a]
            people[person, a] = shrink * x + push * (v - w)
            items[had, a] = shrink * v + push * x
            items[other, a] = shrink * w - push * x
        biases[had] = bias_shrink * biases[had] + push
        biases[other] = bias_shrink * biases[other] - push
    return right
