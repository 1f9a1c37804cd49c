"""Every other metric family: by hand, and against numpy, scikit-learn or brute force."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from sartor.errors import BadValue, ConfigError, EmptyData, MissingColumn
from sartor.evaluate.metrics import beyond, business, fairness, rating
from sartor.evaluate.metrics.clicks import auc, clicks, group_auc
from sartor.evaluate.metrics.ranking import Truth
from sartor.evaluate.metrics.similarity import DISTANCES, SIMILARITIES, distance, pair_auc, similarity

# --- beyond accuracy: three lists of two items out of four; training events 8, 4, 2, 2

BEST = np.array([[0, 1], [0, 2], [3, -1]], np.int32)
COUNTS = np.array([8, 4, 2, 2])


def test_popularity_by_hand() -> None:
    found = beyond.popularity(BEST, COUNTS, (1, 2))
    np.testing.assert_allclose(found["novelty"], [[1, (1 + 2) / 2], [1, (1 + 3) / 2], [3, 3]])
    np.testing.assert_allclose(found["arp"], [[8, 6], [8, 5], [2, 2]])
    # Four items: the head is the most popular one, 20% of four rounded.
    np.testing.assert_allclose(found["aplt"], [[0, 1 / 2], [0, 1 / 2], [1, 1]])


def test_catalogue_by_hand() -> None:
    exposure = np.array([2, 1, 1, 0])
    found = beyond.catalogue(exposure)
    assert found["coverage"] == 3 / 4
    assert found["distributional_coverage"] == pytest.approx(1.5)
    differences = np.abs(exposure[:, None] - exposure[None, :]).mean()
    assert found["gini"] == pytest.approx(differences / (2 * exposure.mean()))
    assert beyond.gini(np.array([1, 1, 1])) == pytest.approx(0)
    assert math.isnan(beyond.gini(np.zeros(3)))


@pytest.mark.parametrize("sparse", [False, True])
def test_diversity_and_serendipity_equal_brute_force(sparse: bool) -> None:
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(15, 6)).astype(np.float32) * (rng.random((15, 6)) < 0.6)
    vectors[3] = 0
    best = np.stack([rng.permutation(15)[:5] for _ in range(8)]).astype(np.int32)
    best[0, 1:] = -1
    best[1, 3:] = -1
    cosine = sk.pairwise.cosine_similarity(vectors)
    history = Truth.from_pairs(np.repeat(np.arange(8), 3), np.concatenate([rng.permutation(15)[:3] for _ in range(8)]), 8)
    truth = Truth.from_pairs(np.repeat(np.arange(8), 6), np.concatenate([rng.permutation(15)[:6] for _ in range(8)]), 8)
    given = csr_matrix(vectors) if sparse else vectors
    varied, surprising = beyond.diversity(best, given, (2, 5)), beyond.serendipity(best, truth, history, given, (2, 5))
    for row in range(8):
        for at, k in enumerate((2, 5)):
            own = [item for item in best[row, :k] if item >= 0]
            pairs = [cosine[a, b] for i, a in enumerate(own) for b in own[i + 1 :]]
            np.testing.assert_allclose(varied[row, at], 1 - np.mean(pairs) if pairs else np.nan, atol=1e-6)
            past = history.indices[history.indptr[row] : history.indptr[row + 1]]
            wanted = set(truth.indices[truth.indptr[row] : truth.indptr[row + 1]].tolist())
            worth = [(1 - np.mean(cosine[item, past])) * (item in wanted) for item in own]
            np.testing.assert_allclose(surprising[row, at], np.mean(worth), atol=1e-6)


# --- ratings


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(0, 60))
def test_ratings_equal_scikit_learn_and_merge(seed: int, n: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(1, 6, n).astype(float), rng.normal(3, 1, n)
    found = rating.rating(truth, predicted)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(truth, predicted), abs=1e-9)
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(truth, predicted), abs=1e-9)
    assert found["mape"] == pytest.approx(sk.mean_absolute_percentage_error(truth, predicted), abs=1e-9)
    if np.ptp(truth):
        assert found["r2"] == pytest.approx(sk.r2_score(truth, predicted), abs=1e-9)
        assert found["explained_variance"] == pytest.approx(sk.explained_variance_score(truth, predicted), abs=1e-9)
    else:
        assert math.isnan(found["r2"])
    merged = rating.RatingSums.of(truth[:cut], predicted[:cut]).merge(rating.RatingSums.of(truth[cut:], predicted[cut:])).result()
    for name, value in found.items():
        np.testing.assert_allclose(merged[name], value, rtol=1e-9, atol=1e-9)


def test_ratings_by_person_and_mistakes() -> None:
    found = rating.by_person(np.array([1.0, 2, 5]), np.array([2.0, 2, 1]), np.array([0, 0, 1]))
    np.testing.assert_allclose(found["mae"], [0.5, 4])
    np.testing.assert_allclose(found["rmse"], [math.sqrt(0.5), 4])
    with pytest.raises(BadValue, match="not finite"):
        rating.rating(np.array([1.0, np.nan]), np.array([1.0, 1.0]))
    assert math.isnan(rating.rating(np.empty(0), np.empty(0))["mae"])


# --- clicks


def test_clicks_equal_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    p = np.round(rng.random(400), 2)
    labels = (rng.random(400) < p).astype(int)
    groups = rng.integers(0, 30, 400)
    found = clicks(labels, p, groups)
    assert found["auc"] == pytest.approx(sk.roc_auc_score(labels, p), abs=1e-9)
    assert found["logloss"] == pytest.approx(sk.log_loss(labels, np.clip(p, 1e-15, 1 - 1e-15)), abs=1e-9)
    assert found["brier"] == pytest.approx(sk.brier_score_loss(labels, p), abs=1e-9)
    usable = [group for group in range(30) if 0 < labels[groups == group].mean() < 1]
    areas = [sk.roc_auc_score(labels[groups == group], p[groups == group]) for group in usable]
    sizes = [(groups == group).sum() for group in usable]
    assert found["group_auc"] == pytest.approx(np.average(areas, weights=sizes), abs=1e-9)


def test_clicks_by_hand_and_mistakes() -> None:
    found = clicks(np.array([1, 0, 1, 0]), np.array([0.95, 0.05, 0.55, 0.55]), bins=10)
    # Bins: .95 -> 1 of 1, .05 -> 0 of 1, .55 twice -> 1 of 2.
    assert found["ece"] == pytest.approx((0.05 + 0.05 + 2 * 0.05) / 4)
    assert found["auc"] == pytest.approx(3.5 / 4)
    assert math.isnan(auc(np.array([1, 1]), np.array([0.1, 0.2])))
    assert math.isnan(group_auc(np.array([1, 0]), np.array([0.1, 0.2]), np.array(["a", "b"])))
    with pytest.raises(BadValue, match="not all 0 or 1"):
        clicks(np.array([1, 2]), np.array([0.1, 0.2]))
    with pytest.raises(BadValue, match="not probabilities"):
        clicks(np.array([1, 0]), np.array([3.0, -1.0]))


# --- similarity


def test_similarities_by_hand() -> None:
    a, b = np.array([[1.0, 2, 0, 3]]), np.array([[2.0, 2, 1, 0]])
    assert similarity("cosine", a, b)[0] == pytest.approx(6 / (math.sqrt(14) * 3))
    assert similarity("pearson", a, b)[0] == pytest.approx(np.corrcoef(a[0], b[0])[0, 1])
    assert similarity("spearman", a, b)[0] == pytest.approx(pl.select(pl.corr(pl.Series(a[0]), pl.Series(b[0]), method="spearman")).item())
    assert similarity("jaccard", np.array([[1, 1, 0, 1]]), np.array([[1, 0, 1, 1]]))[0] == pytest.approx(2 / 4)
    assert similarity("hamming", a, b)[0] == pytest.approx(1 / (1 + 2 / 4))
    assert similarity("euclidean", a, b)[0] == pytest.approx(1 / (1 + math.sqrt(11)))
    assert similarity("manhattan", a, b)[0] == pytest.approx(1 / 6)
    assert similarity("chebyshev", a, b)[0] == pytest.approx(1 / 4)
    # Ratings of two items by three users, one missing; each user's mean taken away first.
    ratings = np.array([[5.0, 3, np.nan], [3, 5, 4]])
    centred = np.array([[1.0, -1, 0], [-1, 1, 0]])
    expected = centred[0] @ centred[1] / (np.linalg.norm(centred[0]) * np.linalg.norm(centred[1]))
    assert similarity("adjusted_cosine", ratings[:1], ratings[1:], centre=np.nanmean(ratings, axis=0))[0] == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_similarities_are_symmetric_and_highest_for_equals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 5, 8))
    for name in SIMILARITIES:
        centre = np.zeros(8)
        there, back = similarity(name, a, b, centre=centre), similarity(name, b, a, centre=centre)
        np.testing.assert_allclose(there, back, atol=1e-12)
        np.testing.assert_allclose(similarity(name, a, a, centre=centre), 1, atol=1e-12)
        assert (there <= 1 + 1e-12).all()


def test_a_distance_used_as_similarity_ranks_backwards() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, 5)) * 3
    vectors = np.repeat(centres, 10, axis=0) + rng.normal(size=(100, 5)) * 0.3
    pairs = np.stack([np.arange(100), (np.arange(100) // 10) * 10 + (np.arange(100) + 1) % 10], axis=1)
    others = np.stack([np.arange(100), (np.arange(100) + 37) % 100], axis=1)
    right, wrong = pair_auc(vectors, pairs, others), pair_auc(vectors, pairs, others, signed=False)
    for name in DISTANCES:
        assert right[name] > 0.6 > 0.5 > wrong[name]
        assert right[name] + wrong[name] == pytest.approx(1)
    with pytest.raises(ConfigError, match="no distance"):
        distance("cosine", vectors, vectors)


# --- fairness


def test_exposure_by_hand() -> None:
    shown = fairness.exposure(np.array([[0, 1], [0, 2]], np.int32), np.array(["a", "b", "b", "b"]), k=2)
    second = 1 / math.log2(3)
    np.testing.assert_allclose(shown.share, [1 / (1 + second), second / (1 + second)])
    np.testing.assert_allclose(shown.target, [1 / 4, 3 / 4])
    assert shown.gap == pytest.approx(shown.share[0] - 1 / 4)


def test_demographic_gap_and_impression_variance() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.5, 0.1, 200), rng.normal(0.3, 0.1, 200), [0.9]])
    groups = np.array(["a"] * 200 + ["b"] * 200 + ["lonely"])
    gap = fairness.demographic_gap(values, groups)
    assert set(gap.means) == {"a", "b"}
    assert gap.interval[0] < 0.2 < gap.interval[1]
    assert gap.difference == pytest.approx(values[:200].mean() - values[200:400].mean())
    assert fairness.impression_variance({"f": 300, "m": 100}, {"f": 1, "m": 1}) == pytest.approx(0.25)
    with pytest.raises(BadValue, match="insufficient"):
        fairness.impression_variance({"f": 3}, {"f": 1})
    with pytest.raises(BadValue, match="not in the eligible audience"):
        fairness.impression_variance({"f": 300, "x": 1}, {"f": 1})


# --- business


def test_business_by_hand() -> None:
    day = business.DAY
    logs = pl.DataFrame({
        "person": ["a", "a", "a", "a", "b", "b", "c"], "item": [1, 1, 1, 2, 1, 2, 3],
        "kind": ["impression", "click", "buy", "impression", "impression", "click", "impression"],
        "time": [0, 1, 2, 9 * day, 3, 8 * day, 4], "session": [1, 1, 1, 2, 1, 2, 1], "value": [None, 30.0, None, None, None, 10.0, None],
    })  # fmt: skip
    items = pl.DataFrame({"item": [1, 2, 3], "price": [10.0, 20.0, 5.0], "margin": [2.0, 5.0, 1.0]})
    found = business.business(logs, items)
    expected = {
        "ctr": 2 / 4, "conversion": 1 / 2, "adoption": 1 / 3, "revenue_per_person": 10 / 3, "margin": 0.2, "top_share": 1.0,
        "sessions_per_person": 5 / 3, "dwell": 20.0, "retention": 2 / 3,
    }  # fmt: skip
    assert found == pytest.approx(expected)
    with pytest.raises(MissingColumn, match="kind"):
        business.business(logs.drop("kind"))
    with pytest.raises(EmptyData):
        business.business(logs.head(0))
    with pytest.raises(BadValue, match="without a price"):
        business.business(logs, items.filter(pl.col("item") != 1))


def test_off_policy_finds_the_value_of_another_policy() -> None:
    rng = np.random.default_rng(0)
    worth = np.array([0.1, 0.3, 0.7])
    old, new = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.2, 0.7])
    shown = rng.choice(3, 40_000, p=old)
    rewards = (rng.random(40_000) < worth[shown]).astype(float)
    truth = float(new @ worth)
    for found in (
        business.ips(rewards, old[shown], new[shown]),
        business.snips(rewards, old[shown], new[shown]),
        # A wrong model is put right by the propensities.
        business.dr(rewards, old[shown], new[shown], np.full(shown.size, 0.2), np.full(shown.size, 0.2)),
    ):
        assert found.interval[0] < truth < found.interval[1]
        assert found.value == pytest.approx(truth, abs=0.02)
    naive = rewards.mean()
    assert abs(naive - truth) > 0.2
    assert business.ips(rewards, old[shown], new[shown]).effective_size < 40_000
    with pytest.raises(BadValue, match="logged probabilities"):
        business.ips(rewards, np.zeros(shown.size), new[shown])
