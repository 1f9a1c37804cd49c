"""Approximate search on another library's graph: faiss, hnswlib, usearch or scalable-vs, behind the contract of every index.

    index = ItemIndex.make("graph", engine="svs", storage="float16").build(vectors, ids, attributes=frame)

A filter is answered from the unfiltered walk: as many items are fetched as its share of allowed ones needs, and a query with too few allowed
among them is answered exactly. Recall holds whatever the filter. The engines' own filters are not used: they end the walk as if there were none,
so that what is found is allowed but not near (faiss: recall .41 with 10% allowed, far from the query), or call back into Python.

Vectors are also kept beside the graph, for exact answers, final scores and files: in float32, or in float16 under a compressed graph.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from sartor.errors import ConfigError
from sartor.method import learned
from sartor.retrieve._engines import ENGINES, Engine
from sartor.retrieve.bitmaps import Bitmap
from sartor.retrieve.calibration import WINDOWS, least_window
from sartor.retrieve.exact import exact
from sartor.retrieve.index import ItemIndex
from sartor.retrieve.rows import Rows

FEWEST, TAIL = 500, 0.2
"""Rows below which there is no graph, and the share of rows outside it beyond which a graph that cannot grow is built anew."""
HELD, K = 256, 10
"""Vectors that stand for queries in the calibration, and the number of items it is for."""
PILOT = 8
"""Queries of a batch that show whether a filter goes against them."""
AGAIN = 4
"""Of a graph over 8-bit vectors, so many times as many are fetched and compared again."""


@dataclass(kw_only=True, eq=False)
class GraphIndex(ItemIndex):
    """A graph of another library. Removed items stay in it and are left out of answers."""

    kind: ClassVar[str] = "graph"
    engine: Literal["faiss", "hnswlib", "usearch", "svs"] = "faiss"
    """svs is the fastest at one thread; added rows are compared exactly until they are a fifth of all, then its graph is built anew."""
    storage: Literal["float32", "float16", "sq8"] = "float32"
    """Of the graph's vectors. hnswlib has float32 alone, svs no sq8; usearch's sq8 is for cosine."""
    degree: int = 64
    """Links of each vector, at the lowest level."""
    build_window: int = 200
    """How many a walk keeps while the graph is built."""
    recall: float = 0.95
    """What the calibration aims at, for ten items."""
    seed: int = 0

    window_: np.ndarray = learned()
    """int64 [1]: how many a walk keeps to reach the recall."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.engine not in ENGINES:
            raise ConfigError(f"there is no engine '{self.engine}'", fix=f"use {', '.join(ENGINES)}")
        if self.engine == "usearch" and self.storage == "sq8" and self.metric != "cosine":
            raise ConfigError("usearch rounds coordinates between -1 and 1", fix="use metric='cosine', or another storage")
        if self.degree < 4 or self.build_window < 1 or not 0 < self.recall < 1:
            raise ConfigError(f"degree={self.degree}, build_window={self.build_window}, recall={self.recall}", fix="at least 4, 1, and within 0..1")
        self._graph = self._made()

    def _made(self) -> Engine:
        return ENGINES[self.engine](self.storage, self.metric == "l2", self.degree, self.build_window, self.seed)

    @property
    def nbytes(self) -> int:
        return self._vectors.array.nbytes + self._biases.array.nbytes + (self._graph.nbytes if self._inside else 0)

    def _build(self, vectors: np.ndarray, biases: np.ndarray | None) -> None:
        self._vectors, self._biases = Rows(self._stored(vectors)), Rows(np.empty(0, np.float32) if biases is None else biases)
        self._inside, self.window_ = 0, np.array([WINDOWS[-1]])
        if len(vectors) > FEWEST:
            self._settle()

    def _stored(self, vectors: np.ndarray) -> np.ndarray:
        if self.storage == "float32":
            return vectors
        if np.abs(vectors).max() > np.finfo(np.float16).max:
            raise ConfigError("a coordinate is beyond what float16 can hold (65,504)", fix="use storage='float32', or scale the vectors")
        return vectors.astype(np.float16)

    def _settle(self) -> None:
        """A graph over all rows. The last ones come after the calibration, for which they stand for queries."""
        vectors = self._vectors.array.astype(np.float32, copy=False)
        inside = len(vectors) - HELD
        self._graph = self._made()
        self._graph.build(np.ascontiguousarray(vectors[:inside]))
        self._inside = inside
        truth, _ = exact(vectors[inside:], vectors[:inside], self._of(inside), K)
        self.window_ = np.array([least_window(lambda window: self._graph.search(vectors[inside:], K, window), truth, self.recall)])
        self._grow()

    def _grow(self) -> None:
        if self._graph.grows and self._inside:
            self._graph.add(np.ascontiguousarray(self._vectors.array[self._inside :], np.float32))
            self._inside = len(self._vectors.array)

    def _of(self, count: int) -> np.ndarray | None:
        return self._biases.array[:count] if self._biases.array.size else None

    def _add(self, vectors: np.ndarray, biases: np.ndarray | None) -> None:
        self._vectors.append(self._stored(vectors))
        if biases is not None:
            self._biases.append(biases)
        self._grow()
        outside = len(self._vectors.array) - self._inside
        if outside > max(FEWEST, TAIL * self._inside):
            self._settle()

    # --- searching

    def _search(self, queries: np.ndarray, k: int, allowed: Bitmap | None, count: int, budget: float | None) -> tuple[np.ndarray, np.ndarray, str]:
        expected = k * self.rows / count
        fetched = k if allowed is None else int(np.ceil(expected + 3 * np.sqrt(expected)))
        asked = int(self.window_[0]) if budget is None else round(budget * self.rows / self.degree)
        window = max(fetched, -(-asked * fetched // K))
        # A walk compares about half of the links of all it keeps.
        if not self._inside or budget == 1 or window * self.degree / 2 > count:
            return *self._exactly(queries, k, allowed), f"exact over {count} items"
        pilot = min(PILOT, len(queries)) if allowed is not None else len(queries)
        found, scores, lost = self._through(queries[:pilot], k, allowed, fetched, window)
        if 2 * lost.sum() > pilot:
            return *self._exactly(queries, k, allowed), f"exact over {count} items: too few allowed ones are near {lost.sum()} of {pilot} queries"
        if pilot < len(queries):
            more = self._through(queries[pilot:], k, allowed, fetched, window)
            found, scores, lost = (np.concatenate(both) for both in zip((found, scores, lost), more, strict=True))
        plan = f"{self.engine} graph, {fetched} fetched with a window of {window}"
        if lost.any():
            found[lost], scores[lost] = self._exactly(queries[lost], k, allowed)
            plan += f"; too few allowed ones were near {lost.sum()} queries, answered exactly"
        return found, scores, plan

    def _through(self, queries: np.ndarray, k: int, allowed: Bitmap | None, fetched: int, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows and scores [q, k] through the graph, and bool [q]: of what was fetched too few are allowed, and the answer is not to be used."""
        fetched = min(fetched * AGAIN if self.storage == "sq8" else fetched, self._inside)
        found = self._graph.search(queries, fetched, max(window, fetched))
        there = self._inside
        if allowed is not None:
            bits = (allowed.words[found >> 6] >> (found & 63).astype(np.uint64)) & np.uint64(1)
            found = np.where((found >= 0) & bits.astype(bool), found, -1)
            there = int(allowed.mask()[: self._inside].sum()) if self._inside < self.rows else len(allowed)
        lost = (found >= 0).sum(1) < min(k, there)
        scores = np.empty(found.shape, np.float32)
        for at in range(0, len(queries), 64):
            part = found[at : at + 64]
            scores[at : at + 64] = np.einsum("qd,qkd->qk", queries[at : at + 64], self._vectors.array[part].astype(np.float32, copy=False))
        if self._biases.array.size:
            scores += self._biases.array[found]
        scores[found < 0] = -np.inf
        if self._inside < self.rows:
            rest = np.arange(self._inside, self.rows, dtype=np.int32)
            rest = rest if allowed is None else rest[allowed.mask()[self._inside :]]
            if rest.size:
                more = exact(queries, self._vectors.array, self._of(self.rows), min(k, rest.size), rest)
                found, scores = np.concatenate([found, more[0]], 1), np.concatenate([scores, more[1]], 1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        found, scores = np.take_along_axis(found, order, 1).astype(np.int32), np.take_along_axis(scores, order, 1)
        if (short := k - found.shape[1]) > 0:
            found = np.pad(found, ((0, 0), (0, short)), constant_values=-1)
            scores = np.pad(scores, ((0, 0), (0, short)), constant_values=-np.inf)
        return found, scores, lost

    def _exactly(self, queries: np.ndarray, k: int, allowed: Bitmap | None) -> tuple[np.ndarray, np.ndarray]:
        return exact(queries, self._vectors.array, self._of(self.rows), k, None if allowed is None else allowed.rows())

    # --- files

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {
            "vectors": self._vectors.array, "biases": self._biases.array, "window": self.window_, "inside": np.array([self._inside]),
        }  # fmt: skip
        if self._inside:
            with tempfile.TemporaryDirectory() as folder:
                self._graph.save(Path(folder))
                files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
                arrays |= {f"file.{path.relative_to(folder).as_posix()}": np.fromfile(path, np.uint8) for path in files}
        return arrays | {"digest": _digest(arrays)}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        if not np.array_equal(arrays["digest"], _digest(arrays)):
            raise ValueError("the engine's files are not those that were saved")
        self._vectors, self._biases, self.window_ = Rows(arrays["vectors"]), Rows(arrays["biases"]), arrays["window"]
        self._inside = int(arrays["inside"][0])
        if self._inside:
            with tempfile.TemporaryDirectory() as folder:
                for name, content in arrays.items():
                    if name.startswith("file."):
                        file = Path(folder) / name[5:]
                        file.parent.mkdir(parents=True, exist_ok=True)
                        content.tofile(file)
                self._graph.load(Path(folder), self._vectors.array.shape[1])


def _digest(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """uint8 [32]: of the engine's files, which its library would read without asking."""
    digest = hashlib.blake2b(digest_size=32)
    for name in sorted(arrays):
        if name.startswith("file."):
            digest.update(name.encode())
            digest.update(arrays[name].data if arrays[name].flags.c_contiguous else arrays[name].tobytes())
    return np.frombuffer(digest.digest(), np.uint8)
