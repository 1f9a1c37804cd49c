"""What the ALS benchmarks share: the data, the settings that make both sides' work equal, and the loss both minimise."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

THREADS = int(os.environ.get("SARTOR_BENCH_THREADS", "2"))
FACTORS, REGULARIZATION, ALPHA, ITERATIONS = 64, 0.1, 1.0, 6
CHUNK = 50_000
"""Entries of the loss at once: with many, judging would take more memory than either side, and memory is measured as well."""


def movielens() -> tuple[np.ndarray, np.ndarray]:
    """People and items (int64) of the training events of MovieLens 1M as published with its implicit split."""
    import polars as pl

    import sartor

    events = sartor.data.dataset("ml-1m").events.filter(pl.col("split") == "train").select("person", "item").collect()
    return events["person"].to_numpy(), events["item"].to_numpy()


def generated(events: int = 5_000_000, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Events of 60 people to 1,000 events and an item to every 6 people, with long tails on both sides; every pair at most once."""
    rng = np.random.default_rng(seed)
    people, items = events * 6 // 100, events // 100
    row_weights, column_weights = rng.pareto(2.0, people) + 0.2, 1 / np.arange(10, items + 10) ** 0.8
    rows = rng.choice(people, int(events * 1.25), p=row_weights / row_weights.sum())
    columns = rng.choice(items, rows.size, p=column_weights / column_weights.sum())
    pairs = np.unique(rows * items + columns)
    pairs = np.sort(rng.choice(pairs, min(events, pairs.size), replace=False))
    return pairs // items, pairs % items


def loss(matrix: Any, people: np.ndarray, items: np.ndarray) -> float:
    """Weighted squared error over all cells plus the ridge, per cell: what both sides minimise."""
    gram = (items.T @ items).astype(np.float64)
    everything = float(np.einsum("ij,jk,ik->", people, gram, people, optimize=True))
    coordinates = matrix.tocoo()
    seen = 0.0
    for start in range(0, matrix.nnz, CHUNK):
        part = slice(start, start + CHUNK)
        scores = np.einsum("ij,ij->i", people[coordinates.row[part]], items[coordinates.col[part]], dtype=np.float64)
        seen += float(((1 + ALPHA) * (1 - scores) ** 2 - scores**2).sum())
    ridge = REGULARIZATION * float((people.astype(np.float64) ** 2).sum() + (items.astype(np.float64) ** 2).sum())
    return (everything + seen + ridge) / matrix.shape[0] / matrix.shape[1]


def measure_ours(pairs: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """Seconds per iteration: a fit of 1 + ITERATIONS less a fit of 1, so that reading, sorting and hashing do not count. Kernels are warm."""
    import sartor
    from sartor.recommend.als import ALS

    population = sartor.Population.from_frames(events={"person": pairs[0], "item": pairs[1]})
    settings = {"factors": FACTORS, "regularization": REGULARIZATION, "alpha": ALPHA}
    ALS(**settings, iterations=1).fit(population, progress=False)
    start = time.perf_counter()
    ALS(**settings, iterations=1).fit(population, progress=False)
    middle = time.perf_counter()
    fitted = ALS(**settings, iterations=1 + ITERATIONS).fit(population, progress=False)
    seconds = (time.perf_counter() - middle) - (middle - start)
    data = population.interactions()
    # The peer's vectors come as one matrix too: states of their own for all people would count as memory of the iteration.
    vectors = fitted._encode(data)["vector"]
    quality = -loss(data.matrix(), vectors, fitted.item_vectors_)
    return {
        "value": seconds / ITERATIONS,
        "quality": quality,
        "size": {"people": data.shape[0], "items": data.shape[1], "events": len(data), "factors": FACTORS},
    }


def measure_peer(pairs: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """The same of implicit, default solver (three conjugate gradient steps), BLAS kept to one thread as it asks for."""
    import threadpoolctl
    from implicit.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    rows, columns = (np.unique(ids, return_inverse=True)[1] for ids in pairs)
    # Its confidence is alpha times the value, ours 1 + alpha times the weight.
    matrix = csr_matrix((np.full(rows.size, 1 + ALPHA, np.float32), (rows, columns)))
    settings = {"factors": FACTORS, "regularization": REGULARIZATION, "alpha": 1.0, "num_threads": THREADS, "random_state": 0}
    with threadpoolctl.threadpool_limits(1, "blas"):
        AlternatingLeastSquares(**settings, iterations=1).fit(matrix, show_progress=False)
        start = time.perf_counter()
        AlternatingLeastSquares(**settings, iterations=1).fit(matrix, show_progress=False)
        middle = time.perf_counter()
        fitted = AlternatingLeastSquares(**settings, iterations=1 + ITERATIONS)
        fitted.fit(matrix, show_progress=False)
        seconds = (time.perf_counter() - middle) - (middle - start)
        vectors = fitted.recalculate_user(np.arange(matrix.shape[0]), matrix)
    quality = -loss(matrix, vectors, fitted.item_factors)
    size = {"people": matrix.shape[0], "items": matrix.shape[1], "events": matrix.nnz, "factors": FACTORS}
    return {"value": seconds / ITERATIONS, "quality": quality, "size": size}
