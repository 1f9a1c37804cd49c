"""Who learns for long lets others draw in between. Untrained priors are enough."""

import threading

import pytest

from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw._shown import Shown
from sartor.draw.alignit import AlignIT
from sartor.draw.break_a_scene import BreakAScene
from sartor.draw.dreambooth import DreamBooth
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.tuning import MOST_CLASSES, class_pictures
from sartor.draw.parts.turns import Turns
from sartor.draw.zoodip import ZOODiP
from sartor.errors import ConfigError

QUICK = {"steps": 3, "batch": 2, "sampling_steps": 2}


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 16), text_width=16)


def thing(name="<a>"):
    world = ShapesWorld()
    return Shown(name=name, class_word="critter", images=world.references(world.subjects(1, noun="critter")[0], 2).render())


def waiting(turns, seen):
    def want():
        with turns:
            seen.append("in")

    thread = threading.Thread(target=want)
    thread.start()
    while not turns._waiting:
        pass
    return thread


def test_a_holder_passes_it_on_and_has_it_again_unless_it_is_held_twice():
    turns, seen = Turns(), []
    turns.__enter__()
    turns.pass_on()
    thread = waiting(turns, seen)
    while not seen:
        turns.pass_on()
    thread.join()
    with turns:
        thread = waiting(turns, seen)
        for _ in range(20):
            turns.pass_on()
        assert seen == ["in"]
    turns.__exit__()
    thread.join()
    assert seen == ["in", "in"]


@pytest.mark.parametrize(
    ("method", "depth"),
    [
        (DreamBooth(**QUICK, class_weight=0), 1), (DreamBooth(**QUICK, class_weight=0, tune="whole", learning_rate=1e-4), 2), (ZOODiP(**QUICK), 1),
    ],
)  # fmt: skip
def test_learning_passes_the_prior_on_at_every_step_but_not_with_weights_half_learned(prior, method, depth, monkeypatch):
    held = []
    monkeypatch.setattr(Turns, "pass_on", lambda self: held.append(self._depth))
    method.fit(on=prior).learn(thing())
    assert held == [depth] * 3
    assert prior.lock._depth == 0


def test_class_pictures_are_few_nameless_and_forgotten(prior):
    prior.kept.clear()
    prior.kept["statistics"] = 1
    for number, noun in enumerate(("critter", "badge", "flag", "ring", "square", "cross", "circle", "diamond", "triangle")):
        class_pictures(prior, f"a {noun}", 2)
        assert sum(isinstance(key, tuple) for key in prior.kept) == min(number + 1, MOST_CLASSES)
    assert not any("circle" in str(key) for key in prior.kept)
    method = DreamBooth(**QUICK, class_images=2).fit(on=prior)
    method.without(method.learn([thing("<a>"), thing("<b>")]), "<a>")
    assert [*prior.kept] == ["statistics"]


def test_a_repair_of_scenes_is_refused_by_name(prior):
    with pytest.raises(ConfigError, match="BreakAScene learns scenes"):
        AlignIT(base=BreakAScene(**QUICK)).fit(on=prior)
