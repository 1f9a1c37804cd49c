"""Metrics of identification equal plain loops, ties and all; what cannot be judged is excluded and counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import BadValue, ConfigError, EmptyData
from sartor.evaluate.identification import identification, identification_by_vectors, identity_density, open_set, verification


def _plain(
    scores: np.ndarray, query: np.ndarray, gallery: np.ndarray, at: np.ndarray, theirs: np.ndarray, junk: str
) -> list[tuple[float, float, int]]:
    """(AP, INP, first rank) of every query with a positive, by sorting: a wrong one before a right one of the same score."""
    out = []
    for q in range(len(query)):
        kept = [g for g in range(len(gallery)) if not (junk == "camera" and gallery[g] == query[q] and theirs[g] == at[q])]
        ordered = sorted(kept, key=lambda g: (-scores[q, g], gallery[g] == query[q]))
        ranks = [rank for rank, g in enumerate(ordered, 1) if gallery[g] == query[q]]
        if ranks:
            out.append((sum((i + 1) / rank for i, rank in enumerate(ranks)) / len(ranks), len(ranks) / ranks[-1], ranks[0]))
    return out


@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 25), st.sampled_from(["camera", "none"]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_ranks_equal_plain_loops(seed: int, queries: int, others: int, junk: str, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (queries, others)).astype(np.float32) if ties else rng.normal(size=(queries, others))
    query, gallery = rng.integers(0, 5, queries), rng.integers(0, 5, others)
    at, theirs = rng.integers(0, 3, queries), rng.integers(0, 3, others)
    truth = _plain(scores, query, gallery, at, theirs, junk)
    if not truth:
        with pytest.raises(EmptyData):
            identification(scores, query, gallery, query_camera=at, gallery_camera=theirs, junk=junk)  # type: ignore[arg-type]
        return
    found = identification(scores, query, gallery, query_camera=at, gallery_camera=theirs, junk=junk)  # type: ignore[arg-type]
    assert np.allclose(found.average_precision, [one[0] for one in truth])
    assert np.allclose(found.inverse_penalty, [one[1] for one in truth])
    assert found.first.tolist() == [one[2] for one in truth]
    assert found.excluded == queries - len(truth)


def test_the_two_camera_rules_give_their_two_numbers() -> None:
    # The best match is by the same camera: junk for one rule, right for the other.
    scores = np.array([[0.9, 0.5, 0.8]])
    same = {"query_camera": np.array([1]), "gallery_camera": np.array([1, 2, 2])}
    query, gallery = np.array(["ana"]), np.array(["ana", "ana", "ben"])
    assert identification(scores, query, gallery, **same, junk="camera").mean_ap == 0.5
    assert identification(scores, query, gallery, **same, junk="none").mean_ap == pytest.approx((1 + 2 / 3) / 2)


def test_by_vectors_and_without_oneself() -> None:
    rng = np.random.default_rng(3)
    vectors, who = rng.normal(size=(60, 8)), rng.integers(0, 12, 60)
    units = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    streamed = identification_by_vectors(vectors, vectors, who, who, junk="none", itself=np.arange(60))
    scores = units @ units.T
    # Another "camera" for every picture is the same thing.
    whole = identification(scores, who, who, query_camera=np.arange(60), gallery_camera=np.arange(60))
    assert np.allclose(streamed.average_precision, whole.average_precision)
    assert streamed.cmc(60) == 1.0


@given(st.integers(0, 2**31), st.booleans())
@settings(max_examples=40, deadline=None)
def test_verification_equals_trying_every_threshold(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    genuine, impostor = rng.normal(1, 1, 30), rng.normal(0, 1, 40)
    if ties:
        genuine, impostor = genuine.round(), impostor.round()
    found = verification(genuine, impostor)
    for far in (0.0, 0.05, 0.3, 1.0):
        tries = [t for t in [*genuine, *impostor, np.inf] if (impostor >= t).mean() <= far]
        assert found.tar(far) == pytest.approx(max((genuine >= t).mean() for t in tries))
        assert (impostor >= found.threshold(far)).mean() <= far
    worst = min(max((impostor >= t).mean(), (genuine < t).mean()) for t in [*genuine, *impostor, np.inf])
    best = max(min((impostor >= t).mean(), (genuine < t).mean()) for t in [*genuine, *impostor, np.inf])
    assert best - 1e-9 <= found.eer <= worst + 1e-9


def test_extremes_of_verification() -> None:
    assert verification(np.array([1.0, 2.0]), np.array([-1.0, 0.0])).eer == 0.0
    assert verification(np.array([-1.0]), np.array([1.0])).eer == 1.0
    assert verification(np.zeros(5), np.zeros(5)).eer == pytest.approx(0.5)


@given(st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_open_set_equals_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    known, unknown, truth = rng.normal(size=(20, 6)).round(1), rng.normal(size=(15, 6)).round(1), rng.integers(0, 6, 20)
    known[np.arange(20), truth] += 1.0
    found = open_set(known, truth, unknown)
    for far in (0.0, 0.1, 0.5):
        threshold = found.threshold(far)
        assert (unknown.max(1) >= threshold).mean() <= far
        # Only a strictly best own score counts.
        named = [row[t] >= threshold and row[t] > np.delete(row, t).max() for row, t in zip(known, truth, strict=True)]
        assert found.rate(far) == pytest.approx(np.mean(named))
        lower = np.nextafter(threshold, -np.inf)
        assert far == 0.5 or (unknown.max(1) >= lower).mean() > far


def test_density_of_identities() -> None:
    rng = np.random.default_rng(0)
    centres, who = rng.normal(size=(10, 16)), np.repeat(np.arange(10), 5)
    near, far = (centres[who] + noise * rng.normal(size=(50, 16)) for noise in (0.1, 1.0))
    assert identity_density(near, who) < identity_density(far, who)
    assert identity_density(centres[who], who) == pytest.approx(0, abs=1e-9)


def test_what_cannot_be_judged_has_a_name() -> None:
    one = np.ones((1, 2))
    with pytest.raises(ConfigError):
        identification(one, np.array([1]), np.array([1, 2]), junk="camera")
    with pytest.raises(ConfigError):
        identification(one, np.array([1, 2]), np.array([1, 2]), junk="none")
    with pytest.raises(ConfigError):
        identification(one, np.array(["a"]), np.array([1, 2]), junk="none")
    with pytest.raises(BadValue):
        identification(np.array([[np.nan, 1.0]]), np.array([1]), np.array([1, 2]), junk="none")
    with pytest.raises(BadValue):
        identification_by_vectors(np.array([[np.nan, 1.0]]), np.ones((2, 2)), np.array([1]), np.array([1, 2]), junk="none")
    with pytest.raises(EmptyData):
        verification(np.zeros(0), np.zeros(3))
    with pytest.raises(ConfigError):
        verification(np.ones(1), np.zeros(3)).tar(2.0)
