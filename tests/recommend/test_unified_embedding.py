"""A click predictor with one table, and people outside it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import sartor.method
from sartor.data import Evidence, Population
from sartor.data.splits import make
from sartor.errors import ConfigError
from sartor.recommend._clicks import Labels, auc
from sartor.recommend.unified_embedding import UnifiedEmbedding

RNG = np.random.default_rng(0)
KINDS, COLOURS = 6, 5


def world(people: int = 120, items: int = 90, events: int = 30) -> Population:
    """Everybody likes two of six kinds, and the young like red things; stars follow."""
    rng = np.random.default_rng(1)
    kind, colour = rng.integers(0, KINDS, items), rng.integers(0, COLOURS, items)
    liked = np.stack([rng.permutation(KINDS)[:2] for _ in range(people)])
    young = rng.random(people) < 0.5
    who = np.arange(people).repeat(events)
    what = np.concatenate([rng.permutation(items)[:events] for _ in range(people)])
    taste = (kind[what][:, None] == liked[who]).any(1) | (young[who] & (colour[what] == 0))
    stars = np.where(rng.random(who.size) < 0.1, rng.integers(1, 6, who.size), np.where(taste, 5, 1))
    return Population.from_frames(
        events=pl.DataFrame({"person": who, "item": what, "value": stars.astype(np.float32), "time": np.arange(who.size)}),
        items=pl.DataFrame({"item": range(items), "kind": [f"k{one}" for one in kind], "colour": [[f"c{one}"] for one in colour]}),
        people=pl.DataFrame({"person": range(people), "age": np.where(young, "young", "old")}),
    )


@pytest.fixture(scope="module")
def split():
    return make("random", world(), seed=0, test=0.3, validation=0.1)


@pytest.fixture(scope="module")
def fitted(split) -> UnifiedEmbedding:
    return UnifiedEmbedding(epochs=25, batch_size=64, learning_rate=3e-3, patience=5).fit(split.train, validation=split.validation, progress=False)


def judged(method: UnifiedEmbedding, split, states) -> float:
    test = split.test.interactions(items=method.items_)
    examples = Labels(4, 2, 0).examples(test, np.random.default_rng(0))
    scores = method.score([states.get(person) for person in test.people.ids.to_list()])
    return auc(scores[examples.people, examples.items], examples.labels)


def test_overrides_help_their_owners_only(fitted: UnifiedEmbedding, split) -> None:
    states = fitted.adapt_all(split.evidence)
    own, none = judged(fitted, split, states), judged(fitted, split, {})
    people = list(states)
    swapped = judged(fitted, split, {person: states[other] for person, other in zip(people, people[1:] + people[:1], strict=True)})
    assert own > 0.8
    assert own > none + 0.1
    assert own > swapped + 0.15


def test_deleting_or_changing_a_person_changes_nobody_else(fitted: UnifiedEmbedding, split) -> None:
    together = fitted.adapt_all(split.evidence)
    alone = {person: fitted.adapt(split.evidence[person]) for person in (4, 9)}
    scores = fitted.score([together[4], together[9]])
    np.testing.assert_allclose(fitted.score([alone[9]])[0], scores[1], atol=1e-5)
    before = fitted.score([alone[9]])
    fingerprint = fitted.fingerprint_
    del together[4], alone[4]  # all there was of person 4
    np.testing.assert_array_equal(fitted.score([alone[9]]), before)
    np.testing.assert_allclose(fitted.adapt_all(split.evidence.only(sorted(together)))[9]["override"], together[9]["override"], atol=1e-5)
    assert fitted.fingerprint_ == fingerprint
    # Nothing in the model has a row per person.
    people = len(split.train.interactions().people)
    assert not any(people in tensor.shape for tensor in fitted.network_.state_dict().values())


def test_the_network_is_frozen_in_adapting(fitted: UnifiedEmbedding, split) -> None:
    before = {name: tensor.clone() for name, tensor in fitted.network_.state_dict().items()}
    fitted.adapt(split.evidence[0])
    assert all(bool((tensor == before[name]).all()) for name, tensor in fitted.network_.state_dict().items())
    assert all(p.grad is None for p in fitted.network_.parameters()) or all(p.requires_grad for p in fitted.network_.parameters())


def test_an_update_equals_starting_over(fitted: UnifiedEmbedding, split) -> None:
    whole = split.evidence[5]
    first = Evidence({"events": whole.events.head(6), "people": whole.frames["people"]})
    state = fitted.adapt(Evidence({"events": whole.events.slice(6)}), fitted.adapt(first))
    np.testing.assert_allclose(state["override"], fitted.adapt(whole)["override"], atol=1e-6)
    assert state.version == 2


def test_without_evidence_the_answer_is_the_populations(fitted: UnifiedEmbedding) -> None:
    nothing = fitted.adapt(Evidence({"events": pl.DataFrame({"item": pl.Series([], dtype=pl.Int64)})}))
    assert not nothing["override"].any()
    np.testing.assert_array_equal(fitted.score([nothing]), fitted.score([None]))
    assert ((fitted.score([None]) >= 0) & (fitted.score([None]) <= 1)).all()


def test_saving_and_new_items(fitted: UnifiedEmbedding, split, tmp_path) -> None:
    again = sartor.method.load(fitted.save(tmp_path / "model"))
    state = fitted.adapt(split.evidence[3])
    np.testing.assert_array_equal(again.score([state, None]), fitted.score([state, None]))
    np.testing.assert_array_equal(again.adapt(split.evidence[3])["override"], state["override"])
    again.add_items(pl.DataFrame({"item": [500], "kind": ["k1"], "colour": [["c0"]]}))
    assert np.isfinite(again.score([state])[0, -1])


def test_events_without_values_meet_random_items() -> None:
    bare = world(people=40).replace(events=world(people=40).events.filter(pl.col("value") >= 4).drop("value"))
    method = UnifiedEmbedding(epochs=3, batch_size=128).fit(bare, progress=False)
    first, second = method.adapt(bare[1]), method.adapt(bare[1])
    assert np.array_equal(first["override"], second["override"])
    assert first["override"].any()
    labels = Labels(4, 2, 3)
    own = bare.interactions().take(np.array([1]))
    examples = labels.each(own, newest=5, seed=0)
    assert examples.labels.tolist() == [1] * 5 + [0] * 15
    assert set(examples.items[:5]) == set(own.indices[-5:])
    assert not set(examples.items[5:]) & set(own.indices)


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match=r"table of 4 rows for 10\d values"):
        UnifiedEmbedding(rows=4).fit(world(), progress=False)
    with pytest.raises(ConfigError, match="0 likes"):
        UnifiedEmbedding(positive=50, negative=20).fit(world(), progress=False)


def test_auc() -> None:
    assert auc(np.array([0.1, 0.9, 0.5, 0.5]), np.array([0, 1, 1, 0])) == pytest.approx((1 + 1 + 1 + 0.5) / 4)
