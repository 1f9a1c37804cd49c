"""The lists of one chunk of people under three arms: their own states, no state, and another person's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import BadValue, ConfigError
from sartor.evaluate.metrics.ranking import Truth
from sartor.parts.topk import top_k

if TYPE_CHECKING:
    from sartor.data.ids import IdMap
    from sartor.data.population import Population
    from sartor.method import Recommender, State

SCORES_IN_MEMORY = 4_000_000
"""Scores held at once (16 MB): more would only cost page faults."""


@dataclass(eq=False)
class Ranker:
    """Lists of a method in the numbers of the evaluation's catalogue, with the evaluator's own policy on ties and exclusion.

    Where the method ranks as all `ItemRecommender`s do, its scores are ranked here, so that the lottery between ties is the evaluation's.
    A method with a `recommend` of its own is judged by what it returns.
    """

    method: Recommender
    items: IdMap
    """The evaluation's catalogue: the method's items first, then those only the data knows."""
    length: int
    """Of the lists."""
    seed: int
    sampled: int | None = None
    """Rank the relevant items among so many random others only."""
    pool: np.ndarray | None = None
    """Rank among these item numbers only."""
    seconds: float = 0.0
    _numbers: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        from sartor.recommend._base import ItemRecommender

        kind = type(self.method)
        own_lists = isinstance(self.method, ItemRecommender) and kind.recommend is ItemRecommender.recommend
        self.scores = own_lists or (hasattr(self.method, "score") and not hasattr(self.method, "recommend"))
        self.known = len(self.method.items_) if self.scores else len(self.items)  # type: ignore[attr-defined]

    def lists(self, states: Sequence[State | None], left_out: Truth, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
        """int32 [people, length] item numbers (-1 where short), and bool of the same shape: whether a place was decided by the lottery."""
        start = time.perf_counter()
        pools = None
        if self.sampled is not None:
            pools = list(_pools(truth, left_out, len(self.items), self.sampled, self.seed))
        elif self.pool is not None:
            pools = [self.pool] * len(states)
        best, tied = self._scored(states, left_out, pools) if self.scores else self._listed(states, left_out, pools)
        self.seconds += time.perf_counter() - start
        return best, tied

    def _scored(self, states: Sequence[State | None], left_out: Truth, pools: list[np.ndarray] | None) -> tuple[np.ndarray, np.ndarray]:
        best = np.full((len(states), self.length), -1, np.int32)
        tied = np.zeros(best.shape, bool)
        step = max(1, SCORES_IN_MEMORY // max(1, self.known))
        nobody = all(state is None for state in states)
        answer = self.method.score([None]) if nobody else None  # type: ignore[attr-defined]
        for start in range(0, len(states), step):
            rows = slice(start, min(start + step, len(states)))
            size = rows.stop - start
            # No state gets one answer for all, which needs to be asked for only once.
            scores = np.repeat(answer, size, axis=0) if answer is not None else self.method.score(states[rows])  # type: ignore[attr-defined]
            if pools is not None:
                scores = _only(scores, pools[rows])
            own = [left_out.indices[left_out.indptr[row] : left_out.indptr[row + 1]] for row in range(start, rows.stop)]
            # One place more, to see whether the last place was tied with the first left out.
            top, values = top_k(scores, self.length + 1, left_out=[one[one < self.known] for one in own], seed=self.seed, width=self.known)
            width = min(self.length, top.shape[1])
            best[rows, :width] = top[:, :width]
            same = (values[:, 1:] == values[:, :-1]) & (top[:, 1:] >= 0)
            marks = np.zeros(top.shape, bool)
            marks[:, 1:] |= same
            marks[:, :-1] |= same
            tied[rows, :width] = marks[:, :width]
        return best, tied

    def _listed(self, states: Sequence[State | None], left_out: Truth, pools: list[np.ndarray] | None) -> tuple[np.ndarray, np.ndarray]:
        ids = self.items.array
        exclude = [ids[left_out.indices[left_out.indptr[row] : left_out.indptr[row + 1]]].tolist() for row in range(len(states))]
        candidates: list[Any] | None = None if pools is None else [ids[pool].tolist() for pool in pools]
        given = self.method.recommend(states, self.length, exclude=exclude, candidates=candidates)
        if self._numbers is None or self._numbers.size != len(given.items):
            self._numbers = self.items.numbers(given.items.ids)
        table = np.append(self._numbers, np.int32(-1))
        best = np.full((len(states), self.length), -1, np.int32)
        best[:, : given.indices.shape[1]] = table[given.indices][:, : self.length]
        check_lists(best, left_out)
        values = np.full(best.shape, -np.inf, np.float32)
        values[:, : given.scores.shape[1]] = given.scores[:, : self.length]
        same = (values[:, 1:] == values[:, :-1]) & (best[:, 1:] >= 0)
        tied = np.zeros(best.shape, bool)
        tied[:, 1:] |= same
        tied[:, :-1] |= same
        return best, tied


def _only(scores: np.ndarray, pools: list[np.ndarray]) -> np.ndarray:
    """The scores with everything outside each row's pool at -inf."""
    out = np.full(scores.shape, -np.inf, np.float32)
    for row, pool in enumerate(pools):
        inside = pool[pool < scores.shape[1]]
        out[row, inside] = scores[row, inside]
    return out


def _pools(truth: Truth, left_out: Truth, items: int, sampled: int, seed: int) -> Iterator[np.ndarray]:
    """For each person the relevant items and `sampled` random ones that are neither relevant nor left out.

    The draw depends on the person's own items and the seed only, so that all arms and all chunkings see the same candidates.
    """
    if sampled < 1:
        raise ConfigError(f"{sampled} sampled candidates", fix="give a number of at least 1, or None for the whole catalogue")
    for row in range(len(truth)):
        own = truth.indices[truth.indptr[row] : truth.indptr[row + 1]]
        seen = left_out.indices[left_out.indptr[row] : left_out.indptr[row + 1]]
        taken = np.union1d(own, seen)
        rng = np.random.default_rng([seed, *own.tolist(), *seen.tolist()])
        rest = np.setdiff1d(np.arange(items, dtype=np.int32), taken, assume_unique=True)
        yield np.concatenate([own, rng.choice(rest, min(sampled, rest.size), replace=False)]).astype(np.int32)


def check_lists(best: np.ndarray, left_out: Truth | None = None) -> None:
    """Raise `BadValue` with the counts when lists hold an item twice, or one that was to be left out."""
    from sartor.evaluate.metrics.beyond import hit_mask

    ordered = np.sort(best, axis=1)
    twice = int(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).sum())
    if twice:
        raise BadValue(f"{twice} recommendations repeat an item in the same list", fix="remove them, or pass dedup=True with tables")
    if left_out is not None and (seen := int(hit_mask(best, left_out).sum())):
        raise BadValue(f"{seen} recommendations are items the person has already seen", fix="exclude them, or pass exclude=None")


def states_of(method: Recommender, evidence: Population, people: Sequence[Any]) -> dict[Any, State]:
    """States of some people; those without evidence are not in it."""
    return method.adapt_all(evidence.only(people)) if len(people) else {}


def partners(people: np.ndarray, evidence: Truth, seed: int, how: str) -> np.ndarray:
    """For each person number the one whose state is swapped in, never one's own: int64 [evidence rows], -1 where there is nobody.

    Parameters
    ----------
    people: person numbers with evidence, in the (random) order in which they are measured.
    evidence: everybody's items.
    how: "random" makes one closed chain over all people; "most-different" takes the person with the smallest cosine between histories
        among up to 500 drawn at random.
    """
    out = np.full(len(evidence), -1, np.int64)
    if people.size < 2:
        return out
    if how == "random":
        out[people] = np.roll(people, -1)
        return out
    if how != "most-different":
        raise ConfigError(f"swap is '{how}'", fix="use 'random', 'most-different' or None")
    from scipy.sparse import csr_matrix

    from sartor.evaluate.metrics.beyond import unit_vectors

    width = int(evidence.indices.max()) + 1 if evidence.indices.size else 1
    history = csr_matrix((np.ones(evidence.indices.size, np.float32), evidence.indices, evidence.indptr), shape=(len(evidence), width))
    units = csr_matrix(unit_vectors(history))
    drawn = np.random.default_rng([seed, people.size]).permutation(people)[:500]
    for start in range(0, people.size, 2000):
        rows = people[start : start + 2000]
        similarity = (units[rows] @ units[drawn].T).toarray()
        similarity[rows[:, None] == drawn[None, :]] = np.inf
        # Rolled by person, so that among many equally distant people the choice spreads instead of always taking the first.
        shift = (rows % drawn.size)[:, None]
        places = (np.arange(drawn.size)[None, :] + shift) % drawn.size
        out[rows] = drawn[np.take_along_axis(places, np.take_along_axis(similarity, places, 1).argmin(1)[:, None], 1)[:, 0]]
    return out
