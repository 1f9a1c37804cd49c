"""LightGCN, AlphaRec, NBPO, PLD and GraphHash: new people, saving, and what each promises beyond the contract."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import sartor
from sartor import Evidence, Population
from sartor.data.splits import make
from sartor.errors import BadValue, ConfigError, EmptyData, StateMismatch
from sartor.evaluate import evaluate
from sartor.represent.communities import louvain

TOPICS = ("crime", "space", "garden", "music")


def shop(seed: int, name: str = "i", people: int = 120) -> Population:
    """Four topics, one per person; titles name the topic."""
    rng = np.random.default_rng(seed)
    taste = rng.integers(0, 4, people)
    person = np.repeat(np.arange(people), 14)
    item = np.where(
        rng.random(person.size) < 0.9, taste[person] * 20 + (20 * rng.random(person.size) ** 2).astype(int), rng.integers(0, 80, person.size)
    )
    events = pl.DataFrame({"person": [f"{name}p{one}" for one in person], "item": [f"{name}{one:02d}" for one in item]}).unique(maintain_order=True)
    titles = [f"{TOPICS[number // 20]} story number {number}" for number in range(80)]
    return Population.from_frames(events=events, items={"item": [f"{name}{number:02d}" for number in range(80)], "title": titles})


SETTINGS: dict[str, dict[str, Any]] = {
    "lightgcn": {"embedding_dim": 16, "layers": 2, "epochs": 30, "learning_rate": 0.02, "batch_size": 256},
    "alpharec": {"encoder": "hashed:128", "hidden_dim": 32, "embedding_dim": 16, "epochs": 20, "learning_rate": 5e-3, "batch_size": 512,
                 "negatives": 40},
    "nbpo": {"factors": 12, "flip_factors": 6, "epochs": 60, "batch_size": 400, "adapt_steps": 30},
    "pld": {"embedding_dim": 16, "epochs": 30, "learning_rate": 0.02, "batch_size": 256, "l2": 1e-2},
    "graphhash": {"embedding_dim": 16, "epochs": 30, "learning_rate": 0.02, "batch_size": 256, "people_rows": 30, "item_rows": 30, "residual_dim": 6},
}  # fmt: skip


@pytest.fixture(scope="module")
def fitted() -> dict[str, Any]:
    return {slug: sartor.make(slug, **settings).fit(shop(0), progress=False) for slug, settings in SETTINGS.items()}


@pytest.mark.parametrize("slug", SETTINGS)
def test_somebody_new_gets_the_own_topic(fitted: dict[str, Any], slug: str) -> None:
    method = fitted[slug]
    for topic in range(4):
        state = method.adapt(Evidence.from_items([f"i{topic * 20 + one:02d}" for one in (0, 1, 3)]))
        best = method.recommend([state], 5)[0]
        assert np.mean([int(one[1:]) // 20 == topic for one in best]) >= 0.8, (topic, best)


@pytest.mark.parametrize("slug", SETTINGS)
def test_personal_beats_population_and_strangers(slug: str) -> None:
    split = make("random", shop(1), seed=1)
    method = sartor.make(slug, **SETTINGS[slug]).fit(split.train, progress=False)
    shown = evaluate(method, split, ks=(10,), resamples=200)
    assert shown.gain_interval[0] > 0
    assert shown.swap_gap_interval[0] > 0


@pytest.mark.parametrize("slug", SETTINGS)
def test_saved_and_loaded_it_says_the_same(fitted: dict[str, Any], slug: str, tmp_path: Path) -> None:
    method = fitted[slug]
    loaded = sartor.load(method.save(tmp_path / "model"))
    evidence = Evidence.from_items(["i21", "i25", "i30"])
    mine, theirs = method.adapt(evidence), loaded.adapt(evidence)
    np.testing.assert_array_equal(method.score([mine, None]), loaded.score([theirs, None]))
    assert loaded.recommend([mine], 5)[0] == method.recommend([mine], 5)[0]


@pytest.mark.parametrize("slug", SETTINGS)
def test_updates_batches_and_empty_people(fitted: dict[str, Any], slug: str) -> None:
    method = fitted[slug]
    first = method.adapt(Evidence.from_items(["i21", "i25"]))
    both = method.adapt(Evidence.from_items(["i30"]), first)
    at_once = method.adapt(Evidence.from_items(["i21", "i25", "i30"]))
    np.testing.assert_allclose(method.score([both]), method.score([at_once]), rtol=1e-5, atol=1e-6)
    assert (both.version, both.examples) == (2, 3)
    some = shop(0).only(["ip3", "ip7", "ip11"])
    for person, state in method.adapt_all(some).items():
        np.testing.assert_allclose(method.score([state]), method.score([method.adapt(some[person])]), rtol=1e-4, atol=1e-5)
    nobody = method.adapt(Evidence.from_items([]))
    assert np.isfinite(method.score([nobody])).all()
    assert np.isfinite(method.score([method.adapt(Evidence.from_items(["never seen"]))])).all()


@pytest.mark.parametrize("slug", ["lightgcn", "nbpo", "pld", "graphhash"])
def test_somebody_who_has_everything_is_named(slug: str) -> None:
    events = pl.DataFrame({"person": ["u7"] * 6 + ["u8"] * 2 + ["u9"] * 2, "item": [*range(6), 0, 1, 3, 4]})
    with pytest.raises(EmptyData, match="'u7' has no unvoted items"):
        sartor.make(slug, epochs=1).fit(Population.from_frames(events=events), progress=False)


@pytest.mark.parametrize("slug", ["nbpo", "pld"])
def test_ratings_are_not_taken_for_clicks(slug: str) -> None:
    rated = shop(0).replace(events=shop(0).events.with_columns(value=pl.int_range(pl.len()) % 5 + 1.0))
    with pytest.raises(BadValue, match=r"values 1\.\.5.*positives"):
        sartor.make(slug, epochs=1).fit(rated, progress=False)


def test_the_same_seed_gives_the_same_numbers() -> None:
    for slug, settings in SETTINGS.items():
        one, two = (sartor.make(slug, **{**settings, "epochs": 2}).fit(shop(0), progress=False) for _ in range(2))
        assert one.fingerprint_ == two.fingerprint_, slug


def test_resuming_a_warm_up_gives_what_an_uninterrupted_run_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sartor.parts import trainer

    settings = {**SETTINGS["pld"], "epochs": 9, "warmup": 4}
    whole = sartor.make("pld", **settings).fit(shop(0), progress=False)
    leave, calls = trainer._leave, []

    def stop_after_six(*args: Any) -> None:
        leave(*args)
        calls.append(0)
        if len(calls) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "_leave", stop_after_six)
    with pytest.raises(KeyboardInterrupt):
        sartor.make("pld", **settings).fit(shop(0), progress=False, checkpoint=tmp_path)
    monkeypatch.setattr(trainer, "_leave", leave)
    resumed = sartor.make("pld", **settings).fit(shop(0), progress=False, checkpoint=tmp_path)
    np.testing.assert_array_equal(resumed.item_vectors_, whole.item_vectors_)


# --- lightgcn


def test_cosine_loss_and_dropout_train_too() -> None:
    method = sartor.make("lightgcn", **{**SETTINGS["lightgcn"], "loss": "softmax", "negatives": 40, "edge_dropout": 0.2}).fit(shop(0), progress=False)
    np.testing.assert_allclose(np.linalg.norm(method.item_vectors_, axis=1), 1, atol=1e-5)
    state = method.adapt(Evidence.from_items(["i60", "i61", "i62"]))
    assert np.mean([one >= "i60" for one in method.recommend([state], 5)[0]]) >= 0.8
    for wrong in ({"loss": "hinge"}, {"temperature": 0.0}, {"layers": -1}, {"edge_dropout": 1.0}):
        with pytest.raises(ConfigError):
            sartor.make("lightgcn", **wrong).fit(shop(0), progress=False)


# --- alpharec


def test_taking_an_event_back_is_exact(fitted: dict[str, Any]) -> None:
    method = fitted["alpharec"]
    before = method.adapt(Evidence.from_items(["i21", "i25", "i30"]))
    after = method.without(method.adapt(Evidence.from_items(["i02", "i44"]), before), ["i02", "i44"])
    np.testing.assert_array_equal(after["vector"], before["vector"])
    np.testing.assert_array_equal(after["items"], before["items"])
    assert method.without(before, ["i21", "i25", "i30"]).notes["population"]


def test_words_steer_and_stay(fitted: dict[str, Any]) -> None:
    method = fitted["alpharec"]

    def share(state: Any) -> float:
        return float(np.mean([40 <= int(one[1:]) < 60 for one in method.recommend([state], 10)[0]]))

    plain = method.adapt(Evidence.from_items(["i21", "i25", "i30"]))
    steered = method.steer(plain, "a garden story", weight=1.0)
    assert share(steered) > share(plain)
    assert share(method.steer(None, "garden story")) >= 0.8
    later = method.adapt(Evidence.from_items(["i33"]), steered)
    np.testing.assert_array_equal(later["sentence"], steered["sentence"])
    assert later.notes["sentence"] == "a garden story"
    np.testing.assert_allclose(
        later["vector"],
        method.steer(method.adapt(Evidence.from_items(["i21", "i25", "i30", "i33"])), "a garden story", weight=1.0)["vector"],
        rtol=1e-5,
    )
    with pytest.raises(ConfigError, match="some words"):
        method.steer(plain, " ")


def test_another_shop_without_training(fitted: dict[str, Any]) -> None:
    other = shop(5, "z")
    moved = fitted["alpharec"].for_catalogue(other)
    assert moved.item_vectors_.shape == (80, 16)
    assert moved.fingerprint_ != fitted["alpharec"].fingerprint_
    state = moved.adapt(Evidence.from_items(["z21", "z25"]))
    assert np.mean([20 <= int(one[1:]) < 40 for one in moved.recommend([state], 5)[0]]) >= 0.8
    with pytest.raises(StateMismatch):
        fitted["alpharec"].recommend([state], 5)
    # A catalogue without any event: the words alone.
    bare = fitted["alpharec"].for_catalogue(Population.from_frames(items=other.items.collect()))
    assert np.isfinite(bare.score([None, bare.adapt(Evidence.from_items(["z21"]))])).all()


def test_another_encoder_and_useless_titles_are_refused(fitted: dict[str, Any]) -> None:
    method = fitted["alpharec"]
    changed = dataclasses.replace(method)
    changed.__dict__.update({name: value for name, value in vars(method).items() if name.endswith("_")})
    changed.encoder = "hashed:64"
    with pytest.raises(StateMismatch, match="text encoder"):
        changed.steer(None, "garden")
    untitled = shop(0).items.with_columns(title=pl.when(pl.int_range(pl.len()) < 14).then(pl.lit("Untitled")).otherwise("title"))
    with pytest.raises(BadValue, match="14 items share the text 'Untitled'"):
        sartor.make("alpharec", **SETTINGS["alpharec"]).fit(shop(0).replace(items=untitled), progress=False)


def test_a_state_from_adapt_is_the_trained_person(fitted: dict[str, Any]) -> None:
    """No table of people: the state of a training person is what training saw."""
    method, data = fitted["alpharec"], shop(0).interactions()
    from sartor.parts.graph import BipartiteGraph

    graph = BipartiteGraph.of(data.matrix())
    people = method._both_sides(method.network_, graph)()[0].detach().numpy() * method.scale_
    states = method.adapt_all(shop(0))
    np.testing.assert_allclose(np.stack([state["vector"] for state in states.values()]), people, rtol=1e-4, atol=1e-5)


# --- pld


def test_resampling_changes_nothing_for_people_with_one_event() -> None:
    events = {"person": [f"p{one}" for one in range(40)], "item": [f"i{one % 10}" for one in range(40)]}
    population = Population.from_frames(events=events)
    settings = {"embedding_dim": 8, "epochs": 12, "warmup": 0, "batch_size": 16, "learning_rate": 0.01}
    with pytest.warns(UserWarning, match="40 people have one interaction"):
        resampled = sartor.make("pld", temperature=0.1, **settings).fit(population, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = sartor.make("pld", temperature=5.0, **settings).fit(population, progress=False)
    np.testing.assert_array_equal(resampled.item_vectors_, other.item_vectors_)


def test_suspicion_finds_the_gift(fitted: dict[str, Any]) -> None:
    state = fitted["pld"].adapt(Evidence.from_items(["i20", "i21", "i62", "i23", "i24"]))
    assert state["suspicion"].argmax() == 2
    assert state["suspicion"].min() == 0
    with pytest.raises(ConfigError, match="temperature must be > 0"):
        sartor.make("pld", temperature=0.0).fit(shop(0), progress=False)


# --- nbpo


def test_every_variant_trains_and_a_wrong_step_is_named() -> None:
    split = make("random", shop(2), seed=2)
    for variant in ("nbpo", "nbpo-o", "nbpo-s", "bpo", "bpr"):
        method = sartor.make("nbpo", variant=variant, **{**SETTINGS["nbpo"], "epochs": 40}).fit(split.train, progress=False)
        state = method.adapt(Evidence.from_items(["i61", "i62", "i65"]))
        assert np.mean([one >= "i60" for one in method.recommend([state], 5)[0]]) >= 0.8, variant
        assert method.hidden_positives([state, None]).shape == (2, len(method.items_))
    with pytest.raises(sartor.errors.Diverged, match="learning_rate=250"):
        sartor.make("nbpo", **{**SETTINGS["nbpo"], "learning_rate": 500.0}).fit(split.train, progress=False)


# --- graphhash


def test_communities_are_scikit_networks_own() -> None:
    from sknetwork.clustering import Louvain

    edges = shop(0).interactions().matrix()
    found = louvain(edges, resolution=2.0, seed=3)
    own = Louvain(resolution=2.0, random_state=3)
    own.fit(edges, force_bipartite=True)
    for mine, theirs in ((found.rows, own.labels_row_), (found.columns, own.labels_col_)):
        kept = mine >= 0
        assert (
            len({*zip(mine[kept].tolist(), theirs[kept].tolist(), strict=True)}) == len(set(mine[kept].tolist())) == len(set(theirs[kept].tolist()))
        )
    assert found.modularity > 0.2
    for resolution, words in ((0.0, "positive"), (1e-6, "one community")):
        with pytest.raises(ConfigError, match=words):
            louvain(edges, resolution=resolution)


@pytest.mark.parametrize("hasher", ["graph+frequency", "graph", "double-graph", "frequency", "modulo", "double", "lsh", "full"])
def test_hashers_keep_the_budget(hasher: str) -> None:
    population = shop(0)
    method = sartor.make("graphhash", hasher=hasher, **{**SETTINGS["graphhash"], "epochs": 3}).fit(population, progress=False)
    rows = method.assignment()
    assert rows["people"].shape[0] == 120
    assert rows["items"].shape[0] == 80
    if hasher != "full":
        assert len(method.people_table_) <= 30
        assert len(method.item_table_) <= 30
    assert rows["items"].max() < len(method.item_table_)
    stranger = method.adapt(Evidence.from_items(["i21", "i22"], person="nobody knows"))
    known = method.adapt(population["ip5"])
    assert stranger["bucket"].size == known["bucket"].size == (2 if "double" in hasher else 1)
    np.testing.assert_array_equal(known["bucket"].ravel(), rows["people"][method.people_.number("ip5")].ravel())


def test_strangers_join_the_community_of_their_items(fitted: dict[str, Any]) -> None:
    graph = sartor.make("graphhash", **{**SETTINGS["graphhash"], "hasher": "graph", "people_rows": 6, "item_rows": 6}).fit(shop(0), progress=False)
    buckets = [
        int(graph.adapt(Evidence.from_items([f"i{20 * topic + one:02d}" for one in range(4)], person=f"new {topic}"))["bucket"][0])
        for topic in range(4)
    ]
    assert len(set(buckets)) == 4
    with pytest.raises(ConfigError, match="the nearest resolutions give"):
        sartor.make("graphhash", **{**SETTINGS["graphhash"], "hasher": "graph", "people_rows": 7, "buckets": "exact"}).fit(
            shop(3, people=40), progress=False
        )


def test_items_of_one_row_score_alike_and_the_lottery_decides(fitted: dict[str, Any]) -> None:
    method = sartor.make("graphhash", **{**SETTINGS["graphhash"], "hasher": "graph", "item_rows": 6, "people_rows": 6}).fit(shop(0), progress=False)
    state = method.adapt(Evidence.from_items(["i21"]))
    scores, rows = method.score([state])[0], method.item_buckets_
    for row in np.unique(rows):
        assert np.ptp(scores[rows == row]) == 0
    orders = set()
    for seed in range(3):
        method.seed = seed
        orders.add(tuple(method.recommend([state], 5)[0]))
    assert len(orders) == 3


def test_items_without_events_get_rows_by_rule() -> None:
    few = shop(0).replace(events=shop(0).events.filter(pl.col("item") < "i70"))
    method = sartor.make("graphhash", **{**SETTINGS["graphhash"], "epochs": 2}).fit(few, progress=False)
    assert method.by_rule_[1] == 80 - few.interactions().counts().astype(bool).sum() >= 10
    assert (method.item_buckets_ >= 0).all()
