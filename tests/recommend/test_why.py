"""Reasons: equal to the closed form where there is one, and to leaving events out one by one everywhere."""

import numpy as np
import pytest

from sartor.data import Evidence
from sartor.data.world import World
from sartor.errors import ConfigError, StateMismatch, UnknownId
from sartor.recommend import why as module
from sartor.recommend.ease import EASE
from sartor.recommend.why import why
from sartor.systems import make


@pytest.fixture(scope="module")
def world() -> World:
    return World(people=150, items=120, topics=8, interests=(1, 3), seed=2)


@pytest.fixture(scope="module")
def ease(world: World) -> EASE:
    return EASE(regularization=20.0).fit(world.population(), progress=False)


def test_contributions_in_ease_are_its_weights(world: World, ease: EASE) -> None:
    state = ease.adapt(world.population()[3])
    item = ease.recommend([state], 1)[0][0]
    reasons = why(ease, state, item, top=1000)
    column = ease.item_weights_[state["items"], ease.items_.number(item)]
    assert [reason.contribution for reason in reasons] == pytest.approx(sorted(column[column > 0].tolist(), reverse=True), abs=1e-5)
    for reason in reasons:
        assert reason.contribution == pytest.approx(float(ease.item_weights_[ease.items_.number(reason.item), ease.items_.number(item)]), abs=1e-5)
    assert [reason.item for reason in why(ease, state, item, top=3)] == [reason.item for reason in reasons[:3]]


def test_reasons_come_from_the_interest_that_the_item_serves(world: World, ease: EASE) -> None:
    topic = world.truth["items"]["topic"].to_numpy()
    same = []
    for person in range(40):
        state = ease.adapt(world.population()[person])
        for item in ease.recommend([state], 3)[0]:
            same += [topic[reason.item] == topic[item] for reason in why(ease, state, item)]
    assert np.mean(same) > 0.7


@pytest.mark.parametrize(("slug", "settings"), [("als", {"factors": 8, "iterations": 3}), ("sasrec", {"epochs": 1, "embedding_dim": 16})])
def test_equal_to_adapting_without_the_thing(world: World, slug: str, settings: dict[str, int]) -> None:
    method = make(slug, **settings).fit(world.population(), progress=False)
    own = world.population()[5]
    state = method.adapt(own)
    item = method.recommend([state], 1)[0][0]
    whole = method.score([state], [item])[0, 0]
    reasons = why(method, state, item, top=2)
    assert reasons
    for reason in reasons:
        rest = Evidence({"events": own.events.filter(own.events["item"] != reason.item)})
        assert reason.contribution == pytest.approx(whole - method.score([method.adapt(rest)], [item])[0, 0], rel=1e-3, abs=1e-4)


def test_things_seen_twice_count_once(world: World, ease: EASE) -> None:
    things = ease.items_.ids.head(3).to_list()
    once, twice = (ease.adapt(Evidence.from_items(history)) for history in (things, [*things, things[0], things[0]]))
    target = ease.recommend([once], 1)[0][0]
    one, two = ({reason.item: reason for reason in why(ease, state, target, top=10)} for state in (once, twice))
    assert {item: reason.contribution for item, reason in one.items()} == pytest.approx({item: reason.contribution for item, reason in two.items()})
    assert one
    for item, reason in two.items():
        assert reason.events == (3 if item == things[0] else 1)


def test_small_batches_make_no_difference(world: World, ease: EASE, monkeypatch: pytest.MonkeyPatch) -> None:
    state = ease.adapt(world.population()[0])
    item = ease.recommend([state], 1)[0][0]
    whole = why(ease, state, item, top=5)
    monkeypatch.setattr(module, "EVENTS_AT_ONCE", 1)
    assert why(ease, state, item, top=5) == whole


def test_nothing_to_say_and_mistakes(world: World, ease: EASE) -> None:
    empty = ease.adapt(Evidence.from_items(ease.items_.ids.head(0)))
    assert why(ease, empty, ease.items_.ids[0]) == []
    state = ease.adapt(world.population()[0])
    other = EASE(regularization=30.0).fit(world.population(), progress=False)
    with pytest.raises(StateMismatch):
        why(other, state, ease.items_.ids[0])
    with pytest.raises(UnknownId):
        why(ease, state, 10_000)
    with pytest.raises(ConfigError):
        why(ease, state, ease.items_.ids[0], top=0)
