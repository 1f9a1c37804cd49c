"""The history batcher against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import ConfigError
from sartor.parts.histories import Histories

people = st.lists(st.lists(st.integers(0, 50), max_size=9), min_size=1, max_size=8)


def build(lists, times=None):
    indptr = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
    flat = np.array([item for one in lists for item in one], np.int32)
    return Histories(indptr, flat, times)


def lists_of(histories):
    return [histories.items[a:b].tolist() for a, b in zip(histories.indptr[:-1], histories.indptr[1:], strict=True)]


@settings(max_examples=80, deadline=None)
@given(people, st.integers(1, 6), st.integers(0, 2**32))
def test_cutting_padding_and_shifting_equal_plain_loops(lists, most, seed):
    histories = build(lists)
    assert lists_of(histories.newest(most)) == [one[-most:] for one in lists]
    rows = np.random.default_rng(seed).integers(0, len(lists), 5)
    items, lengths = histories.take(rows)
    assert items.tolist() == [item for row in rows for item in lists[row]]
    assert lengths.tolist() == [len(lists[row]) for row in rows]
    padded, mask = histories.padded(rows)
    assert [padded[at][mask[at]].tolist() for at in range(5)] == [lists[row] for row in rows]
    assert not padded[~mask].any()
    assert (mask[:, :-1] >= mask[:, 1:]).all()
    long = np.array([row for row, one in enumerate(lists) if len(one) >= 2], np.int64)
    inputs, targets, lengths = histories.next_items(long)
    assert inputs.tolist() == [item for row in long for item in lists[row][:-1]]
    assert targets.tolist() == [item for row in long for item in lists[row][1:]]
    assert lengths.tolist() == [len(lists[row]) - 1 for row in long]


@settings(max_examples=60, deadline=None)
@given(people, st.integers(0, 10), st.integers(0, 2**32))
def test_nothing_past_a_cut_time(lists, cut, seed):
    rng = np.random.default_rng(seed)
    times = [np.sort(rng.integers(0, 10, len(one))) for one in lists]
    histories = build(lists, np.concatenate([*times, np.empty(0, np.int64)]))
    assert lists_of(histories.before(cut)) == [[i for i, t in zip(one, when, strict=True) if t < cut] for one, when in zip(lists, times, strict=True)]
    cuts = rng.integers(0, 10, len(lists))
    early = histories.before(cuts)
    assert (early.times < np.repeat(cuts, early.lengths)).all()
    assert len(early) == len(lists)


def test_no_times_no_cut():
    with pytest.raises(ConfigError, match="times"):
        build([[1, 2]]).before(3)


@settings(max_examples=60, deadline=None)
@given(people, st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.booleans())
def test_batches_hold_everybody_once(lists, batch_size, at_least, window, shuffled):
    histories = build(lists)
    rng = np.random.default_rng(0) if shuffled else None
    got = list(histories.batches(batch_size, rng=rng, at_least=at_least, window=window))
    assert sorted(row for batch in got for row in batch) == [row for row, one in enumerate(lists) if len(one) >= at_least]
    for batch in got:
        assert 1 <= batch.size <= batch_size
        assert (np.diff(histories.lengths[batch]) >= 0).all()
    if not shuffled:
        assert (np.diff(histories.lengths[np.concatenate([*got, np.empty(0, np.int64)]).astype(int)]) >= 0).all()
