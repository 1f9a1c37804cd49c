"""Negatives are never what the person has, and otherwise as likely as they should be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from sartor.errors import ConfigError, EmptyData
from sartor.parts import samplers


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.lists(st.sets(st.integers(0, 39)), min_size=1, max_size=6), st.integers(0, 2**32))
def test_unseen_items_are_unseen(items, seen, seed):
    own = [np.array(sorted(one for one in have if one < items - 1), np.int32) for have in seen]  # the last item stays free
    indptr = np.concatenate([[0], np.cumsum([one.size for one in own])])
    rows = np.arange(len(own)).repeat(3)
    drawn = samplers.unseen(np.random.default_rng(seed), rows, 5, indptr, np.concatenate([*own, np.empty(0, np.int32)]), items)
    assert drawn.shape == (rows.size, 5)
    assert drawn.dtype == np.int32
    assert drawn.min() >= 0
    assert drawn.max() < items
    assert all(not np.isin(drawn[at], own[row]).any() for at, row in enumerate(rows))


def test_unseen_items_are_uniform():
    seen = np.array([0, 3, 4, 5, 11], np.int32)
    drawn = samplers.unseen(np.random.default_rng(1), np.zeros(400, int), 50, np.array([0, 5]), seen, 12)
    free = np.setdiff1d(np.arange(12), seen)
    assert chisquare(np.bincount(drawn.ravel(), minlength=12)[free]).pvalue > 0.01
    # The compiled search is the obvious list of free items, indexed.
    ranks = np.random.default_rng(2).integers(0, free.size, (30, 4)).astype(np.int32)
    assert np.array_equal(samplers._nth_unseen(np.zeros(30, np.int64), ranks, np.array([0, 5]), seen), free[ranks])


def test_nothing_unseen_is_an_error():
    with pytest.raises(EmptyData, match="every item"):
        samplers.unseen(np.random.default_rng(0), np.array([0, 1]), 2, np.array([0, 1, 4]), np.array([0, 0, 1, 2], np.int32), 3)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_popular_items_come_as_often_as_they_should(power):
    counts = np.array([5, 0, 1, 20, 3])
    popular = samplers.Popularity(counts, power)
    expected = np.where(counts > 0, counts.astype(float) ** power, 0) if power else np.ones(5)
    expected /= expected.sum()
    drawn = np.bincount(popular.draw(np.random.default_rng(3), (100, 200)).ravel(), minlength=5)
    assert chisquare(drawn[expected > 0], 20_000 * expected[expected > 0]).pvalue > 0.01
    assert drawn[expected == 0].sum() == 0
    assert np.allclose(np.exp(popular.log_q), expected, atol=1e-6)
    with pytest.raises(EmptyData):
        samplers.Popularity(np.zeros(3), 1.0)


def test_every_pair_comes_once_per_epoch():
    rows, columns = np.arange(10, dtype=np.int32), np.arange(10, dtype=np.int32) * 7
    got = list(samplers.pairs(np.random.default_rng(0), rows, columns, 4))
    assert [one.size for one, _ in got] == [4, 4, 2]
    assert sorted(np.concatenate([one for one, _ in got])) == list(range(10))
    assert all(np.array_equal(7 * one, other) for one, other in got)
    with pytest.raises(ConfigError):
        next(samplers.order(np.random.default_rng(0), 5, 0))
