"""The k best against a full sort, with exclusions, ties, NaN and candidate columns."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.parts.topk import _lottery, top_k


def by_sorting(scores: np.ndarray, k: int, left_out: list[np.ndarray], columns: np.ndarray, seed: int, width: int) -> np.ndarray:
    """The numpy twin: best score first, the lottery among equals."""
    lottery = _lottery(width, seed)
    out = np.full((len(scores), min(k, scores.shape[1])), -1, np.int32)
    for row, own in enumerate(scores):
        allowed = ~np.isin(columns, left_out[row]) & (own > -np.inf)
        order = np.lexsort((lottery[columns[allowed]], -own[allowed]))
        best = columns[allowed][order][: out.shape[1]]
        out[row, : best.size] = best
    return out


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), rows=st.integers(1, 8), n=st.integers(1, 300), k=st.integers(1, 20) | st.integers(101, 400),
    levels=st.sampled_from([2, 5, 0]), spoiled=st.booleans(), some=st.booleans(),
)  # fmt: skip
def test_equals_sorting(seed: int, rows: int, n: int, k: int, levels: int, spoiled: bool, some: bool) -> None:
    rng = np.random.default_rng(seed)
    # Few levels make ties the rule.
    scores = (rng.integers(0, levels, (rows, n)) if levels else rng.standard_normal((rows, n))).astype(np.float32)
    if spoiled:
        scores[rng.random((rows, n)) < 0.3] = np.nan
        scores[rng.random((rows, n)) < 0.1] = -np.inf
    width = n + 50 if some else n
    columns = np.sort(rng.choice(width, n, replace=False)).astype(np.int32) if some else np.arange(n, dtype=np.int32)
    left_out = [rng.choice(width, rng.integers(0, n + 1), replace=False).astype(np.int32) for _ in range(rows)]
    kept = scores.copy()
    items, best = top_k(scores, k, left_out=left_out, columns=columns if some else None, seed=seed, width=width)
    np.testing.assert_array_equal(items, by_sorting(scores, k, left_out, columns, seed, width))
    place = np.searchsorted(columns, np.maximum(items, 0))
    np.testing.assert_array_equal(best, np.where(items >= 0, np.take_along_axis(scores, np.minimum(place, n - 1), 1), -np.inf))
    np.testing.assert_array_equal(scores, kept)


def test_the_lottery_is_fair_to_positions() -> None:
    firsts = [int(top_k(np.zeros((1, 10), np.float32), 1, seed=seed)[0][0, 0]) for seed in range(600)]
    shares = np.bincount(firsts, minlength=10) / len(firsts)
    assert abs(shares - 0.1).max() < 0.05


def test_large_batches_are_cut_across_threads_without_a_trace() -> None:
    scores = np.random.default_rng(0).standard_normal((700, 900)).astype(np.float32)
    whole, _ = top_k(scores, 7)
    pieces = np.concatenate([top_k(scores[start : start + 50], 7)[0] for start in range(0, 700, 50)])
    np.testing.assert_array_equal(whole, pieces)
