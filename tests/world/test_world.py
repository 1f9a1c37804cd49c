"""Worlds: the same people whatever the size, frequencies as the truth says, and switches that do what they say."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest

import sartor.data.world as worlds
from sartor.data import Population
from sartor.data.loaders import read
from sartor.data.world import PRESETS, World, address, low_rank
from sartor.data.world.behaviour import LABELS, START
from sartor.data.world.vocabulary import KINDS, MOODS
from sartor.data.world.words import _REASONS
from sartor.errors import ConfigError, UnknownId

# Exact draws: nothing is used up, nothing moves, nothing is by mistake.
EXACT = {"repeats": True, "noise": 0.0, "drift": 0.0, "mission": 0.0, "chain": 0.0, "reviews": 0.0, "preferences": 0}


@pytest.fixture(scope="module")
def world() -> World:
    return World(people=400, items=600, seed=3, hidden_positives=0.2, cold_items=0.2, groups=(0.7, 0.3), ratings=True)


def events(world: World) -> pl.DataFrame:
    return world.population().events.collect()


def test_the_examples_of_the_docstrings() -> None:
    import doctest

    from sartor.data.world import world as module

    assert doctest.testmod(module).failed == 0


# --- the same people


def test_same_seed_same_world(world: World) -> None:
    again = World(people=400, items=600, seed=3, hidden_positives=0.2, cold_items=0.2, groups=(0.7, 0.3), ratings=True)
    for name in world.population().frames:
        assert world.population().frame(name).collect().equals(again.population().frame(name).collect()), name
    for name, frame in world.truth.items():
        assert frame.equals(again.truth[name]), name
    assert not events(World(people=400, items=600, seed=4)).equals(events(World(people=400, items=600, seed=3)))


def test_a_person_is_the_same_in_a_world_of_any_size(world: World) -> None:
    million = World(people=1_000_000, items=600, seed=3, hidden_positives=0.2, cold_items=0.2, groups=(0.7, 0.3), ratings=True)
    chosen = [399, 7, 250]
    part = million.part(chosen)
    for name in ("events", "people", "texts", "preferences"):
        own = part.population.frame(name).collect()
        for person in chosen:
            wanted = world.population().frame(name).filter(pl.col("person") == person).collect()
            assert own.filter(pl.col("person") == person).equals(wanted), name
    np.testing.assert_array_equal(million.affinity(chosen), world.affinity(chosen))


def test_chunks_make_no_difference(world: World) -> None:
    parts = list(world.stream(chunk=133))
    assert [part.population.frame("people").collect().height for part in parts] == [133, 133, 133, 1]
    for name in ("events", "texts", "preferences"):
        assert pl.concat([part.population.frame(name).collect() for part in parts]).equals(world.population().frame(name).collect())


def test_tastes_do_not_depend_on_catalogue_or_behaviour() -> None:
    one = World(items=200, topics=40, drift=0.0).people_tastes(range(50))
    two = World(items=900, topics=40, drift=0.5, noise=0.4, popularity_bias=0, events_per_person=7, shops=2).people_tastes(range(50))
    np.testing.assert_array_equal(one.interests, two.interests)
    np.testing.assert_array_equal(one.weights, two.weights)
    np.testing.assert_array_equal(one.at(0.0), two.at(0.0))


def test_more_noise_leaves_the_other_events_as_they_were() -> None:
    quiet, loud = (World(people=100, items=400, noise=share, repeats=True) for share in (0.1, 0.4))
    both = quiet.truth["events"].join(loud.truth["events"], on=["person", "time"], suffix="_loud")
    assert both.height == len(events(quiet)) == len(events(loud))
    assert (both.filter(pl.col("label") != "taste")["label_loud"] != "taste").all()
    kept = both.filter(pl.col("label_loud") == "taste")
    assert kept.height / both.height == pytest.approx(0.6, abs=0.02)
    assert (kept["item"] == kept["item_loud"]).all()


# --- frequencies


def test_interests_are_as_asked() -> None:
    world = World(people=4000, interests=(2, 5), interest_correlation=0.4, topics=60, items=600)
    tastes = world.people_tastes()
    held = tastes.interests >= 0
    counts = held.sum(axis=1)
    np.testing.assert_allclose(np.bincount(counts, minlength=6)[2:6] / 4000, 0.25, atol=0.03)
    np.testing.assert_allclose(tastes.weights.sum(axis=1), 1, rtol=1e-5)
    assert (tastes.weights[~held] == 0).all()
    assert all(len(set(row[own])) == own.sum() for row, own in zip(tastes.interests, held, strict=True))
    mood = world.topic_table.mood
    same = (mood[tastes.interests[:, 1]] == mood[tastes.interests[:, 0]]).mean()
    by_chance = np.bincount(mood, world.topic_table.share, len(MOODS)) @ np.bincount(mood, world.topic_table.share, len(MOODS))
    assert same == pytest.approx(0.4 + 0.6 * by_chance, abs=0.04)
    first = np.bincount(tastes.interests[:, 0], minlength=60) / 4000
    np.testing.assert_allclose(first, world.topic_table.share, atol=0.02)


def test_interests_when_there_are_hardly_enough_topics() -> None:
    tastes = World(people=200, topics=6, items=60, interests=(6, 6), interest_correlation=0.9).people_tastes()
    assert (np.sort(tastes.interests, axis=1) == np.arange(6)).all()


def test_events_follow_the_exact_chances() -> None:
    world = World(people=300, items=200, topics=10, interests=(1, 3), cold_items=0.2, events_per_person=200, **EXACT)
    seen = events(world)
    late = (seen["time"] - START).to_numpy() >= 0.8 * 365 * 86_400
    person, item = seen["person"].to_numpy(), seen["item"].to_numpy()
    for part, at in ((~late, 0.5), (late, 1.0)):
        n = np.bincount(person[part], minlength=300)
        chance = world.chance(range(300), at=at)
        np.testing.assert_allclose(chance.sum(axis=1), 1, rtol=1e-5)
        expected = n @ chance
        spread = np.sqrt(n @ (chance * (1 - chance)))
        z = (np.bincount(item[part], minlength=200) - expected) / np.maximum(spread, 1)
        assert np.abs(z).max() < 4.5
        assert z.std() == pytest.approx(1, abs=0.25)


def test_missions_and_chains_leave_single_events_as_they_are() -> None:
    switches = {**EXACT, "mission": 0.7, "chain": 0.8, "events_per_person": 60.0, "activity_exponent": float("inf")}
    world = World(people=2000, items=200, topics=10, interests=(2, 3), session_length=8.0, **switches)
    seen, truth = events(world), world.truth
    expected = world.chance(range(2000)).mean(axis=0)
    found = np.bincount(seen["item"].to_numpy(), minlength=200) / len(seen)
    np.testing.assert_allclose(found, expected, atol=0.0025)
    # Order inside visits is as asked.
    session, topic, item = seen["session"].to_numpy(), truth["events"]["topic"].to_numpy(), seen["item"].to_numpy()
    within = session[1:] == session[:-1]
    # Everybody's last visit is cut off.
    assert np.unique(session).size / 2000 == pytest.approx(1 + 59 / 8, rel=0.05)
    stays = topic[1:][within] == topic[:-1][within]
    again = (world.people_tastes().at(0.0) ** 2).sum(axis=1).mean()
    assert stays.mean() == pytest.approx(0.7 + 0.3 * again, abs=0.02)
    sub = truth["items"]["sub"].to_numpy()[item]
    next_sub = ((sub[1:] - sub[:-1]) % 3)[within][stays]
    assert (next_sub == 1).mean() == pytest.approx(0.8 * 0.7 / stays.mean() + (1 - 0.8 * 0.7 / stays.mean()) / 3, abs=0.08)


def test_popularity_is_a_power_law() -> None:
    for bias in (0.0, 1.0):
        world = World(people=3000, items=400, topics=10, popularity_bias=bias, **EXACT)
        counts = np.bincount(events(world)["item"].to_numpy(), minlength=400)
        popularity = world.truth["items"]["popularity"].to_numpy()
        topic = world.truth["items"]["topic"].to_numpy()
        slopes = []
        for t in range(10):
            own = topic == t
            if bias == 0:
                assert counts[own].std() < 0.35 * counts[own].mean()
            else:
                ranks = popularity[own] ** -1.0
                slopes.append(np.polyfit(np.log(ranks), np.log(counts[own] + 1), 1)[0])
        if bias:
            assert np.mean(slopes) == pytest.approx(-1.0, abs=0.12)


def test_activity_is_a_power_law_with_the_asked_mean() -> None:
    world = World(people=20_000, items=400, events_per_person=30.0, activity_exponent=1.5, repeats=True, reviews=0, preferences=0)
    counts = np.bincount(events(world)["person"].to_numpy())
    assert counts.mean() == pytest.approx(30, rel=0.05)
    tail = np.array([(counts > n).mean() for n in (30, 60, 120)])
    np.testing.assert_allclose(np.diff(np.log2(tail)), -1.5, atol=0.2)
    alike = World(people=500, items=400, events_per_person=7.5, activity_exponent=float("inf"), repeats=True)
    assert set(np.bincount(events(alike)["person"].to_numpy())) == {7, 8}


@pytest.mark.parametrize(("given", "wanted"), [(0.3, (0.09, 0.09, 0.06, 0.06)), ({"popular": 0.2, "gift": 0.1}, (0, 0.2, 0.1, 0))])
def test_noise_has_the_asked_shares_and_labels(given: object, wanted: tuple[float, ...]) -> None:
    world = World(people=1500, items=500, noise=given, repeats=True, drift=0.0, reviews=0, preferences=0)
    truth = world.truth["events"]
    label, person, item = truth["label"].to_physical().to_numpy(), truth["person"].to_numpy(), truth["item"].to_numpy()
    shares = np.bincount(label, minlength=5) / label.size
    np.testing.assert_allclose(shares[1:], wanted, atol=0.006)
    liking = world.affinity(range(person[4000] + 1))[person[:4000], item[:4000]]
    assert (liking[label[:4000] == 0] > 0).all()
    popularity = world.catalogue.prominence
    if wanted[0]:
        assert popularity[item[label == 1]].mean() == pytest.approx(popularity.mean(), rel=0.1)
        explored = label[:4000] == LABELS.index("exploration")
        assert (liking[explored] > 0).mean() < 0.2
    expected = (popularity**2).sum() / popularity.sum()
    assert popularity[item[label == 2]].mean() == pytest.approx(expected, rel=0.1)
    # Gifts go to two people with one topic each.
    gifts = truth.filter(pl.col("label") == "gift").group_by("person").agg(pl.col("topic").n_unique())
    assert gifts["topic"].max() == 2


# --- single switches


def test_no_item_twice_unless_asked(world: World) -> None:
    assert not events(world).select("person", "item").is_duplicated().any()
    assert events(World(people=50, items=100, repeats=True)).select("person", "item").is_duplicated().any()


def test_hidden_positives_are_missing_and_known(world: World) -> None:
    full = World(people=400, items=600, seed=3, hidden_positives=0.0, cold_items=0.2, groups=(0.7, 0.3), ratings=True)
    key = ["person", "item", "time"]
    together = pl.concat([events(world).select(key), world.truth["hidden"].select(key)]).sort(key)
    assert together.equals(events(full).select(key).sort(key))
    taste = (full.truth["events"]["label"] == "taste").sum()
    assert world.truth["hidden"].height / taste == pytest.approx(0.2, abs=0.02)


def test_cold_items_come_late(world: World) -> None:
    cold = world.truth["items"].filter("cold")["item"]
    assert len(cold) == 120
    released = world.population().items.collect().filter(pl.col("item").is_in(cold.implode()))["released"].unique().to_list()
    assert released == [START + int(0.8 * 365 * 86_400)]
    theirs = events(world).filter(pl.col("item").is_in(cold.implode()))
    assert theirs["time"].min() >= released[0]
    assert theirs.height > 0.1 * events(world).filter(pl.col("time") >= released[0]).height


def test_drift_moves_tastes() -> None:
    world = World(people=500, items=400, drift=0.8, repeats=True, noise=0.0)
    tastes = world.people_tastes()
    np.testing.assert_allclose(tastes.at(1.0).sum(axis=1), 1, rtol=1e-5)
    truth = world.truth["events"]
    early = tastes.at(0.0)[truth["person"].to_numpy(), truth["topic"].to_numpy()] > 0
    age = (truth["time"].to_numpy() - START) / (365 * 86_400)
    shared = ((tastes.at(0.0) > 0) * tastes.at(1.0)).sum(axis=1).mean()
    assert early[age < 0.2].mean() > 0.85
    assert early[age > 0.95].mean() == pytest.approx(shared, abs=0.05)
    np.testing.assert_array_equal(world.affinity([3], at=0.0), World(people=500, items=400, drift=0.0).affinity([3]))


def test_groups_lean_to_their_topics() -> None:
    world = World(people=6000, items=400, groups=(0.75, 0.25), group_lean=0.9)
    tastes = world.people_tastes()
    assert (tastes.group == 1).mean() == pytest.approx(0.25, abs=0.02)
    first = np.stack([np.bincount(tastes.interests[tastes.group == g, 0], minlength=40) / (tastes.group == g).sum() for g in (0, 1)])
    home = first.argmax(axis=0)
    assert np.minimum(*first).sum() < 0.25
    assert 0 < home.mean() < 1
    assert world.population().people.collect()["group"].to_list() == tastes.group.tolist()


def test_shops_share_words_and_nothing_else() -> None:
    world = World.preset("two-shops", people=300, items=800)
    north, south = (world.population(shop=s) for s in (0, 1))
    assert not set(north.items.collect()["item"]) & set(south.items.collect()["item"])
    assert not set(north.events.collect()["person"]) & set(south.events.collect()["person"])
    assert set(north.events.collect()["item"]) <= set(north.items.collect()["item"])
    assert not set(north.items.collect()["brand"]) & set(south.items.collect()["brand"])
    words = [{word.strip(".,").lower() for text in shop.items.collect()["text"] for word in text.split()} for shop in (north, south)]
    assert len(words[0] & words[1]) > 0.8 * min(map(len, words))
    assert (world.chance([0], south.items.collect()["item"].to_list()) == 0).all()
    np.testing.assert_allclose(world.chance([0, 1]).sum(axis=1), 1, rtol=1e-5)


def test_fields_follow_topics_as_asked() -> None:
    def share_of_commonest(rho: float, column: str) -> float:
        world = World(items=4000, people=1, field_correlation=rho)
        frame = world.catalogue.fields.with_columns(topic=pl.Series(world.catalogue.topic))
        counts = (
            frame.group_by("topic", column)
            .len()
            .sort("len", descending=True)
            .group_by("topic")
            .agg(pl.col("len").head(2).sum(), total=pl.col("len").sum())
        )
        return float((counts["len"] / counts["total"]).mean())

    for column, choices in (("brand", 24), ("colour", 12)):
        free, tied = share_of_commonest(0.0, column), share_of_commonest(1.0, column)
        assert tied == 1.0
        assert free < 4.5 / choices


# --- what can be seen


def test_frames_fit_the_schema(world: World) -> None:
    population = world.population()
    assert isinstance(population, Population)
    data = population.interactions()
    assert len(data.items) == 600
    assert len(data) == len(world.truth["events"])
    items = population.items.collect()
    assert items["title"].n_unique() == items.height
    assert items["categories"].list.len().unique().to_list() == [3]
    singular = {kind.plural: kind.singular for kind in KINDS}
    assert all(singular[kind] in text for kind, text in zip(items["kind"], items["text"], strict=True))
    assert events(world)["value"].is_between(1, 5).all()
    gaps = events(world).select(pl.col("time").diff().over("person")).to_series().drop_nulls()
    assert (gaps >= 0).all()
    assert events(world)["time"].is_between(START, START + 365 * 86_400).all()
    assert population.interactions().history(0).size == len(population[0].events)


def test_reviews_say_why(world: World) -> None:
    texts = world.population().texts.collect()
    why = world.truth["events"].select("person", "item", "label")
    joined = texts.join(why, on=["person", "item"])
    assert joined.height == texts.height
    assert joined.height / len(events(world)) == pytest.approx(0.2, abs=0.02)
    stars = dict(joined.group_by("label").agg(pl.col("rating").mean()).iter_rows())
    assert stars["taste"] > 4 > stars["exploration"] > stars["popular"] > stars["random"]
    gifts = joined.filter(pl.col("label") == "gift")["text"]
    assert gifts.str.contains("sister|father|neighbour|friend|colleague|mother|brother|niece").all()
    assert not texts["text"].str.contains("[{}]").any()
    # Everybody judges by one thing.
    for person, aspect in world.truth["people"].select("person", "aspect").head(30).iter_rows():
        phrases = [phrase for key, some in _REASONS.items() if key[0] == aspect for phrase in some]
        for text in texts.filter(pl.col("person") == person)["text"]:
            assert any(phrase in text for phrase in phrases)
    # Stars in reviews are the values of the events.
    values = texts.join(events(world).select("person", "item", "value"), on=["person", "item"])
    assert (values["rating"] == values["value"]).all()


def test_choices_follow_affinities(world: World) -> None:
    pairs, truth = world.population().preferences.collect(), world.truth["preferences"]
    assert pairs.height == truth.height
    margin = (truth["chosen_affinity"] - truth["rejected_affinity"]).to_numpy()
    better = 1 / (1 + np.exp(-12 * np.abs(margin)))
    assert (margin[margin != 0] > 0).mean() == pytest.approx(better[margin != 0].mean(), abs=0.02)
    chosen = world.affinity([pairs["person"][0]], [int(pairs["chosen"][0])], at=(pairs["time"][0] - START) / (365 * 86_400))
    assert chosen[0, 0] == pytest.approx(truth["chosen_affinity"][0], abs=1e-3)


def test_truth_of_affinity(world: World) -> None:
    tastes, items = world.people_tastes([5]), world.truth["items"]
    weights = tastes.at(1.0)[0]
    expected = items["share"].to_numpy() * weights[items["topic"].to_numpy()] + (1 - items["share"].to_numpy()) * weights[items["second"].to_numpy()]
    np.testing.assert_allclose(world.affinity([5])[0], expected, rtol=1e-6)
    people = world.truth["people"].row(5, named=True)
    assert dict(zip(people["interests"], people["weights"], strict=True)) == pytest.approx(
        {int(t): float(w) for t, w in zip(tastes.interests[0], tastes.weights[0], strict=True) if t >= 0}
    )
    named = dict(tastes.describe(0))
    assert sum(named.values()) == pytest.approx(1, abs=1e-5)
    assert set(named) <= set(world.truth["topics"]["name"])


def test_topics_are_all_different() -> None:
    for count in (1, 10, 40, 129, 640):
        table = World(topics=count, items=2000, interests=(1, 1)).topic_table
        assert len(set(zip(table.kind.tolist(), table.mood.tolist(), strict=True))) == count
        assert len({KINDS[k].department for k in table.kind}) == min(8, -(-count // 2))


def test_other_rooms_can_draw_more_of_the_same_people() -> None:
    small, large = World(people=10), World(people=10_000)
    people = np.arange(10)
    np.testing.assert_array_equal(small.draws.uniform("tone", address(people)), large.draws.uniform("tone", address(people)))
    many = large.draws.uniform("tone", address(np.arange(10_000)))
    assert many.mean() == pytest.approx(0.5, abs=0.01)
    assert abs(np.corrcoef(many, large.draws.uniform("pitch", address(np.arange(10_000))))[0, 1]) < 0.04
    assert abs(np.corrcoef(many[1:], many[:-1])[0, 1]) < 0.04


# --- size, files, mistakes


def test_write_and_read(world: World, tmp_path) -> None:  # type: ignore[no-untyped-def]
    folder = world.write(tmp_path / "world", chunk=150, progress=False)
    found = read(folder)
    assert set(found.frames) == set(world.population().frames)
    for name in found.frames:
        assert found.frame(name).collect().equals(world.population().frame(name).collect()), name
    truth = pl.concat([pl.read_parquet(one) for one in sorted((folder / "truth" / "events").iterdir())])
    assert truth["label"].to_list() == world.truth["events"]["label"].to_list()
    with pytest.raises(ConfigError, match="not empty"):
        world.write(folder)


def test_a_long_stream_keeps_its_memory() -> None:
    code = """
import resource
from sartor.data.world import World
peaks, events = [], 0
for part in World(people=200_000, events_per_person=6.0, preferences=0, reviews=0.02).stream():
    events += len(part.truth["events"])
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(events, peaks[2], peaks[-1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, early, end = (float(word) for word in done.stdout.split())
    assert count > 1_000_000
    # All of it at once would be over 400 MiB more.
    assert end < early + 120


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str) -> None:
    small = World.preset(name, people=60)
    assert small.population().interactions().shape[0] == 60
    assert small.items == PRESETS[name].get("items", 2000)


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ({"people": 0}, "people is 0"),
        ({"people": 10.5}, "people is 10.5"),
        ({"items": 50, "topics": 40}, "too few"),
        ({"topics": 641, "items": 5000}, "topics is 641"),
        ({"interests": (3, 2)}, "interests"),
        ({"interests": 3}, "interests"),
        ({"interests": (2, 9), "topics": 8}, "of 8 topics"),
        ({"noise": 1.2}, "noise"),
        ({"noise": {"typo": 0.1}}, "typo"),
        ({"noise": {"gift": -0.1}}, "noise"),
        ({"noise": "much"}, "noise"),
        ({"noise": {"gift": 0.6, "random": 0.6}}, "together"),
        ({"groups": "ab"}, "groups"),
        ({"drift": float("nan")}, "drift"),
        ({"groups": (0.5, 0.6)}, "groups"),
        ({"groups": 0}, "groups"),
        ({"shops": 6}, "shops"),
        ({"activity_exponent": 1.0}, "activity_exponent"),
        ({"events_per_person": 0.5}, "events_per_person"),
        ({"hidden_positives": 1.0}, "hidden_positives"),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_switches_are_named(switches: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        World(**switches)  # type: ignore[arg-type]


def test_other_mistakes_are_named(world: World) -> None:
    with pytest.raises(UnknownId):
        world.affinity([400])
    with pytest.raises(UnknownId):
        world.affinity([0], [-1])
    with pytest.raises(UnknownId):
        world.people_tastes(["ana"])
    with pytest.raises(ConfigError):
        next(world.stream(chunk=0))
    with pytest.raises(ConfigError, match="no preset"):
        World.preset("shops")
    with pytest.raises(ConfigError, match="shop is 1"):
        world.population(shop=1)


def test_low_rank_matrix() -> None:
    made = low_rank(60, 50, 4, density=0.3, seed=1)
    full = made.left @ made.right.T
    assert np.linalg.matrix_rank(full) == 4
    np.testing.assert_allclose(full[made.seen], made.values)
    assert full.std() == pytest.approx(1, abs=0.2)
    assert made.values.size / 3000 == pytest.approx(0.3, abs=0.04)
    data = made.population().interactions()
    np.testing.assert_allclose(data.values, made.values, rtol=1e-6)

    def incoherence(matrix: np.ndarray) -> float:
        basis = np.linalg.qr(matrix)[0]
        return float((basis**2).sum(axis=1).max() * matrix.shape[0] / matrix.shape[1])

    assert incoherence(low_rank(300, 300, 5, spike=30).left) > 4 * incoherence(low_rank(300, 300, 5).left)
    with pytest.raises(ConfigError, match="rank is 51"):
        low_rank(60, 50, 51)
    assert set(worlds.__all__) >= {"World", "low_rank"}
