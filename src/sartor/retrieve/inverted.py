"""Inverted file: vectors lie together by cell, a query looks at cells from the most promising on and stops when the rest can hardly help.

Which cells can still help is decided per query, by how good its k-th best already is: a filter that leaves little, or only what lies far
from the query, makes that one worse, so that more cells are looked at. How much is "hardly" (`slack_`) is calibrated at build, by share of
allowed items, and apart for queries near which far fewer items are allowed than elsewhere: the filters that go against the query.

Source of the structure: Jegou, Douze and Schmid, Product Quantization for Nearest Neighbor Search, PAMI 2011.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np

from sartor.errors import ConfigError
from sartor.method import learned
from sartor.parts.threads import even, over_rows, threads
from sartor.retrieve.bitmaps import Bitmap
from sartor.retrieve.calibration import SHARES, calibrate
from sartor.retrieve.exact import TOGETHER, dot, exact, offer
from sartor.retrieve.index import ItemIndex
from sartor.retrieve.rows import Rows

ROUNDS, PER_CELL = 8, 40
"""Of k-means, and the vectors for each cell that it learns from."""
FIRST = 64
"""One in so many cells, the nearest, is always looked at: it shows how much is allowed near the query."""
AGAINST = 0.85
"""A filter goes against a query near which less than this part of the overall share is allowed."""
TAIL = 0.2
"""Share of added rows, outside the cells and looked at by every query, beyond which they are put into cells."""
EVERYTHING = np.array([np.inf, np.inf], np.float32)
"""The slack with which no cell is left out. A deviation of 0 times it is no number, and leaves none out either."""


def cells(vectors: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Centres float32 [count, dim] of k-means on a sample (Lloyd's rounds; an empty cell starts again at a random vector)."""
    rng = np.random.default_rng(seed)
    sample = vectors[np.sort(rng.choice(len(vectors), min(len(vectors), PER_CELL * count), replace=False))]
    centres = sample[rng.choice(len(sample), count, replace=False)].copy()
    for _ in range(ROUNDS):
        labels = nearest(sample, centres)
        order = np.argsort(labels, kind="stable")
        sizes = np.bincount(labels, minlength=count)
        full = sizes > 0
        starts = np.cumsum(sizes) - sizes
        centres[full] = np.add.reduceat(sample[order], starts[full], axis=0) / sizes[full, None]
        centres[~full] = sample[rng.choice(len(sample), (~full).sum())]
    return centres


def nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """int64 [n]: the nearest centre of each vector."""
    half = np.einsum("cd,cd->c", centres, centres) / 2
    return np.concatenate([(vectors[at : at + 4096] @ centres.T - half).argmax(1) for at in range(0, len(vectors), 4096)])


@dataclass(kw_only=True, eq=False)
class InvertedIndex(ItemIndex):
    """Approximate search over k-means cells, with the filter's bitmap tested inside the loop. Vectors are kept once, in the order of cells."""

    kind: ClassVar[str] = "inverted"
    cells: int | None = None
    """How many; None means twice the square root of the number of vectors."""
    recall: float = 0.95
    """What the calibration aims at, for ten items."""
    seed: int = 0
    guard: bool = True
    """Answer a query again, exactly, when it found fewer than there are; False only to compare."""

    slack_: np.ndarray = learned()
    """float32 [shares, 2]: how many standard deviations a cell may still surprise by, when a filter does not go against the query and when it
    does; inf where nothing less than everything was good enough."""
    looked_at_: np.ndarray = learned()
    """float32 [shares, 2]: of all rows, the share whose bit was tested and the share that was compared, for queries with no filter against them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cells is not None and self.cells < 1:
            raise ConfigError(f"{self.cells} cells", fix="use at least 1")
        if not 0 < self.recall < 1:
            raise ConfigError(f"recall={self.recall}", fix="give a share between 0 and 1")

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays().values())

    def _build(self, vectors: np.ndarray, biases: np.ndarray | None) -> None:
        wanted = round(2 * len(vectors) ** 0.5) if self.cells is None else self.cells
        self._centres = cells(vectors, max(1, min(wanted, len(vectors))), self.seed)
        self._settle(vectors, biases, np.arange(len(vectors), dtype=np.int32), nearest(vectors, self._centres))

    def _settle(self, vectors: np.ndarray, biases: np.ndarray | None, numbers: np.ndarray, labels: np.ndarray) -> None:
        """Put vectors in the order of their cells; `numbers` are their rows."""
        order = np.argsort(labels, kind="stable")
        count = len(self._centres)
        sizes = np.bincount(labels, minlength=count)
        vectors, labels = vectors[order], labels[order]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._vectors, self._biases = Rows(vectors), Rows(np.empty(0, np.float32) if biases is None else biases[order])
        self._numbers = Rows(numbers[order].astype(np.int32))
        self._places = Rows(np.argsort(self._numbers.array).astype(np.int32))
        squares, covariance = np.zeros(count), np.zeros((vectors.shape[1], vectors.shape[1]))
        for at in range(0, len(vectors), 4096):
            apart = vectors[at : at + 4096] - self._centres[labels[at : at + 4096]]
            squares += np.bincount(labels[at : at + 4096], np.einsum("nd,nd->n", apart, apart), count)
            covariance += apart.T @ apart
        # How far members lie from their centre in any direction: one shape for all cells, and the size of each.
        self._covariance = (covariance / max(squares.sum(), 1e-30)).astype(np.float32)
        self._spread = np.sqrt(squares / np.maximum(sizes, 1)).astype(np.float32)

    def _add(self, vectors: np.ndarray, biases: np.ndarray | None) -> None:
        first = len(self._numbers.array)
        new = np.arange(first, first + len(vectors), dtype=np.int32)
        self._vectors.append(vectors)
        if biases is not None:
            self._biases.append(biases)
        self._numbers.append(new)
        self._places.append(new)
        settled = int(self._starts[-1])
        if first + len(vectors) - settled > TAIL * settled + 64:
            # The cells stay as they are: only what came since goes into them.
            labels = np.repeat(np.arange(len(self._centres)), np.diff(self._starts))
            labels = np.concatenate([labels, nearest(self._vectors.array[settled:], self._centres)])
            self._settle(self._vectors.array, self._own_biases(), self._numbers.array, labels)

    def _own_biases(self) -> np.ndarray | None:
        return self._biases.array if self._biases.array.size else None

    def _ready(self) -> None:
        self.slack_, self.looked_at_ = calibrate(self)

    def _search(self, queries: np.ndarray, k: int, allowed: Bitmap | None, count: int, budget: float | None) -> tuple[np.ndarray, np.ndarray, str]:
        if budget is None:
            slack = self._slack(count)
            if not np.isfinite(slack[0]):
                return *self._exactly(queries, k, allowed), f"exact over {count} items: no calibrated stop reaches recall {self.recall:g}"
            found, scores, _ = self._scan(queries, k, allowed, slack, share=count / self.rows)
            return *self._guarded(found, scores, queries, k, allowed), f"inverted file with bitmap, slack {slack[0]:.2g}, {count} allowed"
        probes = max(1, round(budget * len(self._centres)))
        found, scores, _ = self._scan(queries, k, allowed, EVERYTHING, probes)
        return *self._guarded(found, scores, queries, k, allowed), f"inverted file with bitmap, {probes} of {len(self._centres)} cells"

    def _guarded(self, found: np.ndarray, scores: np.ndarray, queries: np.ndarray, k: int, allowed: Bitmap | None) -> tuple[np.ndarray, np.ndarray]:
        """Queries that found fewer than there are, again and exactly."""
        short = np.flatnonzero((found < 0).any(1) & self.guard)
        if short.size:
            found[short], scores[short] = self._exactly(queries[short], k, allowed)
        return found, scores

    def _slack(self, count: int) -> np.ndarray:
        """Of the calibrated share at or below this one."""
        at = int(np.searchsorted(-SHARES, -count / self.rows, "left"))
        return np.asarray(self.slack_[min(at, len(SHARES) - 1)])

    def _exactly(self, queries: np.ndarray, k: int, allowed: Bitmap | None) -> tuple[np.ndarray, np.ndarray]:
        places: np.ndarray | None = None if allowed is None else np.sort(self._places.array[allowed.rows()])
        found, scores = exact(queries, self._vectors.array, self._own_biases(), k, places)
        return self._numbers.array[found], scores

    def _scan(
        self, queries: np.ndarray, k: int, allowed: Bitmap | None, slack: np.ndarray, probes: int | None = None, skip: np.ndarray | None = None,
        share: float = 1.0,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
        """Rows and scores (-1 and -inf where it stopped early); int64 [q, 3]: bits tested, vectors compared, 1 where the filter was against it.

        `slack` inf looks at `probes` cells, or at all. `skip` leaves one row out for each query. `share` is that of allowed rows.
        """
        q, most = len(queries), len(self._centres) if probes is None else probes
        found, scores, work = np.full((q, k), -1, np.int32), np.full((q, k), -np.inf, np.float32), np.zeros((q, 3), np.int64)
        words = np.empty(0, np.uint64) if allowed is None else allowed.words
        skip = np.full(q, -1, np.int32) if skip is None else skip
        always = -(-len(self._centres) // FIRST)
        for first in range(0, q, TOGETHER):
            part = slice(first, first + TOGETHER)
            mean, deviation = self._expected(queries[part])
            order = np.argsort(-(mean + slack[0] * deviation) if np.isfinite(slack[0]) else -mean, axis=1).astype(np.int32)
            over_rows(
                _scan_cells, even(np.ones(len(order)), 4 * threads() if len(order) > 8 else 1), queries[part], order, mean, deviation,
                slack.astype(np.float32), always, AGAINST * share, most, self._starts, self._numbers.array, self._vectors.array,
                self._biases.array, words, skip[part], found[part], scores[part], work[part],
            )  # fmt: skip
        return found, scores, work

    def _expected(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, float32 [q, cells] each, of the scores in every cell."""
        mean = queries @ self._centres.T
        shaped = queries @ self._covariance
        variance = np.einsum("qd,qd->q", shaped, queries)[:, None]
        if self._biases.array.size:
            # Of the distance: it changes along the way from the centre to the query.
            mean -= np.einsum("cd,cd->c", self._centres, self._centres) / 2
            variance = variance - 2 * shaped @ self._centres.T + np.einsum("cd,cd->c", self._centres @ self._covariance, self._centres)
        return mean, np.sqrt(np.maximum(variance, 0)) * self._spread

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "vectors": self._vectors.array, "biases": self._biases.array, "numbers": self._numbers.array, "places": self._places.array,
            "centres": self._centres, "spread": self._spread, "covariance": self._covariance, "starts": self._starts,
            "slack": self.slack_, "looked_at": self.looked_at_,
        }  # fmt: skip

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self._vectors, self._biases = Rows(arrays["vectors"]), Rows(arrays["biases"])
        self._numbers, self._places = Rows(arrays["numbers"]), Rows(arrays["places"])
        self._centres, self._spread, self._covariance, self._starts = (arrays[name] for name in ("centres", "spread", "covariance", "starts"))
        self.slack_, self.looked_at_ = arrays["slack"], arrays["looked_at"]


@numba.njit(cache=True, nogil=True)
def _scan_cells(  # type: ignore[no-untyped-def]
    start, stop, queries, order, mean, deviation, slack, always, least_share, most, starts, numbers, vectors, biases, words, skip,
    found, scores, work
):  # fmt: skip
    k, settled = found.shape[1], starts[-1]
    for query in range(start, stop):
        filled, surprise = 0, slack[0]
        for turn in range(-1, most):
            if turn < 0:
                # What has come since the cells were filled.
                first, last = settled, numbers.size
            else:
                cell = order[query, turn]
                if turn == always and work[query, 1] < least_share * work[query, 0]:
                    surprise, work[query, 2] = slack[1], 1
                if turn >= always and filled == k and mean[query, cell] + surprise * deviation[query, cell] < scores[query, k - 1]:
                    continue
                first, last = starts[cell], starts[cell + 1]
            work[query, 0] += last - first
            for place in range(first, last):
                row = numbers[place]
                if words.size and not (words[row >> 6] >> np.uint64(row & 63)) & np.uint64(1):
                    continue
                if row == skip[query]:
                    continue
                work[query, 1] += 1
                score = dot(queries[query], vectors[place])
                if biases.size:
                    score += biases[place]
                if filled < k or score > scores[query, k - 1]:
                    filled = offer(row, score, filled, found[query], scores[query])
