"""What all recommenders share: histories in, personal arrays out, scores, and the ranking with exclusion and candidates.

A method states only its own idea: `_learn` (from everybody's interactions), `_encode` (histories -> personal arrays) and `_score`
(personal arrays -> scores). Methods whose score is an inner product inherit `VectorRecommender` and need no `_score`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sartor._run_key import rows_key, settings
from sartor.data.ids import IdMap
from sartor.data.interactions import Interactions
from sartor.errors import ConfigError, CorruptFile, EmptyData, UnknownId
from sartor.method import Exclude, Ranking, Recommender, Run, State, States, learned
from sartor.parts.checkpoint import data_key
from sartor.parts.threads import blas_alone, limit, over_rows
from sartor.parts.topk import top_k

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from sartor.data.population import Evidence, Population

PersonalArrays = Mapping[str, Sequence[np.ndarray] | np.ndarray]
"""Personal arrays of a batch: name -> [people, ...] array, or a list of one array per person."""

SCORES_IN_MEMORY = 2_000_000
"""Scores held at once while ranking (8 MB, so that they are still in the cache when they are ranked): the batch size follows from it."""


@dataclass(kw_only=True, eq=False)
class ItemRecommender(Recommender):
    """A recommender over a fixed catalogue.

    State: `items` int32 [n], the person's item numbers, oldest first (what "seen" means, and what an update starts from); what `keeps`
    names of `values`, `weights` (float32 [n]) and `times` (int64 [n]); and the method's own arrays from `_encode`.
    """

    items_: IdMap = learned()
    """The catalogue: item ids and their numbers."""

    keeps: ClassVar[tuple[str, ...]] = ()
    """Which of values, weights, times the method's `_encode` uses, so that a state must keep them for updates."""

    from_items: ClassVar[bool] = True
    """Whether a history of items is all that a person is made from; False for methods that cannot do without what else is known of her."""

    # --- what a method says

    @abstractmethod
    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        """Learn from everybody's interactions; `items_` is already set."""

    @abstractmethod
    def _encode(self, histories: Interactions) -> PersonalArrays:
        """Personal arrays for a batch of histories, of people the model need not have seen; empty rows are possible."""

    @abstractmethod
    def _score(self, states: States, items: np.ndarray | None) -> np.ndarray:
        """float32 [states, items], higher is better: of all items, or of the given item numbers."""

    # --- what all share

    def check_state(self, state: State | None) -> None:
        """Raise `StateMismatch` for a state of another model, and `CorruptFile` for one whose items cannot be of this catalogue."""
        super().check_state(state)
        if state is None:
            return
        own = state.arrays.get("items")
        # Compiled loops do not look at bounds: a damaged or forged state must end here.
        if own is None or own.ndim != 1 or own.dtype != np.int32 or (own.size and not 0 <= own.min() <= own.max() < len(self.items_)):
            raise CorruptFile("the state's items are not items of this model's catalogue", fix="adapt the person again")

    def check_states(self, states: States) -> None:
        """`check_state` of a batch, quick enough for thousands: bounds are looked at once, over all items together."""
        known = [state for state in states if state is not None]
        items = [state.arrays.get("items") for state in known if state.fingerprint == self.fingerprint_]
        flat = [own for own in items if own is not None and own.ndim == 1 and own.dtype == np.int32]
        whole = len(flat) == len(known)
        if whole and flat:
            every = np.concatenate(flat)
            whole = not every.size or 0 <= int(every.min()) <= int(every.max()) < len(self.items_)
        if not whole:
            for state in known:
                self.check_state(state)

    def _fit(self, population: Population, run: Run) -> None:
        data = population.interactions()
        self.items_ = data.items
        self._learn(data, population, run if run.checkpoint is None else replace(run, key=self._run_key(data, population, run.validation)))

    def _run_key(self, data: Interactions, population: Population, validation: Population | None) -> str:
        """Of all settings but how long to train and where, of all events, what is known of items and people, and the validation events."""
        own = settings(self, without=("epochs", "iterations", "rounds", "device"))
        known = [(name, rows_key(population.frame(name))) for name in ("items", "people", "texts") if name in population]
        judged_by = "" if validation is None or "events" not in validation else str(validation.digest())
        facts = np.frombuffer(repr([own, known, judged_by]).encode(), np.uint8)
        return data_key(facts, data.indptr, data.indices, data.values, data.weights, data.times)

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        self.check_state(state)
        fresh = evidence.interactions(self.items_)
        return next(self._states(_after(state, fresh) if state is not None else fresh, [state], [len(fresh)], fresh.unknown))

    def adapt_all(self, population: Population, *, progress: bool = False) -> dict[Any, State]:
        """States of everybody in a population, by person id, encoded as one batch."""
        self.check_fitted()
        histories = population.interactions(items=self.items_)
        made = self._states(histories, [None] * len(histories.people), histories.lengths.tolist(), 0)
        return dict(zip(histories.people.ids.to_list(), made, strict=True))

    def _states(self, histories: Interactions, before: States, examples: Sequence[int], unknown: int) -> Iterator[State]:
        own = self._encode(histories)
        notes = {"unknown_items": unknown} if unknown else {}
        indptr = histories.indptr.tolist()
        for row, (old, seen) in enumerate(zip(before, examples, strict=True)):
            span = slice(indptr[row], indptr[row + 1])
            arrays = {"items": histories.indices[span].copy()}
            arrays |= {name: getattr(histories, name)[span].copy() for name in self.keeps}
            # Copies: a state must not keep the whole batch alive, nor hold other people's numbers.
            arrays |= {name: np.array(rows[row]) for name, rows in own.items()}
            yield self.make_state(arrays, before=old, examples=int(seen), notes=notes)

    def score(self, states: States, items: Sequence[Any] | None = None) -> np.ndarray:
        """Scores of items for people: float32 [states, items], higher is better; all items by default (in the order of `items_`)."""
        self.check_states(states)
        return self._score(states, None if items is None else self._known(items))

    def recommend(self, states: States, k: int = 10, *, exclude: Exclude = "seen", candidates: Sequence[Any] | None = None) -> Ranking:
        self.check_fitted()
        _check_batch(states)
        self.check_states(states)
        if not isinstance(k, int | np.integer) or k < 1:
            raise ConfigError(f"k is {k!r}", fix="ask for a whole number of items, at least 1")
        if isinstance(candidates, str):
            raise ConfigError(f"candidates is '{candidates}'", fix="give a list of item ids")
        if candidates is not None and len(candidates) and _is_list(candidates[0]):
            return self._recommend_each(states, k, exclude, candidates)
        pool = None if candidates is None else np.unique(self._known(candidates))
        width = min(k, len(self.items_) if pool is None else pool.size)
        left_out = self._left_out(states, exclude)
        indices, scores = self._best(states, pool, width, left_out)
        return Ranking(indices, scores, self.items_)

    def best_numbers(
        self, states: States, k: int, *, left_out: list[np.ndarray] | None = None, pool: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`recommend` for callers that know item numbers: int32 numbers and float32 scores [states, k]; -1 and -inf where there are fewer.

        Parameters
        ----------
        left_out: item numbers to leave out, one array per state.
        pool: int32, sorted and distinct: the only item numbers to choose from. Default: all.
        """
        self.check_states(states)
        return self._best(states, pool, min(k, len(self.items_) if pool is None else pool.size), left_out)

    def _best(self, states: States, pool: np.ndarray | None, k: int, left_out: list[np.ndarray] | None) -> tuple[np.ndarray, np.ndarray]:
        """Item numbers int32 and scores float32 [states, k] of the best of some items, or of all."""

        def rank(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            return self._top(self._score(states[start:stop], pool), pool, k, None if left_out is None else left_out[start:stop])

        step = _step(len(self.items_) if pool is None else pool.size)
        parts = [rank(start, min(start + step, len(states))) for start in range(0, max(1, len(states)), step)]
        return np.concatenate([one[0] for one in parts]), np.concatenate([one[1] for one in parts])

    def _top(self, scores: np.ndarray, pool: np.ndarray | None, k: int, left_out: list[np.ndarray] | None) -> tuple[np.ndarray, np.ndarray]:
        return top_k(scores, k, left_out=left_out, columns=pool, seed=self.seed, width=len(self.items_))

    def _recommend_each(self, states: States, k: int, exclude: Exclude, candidates: Sequence[Any]) -> Ranking:
        if len(candidates) != len(states):
            raise ConfigError(f"{len(candidates)} candidate lists for {len(states)} states", fix="give one list for all, or one per state")
        each = [
            self.recommend([state], k, exclude=exclude if exclude in (None, "seen") else [exclude[row]], candidates=own)
            for row, (state, own) in enumerate(zip(states, candidates, strict=True))
        ]
        width = max((one.indices.shape[1] for one in each), default=0)
        pad = [(0, 0), (0, 0)]
        indices = [np.pad(one.indices, [pad[0], (0, width - one.indices.shape[1])], constant_values=-1) for one in each]
        scores = [np.pad(one.scores, [pad[0], (0, width - one.scores.shape[1])], constant_values=-np.inf) for one in each]
        return Ranking(np.concatenate(indices), np.concatenate(scores), self.items_)

    def _left_out(self, states: States, exclude: Exclude) -> list[np.ndarray] | None:
        if exclude is None:
            return None
        if isinstance(exclude, str):
            if exclude != "seen":
                raise ConfigError(f"exclude is '{exclude}'", fix="use 'seen', None, or one list of item ids per state")
            return [np.empty(0, np.int32) if state is None else state["items"] for state in states]
        if len(exclude) != len(states):
            raise ConfigError(f"{len(exclude)} exclusion lists for {len(states)} states", fix="give one list per state")
        if any(isinstance(own, str) or not hasattr(own, "__len__") for own in exclude):
            raise ConfigError("exclude holds items where it should hold lists of items", fix="give one list of item ids per state: [[...], [...]]")
        # Ids unknown to the model cannot be recommended anyway.
        return [(numbers := self.items_.numbers(own))[numbers >= 0] for own in exclude]

    def _known(self, items: Sequence[Any]) -> np.ndarray:
        """Numbers of item ids; unknown ones are an error, since leaving them out would shift columns."""
        numbers = self.items_.numbers(items)
        if not numbers.size:
            raise EmptyData("the list of candidate items is empty", fix="give at least one item")
        if (numbers < 0).any():
            bad = [one for one, number in zip(items, numbers, strict=True) if number < 0]
            raise UnknownId(
                f"{len(bad)} of {numbers.size} items are not in the catalogue", id=repr(bad[0]), fix="fit again with them, or leave them out"
            )
        return numbers


@dataclass(kw_only=True, eq=False)
class VectorRecommender(ItemRecommender):
    """A recommender whose score is the inner product of a personal vector and an item vector.

    An item bias is one more number in the item's vector, and a 1 in the person's: then any index for inner products serves it.

    State: `vector` float32 [dim], beside the items.
    """

    item_vectors_: np.ndarray = learned()
    """float32 [items, dim]."""
    population_vector_: np.ndarray = learned()
    """float32 [dim]: the average person's vector, used where there is no state."""

    def _score(self, states: States, items: np.ndarray | None) -> np.ndarray:
        people = self.stack(states)
        vectors = self.item_vectors_ if items is None else self.item_vectors_[items]
        return people @ vectors.T

    def _best(self, states: States, pool: np.ndarray | None, k: int, left_out: list[np.ndarray] | None) -> tuple[np.ndarray, np.ndarray]:
        if type(self)._score is not VectorRecommender._score:
            return super()._best(states, pool, k, left_out)
        people = self.stack(states)
        vectors = self.item_vectors_ if pool is None else self.item_vectors_[pool]
        indices, scores = np.empty((len(people), k), np.int32), np.empty((len(people), k), np.float32)

        def rank(start: int, stop: int) -> None:
            with limit(1):
                own = None if left_out is None else left_out[start:stop]
                indices[start:stop], scores[start:stop] = self._top(people[start:stop] @ vectors.T, pool, k, own)

        # Every thread multiplies and ranks its own people, while their scores are still in its cache.
        step = max(1, _step(len(vectors)) // 2)
        with blas_alone():
            over_rows(rank, np.append(np.arange(0, len(people), step), len(people)))
        return indices, scores

    def stack(self, states: States) -> np.ndarray:
        """Personal vectors as one float32 matrix [states, dim]; the average person's where there is no state."""
        dim = self.item_vectors_.shape[1]
        # Asked for only where it is used: methods that validate while they learn do not have it yet.
        rows = [self.population_vector_ if state is None else state.arrays["vector"] for state in states]
        return np.concatenate(rows).astype(np.float32, copy=False).reshape(-1, dim) if rows else np.empty((0, dim), np.float32)


def _step(items: int) -> int:
    return max(1, SCORES_IN_MEMORY // max(1, items))


def _check_batch(states: object) -> None:
    if isinstance(states, State | Mapping):
        raise ConfigError("states is not a list", fix="give a list: [state] for one, list(states.values()) for a dict")


def seen_matrix(states: States, items: int) -> csr_matrix:
    """What each state has seen as float32 ones, CSR [states, items]; empty rows where there is no state or nothing known."""
    from scipy.sparse import csr_matrix

    own = [np.empty(0, np.int32) if state is None else np.unique(state["items"]) for state in states]
    indptr = np.concatenate([[0], np.cumsum([one.size for one in own])])
    indices = np.concatenate([*own, np.empty(0, np.int32)])
    return csr_matrix((np.ones(indices.size, np.float32), indices, indptr), shape=(len(own), items))


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple, np.ndarray))


def _after(state: State, fresh: Interactions) -> Interactions:
    """The state's own history followed by new events, as one history."""

    def join(name: str, own: np.ndarray) -> np.ndarray:
        old = state.arrays.get("items" if name == "indices" else name)
        if old is None:
            filler = {"values": np.nan, "weights": 1.0}.get(name, 0)
            old = np.full(state["items"].size, filler, own.dtype)
        return np.concatenate([old, own])

    parts = {name: join(name, getattr(fresh, name)) for name in ("indices", "values", "weights", "times")}
    order = np.argsort(parts["times"], kind="stable") if "times" in state.arrays else slice(None)
    parts = {name: array[order] for name, array in parts.items()}
    return Interactions(fresh.people, fresh.items, np.array([0, parts["indices"].size], np.int64), **parts, unknown=fresh.unknown)
