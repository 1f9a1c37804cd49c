"""ANNCUR: search with an expensive scorer of pairs itself, asking it some hundred questions per request instead of one per item."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sartor.errors import BadValue, ConfigError, CorruptFile, NotFitted, SpaceMismatch, StateMismatch, UnknownId
from sartor.method import State, States
from sartor.retrieve import _beside
from sartor.retrieve.hits import Hits
from sartor.retrieve.index import ItemIndex
from sartor.retrieve.score_rank import RankReport

if TYPE_CHECKING:
    import polars as pl

    from sartor.retrieve.filters import Filter
    from sartor.retrieve.pair_scorer import CountedScorer


@dataclass(kw_only=True, eq=False)
class ANNCUR:
    """All scores of a query from its scores with a few anchor items, by the rows that anchor queries have with all items.

        index = ANNCUR(anchor_items=50).build(scorer, training_queries, items)
        hits = index.search(["quiet thriller"], 10, calls=200)      # 50 calls for the anchors, 150 for the best of the rest

    With R [kq, m] the anchor queries' scores with all items, A its columns of the anchor items and c a query's answers, all scores are
    approximately c pinv(A) R. Items become the columns of pinv(A) R, so that any index for inner products finds the best; these are scored
    exactly, and only exact scores are given.

    It needs a scorer whose matrix is nearly of low rank (see `rank_report`), and k above 10 or so: for the very best item, re-ranking
    what a dual encoder finds may be better. The pseudo-inverse amplifies noise where kq is near ki: keep kq >= 2 ki.

    Source: Yadav, Monath, Angell, Zaheer and McCallum, Efficient Nearest Neighbor Search for Cross-Encoder Models using Matrix
    Factorization, EMNLP 2022. Differs from the paper in: small singular values can be damped (`ridge`) besides being cut off (`rcond`),
    and the anchors themselves, whose exact scores are known anyway, are among the results without being asked again.
    """

    anchor_items: int = 50
    """Scorer calls that every new query costs first."""
    anchor_queries: int = 500
    """Of the queries given to `build`, this many at most are scored with every item: the cost of the index."""
    rcond: float = 1e-5
    """Singular values of A below this share of the largest count as zero."""
    ridge: float = 0.0
    """Damps singular values of A below about this share of the largest; for noisy scorers."""
    kind: str = "exact"
    """Of the index inside; see `ItemIndex.make`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the index inside, but its metric, which is the inner product."""
    seed: int = 0

    items_: Sequence[Any] = field(init=False, repr=False, default=())
    """What the scorer is asked about, by row."""
    anchors_: np.ndarray = field(init=False, repr=False, default_factory=lambda: np.empty(0, np.int64))
    """int64 [ki], rows of the anchor items, sorted."""
    crossing_: np.ndarray = field(init=False, repr=False, default_factory=lambda: np.empty((0, 0), np.float32))
    """float32 [kq, ki]: A."""
    singular_: np.ndarray = field(init=False, repr=False, default_factory=lambda: np.empty(0))
    """float64, of R."""
    index_: ItemIndex | None = field(init=False, repr=False, default=None)
    asked_: Sequence[Any] = field(init=False, repr=False, default=())
    """The anchor queries."""

    # --- making

    def build(
        self, scorer: CountedScorer, queries: Sequence[Any], items: Sequence[Any], ids: Sequence[Any] | None = None,
        *, attributes: pl.DataFrame | None = None, probe: bool = True, progress: bool = True,
    ) -> Self:  # fmt: skip
        """Ask the scorer for every pair of an anchor query and an item.

        Parameters
        ----------
        scorer: its calls are counted in it: anchor queries x items, and 128 for the probe.
        queries: to draw anchor queries from; not those that will be searched for.
        items: what to search among; ids name them (0..m-1 by default), attributes are for filters.
        probe: ask some pairs twice and warn of a scorer that is not deterministic.
        """
        self._check(len(queries), len(items))
        if probe:
            scorer.probe(queries, items, seed=self.seed)
        rng = np.random.default_rng([self.seed, 1])
        chosen = np.sort(rng.choice(len(queries), min(self.anchor_queries, len(queries)), replace=False))
        asked = [queries[at] for at in chosen]
        return self.build_from(scorer.matrix(asked, items, progress=progress), items, ids, queries=asked, attributes=attributes, space=scorer.name)

    def build_from(
        self, rows: np.ndarray, items: Sequence[Any], ids: Sequence[Any] | None = None,
        *, queries: Sequence[Any] = (), attributes: pl.DataFrame | None = None, space: str = "",
    ) -> Self:  # fmt: skip
        """The same from scores that are known already.

        rows: R, float [kq, m], of anchor queries (or anchor people) with all items, every score known; anchor items are drawn here.
        queries: the anchor queries themselves, if more items are to be added later.
        """
        rows = np.asarray(rows, np.float32)
        if rows.ndim != 2 or rows.shape[1] != len(items):
            raise BadValue(f"scores of shape {list(rows.shape)} for {len(items)} items", fix="give one row per anchor query, one column per item")
        self._check(len(rows), len(items))
        if (bad := np.argwhere(~np.isfinite(rows))).size:
            raise BadValue(f"a score is {rows[tuple(bad[0])]}", query=int(bad[0][0]), item=repr(items[bad[0][1]]))
        self.anchors_ = np.sort(np.random.default_rng([self.seed, 2]).choice(len(items), self.anchor_items, replace=False))
        self.crossing_ = rows[:, self.anchors_]
        self.singular_ = RankReport.of(rows).singular_values
        self.items_, self.asked_ = items, queries
        vectors = (self._inverse() @ rows).T.astype(np.float32)
        self.index_ = ItemIndex.make(self.kind, **{**self.settings, "metric": "ip"}).build(vectors, ids, attributes=attributes, space=space)
        return self

    def add(self, scorer: CountedScorer, items: Sequence[Any], ids: Sequence[Any] | None = None, attributes: pl.DataFrame | None = None) -> None:
        """More items, at once findable: one call per anchor query and item; anchors stay."""
        if len(self.asked_) != len(self.crossing_):
            raise ConfigError("the anchor queries are not known", fix="give them to build_from(queries=...)")
        vectors = (self._inverse() @ scorer.matrix(self.asked_, items)).T.astype(np.float32)
        self.index.add(vectors, ids, attributes, space=scorer.name)
        self.items_ = [*self.items_, *items]

    def remove(self, ids: Sequence[Any]) -> int:
        """Take items out by id; an anchor is asked about still, but not given any more."""
        return self.index.remove(ids)

    def _check(self, queries: int, items: int) -> None:
        if not 2 <= self.anchor_items <= items:
            raise ConfigError(f"{self.anchor_items} anchor items of {items} items", fix="use at least 2, and no more than there are items")
        if min(queries, self.anchor_queries) < 2:
            raise ConfigError(f"{min(queries, self.anchor_queries)} anchor queries", fix="use at least 2; better twice as many as anchor items")
        if self.rcond < 0 or self.ridge < 0:
            raise ConfigError(f"rcond {self.rcond}, ridge {self.ridge}", fix="use shares of the largest singular value, 0 or more")

    def _inverse(self, columns: np.ndarray | None = None) -> np.ndarray:
        """float64 [anchors, kq]: the pseudo-inverse of A, or of some of its columns."""
        a = self.crossing_ if columns is None else self.crossing_[:, columns]
        left, values, right = np.linalg.svd(a.astype(np.float64), full_matrices=False)
        most = values[0] if values.size else 0.0
        damped = np.divide(values, values**2 + (self.ridge * most) ** 2, out=np.zeros_like(values), where=values > self.rcond * most)
        return (right.T * damped) @ left.T

    # --- what there is

    @property
    def index(self) -> ItemIndex:
        """The index of the columns of pinv(A) R."""
        if self.index_ is None:
            raise NotFitted("the index is not built", fix="call build(scorer, queries, items), or ANNCUR.load(folder, items)")
        return self.index_

    @property
    def fingerprint(self) -> str:
        """32 hex digits of the anchors: answers to other ones mean nothing here."""
        own = np.ascontiguousarray(self.crossing_)
        return hashlib.blake2b(repr(self.questions).encode() + own.tobytes(), digest_size=16).hexdigest()

    @property
    def questions(self) -> list[Any]:
        """Ids of the anchor items, in the order of answers."""
        names = self.index.ids
        return [names[row] for row in self.anchors_]

    def rank_report(self) -> RankReport:
        """Singular values of R."""
        return RankReport(self.singular_)

    # --- searching

    def answers(self, scorer: CountedScorer, queries: Sequence[Any]) -> np.ndarray:
        """float32 [queries, ki]: the scores with the anchor items; ki calls for each query."""
        return scorer.matrix(queries, [self.items_[row] for row in self.anchors_])

    def state(self, answers: Mapping[Any, float], before: State | None = None) -> State:
        """What one person thinks of some of the `questions`: 2 bytes for each, answered or not (`answers` float16 [ki], NaN where not).

        answers: question's id -> score, on the scorer's scale; with `before`, they are put over the earlier ones.
        """
        known = np.full(self.anchors_.size, np.nan, np.float16) if before is None else self.stacked([before])[0].astype(np.float16)
        places = {str(name): place for place, name in enumerate(self.questions)}
        if unknown := [one for one in answers if str(one) not in places]:
            raise UnknownId("this is not one of the questions", id=repr(unknown[0]), fix="answer what `questions` asks")
        for one, score in answers.items():
            if not np.isfinite(np.float16(score)):
                raise BadValue(f"an answer is {score}", item=repr(one), fix="give a number, or leave the question out")
            known[places[str(one)]] = score
        if before is None:
            return State({"answers": known}, "ANNCUR", self.fingerprint, examples=len(answers))
        return replace(before, arrays={"answers": known}, version=before.version + 1, examples=before.examples + len(answers), updated=time.time())

    def stacked(self, states: States) -> np.ndarray:
        """float32 [states, ki]: people's answers, to be given as `answers`; without a state, the mean of the anchor queries.

        Raises `StateMismatch` for answers to another index's questions.
        """
        fingerprint = self.fingerprint
        for state in states:
            if state is not None and (state.fingerprint != fingerprint or state["answers"].shape != self.anchors_.shape):
                raise StateMismatch("these are answers to the questions of another index", fix="ask the person again")
        rows = [self.crossing_.mean(0) if state is None else state["answers"] for state in states]
        return np.array(rows, np.float32).reshape(len(states), self.anchors_.size)

    def complete(self, answers: np.ndarray) -> np.ndarray:
        """Answers with gaps (NaN), completed from the others in the same way as scores are; all gaps become 0."""
        made = np.atleast_2d(np.array(answers, np.float32))
        if made.shape[1] != self.anchors_.size:
            raise BadValue(f"{made.shape[1]} answers, there are {self.anchors_.size} anchors", fix="answer in the order of `questions`, NaN for none")
        if np.isinf(made).any():
            raise BadValue("an answer is infinite", fix="give numbers, or NaN for none", row=int(np.argwhere(np.isinf(made))[0][0]))
        gaps, which = np.unique(np.isnan(made), axis=0, return_inverse=True)
        for number, gap in enumerate(gaps):
            if gap.any():
                own = np.flatnonzero(which.reshape(-1) == number)
                known = np.flatnonzero(~gap)
                filled = made[np.ix_(own, known)] @ self._inverse(known) @ self.crossing_[:, gap] if known.size else 0.0
                made[np.ix_(own, np.flatnonzero(gap))] = filled
        return made

    def approximate(self, answers: np.ndarray) -> np.ndarray:
        """float32 [queries, m]: every item's approximate score, for those who may not ask further."""
        vectors = self._vectors()
        return self.complete(answers) @ vectors.T

    def search(
        self, scorer: CountedScorer, queries: Sequence[Any], k: int = 10, *, calls: int = 200, answers: np.ndarray | None = None,
        where: Filter | str | None = None, allowed: Any = None,
    ) -> Hits:  # fmt: skip
        """The k best items for each query that were scored exactly, in the order of these scores.

        Parameters
        ----------
        calls: of the scorer per query, all in all: those for the anchors, and as many more as are left for the best of the other items.
        answers: float [queries, ki], if they are known already (a person's state); then all `calls` go to other items. NaN is no answer.
        where, allowed: as in `ItemIndex.search`.
        """
        if scorer.name != self.index.space:
            raise SpaceMismatch(
                f"the scorer is '{scorer.name}', the index was made with '{self.index.space}'", fix="build the index with this scorer"
            )
        left = calls - (self.anchors_.size if answers is None else 0)
        if left < 1 or calls < k:
            raise ConfigError(
                f"{calls} calls for k = {k} and {self.anchors_.size} anchors", fix="allow more calls than there are anchors, at least k"
            )
        known = self.answers(scorer, queries) if answers is None else np.atleast_2d(np.asarray(answers, np.float32))
        if len(known) != len(queries):
            raise BadValue(f"answers of {len(known)} for {len(queries)} queries", fix="give one row per query")
        index, n = self.index, len(queries)
        may = index._bits(where, allowed)
        mask = np.ones(index.rows, bool) if may is None else may.mask()
        own = mask.copy()
        own[self.anchors_] = False
        rows = np.full((n, 0), -1, np.int32)
        if own.any():
            rows = index.search(self.complete(known), min(left, int(own.sum())), allowed=own).indices
        exact = np.full(rows.shape, -np.inf, np.float32)
        # An approximate index may find fewer than it was asked for.
        asked, there = np.nonzero(rows >= 0)
        exact[asked, there] = scorer.pairs([queries[at] for at in asked.tolist()], [self.items_[row] for row in rows[asked, there].tolist()])
        anchors = np.where(mask[self.anchors_] & ~np.isnan(known), known, -np.inf)
        scores = np.concatenate([exact, anchors], 1)
        places = np.concatenate([rows, np.broadcast_to(self.anchors_.astype(np.int32), anchors.shape)], 1)
        if scores.shape[1] < k:
            pad = ((0, 0), (0, k - scores.shape[1]))
            scores, places = np.pad(scores, pad, constant_values=-np.inf), np.pad(places, pad, constant_values=-1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(scores, order, 1)
        found = np.where(best > -np.inf, np.take_along_axis(places, order, 1), -1)
        plan = f"{self.anchors_.size} anchors {'asked' if answers is None else 'known'}; {rows.shape[1]} of {int(own.sum())} others scored exactly"
        return Hits(found.astype(np.int32), best, index.ids, plan)

    def _vectors(self) -> np.ndarray:
        """float32 [m, ki], from the index where it keeps them in order, which the exact one does."""
        if self.kind != "exact":
            raise ConfigError("the index inside does not keep its vectors in order", fix="use kind='exact'")
        return np.asarray(self.index._arrays()["vectors"], np.float32)

    # --- files

    def save(self, folder: str | Path) -> Path:
        """Write the index into a folder, all or nothing; not the items and queries themselves, which are the caller's."""
        facts = {name: getattr(self, name) for name in _FACTS} | {"settings": dict(self.settings)}
        arrays = {"anchors": self.anchors_, "crossing": self.crossing_, "singular": self.singular_}
        return _beside.save(self.index, Path(folder), "anchors", arrays, facts)

    @classmethod
    def load(cls, folder: str | Path, items: Sequence[Any], *, queries: Sequence[Any] = (), mmap: bool = True) -> Self:
        """A saved index, with the same items in the same order (and the anchor queries, for `add`); raises `CorruptFile`, `FileProblem`."""
        inner, arrays, facts = _beside.load(Path(folder), "anchors", _FACTS, mmap=mmap)
        if len(items) != inner.rows:
            raise BadValue(f"{len(items)} items for an index of {inner.rows}", fix="give the items that it was built with, in their order")
        try:
            made = cls(**facts)
            made.anchors_, made.crossing_, made.singular_ = arrays["anchors"], arrays["crossing"], arrays["singular"]
            whole = made.crossing_.shape[1] == made.anchors_.size == inner.dim and 0 <= made.anchors_.min() <= made.anchors_.max() < inner.rows
        except (KeyError, TypeError, IndexError) as cause:
            raise CorruptFile("the saved index does not hold what it should", fix="build and save it again", file=folder) from cause
        if not whole:
            raise CorruptFile("anchors and vectors are not of the same index", fix="build and save it again", file=folder)
        made.index_, made.items_, made.asked_ = inner, items, queries
        return made


_FACTS = ("anchor_items", "anchor_queries", "rcond", "ridge", "kind", "settings", "seed")
