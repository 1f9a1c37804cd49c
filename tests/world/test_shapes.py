"""The shapes world: captions and pictures mean exactly one thing, and the reader reads what was rendered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.data.world import World
from sartor.data.world.shapes import (
    FAMILIES,
    FIXED,
    NOUNS,
    VOCABULARY,
    Reading,
    Scenes,
    ShapesWorld,
    concept_prompts,
    parse,
    read,
)
from sartor.data.world.shapes.reader import likeness
from sartor.data.world.shapes.sprites import RULES, SECOND, TRAINED, family_roles
from sartor.data.world.shapes.tastes import PictureTastes
from sartor.errors import BadImage, ConfigError

WORLD = ShapesWorld(seed=1)


def truth(scenes: Scenes) -> dict[str, np.ndarray]:
    """What is in every slot, as a reading has it."""
    out = {name: np.full((len(scenes), 5), -1) for name in ("noun", "colour", "texture", "hat")}
    for name, table in out.items():
        for place in range(4):
            rows = np.flatnonzero(scenes.noun[:, place] >= 0)
            table[rows, scenes.slot[rows, place]] = getattr(scenes, name)[rows, place]
    return out


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_reader_reads_what_was_rendered(noise):
    rng = np.random.default_rng(7)
    scenes = WORLD.scenes(rng, 200)
    shown = read(scenes.render(noise=noise, rng=rng))
    assert (shown.background == scenes.background).mean() >= 0.97
    for name, table in truth(scenes).items():
        there = table >= 0 if name == "noun" else truth(scenes)["noun"] >= 0
        assert (getattr(shown, name)[there] == table[there]).mean() >= 0.97, name
    assert (shown.count == scenes.count).mean() >= 0.97


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20))
def test_full_captions_say_what_is_there_and_training_holds_pairs_out(seed):
    scenes = WORLD.scenes(np.random.default_rng(seed), 8)
    captions = scenes.captions()
    asked = parse(captions)
    assert (asked.background == scenes.background).all()
    assert (asked.relation == scenes.relation).all()
    assert (asked.count == scenes.count).all()
    for name in ("noun", "colour", "texture", "hat"):
        assert (getattr(asked, name)[:, 0] == getattr(scenes, name)[:, 0]).all()
    single = scenes.count == 1
    assert (asked.position[single] == scenes.slot[single, 0]).all()
    assert {word for caption in captions for word in caption.split()} <= set(VOCABULARY)
    assert WORLD.seen(scenes).all()
    assert (scenes.identity < TRAINED).all()
    # Captions with words left out say less, never something else.
    less = parse(scenes.captions(dropped=np.random.default_rng(seed)))
    for name in ("background", "position", "colour", "texture", "hat"):
        part, whole = getattr(less, name), getattr(asked, name)
        assert ((part == whole) | (part == -1)).all()


def test_what_is_held_out_is_in_the_world_but_not_in_training():
    rng = np.random.default_rng(3)
    assert not WORLD.seen(WORLD.scenes(rng, 100, unseen=True)).any()
    for table in WORLD.unseen.values():
        assert 0.1 <= table.mean() <= 0.3
        assert not table.all(0).any()
        assert not table.all(1).any()
    # Every word is met in training all the same.
    met = {word for caption in WORLD.scenes(rng, 3000).captions() for word in caption.split()}
    assert met == set(VOCABULARY)
    assert ShapesWorld(seed=1).scenes(np.random.default_rng(0), 5).captions() == WORLD.scenes(np.random.default_rng(0), 5).captions()


@pytest.mark.parametrize("noun", FAMILIES)
def test_individuals_share_their_familys_rule_and_nothing_else(noun):
    roles = family_roles(noun, np.arange(300))
    fixed = RULES[noun].fixed
    assert (roles[:, fixed >= 0] == fixed[fixed >= 0]).all()
    if noun != "flag":
        assert (roles == roles[:, :, ::-1]).all()
    assert len({one.tobytes() for one in roles}) > 200
    assert (roles == SECOND).any((1, 2)).all()
    subjects = WORLD.subjects(3, noun=noun)
    trained = {one.tobytes() for one in family_roles(noun, np.random.default_rng(0).integers(TRAINED, size=300))}
    if noun != "flag":  # a flag has only 1,024 patterns; its colours are its own
        assert not {one.roles.tobytes() for one in subjects} & trained


def test_likeness_knows_the_subject_from_strangers_of_its_class():
    for subject in WORLD.subjects(3):
        others = WORLD.subjects(33, noun=subject.noun, start=100)
        scenes = WORLD.references(subject, 4)
        images, slots = scenes.render(), scenes.slot[:, 0]
        assert (likeness(images, subject, others)[np.arange(4), slots] > 0.99).all()
        # Strangers are at 0 on average: that is what the scale means.
        strangers = np.mean([likeness(images, one, [other for other in others if other is not one])[np.arange(4), slots] for one in others[:8]])
        assert abs(strangers) < 0.4
        assert scenes.masks().any((1, 2)).all()


def test_reference_pictures_differ_in_all_but_the_subject():
    subject = WORLD.subjects(1)[0]
    scenes = WORLD.references(subject, 5)
    assert len(set(scenes.background.tolist())) == 5
    assert len(set(scenes.slot[:, 0].tolist())) == 5
    assert (read(scenes.render()).noun.max(1) == NOUNS.index(subject.noun)).all()
    pair = WORLD.subjects(2)
    both = WORLD.together(pair, 4)
    assert both.captions(names=["<a> critter", "<b> badge"])[0].startswith("a <a> critter ")
    assert set(both.relation.tolist()) == {0, 1, 2, 3}
    texture = WORLD.textured(2, noun="circle")
    assert (read(WORLD.references(texture[0], 3).render()).count == 1).all()


def test_prompts_of_a_concept_are_of_the_language():
    prompts = concept_prompts("<v> critter")
    asked = parse(prompts.texts)
    assert len(prompts.texts) == 48
    assert prompts.edits.sum() == 24
    assert (asked.noun[:, 0] == NOUNS.index("critter")).all()
    assert ((asked.hat[:, 0] >= 0) | (asked.relation >= 0)).tolist() == prompts.edits.tolist()
    assert (parse(["a <v> on sea"], {"<v>": "badge"}).noun[0, 0]) == NOUNS.index("badge")


@pytest.mark.parametrize(
    ("prompt", "says"), [("a dragon on sea", "dragon"), ("on sea a critter", "not a caption"), ("a <v> on sea", "<v>"), ("a red", "not a caption")]
)
def test_what_is_not_of_the_language_is_named(prompt, says):
    with pytest.raises(ConfigError, match=says):
        parse([prompt])


def test_what_is_not_a_picture_of_this_world_is_named():
    bad = np.zeros((1, 16, 16, 3), np.uint8), np.full((2, 24, 24, 3), 2.0), np.full((1, 24, 24, 3), np.nan)
    for images, says in zip(bad, ("shape", "outside", "outside"), strict=True):
        with pytest.raises(BadImage, match=says):
            read(images)
    assert len(read(np.zeros((0, 24, 24, 3), np.uint8))) == 0
    for wrong in (lambda: ShapesWorld(held_out_pairs=2), lambda: WORLD.subjects(1, noun="circle"), lambda: WORLD.textured(1, noun="critter")):
        with pytest.raises(ConfigError):
            wrong()


def test_people_prefer_pictures_by_their_own_taste():
    tastes = PictureTastes(people=World(people=80, items=200, seed=2), shapes=WORLD)
    choices = tastes.choices(range(40), 6)
    everyone = range(40)
    gap = tastes.liking(everyone, choices.chosen) - tastes.liking(everyone, choices.rejected)
    own = gap[choices.people, np.arange(len(choices.people))]
    # The truth is what the chance says, choices follow it, and they are this person's.
    assert np.allclose(choices.chance, 1 / (1 + np.exp(-tastes.sharpness * own)))
    assert 0.75 < (own > 0).mean() < 0.95
    assert (own > 0).mean() > (gap > 0).mean() + 0.15
    # What is read from a picture is liked as what was rendered.
    shown = read(choices.chosen.render())
    assert isinstance(shown, Reading)
    assert np.allclose(tastes.liking([3], shown), tastes.liking([3], choices.chosen))
    assert WORLD.seen(choices.chosen).all()
    # Anybody's choices are the same, whoever else chooses; both pictures show what the prompt says.
    assert tastes.choices([17], 2).chosen.captions() == choices.chosen.rows(np.arange(102, 104)).captions()
    # Of pictures of one thing a few thousand pairs have some that are one by chance; such a pair is drawn again.
    many = tastes.choices(range(60), 100)
    parts = ("background", "colour", "second", "texture", "hat", "identity", "slot", "offset")
    assert np.any([(getattr(many.chosen, one) != getattr(many.rejected, one)).reshape(6000, -1).any(1) for one in parts], axis=0).all()
    assert (parse(choices.prompts).noun[:, 0] == choices.rejected.noun[:, 0]).all()
    assert len(FIXED) == 6
    for nothing in (lambda: tastes.choices(range(3), 0), lambda: tastes.choices([], 2)):
        with pytest.raises(ConfigError, match="at least one"):
            nothing()
