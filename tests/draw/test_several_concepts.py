"""Several things of one picture: learned together, drawn alone or together, forgotten one by one, bad input named."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sartor.data.world.shapes import NOUNS, VOCABULARY, ShapesWorld
from sartor.data.world.shapes.scenes import Scenes
from sartor.draw._shown import Shown
from sartor.draw.break_a_scene import BreakAScene, attends, said, sentence
from sartor.draw.disendiff import DisenDiff, calibrated, first_detached, smoothed, soft_iou
from sartor.draw.parts.masks import finest
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.tokens import Concept
from sartor.draw.parts.tuning import Step
from sartor.errors import BadImage, BadPrompt, ConfigError, UnknownId
from sartor.method import State

WORLD = ShapesWorld()
BOTH = "a <a> left of a <b> on snow"


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 16), text_width=16)


def scene(number=0, names=("<a>", "<b>"), captions=None):
    """A critter left of a badge in one picture."""
    pair = (WORLD.subjects(1, noun="critter", start=number)[0], WORLD.subjects(1, noun="badge", start=number)[0])
    made = Scenes.empty(1, pair)
    made.relation[:] = 0
    for place, one in enumerate(pair):
        made.noun[:, place], made.subject[:, place], made.slot[:, place] = NOUNS.index(one.noun), place, place
    return [
        Shown(name=name, class_word=one.noun, images=made.render(), masks=made.masks(place), captions=captions)
        for place, (name, one) in enumerate(zip(names, pair, strict=True))
    ]


CAPTION = ["a <a> critter left of a <b> badge"]
CASES = {
    "break-a-scene": (BreakAScene(word_steps=2, steps=2, batch=2, class_images=2, sampling_steps=2), None),
    "whole": (BreakAScene(tune="whole", word_steps=2, steps=2, batch=2, class_weight=0, sampling_steps=2, flip=False), None),
    "disendiff": (DisenDiff(steps=2, batch=4, sampling_steps=2), CAPTION),
}


@pytest.mark.parametrize("kind", CASES)
def test_one_picture_teaches_two_words_that_are_drawn_and_forgotten_one_by_one(prior, kind):
    method, captions = CASES[kind][0].fit(on=prior), CASES[kind][1]
    before = {name: value.clone() for part in prior.modules for name, value in part.state_dict().items()}
    state, again = (method.learn(scene(captions=captions)) for _ in range(2))
    assert all((state[key] == again[key]).all() for key in state.arrays)
    assert (state.examples, [*state.notes["concepts"]]) == (1, ["<a>", "<b>"])
    back = State.from_bytes(state.to_bytes())
    drawn = method.draw([BOTH, BOTH, "a <a> on snow", "a <b> on snow"], [state, back, state, state], seeds=[1] * 4)
    assert np.abs(drawn[0].astype(int) - drawn[1]).max() <= 2
    assert not (drawn[0] == drawn[2]).all()
    assert not (drawn[2] == drawn[3]).all()
    assert all((before[name] == value).all() for part in prior.modules for name, value in part.state_dict().items())
    # A second scene stands beside the first; the first's words draw what they drew.
    more = method.learn(scene(1, ("<c>", "<d>"), captions and ["a <c> critter left of a <d> badge"]), state)
    assert np.abs(method.draw([BOTH], [more], seeds=[1])[0].astype(int) - drawn[0]).max() <= 2
    # Forgetting one removes its word, and says whose pictures the weights that stay have seen; forgetting both leaves nothing of them.
    left = method.without(more, "<a>")
    assert "<a>/rows" not in left.arrays
    assert left.notes["concepts"]["<b>"]["traces"] == ["<a>"]
    assert left.notes["concepts"]["<c>"]["traces"] == []
    assert any(key.startswith("[<a>+<b>]/") for key in left.arrays)
    gone = method.without(left, "<b>")
    assert not any("<a>" in key or "<b>" in key for key in gone.arrays)
    assert method.without(method.without(gone, "<c>"), "<d>") is None
    with pytest.raises(UnknownId):
        method.without(gone, "<a>")
    # Learned anew, a scene takes the place of the old one.
    anew = method.learn(scene(2, captions=captions), more)
    assert sorted(anew.arrays) == sorted(more.arrays)
    assert (anew.version, not (anew["<a>/rows"] == more["<a>/rows"]).all()) == (3, True)


def test_they_learn_and_draw_on_a_stable_diffusion(pipeline):
    prior = Prior.from_pretrained(pipeline)
    pictures, left = np.random.default_rng(0).integers(0, 255, (1, 16, 16, 3), dtype=np.uint8), np.zeros((1, 16, 16), bool)
    left[:, :, :8] = True
    things = [Shown(name=name, class_word=noun, images=pictures, masks=mask) for name, noun, mask in (("<a>", "mug", left), ("<b>", "beach", ~left))]
    for method in (BreakAScene(word_steps=1, steps=1, batch=2, class_images=2, sampling_steps=2, joined="and"), DisenDiff(steps=2, sampling_steps=2)):
        state = method.fit(on=prior).learn(things)
        drawn = method.draw(["a <a> on the <b>", "a <a>"], [state, None], seeds=[1, 1], classes={"<a>": "mug"})
        assert drawn.shape == (2, 16, 16, 3)


def test_union_sampling_names_some_things_and_shows_their_masks_together():
    masks = {name: torch.zeros(1, 1, 4, 4) for name in ("<a>", "<b>")}
    masks["<a>"][..., :2], masks["<b>"][..., 2:] = 1, 1
    torch.manual_seed(0)
    texts, inside = said(masks)(torch.zeros(60, dtype=torch.int64))
    counts = {text: texts.count(text) for text in texts}
    assert set(counts) == {"a <a>", "a <b>", "a <a> left of a <b>"}
    assert counts["a <a> left of a <b>"] > counts["a <a>"]
    for text, mask in zip(texts, inside, strict=True):
        assert torch.equal(mask, sum(masks[name][0] for name in masks if name in text))
    assert set(said(masks, union=False)(torch.zeros(9, dtype=torch.int64))[0]) == {"a <a> left of a <b>"}
    turned = [masks[name][0].transpose(1, 2) for name in masks]
    assert sentence([*masks], turned) == "a <a> above a <b>"
    assert sentence([*masks], turned[::-1]) == "a <a> below a <b>"
    assert sentence([*masks], [one.flip(-1) for one in turned], place=False) == "a <a> and a <b>"


def step(prior, texts, maps):
    words = prior.words(texts, [Concept(name, torch.zeros(1, prior.dim)) for name in ("<a>", "<b>")])
    nothing = torch.zeros(len(texts), 1, 2, 2)
    return Step(0, torch.zeros(len(texts), dtype=torch.int64), texts, words, (), nothing, None, nothing, {"x": maps(words)})


def test_attention_terms_are_smallest_where_every_word_looks_at_its_own_thing(prior):
    masks = {name: torch.zeros(1, 1, 8, 8) for name in ("<a>", "<b>")}
    masks["<a>"][..., :4], masks["<b>"][..., 4:] = 1, 1
    texts = ["a <a> critter left of a <b> badge", "a <a> critter"]

    def maps(own, others):
        def of(words):
            made = torch.full((2, 64, words.ids.shape[1]), 0.01)
            for name, other in (("<a>", "<b>"), ("<b>", "<a>")):
                for row, column in (words.places[name] >= 0).nonzero().tolist():
                    made[row, :, column] += 0.3 * masks[name if own else other][0].flatten()
                    made[row, :, column + 1] += 0.3 * masks[other if others else name][0].flatten()
            return made.requires_grad_(True)

        return of

    on_masks, bound = attends(masks, 1.0, 16), calibrated(["<a>", "<b>"], 1.0, 16)
    right, wrong = step(prior, texts, maps(True, False)), step(prior, texts, maps(False, False))
    assert on_masks(right).item() < 0.01 < 0.4 < on_masks(wrong).item()
    assert bound(right).item() < 0.2 < 0.8 < bound(wrong).item()
    # Learned words are pulled to their class words, which do not move by it: alone in a prompt, only the learned word's map has a gradient.
    alone = step(prior, texts[1:], lambda words: maps(True, False)(words.__class__(words.ids.repeat(2, 1), words.places, words.lengths))[:1].detach())
    leaf = alone.maps["x"].requires_grad_(True)
    bound(alone).backward()
    column = int((alone.words.places["<a>"][0] >= 0).nonzero())
    assert leaf.grad[0, :, column].abs().sum() > 0
    assert leaf.grad[0, :, column + 1].abs().sum() == 0


def test_masks_that_are_given_all_the_same_do_not_help(prior):
    method = CASES["disendiff"][0].fit(on=prior)
    things = scene(captions=CAPTION)
    without, with_masks = method.learn([replace(one, masks=None) for one in things]), method.learn(things)
    assert all((without[key] == with_masks[key]).all() for key in without.arrays)


def test_calibration_follows_its_formulas():
    one = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(soft_iou(one, torch.zeros_like(one)), 1 / (one.sum((1, 2)) + 1))
    hard = (one > 0.5).float()
    assert torch.allclose(soft_iou(hard, hard), torch.ones(2))
    assert torch.allclose(smoothed(one), smoothed(5 * one + 3), atol=1e-6)
    flat = torch.zeros(1, 5, 5)
    flat[0, 2, 2] = 1
    weights = np.exp(-np.array([[2.0, 1, 2], [1, 0, 1], [2, 1, 2]]) / (2 * 0.25))
    assert np.allclose(smoothed(flat)[0, 1:4, 1:4].numpy(), weights / weights.sum(), atol=1e-6)
    maps = {"coarse": torch.ones(1, 4, 3), "fine": torch.zeros(1, 16, 3), "other": torch.full((1, 16, 3), 2.0), "too fine": torch.ones(1, 64, 3)}
    assert torch.equal(finest(maps, 4), torch.ones(1, 16, 3))
    assert finest(maps, 1).shape[1] == 4
    key = torch.ones(1, 3, 2, requires_grad=True)
    sum(part.sum() for part in first_detached(None, key, key, key)).backward()
    assert key.grad[0].tolist() == [[0, 0], [2, 2], [2, 2]]


def test_bad_input_is_named(prior):
    masked, free = CASES["break-a-scene"][0].fit(on=prior), CASES["disendiff"][0].fit(on=prior)
    a, b = scene()
    state = masked.learn([a, b])

    wide = replace(b, masks=np.ones((1, 24, 24), bool))
    five = [replace(a, name=f"<{number}>") for number in range(5)]
    cases = [
        (lambda: masked.learn([a, wide]), BadImage, "masks of <a> and <b> overlap by 100%"),
        (lambda: masked.learn([a, replace(b, masks=np.zeros((1, 24, 24)))]), BadImage, "mask 0 selects no pixels"),
        (lambda: masked.learn([a, replace(b, masks=None)]), BadImage, "<b> has no mask"),
        (lambda: masked.learn(five), ConfigError, "5 things in one picture"),
        (lambda: BreakAScene(allow_many=True).fit(on=prior).learn(five), BadImage, "overlap"),
        (lambda: masked.learn([a, scene(1)[1]]), BadImage, "not in the same pictures"),
        (lambda: masked.learn([a, replace(b, name="<a>")]), ConfigError, "two concepts are called <a>"),
        (lambda: masked.draw(["a critter on snow"], [state]), BadPrompt, "has none of <a>, <b>"),
        (lambda: free.learn(scene(captions=["a <a> left of a <b> badge"])), BadPrompt, "does not have '<a> critter'"),
        (lambda: free.learn(scene(captions=["a <a> critter left of a <b> badge on <c>"])), BadPrompt, "<c>, which is not shown"),
        (lambda: free.learn([a, replace(b, class_word="critter")]), ConfigError, "both called critter"),
        (lambda: free.learn(a), ConfigError, "one thing"),
        (lambda: free.learn([replace(a, captions=CAPTION), replace(b, captions=["a <b> badge"])]), ConfigError, "different captions"),
        (lambda: free.learn([a, b]), BadPrompt, "'and'"),
    ]
    for call, kind, words in cases:
        with pytest.raises(kind, match=words):
            call()
