"""Scenes of several things made of pictures of each: laid out, painted around, captioned, traced; and what is measured of several concepts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.data.world.shapes import BACKGROUNDS, VOCABULARY, ShapesWorld, parse
from sartor.draw._shown import Shown
from sartor.draw.gen4gen import by_model, caption, check_layout, compose, in_cells, repainted
from sartor.draw.parts.prior import Prior
from sartor.errors import BadImage, BadValue, ConfigError
from sartor.evaluate.composition import composition_score, cp_clip, text_score, ti_clip

WORLD = ShapesWorld()
PAIR = (WORLD.subjects(1, noun="critter")[0], WORLD.subjects(1, noun="badge")[0])
GROUNDS = [f"on {ground}" for ground in BACKGROUNDS]


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 16), text_width=16)


@pytest.fixture(scope="module")
def shown():
    made = []
    for name, one in zip(("<a>", "<b>"), PAIR, strict=True):
        scenes = WORLD.references(one, 3)
        made.append(Shown(name=name, class_word=one.noun, images=scenes.render(), masks=scenes.masks()))
    return made


def test_500_scenes_are_whole_and_say_what_they_show(prior, shown):
    made = compose(prior, shown, 500, backgrounds=GROUNDS, repaint=False, seed=3)
    assert made.boxes.min() >= 0
    assert made.boxes.max() <= 24
    assert not made.masks.all(1).any()
    for row, text in enumerate(made.captions):
        # The thing that is named first stands on the side that the caption says.
        asked = parse([text], {"<a>": "critter", "<b>": "badge"})
        first = int(text.index("<b>") < text.index("<a>"))
        middle = (made.boxes[row, :, :2] + made.boxes[row, :, 2:]) / 2
        axis = 1 if int(asked.relation[0]) in (0, 1) else 0
        assert middle[first, axis] <= middle[1 - first, axis]
        assert BACKGROUNDS[int(asked.background[0])] == BACKGROUNDS[row % 6]
    assert len({tuple(box) for box in made.boxes.reshape(500, -1)}) > 50


def sources(one):
    import hashlib

    return [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).hexdigest() for image in one.images]


def test_things_are_as_they_were_and_only_the_rest_is_painted(prior, shown):
    grey = compose(prior, shown, 4, backgrounds=GROUNDS, repaint=False, seed=1)
    made = compose(prior, shown, 4, backgrounds=GROUNDS, steps=2, seed=1)
    inside = made.masks.any(1)
    assert (made.images[inside] == grey.images[inside]).all()
    assert (made.images[~inside] != grey.images[~inside]).any()
    whole = np.ones((1, 24, 24), bool)
    assert (repainted(prior, grey.images[:1], whole, ["a critter"], steps=2) == grey.images[:1]).all()
    # A thing's pixels are those of the picture that it is traced to.
    for row in range(4):
        for number, one in enumerate(shown):
            own = sources(one).index(made.sources[row][number])
            assert sorted(map(tuple, made.images[row][made.masks[row, number]])) == sorted(map(tuple, one.images[own][one.masks[own]]))
    source = made.sources[0][0]
    left = made.without(source)
    assert len(left.captions) == len(left.images) == sum(source not in own for own in made.sources)
    short = compose(prior, shown, 1, backgrounds=GROUNDS, captions="short", repaint=False)
    assert short.captions == ["a <a> critter a <b> badge"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=9), st.integers(0, 2**32 - 1))
def test_cells_never_overlap(sizes, seed):
    places = in_cells(["thing"] * len(sizes), sizes, 24, np.random.default_rng(seed))
    check_layout(places, sizes, 24)


def test_captions_follow_the_order_in_which_things_stand():
    boxes = np.array([[0, 12, 4, 16], [0, 0, 4, 4], [12, 6, 16, 10]])
    assert caption(["cat", "dog"], boxes[:2], "on sand", "full") == "a dog left of a cat on sand"
    assert caption(["cat", "cup"], boxes[[0, 2]], "on sand", "full") == "a cat above a cup on sand"
    assert caption(["cat", "dog", "cup"], boxes, "in a garden", "full") == "a dog, a cup and a cat arranged from left to right in a garden"


def test_what_cannot_be_composed_is_refused(prior, shown):
    with pytest.raises(BadImage, match="picture 0 has no foreground: 0% of it"):
        compose(prior, [shown[0], Shown(name="<c>", class_word="flag", images=np.full((1, 24, 24, 3), 9, np.uint8))], 1, backgrounds=GROUNDS)
    many = [Shown(name=f"<{n}>", class_word="critter", images=shown[0].images, masks=shown[0].masks) for n in range(5)]
    with pytest.raises(ConfigError, match="5 things do not fit"):
        compose(prior, many, 1, backgrounds=GROUNDS)
    with pytest.raises(ConfigError, match="1 things"):
        compose(prior, shown[:1], 1, backgrounds=GROUNDS)
    replies = iter(["no", "[[0, 0], [1, 1]]", "[[0, 0], [0, 12]]", "still", "no", "layout"])
    asked = by_model(lambda text: next(replies))
    sizes, rng = [(9, 9), (9, 9)], np.random.default_rng(0)
    assert asked(["a", "b"], sizes, 24, rng) == [(0, 0), (0, 12)]
    with pytest.raises(BadValue, match="3 replies were no layout, the last one: 'layout'"):
        asked(["a", "b"], sizes, 24, rng)
    for places, words in (([(0, 0)], "1 places"), ([(0, 0), (20, 0)], "outside"), ([(0, 0), (4, 4)], "over another")):
        with pytest.raises(BadValue, match=words):
            check_layout(places, sizes, 24)


def test_a_concept_that_is_missing_counts_nothing():
    both = WORLD.together(PAIR, 4)
    truth, alone = both.render(), WORLD.references(PAIR[0], 4).render()
    assert composition_score(truth, PAIR, WORLD) == pytest.approx(np.ones(4), abs=0.02)
    assert composition_score(alone, PAIR, WORLD) == pytest.approx(np.full(4, 0.5), abs=0.15)
    # The same subject twice is not two of them: each object is counted for one.
    assert composition_score(alone, [PAIR[0], PAIR[0]], WORLD) == pytest.approx(np.full(4, 0.5), abs=0.02)
    texts = both.captions(names=["<a>", "<b>"])
    kinds = {"<a>": "critter", "<b>": "badge"}
    assert text_score(truth, texts, kinds).tolist() == [1.0] * 4
    assert text_score(truth, texts[::-1], kinds).mean() < 1
    boxes = iter([[(0, 0, 4, 4), None], [(0, 0, 2, 2), (0, 0, 3, 3)]])
    sizes = lambda crop, references: crop.shape[0] / 10  # noqa: E731
    concepts = {"<a>": truth[:1], "<b>": truth[:1]}
    assert cp_clip(truth[:2], concepts, kinds, lambda picture, names: next(boxes), sizes) == pytest.approx([0.2, 0.25])
    said = []
    ti_clip(truth[:1], ["a <a> left of a <b>"], kinds, lambda picture, text: said.append(text) or 1.0)
    assert said == ["a critter left of a badge"]
    with pytest.raises(ConfigError):
        cp_clip(truth, {}, kinds, lambda picture, names: [], sizes)
