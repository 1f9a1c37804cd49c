"""Fusion against the definitions on small lists, and re-ranking by a state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sartor
from sartor import Evidence
from sartor.data.world import World
from sartor.errors import BadValue, ConfigError, EmptyData, NotFitted, StateMismatch
from sartor.retrieve.fusion import FusionRanker, Pool, normalised, reciprocal_rank, weighted
from sartor.retrieve.hits import Hits
from sartor.retrieve.rerank import Reranker


def hits(*lists: list[tuple[int, float]], width: int = 4) -> Hits:
    indices, scores = np.full((len(lists), width), -1, np.int32), np.full((len(lists), width), -np.inf, np.float32)
    for row, own in enumerate(lists):
        for place, (item, score) in enumerate(own):
            indices[row, place], scores[row, place] = item, score
    return Hits(indices, scores, [], "")


def test_reciprocal_ranks_are_the_published_formula() -> None:
    pool = Pool.of([hits([(7, 9.0), (3, 8.0)], []), hits([(3, 0.2), (5, 0.1)], [(1, 1.0)])])
    fused = dict(zip(zip(pool.queries.tolist(), pool.items.tolist(), strict=True), reciprocal_rank(pool, (1.0, 0.5)).tolist(), strict=True))
    expected = {(0, 3): 1 / 62 + 0.5 / 61, (0, 5): 0.5 / 62, (0, 7): 1 / 61, (1, 1): 0.5 / 61}
    assert fused == pytest.approx(expected)
    indices, scores = pool.best(reciprocal_rank(pool), 2)
    assert indices.tolist() == [[3, 7], [1, -1]]
    assert scores[1, 1] == -np.inf


def test_normalised_scores_and_what_a_list_does_not_hold() -> None:
    full, short = hits([(0, 10.0), (1, 8.0), (2, 6.0), (3, 4.0)]), hits([(0, 0.5), (9, 0.25)])
    pool = Pool.of([full, short])
    assert pool.items.tolist() == [0, 1, 2, 3, 9]
    # A full list's last score bounds what it does not hold; a short one has nothing more to give.
    np.testing.assert_allclose(pool.filled[:, 0], [10, 8, 6, 4, 4])
    np.testing.assert_allclose(pool.filled[:, 1], [0.5, 0, 0, 0, 0.25])
    np.testing.assert_allclose(normalised(pool)[:, 0], [1, 2 / 3, 1 / 3, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(normalised(pool, "max")[:, 0], [1, 0.8, 0.6, 0.4, 0.4], rtol=1e-6)
    z = normalised(pool, "z-score")
    np.testing.assert_allclose([z.mean(0), z.std(0)], [[0, 0], [1, 1]], atol=1e-6)
    np.testing.assert_allclose(weighted(pool, (2, 1)), 2 * normalised(pool)[:, 0] + normalised(pool)[:, 1], rtol=1e-6)
    assert not normalised(Pool.of([hits([(0, 1.0), (1, 1.0)], width=2)])).any()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.sampled_from([1, 3, 10, 150]), levels=st.sampled_from([2, 1000]))
def test_best_and_places_are_a_sort(seed: int, k: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    lists = [[(int(item), 1.0) for item in rng.choice(300, rng.integers(0, 200), replace=False)] for _ in range(3)]
    pool = Pool.of([hits(*lists, width=200)])
    fused = rng.integers(0, levels, pool.items.size).astype(np.float32)
    chosen = pool.best_entries(fused, k)
    places = pool.places(fused, chosen)
    for query in range(3):
        own = np.arange(pool.indptr[query], pool.indptr[query + 1])
        best = chosen[query][chosen[query] >= 0]
        assert best.size == min(k, own.size)
        assert fused[best].tolist() == sorted(fused[own].tolist(), reverse=True)[:k]
        assert places[query, : best.size].tolist() == list(range(1, best.size + 1))
    kept = pool.keep(fused > 0)
    assert kept.items.tolist() == pool.items[fused > 0].tolist()
    assert len(kept) == 3


def test_the_ranker_learns_which_feature_tells() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, 3))
    indptr = np.arange(0, 4001, 20)
    # Wanted follows a softmax in the first feature less the third, so that the third may only be left out.
    utility = 2 * features[:, 0] - features[:, 2] + rng.gumbel(size=4000)
    wanted = np.zeros(4000, bool)
    wanted[[start + int(utility[start : start + 20].argmax()) for start in indptr[:-1]]] = True
    ranker = FusionRanker().fit(features, indptr, wanted)
    assert ranker.weights is not None
    assert 1.2 < ranker.weights[0] < 2.6
    assert ranker.weights[1] < 0.3
    assert ranker.weights[2] == 0
    half = FusionRanker().fit(features[:, :1], indptr, wanted, fixed=features[:, 0])
    assert half.weights is not None
    assert half.weights[0] == pytest.approx(FusionRanker().fit(features[:, :1], indptr, wanted).weights[0] - 1, abs=0.02)  # type: ignore[index]


def test_mistakes_have_names() -> None:
    pool = Pool.of([hits([(0, 1.0)])])
    cases: list[tuple[type[Exception], Any]] = [
        (EmptyData, lambda: Pool.of([])),
        (BadValue, lambda: Pool.of([hits([(0, 1.0)]), hits([], [])])),
        (BadValue, lambda: Pool.of([hits([(0, 1.0), (0, 0.5)])])),
        (ConfigError, lambda: pool.best(np.ones(1), 0)),
        (ConfigError, lambda: reciprocal_rank(pool, (1.0, 2.0))),
        (ConfigError, lambda: reciprocal_rank(pool, (-1.0,))),
        (ConfigError, lambda: weighted(pool, (float("nan"),))),
        (ConfigError, lambda: normalised(pool, "rank")),  # type: ignore[arg-type]
        (EmptyData, lambda: FusionRanker().fit(np.ones((2, 1)), np.array([0, 2]), np.zeros(2, bool))),
        (NotFitted, lambda: FusionRanker().score(np.ones((2, 1)))),
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()
    empty = Pool.of([hits([], [])])
    assert empty.best(np.empty(0, np.float32), 2)[0].tolist() == [[-1, -1], [-1, -1]]


def test_any_list_is_re_ranked_by_a_state() -> None:
    world = World(people=120, items=100, topics=8, interests=(1, 2), seed=3)
    population = world.population()
    model = sartor.make("ease", regularization=20.0).fit(population, progress=False)
    ranker, rng = Reranker(model), np.random.default_rng(0)
    people = list(range(40))
    states = [model.adapt(population[person]) for person in people]
    lists = [rng.choice(100, 30, replace=False).tolist() for _ in people]
    own, swapped = ranker.rerank(lists, states), ranker.rerank(lists, states[1:] + states[:1])
    for row, given_list in enumerate(lists):
        assert sorted(own[row]) == sorted(given_list)
        assert [given_list[place - 1] for place in own.places[row]] == own[row]

    def taste(found: Any) -> float:
        return float(np.mean([world.affinity([person], found[person][:5]).mean() for person in people]))

    as_it_was = [one[:5] for one in lists]
    assert taste(own) > taste(as_it_was) + 0.03
    assert taste(own) > taste(swapped) + 0.03
    for same in (ranker.rerank(lists, [None] * 40), ranker.rerank(lists, states, strength=0)):
        assert list(same) == lists
    nothing = model.adapt(Evidence.from_items(["unknown"]))
    assert ranker.rerank([lists[0]], [nothing])[0] == lists[0]
    # Items the taste has never heard of stay in the list; scores of a ranking are taken from it.
    assert sorted(ranker.rerank([["new", *lists[0][:3]]], [states[0]])[0], key=str) == sorted(["new", *map(str, lists[0][:3])])
    assert set(ranker.rerank(model.recommend([None], 10), states[:1], 5)[0]) <= set(model.recommend([None], 10)[0])
    learned = Reranker(model).fit(lists, states, [own[row][:3] for row in range(40)])
    assert learned.weight > 0.3
    # Where the lists' own order is the wrong way round the taste decides, and nothing but it; places before still decide among equals.
    ends = [found[::-1] for found in own]
    extreme = Reranker(model).fit(ends, states, [own[row][:3] for row in range(40)])
    assert extreme.weight <= 100
    unknown = [["z", "y", "x", "w", "v"]]
    assert list(extreme.rerank(unknown, [states[0]])) == unknown


def test_mistakes_of_re_ranking_have_names() -> None:
    population = World(people=40, items=60, seed=3).population()
    model, other = (sartor.make("ease", regularization=one).fit(population, progress=False) for one in (20.0, 30.0))
    state = other.adapt(population[0])
    ranker = Reranker(model)
    cases: list[tuple[type[Exception], Any]] = [
        (NotFitted, lambda: Reranker(sartor.make("ease"))),
        (ConfigError, lambda: Reranker(model, weight=-1)),
        (StateMismatch, lambda: ranker.rerank([[1, 2]], [state])),
        (ConfigError, lambda: ranker.rerank([[1, 2]], [])),
        (ConfigError, lambda: ranker.rerank(["12"], [None])),
        (ConfigError, lambda: ranker.rerank([[1, 2]], [None], strength=1.5)),
        (BadValue, lambda: ranker.rerank([[1, 1]], [None])),
        (EmptyData, lambda: ranker.fit([[1, 2]], [None], [[]])),
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()
    assert list(ranker.rerank([[], [5]], [None, None])) == [[], [5]]
    assert list(ranker.rerank([], [])) == []
