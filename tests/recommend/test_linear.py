"""The linear recommenders against closed forms written out densely."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from sartor import Evidence, Population
from sartor.data.world import World, low_rank
from sartor.errors import BadValue, ConfigError, DuplicateRows
from sartor.recommend.als import ALS
from sartor.recommend.bpr import BPR
from sartor.recommend.ease import EASE
from sartor.recommend.item_knn import ItemKNN
from sartor.recommend.matrix_completion import MatrixCompletion, complete
from sartor.recommend.popularity import Popularity


@cache
def people() -> Population:
    return World(people=120, items=70, seed=2, events_per_person=15, reviews=0.0, preferences=0).population()


def binary() -> np.ndarray:
    return (people().interactions().matrix().toarray() > 0).astype(np.float64)


# --- ALS


def test_als_minimises_its_own_objective() -> None:
    """At the end every person and every item solves the dense weighted ridge problem over all cells, given the other side."""
    counts = people().interactions().matrix().toarray().astype(np.float64)
    method = ALS(factors=5, iterations=300, alpha=3.0, regularization=0.7, solver="exact").fit(people(), progress=False)
    own = method.stack(list(method.adapt_all(people()).values())).astype(np.float64)
    items = method.item_vectors_.astype(np.float64)
    confidence, chosen = 1 + 3.0 * counts, (counts > 0).astype(np.float64)
    for side, other, c, p in ((own, items, confidence, chosen), (items, own, confidence.T, chosen.T)):
        for row in range(0, len(side), 7):
            matrix = other.T @ (c[row, :, None] * other) + 0.7 * np.eye(5)
            np.testing.assert_allclose(side[row], np.linalg.solve(matrix, other.T @ (c[row] * p[row])), atol=2e-3)


def test_two_steps_of_conjugate_gradient_are_as_good_as_exact() -> None:
    counts = people().interactions().matrix().toarray().astype(np.float64)

    def loss(solver: str) -> float:
        method = ALS(factors=8, iterations=10, solver=solver, regularization=0.5).fit(people(), progress=False)  # type: ignore[arg-type]
        own = method.stack(list(method.adapt_all(people()).values())).astype(np.float64)
        error = (counts > 0) - own @ method.item_vectors_.T
        return float(((1 + counts) * error**2).sum() + 0.5 * ((own**2).sum() + (method.item_vectors_**2).sum()))

    assert loss("cg") == pytest.approx(loss("exact"), rel=2e-3)
    assert loss("sketch") == pytest.approx(loss("exact"), rel=2e-3)


def test_folding_in_does_not_need_the_person_and_updates_equal_starting_over() -> None:
    method = ALS(factors=6, iterations=5).fit(people(), progress=False)
    items = method.items_.ids.to_list()
    once = method.adapt(Evidence.from_items(items[:9]))
    twice = method.adapt(Evidence.from_items(items[4:9]), method.adapt(Evidence.from_items(items[:4])))
    np.testing.assert_allclose(once["vector"], twice["vector"], atol=1e-6)


def test_interrupted_als_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ALS(factors=4, iterations=6).fit(people(), progress=False)
    from sartor.recommend import als

    kept, calls = als._Side.solve, []

    def tired(self: als._Side, *given: object) -> None:
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        kept(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(als._Side, "solve", tired)
    with pytest.raises(KeyboardInterrupt):
        ALS(factors=4, iterations=6).fit(people(), progress=False, checkpoint=tmp_path)
    assert list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="other alpha"):
        ALS(factors=4, iterations=6, alpha=2.0).fit(people(), progress=False, checkpoint=tmp_path)
    resumed = ALS(factors=4, iterations=6).fit(people(), progress=False, checkpoint=tmp_path)
    np.testing.assert_array_equal(resumed.item_vectors_, whole.item_vectors_)
    assert not list(tmp_path.iterdir())


def test_negative_weights_are_refused() -> None:
    bad = Population.from_frames(events={"person": [1, 1, 2], "item": [1, 2, 1], "weight": [1.0, -1.0, 1.0]})
    with pytest.raises(BadValue, match="negative weight"):
        ALS(factors=2).fit(bad, progress=False)


# --- EASE


def test_ease_equals_its_closed_form_and_never_explains_an_item_by_itself() -> None:
    history = binary()
    method = EASE(regularization=20.0).fit(people(), progress=False)
    inverse = np.linalg.inv(history.T @ history + 20.0 * np.eye(history.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(method.item_weights_, weights, atol=1e-6)
    scores = method.score(list(method.adapt_all(people()).values()))
    np.testing.assert_allclose(scores, history @ weights, atol=1e-5)


# --- item-kNN


@pytest.mark.parametrize("similarity", ["cosine", "jaccard"])
def test_item_knn_equals_brute_force(similarity: str) -> None:
    history = binary()
    method = ItemKNN(neighbours=6, similarity=similarity, shrinkage=2.0).fit(people(), progress=False)  # type: ignore[arg-type]
    both, counts = history.T @ history, history.sum(0)
    below = np.sqrt(np.outer(counts, counts)) if similarity == "cosine" else counts[:, None] + counts - both
    whole = both / np.maximum(below + 2.0, 1e-12)
    np.fill_diagonal(whole, 0)
    found = method.similarity_.toarray()
    for item in range(len(whole)):
        # Which of equal neighbours is kept is a lottery; how much they lend is not.
        np.testing.assert_allclose(np.sort(found[item])[::-1][:6], np.sort(whole[item])[::-1][:6], atol=1e-6)
        kept = found[item] > 0
        np.testing.assert_allclose(found[item][kept], whole[item][kept], atol=1e-6)
        assert kept.sum() <= 6


@pytest.mark.parametrize("similarity", ["tfidf", "bm25"])
def test_weighted_similarities_trust_choosy_people_more(similarity: str) -> None:
    choosy, greedy = [("ana", 0), ("ana", 1)], [("ben", item) for item in range(2, 12)]
    crowd = [(f"p{n}", 20 + n % 5) for n in range(10)]
    rows = choosy + greedy + crowd
    data = Population.from_frames(events={"person": [one[0] for one in rows], "item": [one[1] for one in rows]})
    method = ItemKNN(similarity=similarity, neighbours=20).fit(data, progress=False)  # type: ignore[arg-type]
    index = {item: number for number, item in enumerate(method.items_.ids.to_list())}
    weight = method._weighted(data.interactions().matrix()).toarray()
    who = {person: number for number, person in enumerate(data.interactions().people.ids.to_list())}
    assert weight[who["ana"], index[0]] > weight[who["ben"], index[2]]
    assert method.similarity_[index[0], index[1]] > 0
    assert method.similarity_[index[0], index[2]] == 0


# --- popularity


def test_popularity_counts_people_and_forgets_with_age() -> None:
    events = {"person": [1, 1, 2, 3, 3], "item": ["a", "a", "a", "b", "b"], "time": [0, 0, 0, 86_400, 86_400]}
    data = Population.from_frames(events=events)
    np.testing.assert_array_equal(Popularity().fit(data, progress=False).popularity_, [2.0, 1.0])
    np.testing.assert_allclose(Popularity(half_life_days=1).fit(data, progress=False).popularity_, [1.5, 2.0])
    with pytest.raises(ConfigError, match="needs times"):
        Popularity(half_life_days=1).fit(data.replace(events=data.events.drop("time")), progress=False)


# --- BPR


def test_bpr_orders_pairs_and_is_the_same_again() -> None:
    settings = {"factors": 8, "epochs": 30, "seed": 4}
    method, again = (BPR(**settings).fit(people(), progress=False) for _ in range(2))
    np.testing.assert_array_equal(method.item_vectors_, again.item_vectors_)
    history = binary() > 0
    scores = method.score(list(method.adapt_all(people()).values()))
    wins = [(own[had][:, None] > own[~had]).mean() for own, had in zip(scores, history, strict=True)]
    assert np.mean(wins) > 0.85
    assert np.mean(wins) > np.mean(
        [(own[had][:, None] > own[~had]).mean() for own, had in zip(method.score([None] * len(history)), history, strict=True)]
    )


# --- matrix completion


@cache
def ratings() -> tuple[Population, np.ndarray]:
    world = low_rank(150, 80, 3, density=0.5, noise=0.05, seed=4)
    return world.population(), world.left @ world.right.T


def test_ratings_of_people_never_seen_are_foretold() -> None:
    population, truth = ratings()
    events = population.events.collect()
    rows = population.interactions()
    method = MatrixCompletion(rank=3, ridge=0.01, rounds=30).fit(population.only(list(range(120))), progress=False)
    new = list(range(120, 150))
    states = [method.adapt(population[person]) for person in new]
    hidden = np.ones(truth.shape, bool)
    hidden[rows.rows, rows.indices] = False
    found = method.score(states)
    error = np.sqrt(((found - truth[new])[hidden[new]] ** 2).mean())
    nothing = np.sqrt(((method.score([None] * 30) - truth[new])[hidden[new]] ** 2).mean())
    assert error < 0.15 < 0.5 < nothing
    assert events.height == len(rows)


def test_approximate_and_exact_rounds_agree() -> None:
    population, _ = ratings()
    scores = [
        (method := MatrixCompletion(rank=3, solver=solver, rounds=25).fit(population, progress=False)).score(
            list(method.adapt_all(population).values())
        )  # type: ignore[arg-type]
        for solver in ("exact", "cg", "sketch")
    ]
    assert np.abs(scores[0] - scores[1]).max() < 0.02
    assert np.abs(scores[0] - scores[2]).max() < 0.02


def test_an_item_nobody_rated_is_listed_and_scores_the_persons_mean() -> None:
    population, _ = ratings()
    more = population.replace(items=Population.from_frames(items={"item": list(range(81))}).items)
    method = MatrixCompletion(rank=2).fit(more, progress=False)
    assert method.unrated_.tolist() == [80]
    state = method.adapt(population[0])
    expected = state["vector"][2] + method.item_vectors_[80, -1]
    assert method.score([state], [80])[0, 0] == pytest.approx(expected, abs=1e-5)
    assert not method.item_vectors_[80, :2].any()


def test_completion_refuses_what_it_cannot_solve() -> None:
    rows, columns = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])
    with pytest.raises(ConfigError, match="rank 3 exceeds the 2 ratings of the densest row"):
        complete(rows, columns, np.ones(4), (3, 3), rank=3)
    with pytest.raises(ConfigError, match="rank 9 exceeds the 3 rows"):
        complete(rows, columns, np.ones(4), (3, 4), rank=9)
    with pytest.raises(BadValue, match=r"not finite.*\(1, 1\)"):
        complete(rows, columns, np.array([1, 2, np.nan, 3]), (3, 3), rank=1)
    with pytest.raises(DuplicateRows, match=r"\(0, 1\)"):
        complete(np.append(rows, 0), np.append(columns, 1), np.arange(5.0), (3, 3), rank=1)
    done = complete(rows, columns, np.ones(4), (4, 5), rank=1, rounds=3)
    assert done.empty_rows.tolist() == [3]
    assert done.empty_columns.tolist() == [3, 4]


def test_duplicates_count_last_or_mean() -> None:
    from sartor.recommend.matrix_completion import _entries

    given = (np.array([1, 0, 1]), np.array([0, 0, 0]), np.array([1.0, 7.0, 4.0]), None, (2, 1))
    assert _entries(*given, "last")[2].tolist() == [7.0, 4.0]  # type: ignore[arg-type]
    assert _entries(*given, "mean")[2].tolist() == [7.0, 2.5]  # type: ignore[arg-type]


def test_ratings_are_needed() -> None:
    with pytest.raises(BadValue, match="have no rating"):
        MatrixCompletion(rank=2).fit(people().replace(events=people().events.select("person", "item")), progress=False)


# --- all


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (ALS, {"factors": 0}),
        (ALS, {"regularization": 0.0}),
        (EASE, {"regularization": 0.0}),
        (ItemKNN, {"neighbours": 0}),
        (BPR, {"learning_rate": 0.0}),
    ],
)
def test_settings_out_of_range_are_named(kind: type, settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        kind(**settings).fit(people(), progress=False)


def test_ranking_in_small_batches_is_the_ranking_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    method = ALS(factors=4, iterations=3).fit(people(), progress=False)
    states = [*method.adapt_all(people()).values(), None]
    whole = method.recommend(states, 5)
    monkeypatch.setattr("sartor.recommend._base.SCORES_IN_MEMORY", 200)
    pieces = method.recommend(states, 5)
    np.testing.assert_array_equal(whole.indices, pieces.indices)
