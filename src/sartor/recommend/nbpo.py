"""Matrix factorisation that learns how likely "not clicked" really means "would have liked it"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn

from sartor.data.interactions import Interactions
from sartor.data.population import Population
from sartor.errors import ConfigError
from sartor.method import Run, States, learned
from sartor.parts.fold_in import FAST, fold_in, without
from sartor.parts.noisy_labels import VARIANTS, Variant, ascent, noisy_label_loss
from sartor.parts.samplers import pairs, unseen
from sartor.parts.trainer import Trainer, seeded
from sartor.recommend._base import PersonalArrays, VectorRecommender
from sartor.recommend._pairwise import check_implicit, check_unseen_left
from sartor.recommend._validation import validation


@dataclass(kw_only=True, eq=False)
class NBPO(VectorRecommender):
    """A second pair of factors gives every (person, item) a flip probability; sampled items that probably flipped are pushed up, not down.

    For clicks and purchases where most of what people would like was never shown to them. On a dense core of Amazon Beauty it ranks 2 to 3%
    better than BPR under the same training, on ml-100k no better; its flip probabilities do not find what was hidden in a world where that is
    known, the scores alone do (claims/recommend/nbpo.py). Needs its published step sizes: gradients are summed over a batch.

    Source: Yu and Qin, SIGIR 2020. Differs from the paper in: people are folded in after training, by `adapt_steps` ascent steps (Adam) on
    their own factors with all items frozen.

    State: `vector` float32 [factors] and `flips` float32 [flip_factors], beside the items; 400 bytes at the defaults.
    """

    variant: Variant = "nbpo"
    """Also the paper's ablations "nbpo-o" and "nbpo-s", and the baselines "bpo" and "bpr" under the same training."""
    factors: int = 50
    flip_factors: int = 50
    negatives: int = 4
    """Unvoted items per positive."""
    epochs: int = 200
    batch_size: int = 5000
    """Positives per step; gradients are summed, so the step size goes with it."""
    learning_rate: float = 0.05
    """Published: 0.05 for Amazon, 0.02 for MovieLens (BPO 0.05 and 0.01)."""
    learning_rate_decay: float = 0.99
    """Per epoch."""
    regularization: float = 1.0
    """L2 of people and items, once per batch. Published: 1 and 0.5."""
    flip_regularization: float = 5.0
    """L2 of the flip factors, once per batch. Published: 5 and 1."""
    patience: int = 10
    """Validations without a better score before stopping."""
    validate_every: int = 10
    """Epochs between validations."""
    adapt_steps: int = 30
    adapt_learning_rate: float = 0.1

    item_flips_: np.ndarray = learned()
    """float32 [items, flip_factors]."""
    population_flips_: np.ndarray = learned()
    """float32 [flip_factors]."""
    pull_: float = learned()
    """How often L2 acts on a person's factors in one epoch: the batches of an epoch."""
    losses_: list[float] = learned()
    """Mean training loss of every epoch's batches."""

    def hidden_positives(self, states: States) -> np.ndarray:
        """float32 [states, items]: how likely the person would like an item, given that it was not voted for: s(gamma) s(R) among all the
        ways in which the model explains a missing vote."""
        flips, liked = self.flip_probabilities(states), _s(self.score(states))
        return flips * liked / (1 - liked + flips * liked)

    def flip_probabilities(self, states: States) -> np.ndarray:
        """float32 [states, items]: s(gamma), how likely a true positive goes without a vote."""
        for state in states:
            self.check_state(state)
        flips = np.stack([self.population_flips_ if state is None else state["flips"] for state in states])
        return _s(flips @ self.item_flips_.T)

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        if self.variant not in VARIANTS:
            raise ConfigError(f"there is no variant '{self.variant}'", fix=f"use one of {', '.join(VARIANTS)}")
        check_implicit(data, "NBPO")
        had = data.matrix()
        check_unseen_left(data, had)
        indptr, columns = had.indptr.astype(np.int64), had.indices.astype(np.int32)
        rows = np.repeat(np.arange(had.shape[0], dtype=np.int32), np.diff(indptr))
        self.pull_ = float(-(-rows.size // self.batch_size))
        with seeded(self.seed):
            network = _Factors(*data.shape, self.factors, self.flip_factors)
        validate = None
        if (judge := validation(self, data, run)) is not None:

            def validate() -> float:
                self._export(network)
                return judge()

        def batches(rng: np.random.Generator) -> Iterable[Any]:
            for people, items in pairs(rng, rows, columns, self.batch_size):
                others = unseen(rng, people, self.negatives, indptr, columns, had.shape[1])
                yield tuple(torch.from_numpy(one.astype(np.int64)) for one in (people, items, others))

        trainer = Trainer(
            epochs=self.epochs, learning_rate=self.learning_rate, lr_decay=self.learning_rate_decay, optimizer="sgd", patience=self.patience,
            validate_every=self.validate_every, seed=self.seed,
        )  # fmt: skip
        groups = [
            {"params": [network.people, network.items], "weight_decay": self.regularization},
            {"params": [network.people_flips, network.item_flips], "weight_decay": self.flip_regularization},
        ]
        history = trainer.fit(
            network, batches, lambda batch: noisy_label_loss(self.variant, *network(*batch)), validate=validate, parameters=groups,
            progress=run.progress, checkpoint=run.checkpoint, key=run.key, description=self.variant.upper(),
        )  # fmt: skip
        self._export(network)
        self.losses_ = history.losses

    def _export(self, network: _Factors) -> None:
        def array(tensor: Tensor) -> np.ndarray:
            return tensor.detach().numpy().copy()

        self.item_vectors_, self.item_flips_ = array(network.items), array(network.item_flips)
        self.population_vector_, self.population_flips_ = array(network.people.mean(0)), array(network.people_flips.mean(0))

    def _encode(self, histories: Interactions) -> PersonalArrays:
        own = histories.matrix()
        indptr, indices = own.indptr.astype(np.int64), own.indices.astype(np.int32)
        if self.variant == "bpr":
            events = np.maximum(1.0, float(np.diff(indptr).mean()))
            l2 = self.regularization * self.pull_ / (2 * self.negatives * events)
            settings: dict[str, Any] = {"steps": self.adapt_steps, "learning_rate": self.adapt_learning_rate, "l2": l2, "seed": self.seed}
            vectors = fold_in(self.item_vectors_, indptr, indices, self.population_vector_, **settings)
            return {"vector": vectors, "flips": np.repeat(self.population_flips_[None], len(vectors), 0)}
        count, items = len(histories.people), self.item_vectors_.shape[0]
        vectors, flips = np.repeat(self.population_vector_[None], count, 0), np.repeat(self.population_flips_[None], count, 0)
        against = np.sort(np.random.default_rng([self.seed, items]).choice(items, min(512, items), replace=False)).astype(np.int32)
        _ascend(
            VARIANTS.index(self.variant), indptr, indices, self.item_vectors_, self.item_flips_, against, vectors, flips, self.adapt_steps,
            np.float32(self.adapt_learning_rate), np.float32(self.negatives), np.float32(self.regularization * self.pull_),
            np.float32(self.flip_regularization * self.pull_),
        )  # fmt: skip
        return {"vector": vectors, "flips": flips}


class _Factors(nn.Module):
    """Preferences start at small positive scores, flips near -6: at first nearly no unvoted item is believed to be a good one."""

    def __init__(self, people: int, items: int, factors: int, flip_factors: int) -> None:
        super().__init__()
        self.people = nn.Parameter(torch.rand(people, factors) / factors**0.5)
        self.items = nn.Parameter(torch.rand(items, factors) / factors**0.5)
        self.people_flips = nn.Parameter(5 * torch.rand(people, flip_factors) / flip_factors**0.5)
        self.item_flips = nn.Parameter(-5 * torch.rand(items, flip_factors) / flip_factors**0.5)

    def forward(self, people: Tensor, items: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scores of positives [B] and of others [B, n], and the flip logits of both."""
        person, flips = self.people[people], self.people_flips[people]
        return (
            (person * self.items[items]).sum(1),
            torch.einsum("bd,bnd->bn", person, self.items[others]),
            (flips * self.item_flips[items]).sum(1),
            torch.einsum("bd,bnd->bn", flips, self.item_flips[others]),
        )


def _s(x: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return expit(x).astype(np.float32)


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def _ascend(variant, indptr, indices, items, flips, against, x, p, steps, rate, per_positive, pull, flip_pull):  # type: ignore[no-untyped-def]
    """Everybody's factors x [people, k] and p [people, l], in place: Adam on the person's own likelihood, over all of `against` as negatives."""
    for person in numba.prange(x.shape[0]):
        own = indices[indptr[person] : indptr[person + 1]]
        others = without(against, own)
        n, m, k, length = own.size, others.size, x.shape[1], x.shape[1] + p.shape[1]
        if n == 0 or m == 0:
            continue
        rows = np.empty((n + m, length), np.float32)
        for j in range(n + m):
            item = own[j] if j < n else others[j - n]
            rows[j, :k] = items[item]
            rows[j, k:] = flips[item]
        both = np.empty(length, np.float32)
        both[:k], both[k:] = x[person], p[person]
        first, second, slope = np.zeros(length, np.float32), np.zeros(length, np.float32), np.empty(length, np.float32)
        beta1, beta2 = np.float32(1), np.float32(1)
        for _ in range(steps):
            for a in range(length):
                slope[a] = -(pull if a < k else flip_pull) * both[a]
            for j in range(n + m):
                score, flip = np.float32(0), np.float32(0)
                for a in range(k):
                    score += rows[j, a] * both[a]
                for a in range(k, length):
                    flip += rows[j, a] * both[a]
                by_score, by_flip = ascent(variant, j < n, score, flip)
                # In training every positive comes with that many negatives, and counts once for each.
                weight = per_positive if j < n else per_positive * np.float32(n) / np.float32(m)
                # float32 throughout, so that the sums below are not widened number by number.
                push, push_flip = np.float32(weight * by_score), np.float32(weight * by_flip)
                for a in range(k):
                    slope[a] += push * rows[j, a]
                for a in range(k, length):
                    slope[a] += push_flip * rows[j, a]
            beta1 *= np.float32(0.9)
            beta2 *= np.float32(0.999)
            for a in range(length):
                first[a] = np.float32(0.9) * first[a] + np.float32(0.1) * slope[a]
                second[a] = np.float32(0.999) * second[a] + np.float32(0.001) * slope[a] * slope[a]
                both[a] += rate * (first[a] / (1 - beta1)) / (np.sqrt(second[a] / (1 - beta2)) + np.float32(1e-8))
        x[person], p[person] = both[:k], both[k:]
