"""Search in which the same words find different things for different people."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from sartor import _storage
from sartor.errors import ConfigError, MissingColumn
from sartor.method import Exclude, Ranking, Run, Searcher, State, States, learned
from sartor.parts.topk import checked_k
from sartor.recommend._base import ItemRecommender, PersonalArrays, _check_batch
from sartor.recommend._search_weights import AT_ONCE, held_out, learn, untaught
from sartor.recommend.ease import EASE
from sartor.recommend.live_search import digests
from sartor.recommend.why import Reason, contributions, strongest
from sartor.retrieve.bitmaps import Bitmap
from sartor.retrieve.bm25 import BM25
from sartor.retrieve.filters import Filter
from sartor.retrieve.fusion import Pool, normalised
from sartor.retrieve.hybrid import HybridIndex
from sartor.retrieve.index import ItemIndex
from sartor.retrieve.rerank import lift
from sartor.retrieve.words import checked_queries

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Population

TEXT_FIELDS = ("title", "categories", "text")


@dataclass(frozen=True, eq=False)
class SearchRanking(Ranking):
    """A ranking that knows what everybody would have been shown."""

    population_ranks: np.ndarray
    """int32 [queries, k], the place of each item in the population's answer to the same query, from 1; 0 where there is no item."""
    notes: tuple[str, ...]
    """One per query; empty when there is nothing to say."""
    plan: str
    """How the candidates were found."""

    def to_frame(self, people: Sequence[Any] | None = None) -> pl.DataFrame:
        """Long form: person, rank (1 is best), item, score, population_rank."""
        return super().to_frame(people).with_columns(population_rank=self.population_ranks[self.indices >= 0])


@dataclass(kw_only=True, eq=False)
class PersonalSearch(ItemRecommender, Searcher):
    """Query relevance plus taste: candidates come from words (BM25) and vectors, and a person's own state of any recommender moves them.

        score = w . (words, vectors, share of the words, popularity) + strength * t * (taste(item, state) - taste(item, nobody))

    Everybody's order is the first part. Its weights w, and the weight t of the taste, are learned by a small listwise ranker from queries of
    which it is known what was taken: the logged ones (`texts` of kind "query") among held-out events, and made ones (`retrieve.queries`). Held out
    are the validation events, or a fifth of each person's events, which the taste is fitted without while the weights are learned. At
    strength 0, and for a state that holds nothing, the order is everybody's.

    It recommends, too: `recommend` is its taste's, so that one state serves both. What it cannot do: find what neither shares a word (or part
    of one) with the query nor is near it by the encoder.

    Source: after Teevan, Dumais and Horvitz, Personalizing Search via Automated Analysis of Interests and Activities, SIGIR 2005 (a profile
    re-ranks what a query found); candidates, fusion and the taste are ours.

    State: its taste's.
    """

    taste: ItemRecommender = field(default_factory=EASE)
    """Any recommender over the items. One that is not fitted is fitted first, and again with every `fit`."""
    text_fields: Sequence[str] = TEXT_FIELDS
    """Columns of the items frame to be searched, those of them that there are; each with its own statistics."""
    encoder: str = "hashed"
    """Name or folder, as `represent.text.text_encoder` takes it."""
    index: str = "exact"
    """Kind of `ItemIndex` for the vectors."""
    pool: int = 1000
    """Candidates of words and of vectors for each query, each."""
    teaching_people: int = 1000
    """People whose held-out events teach the weights, at most; two made queries each."""

    search_weights_: np.ndarray = learned()
    """float64 [4]: words, vectors, share of the query's words, popularity."""
    taste_weight_: float = learned(0.0)
    taught_by_: int = learned(0)
    """Queries that the weights were learned from; 0 means that they are the built-in ones."""
    popularity_: np.ndarray = learned()
    """float32 [items], log(1 + events), 1 for the most popular."""
    vectors_: np.ndarray = learned()
    """float32 [items, dim], of the items' texts."""
    words_: np.ndarray = learned()
    """uint8, the word index as safetensors."""
    attributes_: np.ndarray = learned()
    """uint8, the catalogue's columns for filters, as Parquet."""
    text_digests_: np.ndarray = learned()
    """uint64 [items], of the texts that are indexed, by which changed ones are told (`live_search`)."""
    encoder_fingerprint_: str = learned("")
    fits_taste_: bool = learned(False)

    population_frames: ClassVar[tuple[str, ...]] = ("events", "items")

    # --- the recommender in it

    @property
    def keeps(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the taste keeps of each event."""
        return self.taste.keeps

    def _encode(self, histories: Interactions) -> PersonalArrays:
        return self.taste._encode(histories)

    def _score(self, states: States, items: np.ndarray | None) -> np.ndarray:
        return self.taste._score(states, items)

    # --- fit

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        if self.pool < 1 or self.teaching_people < 0:
            raise ConfigError(f"pool {self.pool}, teaching_people {self.teaching_people}", fix="use a pool of at least 1 and no negative numbers")
        if not self.taste.from_items:
            raise ConfigError(
                f"the taste of a search is made from the items of a history alone, and {type(self.taste).__name__} reads more of a person",
                fix="use a recommender over items, such as EASE or TextProfile",
            )
        for made in ("hybrid", "mean_vector"):
            self.__dict__.pop(made, None)
        catalogue = population.item_frame(self.items_)
        self._index(catalogue)
        counts = data.counts()
        self.popularity_ = (np.log1p(counts) / max(1.0, float(np.log1p(counts.max(initial=0))))).astype(np.float32)
        held, known = held_out(population, run.validation, self.seed)
        if held is not None and known is not population:
            # The taste that teaches has not seen what was held out; the one that serves has seen everything.
            taste = copy.deepcopy(self.taste).fit(known, progress=run.progress)
            self._fit_taste(population, run)
        else:
            self._fit_taste(population, run)
            taste = self.taste
        found = None if held is None else learn(self, taste, known, held, catalogue)
        if found is None:
            warnings.warn("nothing is held out to learn the weights of search from: the built-in ones are used", UserWarning, stacklevel=2)
            found = untaught(self, data)
        self.search_weights_, self.taste_weight_, self.taught_by_ = found

    def _fit_taste(self, population: Population, run: Run) -> None:
        if self.fits_taste_ or not self.taste.fingerprint_:
            self.taste.fit(population, validation=run.validation, progress=run.progress, checkpoint=run.checkpoint)
            self.fits_taste_ = True
        if self.taste.items_ != self.items_:
            raise ConfigError("the taste was fitted on another catalogue", fix="give one that is not fitted")

    def _index(self, catalogue: pl.DataFrame) -> None:
        present = [name for name in self.text_fields if name in catalogue.columns]
        if not present:
            raise MissingColumn(f"the items have none of {list(self.text_fields)}", fix=f"they have {catalogue.columns}", frame="items")
        made = HybridIndex(words=BM25(fields=dict.fromkeys(present, 1.0)), vectors=ItemIndex.make(self.index), encoder=self.encoder)
        attributes = catalogue.select(pl.exclude([name for name in ("text", *(["item"])) if name in catalogue.columns]))
        made.build(catalogue.select(present), self.items_.ids.to_list(), attributes=attributes)
        table = io.BytesIO()
        attributes.write_parquet(table)
        self.attributes_ = np.frombuffer(table.getvalue(), np.uint8)
        self.words_ = np.frombuffer(_storage.to_bytes(made.words.arrays(), {"fields": present}), np.uint8)
        self.vectors_, self.encoder_fingerprint_ = made.encoded, made.space
        self.text_digests_ = digests(catalogue.select(present)).to_numpy()
        self.__dict__["hybrid"] = made

    @cached_property
    def hybrid(self) -> HybridIndex:
        """The index over the items' texts, rows numbered as `items_`."""
        return self.open_index()

    @cached_property
    def mean_vector(self) -> np.ndarray:
        """float32 [dim]: what the texts of all items share."""
        return np.asarray(self.vectors_.mean(axis=0))

    def open_index(self) -> HybridIndex:
        """The same, made anew from what is saved: for who wants to change it."""
        arrays, facts = _storage.from_bytes(self.words_.tobytes(), needs=("fields",))
        words = BM25(fields=dict.fromkeys(facts["fields"], 1.0)).from_arrays(arrays, self.items_.ids.to_list())
        made = HybridIndex(words=words, vectors=ItemIndex.make(self.index), encoder=self.encoder)
        return made.restore(
            self.vectors_, self.items_.ids.to_list(), pl.read_parquet(io.BytesIO(self.attributes_.tobytes())), self.encoder_fingerprint_
        )

    # --- search

    def search(
        self, queries: Sequence[str], states: States, k: int = 10, *, where: Filter | str | None = None, strength: float | None = None,
        exclude: Exclude = None, candidates: Sequence[Any] | Bitmap | None = None,
    ) -> SearchRanking:  # fmt: skip
        """The k best items for each query, as the person of each state would want them (see `Searcher.search`).

        `where` is asked of the catalogue's columns that `fit` saw; `candidates` may be a bitmap over item numbers. A query of which no word
        is known is noted; what is found for it then comes from parts of words, or from what the encoder makes of it.
        """
        self.check_fitted()
        asked = checked_queries(queries)
        _check_batch(states)
        if len(states) != len(asked):
            raise ConfigError(f"{len(states)} states for {len(asked)} queries", fix="give one state per query; None is everybody")
        self.check_states(states)
        k = checked_k(k, 1, len(self.items_))
        weight = self._strength(strength) * self.taste_weight_
        allowed = None if candidates is None else self._allowed(candidates)
        left_out = self._left_out(states, exclude)
        parts = []
        for start in range(0, max(1, len(asked)), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            parts.append(self._search(asked[part], states[part], k, where, allowed, None if left_out is None else left_out[part], weight))
        indices, scores, ranks = (np.concatenate([one[at] for one in parts]) for at in range(3))
        words = self.hybrid.words.known(asked)
        notes = tuple(self._note(total, known, bool((row >= 0).any())) for (total, known), row in zip(words.tolist(), indices, strict=True))
        return SearchRanking(indices, scores, self.items_, ranks, notes, parts[0][3])

    def _search(
        self, asked: list[str], states: States, k: int, where: Filter | str | None, allowed: Bitmap | None, left_out: list[np.ndarray] | None,
        weight: float,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:  # fmt: skip
        pool, plan = self.candidates(asked, where=where, allowed=allowed, left_out=left_out)
        everybody = (self.features(asked, pool) @ self.search_weights_).astype(np.float32)
        own = everybody + np.float32(weight) * self.lift(self.taste, pool, states) if weight else everybody
        chosen = pool.best_entries(own, min(k, len(self.items_)))
        there = chosen >= 0
        indices, scores = np.full(chosen.shape, -1, np.int32), np.full(chosen.shape, -np.inf, np.float32)
        indices[there], scores[there] = pool.items[chosen[there]], own[chosen[there]]
        return indices, scores, pool.places(everybody, chosen), plan

    def reasons(self, state: State | None, items: Sequence[Any], top: int = 3, *, strength: float | None = None) -> list[list[Reason]]:
        """For each of some found items what in the person's own history moved it up, strongest first.

        A contribution is, exactly, the item's search score less its score when the state is made without that thing; it is the same for
        every query, because the person's part of the score is added to the query's. Empty lists without a state or at strength 0.
        """
        if top < 1:
            raise ConfigError(f"top is {top}", fix="ask for at least 1 reason")
        self.check_fitted()
        self.check_state(state)
        wanted = self._known(items)
        weight = self._strength(strength) * self.taste_weight_
        if state is None or not weight:
            return [[] for _ in items]
        things, counts, moved = contributions(self, state, wanted)
        if things.size == 1:
            # Without it nothing is known of the person.
            moved = (self._score([state], wanted) - self._score([None], wanted)).astype(np.float64)
        return [strongest(self, things, counts, weight * moved[:, column], top) for column in range(wanted.size)]

    def candidates(
        self, asked: Sequence[str], *, where: Filter | str | None = None, allowed: Bitmap | None = None, left_out: list[np.ndarray] | None = None,
        seen: States | None = None,
    ) -> tuple[Pool, str]:  # fmt: skip
        """What words and vectors find, before anything is weighed, and how they were searched; `seen` leaves out what these states hold."""
        found, near = self.hybrid.lists(asked, min(self.pool, len(self.items_)), where=where, allowed=allowed)
        pool = Pool.of([found, near])
        out = left_out if seen is None else self._left_out(seen, "seen")
        if out is not None:
            indptr = np.concatenate([[0], np.cumsum([one.size for one in out])]).astype(np.int64)
            pool = pool.keep(~pool.holds(indptr, np.concatenate([*out, np.empty(0, np.int32)])))
        return pool, f"words: {found.plan}; vectors: {near.plan}"

    def features(self, asked: Sequence[str], pool: Pool) -> np.ndarray:
        """float32 [entries, 4]: words and vectors as shares of the query's best, the share of the query's words, popularity."""
        shares = self.hybrid.words.matched(asked)[pool.queries, pool.items]
        return np.column_stack([normalised(pool, "max"), shares, self.popularity_[pool.items]])

    @staticmethod
    def lift(taste: ItemRecommender, pool: Pool, states: States) -> np.ndarray:
        """float32 [entries]: the taste's lift of each entry for its person."""
        return lift(lambda some: taste._score(some, None), pool, states)

    def _strength(self, strength: float | None) -> float:
        if strength is None:
            return 1.0
        if isinstance(strength, bool) or not isinstance(strength, int | float | np.number) or not 0 <= strength <= 1:
            raise ConfigError(f"strength is {strength!r}", fix="use a number from 0 (everybody's order) to 1 (as personal as was learned)")
        return float(strength)

    def _allowed(self, candidates: Sequence[Any] | Bitmap) -> Bitmap:
        if isinstance(candidates, Bitmap):
            return candidates
        if isinstance(candidates, str):
            raise ConfigError(f"candidates is '{candidates}'", fix="give a list of item ids")
        return Bitmap.of_rows(self._known(candidates), len(self.items_))

    @staticmethod
    def _note(total: int, known: int, found: bool) -> str:
        if known:
            return "" if known == total else f"{total - known} of {total} words are in no item"
        return "no word of the query is in any item" + ("; these are the nearest by parts of words or meaning" if found else "")
