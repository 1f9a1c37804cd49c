"""LeanVec: a graph over short vectors that keep the inner products with your queries, and a second look at the full ones.

    index = ItemIndex.make("leanvec", dims=128).learn(sample_of_queries).build(vectors)      # without learn: for queries like the items
    index.search(queries, 10)

Two levels, both of 8-bit codes with a step of their own per vector: the first, `dims` numbers of a learned projection, is walked; what the walk
brings is compared again in the second, of all dimensions. Memory per vector: dims + dim + 4 x degree + 16 bytes; half of dims with 4 bits in the
first level, twice dim with 16 in the second. Scores are those of the second level, about 0.1% off.

Source: Tepper, Bhati, Aguerrebere, Hildebrand and Willke, LeanVec: Searching vectors faster by making them fit, TMLR 2024. Ours: the closed form
of the projection, whole-number kernels that any processor runs, and filters that are tested along the walk.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np

from sartor.errors import ConfigError, EmptyData
from sartor.method import learned
from sartor.parts.threads import even, over_rows, threads
from sartor.retrieve import vamana, vamana_build
from sartor.retrieve._projection import closed_form, frank_wolfe, moment, pca
from sartor.retrieve._rotation import Rotation
from sartor.retrieve.bitmaps import Bitmap
from sartor.retrieve.calibration import WINDOWS, least_window
from sartor.retrieve.checks import checked_vectors
from sartor.retrieve.codes import encode, quantize, remainder
from sartor.retrieve.exact import exact
from sartor.retrieve.index import ItemIndex
from sartor.retrieve.rows import Rows

SAMPLE, HELD, K = 20_000, 256, 10
"""Vectors that the projection is learned from, queries that the window is calibrated with, and the number of items that it is calibrated for."""
WORTH = 0.4
"""A walk is worth it when it compares less than this part of what comparing all allowed would."""
SAME = 0.01
"""Share of queries that the projection was learned from, beyond which a result says little: a warning."""
NOTHING = np.empty(0, np.float32)


@dataclass(kw_only=True, eq=False)
class LeanVecIndex(ItemIndex):
    """Approximate search on any processor in about the memory of 8-bit vectors, made for 512 dimensions and more."""

    kind: ClassVar[str] = "leanvec"
    dims: int | None = None
    """Of the first level; None means a sixth of the dimensions in steps of 32, at least 160 (all, where there are fewer)."""
    projection: Literal["auto", "pca", "frank-wolfe", "closed-form"] = "auto"
    """auto: closed-form after `learn`, pca without. pca needs no queries."""
    first_bits: Literal[4, 8] = 8
    """Of a number of the first level. 4 leaves room for more dimensions and links: where neighbours differ in many directions."""
    second_bits: Literal[8, 16] = 8
    """Of a number of the second level. 16 takes as much memory as float16, for a recall of 0.99 where neighbours lie close together."""
    degree: int = 32
    """Links of each vector."""
    build_window: int = 100
    """How many the walk keeps while the graph is built."""
    alpha: float = 1.2
    """A link is left out when another one is nearer to its end by this factor, in squared distance."""
    recall: float = 0.95
    """What the calibration aims at, for ten items."""
    seed: int = 0

    window_: np.ndarray = learned()
    """int64 [1]: how many a walk keeps to reach the recall; the largest tried where none did."""
    looked_at_: np.ndarray = learned()
    """float32 [len(WINDOWS)]: how many vectors a query is compared with, by window."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dims is not None and self.dims < 1:
            raise ConfigError(f"dims={self.dims}", fix="use at least 1; 160 is usual")
        if self.projection not in ("auto", "pca", "frank-wolfe", "closed-form"):
            raise ConfigError(f"there is no projection '{self.projection}'", fix="use auto, pca, frank-wolfe or closed-form")
        if self.first_bits not in (4, 8):
            raise ConfigError(f"first_bits={self.first_bits}", fix="use 4 or 8")
        if self.second_bits not in (8, 16):
            raise ConfigError(f"second_bits={self.second_bits}", fix="use 8 or 16")
        if self.degree < 2 or self.build_window < self.degree:
            raise ConfigError(f"degree={self.degree}, build_window={self.build_window}", fix="use a degree of at least 2, and no smaller a window")
        if self.alpha < 1:
            raise ConfigError(f"alpha={self.alpha}", fix="use at least 1; 1.2 is usual")
        if not 0 < self.recall < 1:
            raise ConfigError(f"recall={self.recall}", fix="give a share between 0 and 1")

    def learn(self, queries: np.ndarray) -> Self:
        """Remember a sample of queries, float [q, dim], for the next `build`: its projection and its window are made for such ones.

        Keep other queries to measure with: a search with more than 1% of the learned ones warns.
        """
        queries = np.atleast_2d(np.asarray(queries))
        if not queries.size:
            raise EmptyData("there are no queries to learn from", fix="leave learn out: then the items stand for the queries")
        self._asked = checked_vectors(queries, queries.shape[1], self.metric, what="query")[0]
        return self

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays().values())

    # --- building

    def _build(self, vectors: np.ndarray, biases: np.ndarray | None) -> None:
        n, dim = vectors.shape
        self._project(vectors)
        self._longest = np.array([np.einsum("nd,nd->n", vectors, vectors).max()], np.float32)
        self._mean = vectors.mean(0, dtype=np.float64).astype(np.float32)
        self._turn(dim)
        self._short, self._short_facts, self._full, self._full_facts, self._rest = (Rows(one) for one in self._coded(vectors))
        self._biases = Rows(NOTHING if biases is None else biases)
        # The graph is first made without some vectors, which stand for queries: their own neighbours would lead others to them too easily.
        rng = np.random.default_rng(self.seed)
        held = np.sort(rng.choice(n, min(HELD, n // 8), replace=False)) if self._asked is None else np.empty(0, np.int64)
        graph = np.delete(np.arange(n), held)
        links, entries = vamana_build.build(self._short.array, self._short_facts.array, graph, self.degree, self.build_window, self.alpha, self.seed)
        self._links, self._entries = Rows(links), entries
        queries = vectors[held] if self._asked is None else self._asked[rng.permutation(len(self._asked))[:HELD]]
        self._calibrate(queries, vectors[graph] if held.size else vectors, None if biases is None else biases[graph], graph)
        self._insert(held)

    def _project(self, vectors: np.ndarray) -> None:
        dim = vectors.shape[1]
        dims = min(dim, max(160, round(dim / 6 / 32) * 32)) if self.dims is None else self.dims
        if dims > dim:
            raise ConfigError(f"dims={dims} of {dim} dimensions", fix="project onto fewer dimensions than the vectors have")
        if self._asked is not None and self._asked.shape[1] != dim:
            raise ConfigError(
                f"the learned queries have {self._asked.shape[1]} dimensions, the vectors {dim}", fix="learn from the same encoder's queries"
            )
        how = self.projection if self.projection != "auto" else "pca" if self._asked is None else "closed-form"
        if how != "pca" and self._asked is None:
            raise ConfigError(f"the projection {how} is learned from queries", fix="call learn(queries) before build, or use pca")
        rng = np.random.default_rng([self.seed, 1])
        items = moment(vectors if len(vectors) <= SAMPLE else vectors[np.sort(rng.choice(len(vectors), SAMPLE, replace=False))])
        if dims == dim:
            a = b = np.eye(dim)
        elif how == "pca" or self._asked is None:
            a, b = pca(items, dims)
        else:
            a, b = (closed_form if how == "closed-form" else frank_wolfe)(items, moment(self._asked), dims)
        if self.metric == "ip":
            # One more coordinate makes all items equally long and takes no part in products: so the nearest are those of largest product.
            a, b = (np.pad(one, ((0, 0), (0, 1))) for one in (a, b))
        if self.first_bits == 4 and a.shape[1] % 2:
            a, b = (np.pad(one, ((0, 0), (0, 1))) for one in (a, b))
        turn = np.linalg.qr(rng.normal(size=(a.shape[1], a.shape[1])))[0]
        self._for_queries, self._for_items, self._last = (a @ turn).astype(np.float32), (b @ turn).astype(np.float32), turn[-1].astype(np.float32)
        self._marks = np.unique(_marks(self._asked)) if self._asked is not None else np.empty(0, np.uint64)

    def _turn(self, dim: int) -> None:
        self._rotation = Rotation(dim, self.seed)
        self._short_mean = self._mean @ self._for_items

    def _coded(self, vectors: np.ndarray) -> list[np.ndarray]:
        """Codes and facts of the first level, codes, facts and remainder of the second."""
        parts = []
        for at in range(0, len(vectors), 8192):
            part = vectors[at : at + 8192]
            near = part @ self._for_items - self._short_mean
            if self.metric == "ip":
                near += np.sqrt(np.maximum(self._longest - np.einsum("nd,nd->n", part, part), 0))[:, None] * self._last
            full = self._rotation(part - self._mean)
            codes, facts = encode(full)
            rest = remainder(full, codes, facts) if self.second_bits == 16 else np.empty((len(part), 0), np.int8)
            parts.append((*encode(near, self.first_bits), codes, facts, rest))
        return [np.concatenate(one) for one in zip(*parts, strict=True)]

    def _levels(self) -> tuple[Rows, ...]:
        return self._short, self._short_facts, self._full, self._full_facts, self._rest

    def _calibrate(self, queries: np.ndarray, vectors: np.ndarray, biases: np.ndarray | None, rows: np.ndarray) -> None:
        """The least window that reaches the recall, and what every window looks at."""
        self.window_, self.looked_at_ = np.array([WINDOWS[-1]]), np.full(len(WINDOWS), len(rows), np.float32)
        if not len(queries):
            return
        k = min(K, len(rows))
        walks = {window: self._walk(queries, k, None, window, 0) for window in WINDOWS}
        self.looked_at_ = np.array([work.mean() for _, _, work in walks.values()], np.float32)
        self.window_ = np.array([least_window(lambda window: walks[window][0], rows[exact(queries, vectors, biases, k)[0]], self.recall)])

    def _insert(self, rows: np.ndarray) -> None:
        codes, facts, links = self._short.array, self._short_facts.array, self._links.array
        half, alpha = vamana_build.halves(codes, facts), np.float32(self.alpha)
        vamana_build.insert(
            rows.astype(np.int32), codes, facts, half, links, self._entries[: vamana_build.FEW], self.degree, self.build_window, alpha
        )

    def _add(self, vectors: np.ndarray, biases: np.ndarray | None) -> None:
        first = len(self._short.array)
        for rows, more in zip(self._levels(), self._coded(vectors), strict=True):
            rows.append(more)
        if biases is not None:
            self._biases.append(biases)
        self._links.append(np.full((len(vectors), self.degree), -1, np.int32))
        self._insert(np.arange(first, first + len(vectors)))

    # --- searching

    def _search(self, queries: np.ndarray, k: int, allowed: Bitmap | None, count: int, budget: float | None) -> tuple[np.ndarray, np.ndarray, str]:
        self._warn_of_learned(queries)
        window, looked = self._window(k, count, budget)
        if budget == 1 or window >= count:
            found, scores = self._scan(queries, k, allowed, None)
            plan = f"exact over the codes of {count} items"
        elif looked > WORTH * count:
            found, scores = self._scan(queries, k, allowed, window)
            plan = f"short codes of all {count} allowed, then {window} full ones: a walk would compare about {looked:.0f}"
        else:
            most = max(count, 2 * int(looked))
            found, scores, work = self._walk(queries, k, allowed, window, most)
            plan = f"walk with a window of {window}, then full codes; {count} of {self.rows} allowed"
            if (lost := np.flatnonzero((work < 0) | (found < 0).any(1))).size:
                found[lost], scores[lost] = self._scan(queries[lost], k, allowed, window)
                plan += f"; {lost.size} queries that the filter goes against were compared with all allowed"
        return found, scores + (queries @ self._mean)[:, None], plan

    def _window(self, k: int, count: int, budget: float | None) -> tuple[int, float]:
        """How many a walk keeps, and how many vectors it is expected to compare before so many allowed ones are found."""
        if budget is None:
            window = int(self.window_[0])
        else:
            window = WINDOWS[max(0, int(np.searchsorted(self.looked_at_, budget * self.rows, "right")) - 1)]
        window = max(k, -(-window * k // K))
        return window, float(np.interp(window, WINDOWS, self.looked_at_)) * max(1, window / WINDOWS[-1]) * self.rows / count

    def compared(self, k: int, count: int) -> tuple[float, bool]:
        """How many short codes one query is expected to be compared with when `count` rows are allowed, and whether that is all of them."""
        window, looked = self._window(k, count, None)
        scanned = window >= count or looked > WORTH * count
        return float(count) if scanned else looked, scanned

    def _walk(self, queries: np.ndarray, k: int, allowed: Bitmap | None, window: int, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found, scores = np.full((len(queries), k), -1, np.int32), np.full((len(queries), k), -np.inf, np.float32)
        work = np.empty(len(queries), np.int64)
        words = np.empty(0, np.uint64) if allowed is None else allowed.words
        over_rows(
            vamana.search, even(np.ones(len(queries)), threads()), *quantize(queries @ self._for_queries), self._short.array,
            self._short_facts.array, self._biases.array, self._links.array, self._entries, window, words, most,
            *quantize(self._rotation(queries)), *self._second(), found, scores, work,
        )  # fmt: skip
        return found, scores, work

    def _scan(self, queries: np.ndarray, k: int, allowed: Bitmap | None, window: int | None) -> tuple[np.ndarray, np.ndarray]:
        """All allowed in short codes and the best of them in full ones; all in full ones when `window` is None."""
        found, scores = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.float32)
        rows = np.arange(self.rows, dtype=np.int32) if allowed is None else allowed.rows()
        whole, full = quantize(self._rotation(queries)), self._second()
        if window is None:
            first, codes, window = whole, (full[0], full[1], full[3]), min(len(rows), 2 * k + K)
        else:
            first, codes = quantize(queries @ self._for_queries), (self._short.array, self._short_facts.array, self._biases.array)
        over_rows(vamana.scan, even(np.ones(len(queries)), threads()), *first, *codes, rows, window, *whole, *full, found, scores)
        return found, scores

    def _second(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self._full.array, self._full_facts.array, self._rest.array, self._biases.array

    def _warn_of_learned(self, queries: np.ndarray) -> None:
        if self._marks.size and len(queries) >= 1 / SAME:
            same = np.isin(_marks(queries), self._marks).mean()
            if same > SAME:
                warnings.warn(f"{same:.0%} of these queries are ones that the projection was learned from: measure with others", stacklevel=4)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "vectors": self._full.array, "facts": self._full_facts.array, "rest": self._rest.array, "short": self._short.array,
            "short_facts": self._short_facts.array, "biases": self._biases.array, "links": self._links.array, "entries": self._entries,
            "for_queries": self._for_queries, "for_items": self._for_items, "last": self._last, "mean": self._mean, "longest": self._longest,
            "marks": self._marks, "window": self.window_, "looked_at": self.looked_at_,
        }  # fmt: skip

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self._full, self._full_facts, self._rest = Rows(arrays["vectors"]), Rows(arrays["facts"]), Rows(arrays["rest"])
        self._short = Rows(arrays["short"])
        self._short_facts, self._biases, self._links = Rows(arrays["short_facts"]), Rows(arrays["biases"]), Rows(arrays["links"])
        self._entries, self._for_queries, self._for_items = arrays["entries"], arrays["for_queries"], arrays["for_items"]
        self._last, self._mean, self._longest, self._marks = arrays["last"], arrays["mean"], arrays["longest"], arrays["marks"]
        self.window_, self.looked_at_ = arrays["window"], arrays["looked_at"]
        self._turn(len(self._mean))

    _asked: np.ndarray | None = learned(None)


def _marks(vectors: np.ndarray) -> np.ndarray:
    """uint64 [n]: equal vectors have equal marks, others hardly ever."""
    few = np.ascontiguousarray(vectors[:, np.linspace(0, vectors.shape[1] - 1, 8).astype(int)]).view(np.uint32).astype(np.uint64)
    mixed = np.zeros(len(few), np.uint64)
    for column in few.T:
        mixed = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
    return mixed
