"""Ranking metrics: by hand, against ir-measures (pytrec_eval) and scikit-learn, and the properties they must have."""

import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import AP, RR, P, R, Success, nDCG
from sklearn.metrics import ndcg_score, roc_auc_score

from sartor.errors import ConfigError
from sartor.evaluate.metrics.ranking import RANKING, Truth, auc, ranking

KS = (1, 2, 3, 5, 10)


def truth_of(lists: list[list[int]], relevance: list[list[float]] | None = None) -> Truth:
    rows = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    grades = None if relevance is None else np.concatenate([np.asarray(one, np.float32) for one in relevance])
    return Truth.from_pairs(rows, np.concatenate([np.asarray(one, np.int32) for one in lists]), len(lists), relevance=grades)


def random_case(seed: int, people: int = 40, items: int = 60, length: int = 12) -> tuple[np.ndarray, Truth]:
    rng = np.random.default_rng(seed)
    best = np.stack([rng.permutation(items)[:length] for _ in range(people)]).astype(np.int32)
    lists = [rng.permutation(items)[: rng.integers(1, 20)].tolist() for _ in range(people)]
    return best, truth_of(lists, [rng.integers(1, 5, len(one)).tolist() for one in lists])


def test_three_people_by_hand() -> None:
    # Ana: hits at ranks 1 and 3 of three relevant; Ben: none of one; Cy: a list of two, hit at rank 2, of two relevant.
    best = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 1, -1, -1]], np.int32)
    found = ranking(best, truth_of([[1, 3, 99], [0], [1, 2]]), (2, 4))
    log = math.log2
    ideal3 = 1 + 1 / log(3) + 1 / log(4)
    expected = {
        "precision": [[1 / 2, 2 / 4], [0, 0], [1 / 2, 1 / 4]],
        "recall": [[1 / 3, 2 / 3], [0, 0], [1 / 2, 1 / 2]],
        "f1": [[0.4, 4 / 7], [0, 0], [1 / 2, 1 / 3]],
        "hit_rate": [[1, 1], [0, 0], [1, 1]],
        "mrr": [[1, 1], [0, 0], [1 / 2, 1 / 2]],
        "arhr": [[1, 1 + 1 / 3], [0, 0], [1 / 2, 1 / 2]],
        "map": [[1 / 2, (1 + 2 / 3) / 3], [0, 0], [(1 / 2) / 2, (1 / 2) / 2]],
        "map_ref": [[1 / 3, (1 + 2 / 3) / 3], [0, 0], [1 / 4, 1 / 4]],
        "ndcg": [[1 / (1 + 1 / log(3)), (1 + 1 / log(4)) / ideal3], [0, 0], [(1 / log(3)) / (1 + 1 / log(3))] * 2],
    }
    assert set(found) == set(RANKING)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-12, err_msg=name)


def test_graded_ndcg_by_hand() -> None:
    found = ranking(np.array([[2, 1, 0]], np.int32), truth_of([[0, 1]], [[3, 1]]), (3,))
    dcg, ideal = 1 / math.log2(3) + 7 / 2, 7 + 1 / math.log2(3)
    assert found["ndcg_graded"][0, 0] == pytest.approx(dcg / ideal, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_ir_measures(seed: int) -> None:
    best, truth = random_case(seed)
    assert truth.relevance is not None
    found = ranking(best, truth, KS)
    qrels = [
        ir_measures.Qrel(str(row), str(item), int(grade)) for row, item, grade in zip(truth.rows, truth.indices, truth.relevance, strict=True)
    ]  # fmt: skip
    run = [ir_measures.ScoredDoc(str(row), str(item), -float(rank)) for row in range(len(best)) for rank, item in enumerate(best[row])]
    pairs = {"precision": P, "recall": R, "mrr": RR, "map_ref": AP, "hit_rate": Success, "ndcg_graded": nDCG(gains={1: 1, 2: 3, 3: 7, 4: 15})}
    checked = 0
    for name, measure in pairs.items():
        for at, k in enumerate(KS):
            theirs = {one.query_id: one.value for one in ir_measures.iter_calc([measure @ k], qrels, run)}
            np.testing.assert_allclose(found[name][:, at], [theirs[str(row)] for row in range(len(best))], atol=1e-9, err_msg=f"{name}@{k}")
            checked += 1
    binary = [ir_measures.Qrel(one.query_id, one.doc_id, 1) for one in qrels]
    for at, k in enumerate(KS):
        theirs = {one.query_id: one.value for one in ir_measures.iter_calc([nDCG @ k], binary, run)}
        np.testing.assert_allclose(found["ndcg"][:, at], [theirs[str(row)] for row in range(len(best))], atol=1e-9)
    assert checked == len(pairs) * len(KS)


def test_equal_to_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20, 50)).astype(np.float32)
    lists = [rng.permutation(50)[:7].tolist() for _ in range(20)]
    truth = truth_of(lists)
    labels = np.zeros((20, 50))
    labels[truth.rows, truth.indices] = 1
    best = np.argsort(-scores, axis=1).astype(np.int32)
    found = ranking(best, truth, (5, 50))
    for row in range(20):
        assert found["ndcg"][row, 0] == pytest.approx(ndcg_score(labels[row : row + 1], scores[row : row + 1], k=5), abs=1e-9)
    tied = np.round(scores, 0)
    np.testing.assert_allclose(auc(tied, truth), [roc_auc_score(labels[row], tied[row]) for row in range(20)], atol=1e-9)
    # What is left out takes no part.
    out = truth_of([[item for item in range(10) if item not in one] or [49] for one in lists])
    keep = np.ones((20, 50), bool)
    keep[out.rows, out.indices] = False
    expected = [roc_auc_score(labels[row][keep[row]], scores[row][keep[row]]) for row in range(20)]
    np.testing.assert_allclose(auc(scores, truth, out), expected, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 15))
def test_perfect_is_one_and_reversed_is_least(seed: int, relevant: int) -> None:
    rng = np.random.default_rng(seed)
    own = rng.permutation(20)[:relevant]
    others = np.setdiff1d(np.arange(20), own)
    perfect, reverse = np.concatenate([own, others]).astype(np.int32), np.concatenate([others, own]).astype(np.int32)
    shuffled = rng.permutation(20).astype(np.int32)
    found = ranking(np.stack([perfect, reverse, shuffled]), truth_of([own.tolist()] * 3), (1, 5, 20))
    for name in ("hit_rate", "mrr", "map", "ndcg"):
        np.testing.assert_allclose(found[name][0], 1, atol=1e-12)
    for name in RANKING:
        assert (found[name][1] <= found[name][2] + 1e-12).all(), name
        assert (found[name][2] <= found[name][0] + 1e-12).all(), name


def test_order_of_people_does_not_matter() -> None:
    best, truth = random_case(7)
    order = np.random.default_rng(1).permutation(len(best))
    whole, moved = ranking(best, truth, KS), ranking(best[order], truth.take(order), KS)
    for name, values in whole.items():
        np.testing.assert_array_equal(values[order], moved[name], err_msg=name)


def test_cut_offs_in_any_order_and_beyond_the_list() -> None:
    best, truth = random_case(3, length=4)
    found, other = ranking(best, truth, (10, 2)), ranking(best, truth, (2, 10))
    np.testing.assert_array_equal(found["ndcg"], other["ndcg"][:, ::-1])
    hits = found["recall"][:, 0] * truth.lengths
    np.testing.assert_allclose(found["precision"][:, 0], hits / 10, atol=1e-12)


def test_nothing_relevant_is_nan_never_zero() -> None:
    truth = Truth.from_pairs(np.array([0, 1]), np.array([1, 1]), 2, relevance=np.array([0.0, 2.0]))
    found = ranking(np.array([[1, 2], [1, 2]], np.int32), truth, (2,))
    for name, values in found.items():
        assert np.isnan(values[0, 0]), name
        assert not np.isnan(values[1, 0]), name


def test_mistakes_are_named() -> None:
    best, truth = random_case(0)
    with pytest.raises(ConfigError, match="lists for"):
        ranking(best[1:], truth, (5,))
    with pytest.raises(ConfigError, match="cut-off"):
        ranking(best, truth, (0,))
    with pytest.raises(ConfigError, match="NaN"):
        Truth.from_pairs(np.array([0]), np.array([0]), 1, relevance=np.array([np.nan]))
