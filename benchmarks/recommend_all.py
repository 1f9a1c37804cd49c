"""Top 10 for all 6,040 people of MovieLens 1M, what they have seen left out, 64 factors: ours against implicit's `recommend` on the same factors.

Both sides start from what a caller has: we from personal states, implicit from its factors and the people's sparse rows. `quality` is
NDCG@10 on the published test part.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

import _als

NAME = "recommend-all"
UNIT = "seconds"
PEER = "implicit"
K, REPEATS = 10, 5


def fitted() -> tuple[Any, Any, list[Any]]:
    """The population, a fitted ALS and everybody's states; the same on both sides."""
    import sartor
    from sartor.recommend.als import ALS

    people, items = _als.movielens()
    population = sartor.Population.from_frames(events={"person": people, "item": items})
    method = ALS(factors=_als.FACTORS, regularization=_als.REGULARIZATION, iterations=8).fit(population, progress=False)
    return population, method, list(method.adapt_all(population).values())


def quality(population: Any, best: np.ndarray) -> float:
    """NDCG@10 of lists of item numbers on the test part."""
    import polars as pl

    import sartor
    from sartor.evaluate.metrics.ranking import Truth, ranking

    data = population.interactions()
    held_out = sartor.data.dataset("ml-1m").events.filter(pl.col("split") == "test").select("person", "item").collect()
    truth = sartor.Population.from_frames(events=held_out).interactions(items=data.items, people=data.people)
    judged = np.flatnonzero(truth.lengths > 0)
    return float(ranking(best[judged], Truth.of(truth).take(judged), (K,))["ndcg"].mean())


def median_seconds(call: Any) -> float:
    """Of some calls, after one that warms up."""
    call()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def ours() -> dict[str, Any]:
    population, method, states = fitted()
    seconds = median_seconds(lambda: method.recommend(states, K))
    return {"value": seconds, "quality": quality(population, method.recommend(states, K).indices), "size": size(population)}


def peer() -> dict[str, Any]:
    import threadpoolctl
    from implicit.als import AlternatingLeastSquares

    population, method, states = fitted()
    matrix = population.interactions().matrix()
    other = AlternatingLeastSquares(factors=_als.FACTORS, num_threads=_als.THREADS)
    other.user_factors, other.item_factors = method.stack(states), method.item_vectors_
    everybody = np.arange(len(states))
    # It asks for one BLAS thread, and brings its own; measured with and without, the better is taken.
    with threadpoolctl.threadpool_limits(1, "blas"):
        single = median_seconds(lambda: other.recommend(everybody, matrix, N=K))
    seconds = min(single, median_seconds(lambda: other.recommend(everybody, matrix, N=K)))
    best, _ = other.recommend(everybody, matrix, N=K)
    return {"value": seconds, "quality": quality(population, best), "size": size(population)}


def size(population: Any) -> dict[str, int]:
    people, items = population.interactions().shape
    return {"people": people, "items": items, "factors": _als.FACTORS, "k": K}
