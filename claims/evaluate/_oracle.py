"""Three people whose every metric was worked out by hand, and independent implementations where definitions coincide."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import polars as pl
from sklearn import metrics as sk

from sartor.evaluate.metrics import beyond, fairness
from sartor.evaluate.metrics.business import DAY, business
from sartor.evaluate.metrics.clicks import clicks
from sartor.evaluate.metrics.ranking import Truth, auc, ranking
from sartor.evaluate.metrics.rating import rating
from sartor.evaluate.metrics.similarity import similarity

# Ana finds the first and third of three relevant items at ranks 1 and 3; Ben finds none of one; Cy's list has two items, the second of
# which is one of his two.
LISTS = np.array([[1, 2, 3, 4], [5, 6, 7, 0], [4, 1, -1, -1]], np.int32)
RELEVANT = [(0, 1), (0, 3), (0, 8), (1, 9), (2, 1), (2, 2)]
COUNTS = np.array([1, 8, 4, 2, 1, 4, 4, 4, 2, 2])
LOG3 = math.log2(3)
RANKING = {
    "precision": [[1 / 2, 1 / 2], [0, 0], [1 / 2, 1 / 4]],
    "recall": [[1 / 3, 2 / 3], [0, 0], [1 / 2, 1 / 2]],
    "f1": [[2 / 5, 4 / 7], [0, 0], [1 / 2, 1 / 3]],
    "hit_rate": [[1, 1], [0, 0], [1, 1]],
    "mrr": [[1, 1], [0, 0], [1 / 2, 1 / 2]],
    "arhr": [[1, 4 / 3], [0, 0], [1 / 2, 1 / 2]],
    "map": [[1 / 2, 5 / 9], [0, 0], [1 / 4, 1 / 4]],
    "map_ref": [[1 / 3, 5 / 9], [0, 0], [1 / 4, 1 / 4]],
    "ndcg": [[1 / (1 + 1 / LOG3), 1.5 / (1.5 + 1 / LOG3)], [0, 0], [(1 / LOG3) / (1 + 1 / LOG3)] * 2],
}
POPULARITY = {
    "novelty": [[(2 + 3) / 2, (2 + 3 + 4 + 5) / 4], [3, (3 * 3 + 5) / 4], [(5 + 2) / 2, (5 + 2) / 2]],
    "arp": [[6, 15 / 4], [4, 13 / 4], [9 / 2, 9 / 2]],
    "aplt": [[0, 1 / 2], [1, 1], [1 / 2, 1 / 2]],
}


def errors() -> Iterator[tuple[str, float]]:
    """Name of each comparison and its largest absolute error."""
    rows, items = np.array(RELEVANT).T
    truth = Truth.from_pairs(rows, items, 3)
    for name, values in {**ranking(LISTS, truth, (2, 4)), **beyond.popularity(LISTS, COUNTS, (2, 4))}.items():
        yield f"hand {name}", float(np.abs(values - np.array((RANKING | POPULARITY)[name])).max())
    yield from _catalogue()
    yield from _values()
    yield from _pairs()
    yield from _shop()
    for seed in range(5):
        yield from _independent(seed)


def _catalogue() -> Iterator[tuple[str, float]]:
    # Places: items 0, 2, 3, 5, 6, 7 once, items 1 and 4 twice, 8 and 9 never.
    exposure = np.bincount(LISTS[LISTS >= 0], minlength=10)
    found = beyond.catalogue(exposure)
    yield "hand coverage", abs(found["coverage"] - 8 / 10)
    yield "hand distributional_coverage", abs(found["distributional_coverage"] - (6 * 0.1 * math.log2(10) + 2 * 0.2 * math.log2(5)))
    # Sum over all ordered pairs of |difference|: 2 x (2 nevers x 6 ones x 1 + 2 nevers x 2 twos x 2 + 6 ones x 2 twos x 1) = 64.
    yield "hand gini", abs(found["gini"] - 64 / 100 / (2 * 1.0))
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    half = 1 / math.sqrt(2)
    lists = np.array([[0, 1, 2], [0, 3, -1], [2, -1, -1]], np.int32)
    expected = np.array([1 - 1 / 3, 1 - half])
    yield "hand diversity", float(np.abs(beyond.diversity(lists, vectors, (3,))[:2, 0] - expected).max())
    wanted = Truth.from_pairs(np.array([0, 1]), np.array([2, 3]), 3)
    past = Truth.from_pairs(np.array([0, 0, 1]), np.array([0, 3, 2]), 3)
    surprise = beyond.serendipity(lists, wanted, past, vectors, (3,))[:2, 0]
    yield "hand serendipity", float(np.abs(surprise - np.array([(1 - half / 2) / 3, (1 - half) / 2])).max())
    shown = fairness.exposure(np.array([[0, 1], [0, 2]], np.int32), np.array(["a", "b", "b", "b"]), k=2)
    yield "hand exposure", abs(float(shown.share[0]) - 1 / (1 + 1 / LOG3))
    yield "hand impression_variance", abs(fairness.impression_variance({"f": 300, "m": 100}, {"f": 1, "m": 1}) - 1 / 4)


def _values() -> Iterator[tuple[str, float]]:
    found = rating(np.array([1.0, 2, 4, 5]), np.array([2.0, 2, 3, 3]))
    hand = {"mae": 1, "mse": 6 / 4, "rmse": math.sqrt(1.5), "mape": (1 + 1 / 4 + 2 / 5) / 4, "r2": 1 - 6 / 10, "explained_variance": 1 - 5 / 10}
    for name, value in hand.items():
        yield f"hand {name}", abs(found[name] - value)
    clicked = clicks(np.array([1, 0, 1, 0]), np.array([0.75, 0.25, 0.5, 0.5]), np.array(["u", "u", "v", "v"]), bins=4)
    hand = {
        "auc": 3.5 / 4, "logloss": -(2 * math.log(0.75) + 2 * math.log(0.5)) / 4, "brier": (2 / 16 + 2 / 4) / 4, "ece": (1 / 4 + 1 / 4) / 4,
        "bias": 1.0, "group_auc": 3 / 4,
    }  # fmt: skip
    for name, value in hand.items():
        yield f"hand {name}", abs(clicked[name] - value)


def _pairs() -> Iterator[tuple[str, float]]:
    a, b = np.array([[1.0, 2, 0, 3]]), np.array([[2.0, 2, 1, 0]])
    centre = np.array([1.5, 2, 0.5, 1.5])
    hand = {
        "cosine": 6 / math.sqrt(14 * 9), "adjusted_cosine": (-0.25 - 0.25 - 2.25) / (0.25 + 0.25 + 2.25),
        "pearson": -1.5 / math.sqrt(5 * 2.75), "spearman": -1.5 / math.sqrt(5 * 4.5), "jaccard": 6 / 17, "hamming": 1 / 1.5,
        "euclidean": 1 / (1 + math.sqrt(11)), "manhattan": 1 / 6, "chebyshev": 1 / 4,
    }  # fmt: skip
    for name, value in hand.items():
        yield f"hand {name}", abs(float(similarity(name, a, b, centre=centre)[0]) - value)


def _shop() -> Iterator[tuple[str, float]]:
    logs = pl.DataFrame({
        "person": ["a", "a", "a", "a", "b", "b", "c"], "item": [1, 1, 1, 2, 1, 2, 3],
        "kind": ["impression", "click", "buy", "impression", "impression", "click", "impression"],
        "time": [0, 1, 2, 9 * DAY, 3, 8 * DAY, 4], "session": [1, 1, 1, 2, 1, 2, 1], "value": [None, 30.0, None, None, None, 10.0, None],
    })  # fmt: skip
    found = business(logs, pl.DataFrame({"item": [1, 2, 3], "price": [10.0, 20.0, 5.0], "margin": [2.0, 5.0, 1.0]}))
    hand = {
        "ctr": 1 / 2, "conversion": 1 / 2, "adoption": 1 / 3, "revenue_per_person": 10 / 3, "margin": 1 / 5, "top_share": 1.0,
        "sessions_per_person": 5 / 3, "dwell": 20.0, "retention": 2 / 3,
    }  # fmt: skip
    for name, value in hand.items():
        yield f"hand {name}", abs(found[name] - value)


def _independent(seed: int) -> Iterator[tuple[str, float]]:
    """scikit-learn's NDCG, average precision, ROC AUC, errors and losses on random inputs."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(30, 80)).astype(np.float32)
    labels = (rng.random((30, 80)) < 0.1).astype(int)
    labels[:, 0] = 1
    rows, items = np.nonzero(labels)
    truth = Truth.from_pairs(rows, items, 30)
    found = ranking(np.argsort(-scores, axis=1).astype(np.int32), truth, (5, 10, 80))
    for at, k in enumerate((5, 10, 80)):
        theirs = [sk.ndcg_score(labels[row : row + 1], scores[row : row + 1], k=k) for row in range(30)]
        yield f"scikit-learn ndcg@{k}", float(np.abs(found["ndcg"][:, at] - theirs).max())
    theirs = [sk.average_precision_score(labels[row], scores[row]) for row in range(30)]
    yield "scikit-learn average precision", float(np.abs(found["map"][:, 2] - theirs).max())
    tied = np.round(scores)
    theirs = [sk.roc_auc_score(labels[row], tied[row]) for row in range(30)]
    yield "scikit-learn AUC with ties", float(np.abs(auc(tied, truth) - theirs).max())
    given, predicted = rng.integers(1, 6, 200).astype(float), rng.normal(3, 1, 200)
    ours = rating(given, predicted)
    for name, function in {
        "mae": sk.mean_absolute_error, "mse": sk.mean_squared_error, "mape": sk.mean_absolute_percentage_error, "r2": sk.r2_score,
        "explained_variance": sk.explained_variance_score,
    }.items():  # fmt: skip
        yield f"scikit-learn {name}", abs(ours[name] - function(given, predicted))
    p = rng.random(200)
    clicked = (rng.random(200) < p).astype(int)
    yield "scikit-learn logloss", abs(clicks(clicked, p)["logloss"] - sk.log_loss(clicked, p))
