"""kNN-Embed: budgets, smoothing against plain loops, queries per interest, and people who leave."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import sartor
from sartor.data import Evidence, Population
from sartor.data.world import World
from sartor.errors import BadValue, ConfigError, UnknownId
from sartor.method import State
from sartor.recommend._interests import budgets
from sartor.recommend.als import ALS
from sartor.recommend.bpr import BPR
from sartor.recommend.ease import EASE
from sartor.recommend.knn_embed import KNNEmbed
from sartor.represent.clustering import spherical_kmeans


@pytest.fixture(scope="module")
def world() -> World:
    return World.preset("topics", people=150, items=300, topics=20, seed=4, reviews=0.0, preferences=0)


@pytest.fixture(scope="module")
def population(world: World) -> Population:
    return world.population()


@pytest.fixture(scope="module")
def base(population: Population) -> ALS:
    return ALS(factors=6, iterations=8, regularization=3.0, alpha=20.0).fit(population, progress=False)


@pytest.fixture(scope="module")
def model(population: Population, base: ALS) -> KNNEmbed:
    return KNNEmbed(base=base, clusters=12, neighbours=8, smoothing=0.4).fit(population, progress=False)


@given(arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 12)), elements=st.floats(0, 1)), st.integers(1, 200))
@settings(deadline=None)
def test_budgets_are_whole_sum_up_and_lie_next_to_the_quota(raw: np.ndarray, n: int) -> None:
    shares = (raw + 1e-6) / (raw + 1e-6).sum(axis=1, keepdims=True)
    given_out = budgets(shares, n)
    assert (given_out.sum(axis=1) == n).all()
    assert (np.abs(given_out - n * shares) < 1 + 1e-6).all()


def test_a_cluster_without_a_share_gets_nothing_and_remainders_go_by_size() -> None:
    assert budgets(np.array([[0.5, 0.0, 0.3, 0.2]]), 3).tolist() == [[1, 0, 1, 1]]
    assert budgets(np.array([[0.25, 0.25, 0.5]]), 2).tolist() == [[1, 0, 1]]


def test_spherical_kmeans_finds_planted_directions_whatever_the_length() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 200)
    vectors = (np.eye(5)[truth] + 0.1 * rng.standard_normal((200, 5))) * rng.uniform(0.1, 30, (200, 1))
    labels, centres = spherical_kmeans(vectors, 5, seed=1)
    assert len({(a, b) for a, b in zip(truth, labels, strict=True)}) == 5
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, rtol=1e-5)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (labels == np.argmax(units @ centres.T, axis=1)).all(), "everybody is at the nearest centre"
    with pytest.raises(BadValue, match="vector 3 has length 0"):
        spherical_kmeans(np.vstack([vectors[:3], np.zeros(5)]), 2)
    with pytest.raises(ConfigError, match="9 clusters for 2 different directions"):
        spherical_kmeans(np.tile(np.eye(2), (10, 1)), 9)


def test_the_own_mixture_counts_items_and_averages_their_vectors(model: KNNEmbed, population: Population) -> None:
    state = model.adapt(population[7])
    seen = np.unique(state["items"])
    labels = model.item_clusters_[seen]
    assert state["shares"].sum() == pytest.approx(1)
    assert (np.diff(state["shares"]) <= 0).all()
    for cluster, share, query in zip(state["interests"], state["shares"], state["queries"], strict=True):
        assert share == pytest.approx((labels == cluster).sum() / seen.size)
        np.testing.assert_allclose(query, model.base.item_vectors_[seen[labels == cluster]].mean(axis=0), rtol=1e-4, atol=1e-5)


def test_smoothing_equals_a_plain_loop_over_neighbours(model: KNNEmbed, population: Population) -> None:
    everybody = model.adapt_all(population)
    person, others = 11, [one for one in everybody if one != 11]

    def dense(state: State) -> tuple[np.ndarray, np.ndarray]:
        shares, sums = np.zeros(model.clusters), np.zeros((model.clusters, 6))
        shares[state["interests"]], sums[state["interests"]] = state["shares"], state["shares"][:, None] * state["queries"]
        return shares, sums

    own = everybody[person]
    cosine = {one: float(v["vector"] @ own["vector"] / np.linalg.norm(v["vector"]) / np.linalg.norm(own["vector"])) for one, v in everybody.items()}
    near = sorted(others, key=lambda one: -cosine[one])[: model.neighbours]
    shares, sums = (0.6 * part for part in dense(own))
    for one in near:
        shares, sums = shares + 0.4 / 8 * dense(everybody[one])[0], sums + 0.4 / 8 * dense(everybody[one])[1]
    got, queries = model.mixtures([own])
    np.testing.assert_allclose(got[0], shares, atol=1e-5)
    np.testing.assert_allclose(queries[0], np.divide(sums, shares[:, None], where=shares[:, None] > 0, out=np.zeros_like(sums)), atol=1e-3)


def test_lists_keep_budgets_and_name_the_interest_that_asked(model: KNNEmbed, population: Population) -> None:
    states = [model.adapt(population[person]) for person in range(20)]
    found = model.recommend(states, 30)
    shares, queries = model.mixtures(states)
    worth = budgets(shares, 30)
    for row, state in enumerate(states):
        items, interests = found.indices[row], found.interests[row]
        assert len(set(items)) == 30
        assert not set(items) & set(state["items"].tolist())
        assert (np.bincount(interests, minlength=model.clusters) == worth[row]).all()
        assert (np.diff(found.scores[row]) < 0).all()
        main = int(np.argmax(shares[row]))
        allowed = np.setdiff1d(np.arange(len(model.items_)), state["items"])
        best = allowed[np.argsort(-(model.base.item_vectors_[allowed] @ queries[row, main]))][: worth[row, main]]
        assert set(items[interests == main]) == set(best), "the largest interest gets the best items of its own query"
    assert found.to_frame().columns == ["person", "rank", "item", "score", "interest"]


def test_interests_are_searched_for_with_different_vectors(world: World, model: KNNEmbed, population: Population) -> None:
    """What an interest brings is mostly of the topics of the person's items in it, which one vector for all cannot do."""
    topic = world.truth["items"]["topic"].to_numpy()
    raw = KNNEmbed(base=model.base, clusters=12, smoothing=0.0).fit(population, progress=False)
    hits = []
    for person in range(40):
        state = raw.adapt(population[person])
        found = raw.recommend([state], 10)
        own = {int(c): set(topic[state["items"][raw.item_clusters_[state["items"]] == c]]) for c in state["interests"]}
        hits += [topic[item] in own[int(c)] for item, c in zip(found.indices[0], found.interests[0], strict=True)]
    assert np.mean(hits) > 0.6


def test_nothing_is_repeated_when_candidates_run_out(model: KNNEmbed, population: Population) -> None:
    state = model.adapt(population[3])
    pool = model.items_.ids.to_list()[:12]
    left = set(pool) - set(model.items_.array[state["items"]].tolist())
    found = model.recommend([state, None], 12, candidates=pool)
    assert set(found[0]) == left
    assert len(found[0]) == len(left)
    assert (found.interests[0][found.indices[0] < 0] == -1).all()
    each = model.recommend([state, state], 4, candidates=[pool, pool[:5]])
    assert set(each[1]) <= set(pool[:5])
    assert each[0] == model.recommend([state], 4, candidates=pool)[0]


def test_a_forgotten_person_leaves_every_answer(population: Population, base: ALS) -> None:
    """As if the model had been made of the others only, with the same vectors and clusters."""
    model = KNNEmbed(base=base, clusters=12, neighbours=8, smoothing=0.5).fit(population, progress=False)
    states = model.adapt_all(population.only(range(10, 60)))
    gone = [0, 3, 9]
    before = model.mixtures(list(states.values()))[0]
    model.forget(gone)
    rest = [one for one in range(150) if one not in gone]
    expected = KNNEmbed(base=base, clusters=12, neighbours=8, smoothing=0.5).fit(population.only(rest), progress=False)
    for name in ("people_vectors_", "mixture_indptr_", "mixture_clusters_", "mixture_shares_", "mixture_queries_", "mean_shares_", "mean_queries_"):
        np.testing.assert_allclose(getattr(model, name), getattr(expected, name), rtol=1e-4, atol=1e-5, err_msg=name)
    assert model.people_ == expected.people_
    after = model.mixtures(list(states.values()))[0]
    changed = np.abs(after - before).max(axis=1) > 1e-6
    assert changed.any(), "some had them as neighbours"
    assert not changed.all()
    with pytest.raises(UnknownId):
        model.forget([3])


def test_somebody_without_history_gets_the_mean_mixture_and_is_flagged(model: KNNEmbed) -> None:
    nobody = model.adapt(Evidence.from_items([]))
    assert nobody.notes == {"mean_mixture": True}
    assert nobody["interests"].size == 0
    assert model.recommend([nobody], 15)[0] == model.recommend([None], 15)[0]
    np.testing.assert_allclose(model.mixtures([None])[0][0], model.mean_shares_)
    assert model.mean_shares_.sum() == pytest.approx(1, rel=1e-4)


def test_a_state_is_small_and_keeps_the_largest_interests(population: Population, base: ALS) -> None:
    model = KNNEmbed(base=base, clusters=12, interests=3, smoothing=0.0).fit(population, progress=False)
    for state in model.adapt_all(population).values():
        assert state["interests"].size <= 3
        assert state["shares"].sum() == pytest.approx(1)
        assert state.nbytes - state["items"].nbytes - state["weights"].nbytes <= 4 * (6 + 3 * 8)


def test_the_bases_own_fold_in_as_query(population: Population, base: ALS) -> None:
    model = KNNEmbed(base=base, clusters=12, smoothing=0.0, query="fold-in").fit(population, progress=False)
    state = model.adapt(population[5])
    items = state["items"]
    for cluster, query in zip(state["interests"], state["queries"], strict=True):
        part = Evidence.from_items(model.items_.array[items[model.item_clusters_[items] == cluster]].tolist())
        np.testing.assert_allclose(query, base.adapt(part)["vector"], rtol=1e-3, atol=1e-4)


def test_an_unfitted_base_is_fitted_and_fitted_again(population: Population, tmp_path) -> None:
    model = KNNEmbed(base=BPR(factors=8, epochs=2), clusters=6, query="fold-in").fit(population, progress=False)
    first = model.base.fingerprint_
    assert first
    model.fit(population.only(range(80)), progress=False)
    assert model.base.fingerprint_ != first
    again = sartor.load(model.save(tmp_path / "model"))
    assert again.recommend([again.adapt(population[1])], 9)[0] == model.recommend([model.adapt(population[1])], 9)[0]
    again.forget([5])
    assert 5 not in again.people_


def test_bad_settings_and_vectors_have_names(population: Population, base: ALS) -> None:
    with pytest.raises(ConfigError, match="400 clusters for 300 items"):
        KNNEmbed(base=base, clusters=400).fit(population, progress=False)
    with pytest.raises(ConfigError, match=r"smoothing 1\.5"):
        KNNEmbed(base=base, smoothing=1.5).fit(population, progress=False)
    with pytest.raises(ConfigError, match="no item vectors"):
        KNNEmbed(base=EASE()).fit(population, progress=False)  # type: ignore[arg-type]

    class Broken(ALS):
        def _encode(self, histories):  # type: ignore[no-untyped-def]
            return {"vector": super()._encode(histories)["vector"] * (histories.people.ids != 12).to_numpy()[:, None]}

    broken = Broken(factors=6, iterations=2).fit(population, progress=False)
    with pytest.raises(BadValue, match="person 12 has a zero vector; cosine undefined"):
        KNNEmbed(base=broken, clusters=5).fit(population, progress=False)
