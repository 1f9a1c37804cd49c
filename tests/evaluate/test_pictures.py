"""Exact picture metrics: pictures that are right score 1, controls score what theory says."""

import numpy as np
import pytest

from sartor.data.world.shapes import ShapesWorld, parse, read
from sartor.evaluate.pictures import (
    ATTRIBUTES,
    copy_score,
    diversity,
    drift,
    entanglement,
    following,
    grade,
    strangers,
    subject_score,
    unmixed,
)

WORLD = ShapesWorld(seed=2)


def test_pictures_of_their_own_captions_are_all_right_and_of_others_are_not():
    scenes = WORLD.scenes(np.random.default_rng(0), 150)
    asked, shown = parse(scenes.captions()), read(scenes.render())
    grades = grade(shown, asked)
    assert grades.joint.all()
    assert set(grades.accuracy()) == {*ATTRIBUTES, "all"}
    turned = grade(shown, asked.rows(np.roll(np.arange(150), 1))).accuracy()
    assert turned["all"] < 0.02
    assert turned["background"] == pytest.approx(1 / 6, abs=0.12)


@pytest.mark.parametrize(
    ("attribute", "asks"),
    [
        ("background", "a red plain circle with a blue hat at center on sea"),
        ("position", "a red plain circle with a blue hat at top left on sand"),
        ("noun", "a red plain square with a blue hat at center on sand"),
        ("colour", "a blue plain circle with a blue hat at center on sand"),
        ("texture", "a red dotted circle with a blue hat at center on sand"),
        ("hat", "a red plain circle with a pink hat at center on sand"),
        ("count", "two red plain circles with blue hats on sand"),
    ],
)
def test_one_wrong_attribute_is_the_one_that_is_marked(attribute, asks):
    scenes = WORLD.scenes(np.random.default_rng(0), 1)
    own = parse(["a red plain circle with a blue hat at center on sand"])
    scenes.noun[:], scenes.relation[:], scenes.background[:] = -1, -1, own.background
    for name in ("noun", "colour", "texture", "hat"):
        getattr(scenes, name)[0, 0] = getattr(own, name)[0, 0]
    scenes.slot[0, 0], scenes.offset[0, 0] = own.position[0], 0
    marked = grade(read(scenes.render()), parse([asks]))
    wrong = [name for name in ATTRIBUTES if marked.asked[name][0] and not marked.right[name][0]]
    assert wrong == [attribute]


def test_subject_copy_and_diversity_know_the_controls():
    own, other = WORLD.subjects(2, noun="critter")
    others = strangers(WORLD, own)
    assert len(others) == 32
    references = WORLD.references(own, 5).render()
    assert (subject_score(references, own, others) > 0.99).all()
    assert subject_score(WORLD.references(other, 5).render(), own, others).mean() < 0.6
    assert (subject_score(np.zeros_like(references), own, others) == 0).all()
    elsewhere = WORLD.references(own, 5, seed=1).render()
    others_references = WORLD.references(other, 5).render()
    assert copy_score(references, references, others_references) > copy_score(elsewhere, references, others_references) + 0.05
    assert diversity(references, references) == pytest.approx(1)
    assert diversity(references[[0, 0, 0]], references) == pytest.approx(0, abs=1e-6)
    assert drift(references, references) == 0
    assert drift(references, 255 - references) > 0.2


def test_two_concepts_are_apart_exchanged_or_blended():
    pair = WORLD.subjects(2)
    names = [f"<{one.noun[0]}> {one.noun}" for one in pair]
    scenes = WORLD.together(pair, 8)
    prompts = scenes.captions(names=names)
    assert unmixed(scenes.render(), prompts, pair, WORLD, {}) > 0.6
    exchanged = WORLD.together(pair[::-1], 8, seed=3)
    exchanged.relation[:], exchanged.slot[:], exchanged.background[:] = scenes.relation, scenes.slot, scenes.background
    assert unmixed(exchanged.render(), prompts, pair, WORLD, {}) < -0.6
    assert unmixed(np.zeros((8, 24, 24, 3), np.uint8), prompts, pair, WORLD, {}) == 0


def test_entanglement_finds_the_references_surroundings():
    subject = WORLD.subjects(1)[0]
    scenes = WORLD.references(subject, 2)
    free = sorted({0, 1, 2, 3, 4, 5} - set(scenes.background.tolist()))
    words = ("night", "snow", "sea", "grass", "sand", "brick")
    asked = parse([f"a critter on {words[number]}" for number in free])
    pasted = read(np.resize(scenes.render(), (len(free), 24, 24, 3)))
    assert entanglement(pasted, asked, scenes) == 1
    right = WORLD.references(subject, len(free))
    right.background[:] = free
    assert entanglement(read(right.render()), asked, scenes) == 0


def test_following_stands_between_chance_and_ceiling():
    table = following(lambda prompts, seeds: np.zeros((len(prompts), 24, 24, 3), np.uint8), WORLD, each=24)
    assert set(table) == {"one", "relation", "equal", "unseen pair"}
    for kind in table.values():
        assert kind["ceiling"]["all"] >= 0.97
        assert kind["drawn"]["all"] == 0
        assert kind["chance"]["all"] <= 0.1
