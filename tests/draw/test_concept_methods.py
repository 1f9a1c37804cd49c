"""Learning things from a few pictures and drawing them: states hold what was shown and nothing else, prompts say things, bad input is named."""

import numpy as np
import polars as pl
import pytest
from PIL import Image

from sartor.data.population import Evidence
from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.data.world.shapes.prompts import Prompts
from sartor.draw._base import Taught
from sartor.draw._shown import Shown, spell
from sartor.draw.custom_diffusion import CustomDiffusion
from sartor.draw.dreambooth import DreamBooth
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.tuning import class_pictures
from sartor.draw.parts.weights import changed
from sartor.draw.textual_inversion import TextualInversion
from sartor.errors import BadImage, BadPrompt, ConfigError, EmptyData, MissingColumn, StateMismatch, UnknownId
from sartor.evaluate.drawing import concepts, mean, pasted
from sartor.method import State

WORLD = ShapesWorld()
PROMPTS = Prompts(["a <v> on snow", "a <v> at center on sea"], np.array([False, True]))


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 16), text_width=16)


def thing(number=0, name="<v>", noun="critter"):
    scenes = WORLD.references(WORLD.subjects(4, noun=noun)[number], 3)
    return Shown(name=name, class_word=noun, images=scenes.render(), masks=scenes.masks())


def close(a, b):
    """The same but for rounding, which depends on how many are drawn at once."""
    return np.abs(a.astype(int) - b).max() <= 2


METHODS = {
    "word": TextualInversion(steps=3, batch=2, sampling_steps=2),
    "low rank": DreamBooth(steps=2, batch=2, class_images=2, sampling_steps=2),
    "whole": DreamBooth(tune="whole", steps=2, batch=2, class_images=2, sampling_steps=2),
    "keys": CustomDiffusion(steps=2, batch=2, sampling_steps=2),
}


@pytest.mark.parametrize("kind", METHODS)
def test_a_state_draws_its_own_thing_and_leaves_the_prior_as_it_was(prior, kind):
    method = METHODS[kind].fit(on=prior)
    before = {name: value.clone() for part in prior.modules for name, value in part.state_dict().items()}
    mine, again, other = method.learn(thing(0)), method.learn(thing(0)), method.learn(thing(1))
    assert all((mine[key] == again[key]).all() for key in mine.arrays)
    back = State.from_bytes(mine.to_bytes())
    drawn = method.draw(["a <v> on snow"] * 4 + ["a critter on snow"], [mine, other, None, back, mine], seeds=[5] * 5, classes={"<v>": "critter"})
    assert drawn.shape == (5, 24, 24, 3)
    assert not (drawn[0] == drawn[1]).all()
    assert close(drawn[0], drawn[3])
    # Without a state, and where the prompt does not say the thing, it is the population's picture of the class.
    assert close(drawn[2], drawn[4])
    assert all((before[name] == value).all() for part in prior.modules for name, value in part.state_dict().items())
    assert not any(p.requires_grad for part in prior.modules for p in part.parameters())
    assert not prior.unet.conv_in._forward_hooks
    assert mine.notes["concepts"]["<v>"]["images"] == 3


def test_weights_leak_only_when_they_are_present(prior):
    method = DreamBooth(steps=2, batch=2, class_images=2, sampling_steps=2, learning_rate=0.05).fit(on=prior)
    state = method.learn(thing())
    with_and_without = [method.draw(["a critter on snow"], [state], seeds=[1], present=names)[0] for names in (("<v>",), ())]
    assert not (with_and_without[0] == with_and_without[1]).all()
    kept = class_pictures(prior, "a critter", 2)
    assert kept.latents is class_pictures(prior, "a critter", 2).latents
    half, none, whole = (method.draw(["a <v> on snow"], [state], seeds=[1], strength=one)[0].astype(int) for one in (0.5, 0.0, 1.0))
    assert np.abs(half - none).sum() < np.abs(whole - none).sum()
    with changed(prior, [method.taught(state)["<v>"].changes()]):
        assert not prior.unet.get_submodule("mid_block").training


def test_several_things_of_one_person_are_learned_and_forgotten_one_by_one(prior):
    method = METHODS["word"].fit(on=prior)
    first = method.learn([thing(0, "<a>"), thing(0, "<b>", "badge")])
    both = method.draw(["a <a> left of a <b> on snow"], [first], seeds=[3])
    second = method.learn(thing(1, "<c>"), first)
    assert (second.version, second.examples, [*second.notes["concepts"]]) == (2, 9, ["<a>", "<b>", "<c>"])
    assert (method.draw(["a <a> left of a <b> on snow"], [second], seeds=[3]) == both).all()
    left = method.without(second, "<a>")
    assert not any(key.startswith("<a>") for key in left.arrays)
    assert "<a>" not in left.notes["concepts"]
    with pytest.raises(BadPrompt, match="<a> is not a concept here"):
        method.draw(["a <a> on snow"], [left])
    with pytest.raises(UnknownId, match="it has <b>, <c>"):
        method.without(left, "<a>")
    assert method.without(method.without(left, "<b>"), "<c>") is None


def test_evidence_is_read_from_files(prior, tmp_path):
    method = METHODS["word"].fit(on=prior)
    paths = []
    for number, one in enumerate(thing().images):
        Image.fromarray(one).save(tmp_path / f"{number}.png")
        paths.append(str(tmp_path / f"{number}.png"))
    frame = pl.DataFrame({"image": paths, "path": paths, "item": ["mug"] * 3, "class_word": ["critter"] * 3})
    state = method.adapt(Evidence({"images": frame}))
    assert (state["<mug>/rows"] == method.learn(Shown(name="<mug>", class_word="critter", images=thing().images))["<mug>/rows"]).all()
    with pytest.raises(MissingColumn, match="class_word"):
        method.adapt(Evidence({"images": frame.drop("class_word")}))
    with pytest.raises(EmptyData):
        method.adapt(Evidence({}))


def test_the_measurement_tells_own_from_swapped_and_pays_no_copying(prior):
    method = METHODS["word"].fit(on=prior)
    subjects = WORLD.subjects(2, noun="critter")
    made = concepts(method, WORLD, subjects, references=2, prompts=PROMPTS)
    figures = mean(made)
    assert figures["swap_gap"] == pytest.approx(figures["subject"] - figures["swapped"])
    assert figures["gain"] == pytest.approx(figures["subject"] - figures["population_subject"])
    assert figures["bytes"] == 64
    # A pasted reference is the very subject and follows no prompt with an edit.
    control = pasted(WORLD, subjects)
    assert control["very"] == 1
    assert control["edit_all"] == 0


def test_prompts_are_spelled_as_the_method_was_taught():
    classes, taught = {"<v>": "critter", "<w>": "badge"}, {"<v>": Taught("critter", {})}
    assert spell("a <v> on snow", classes, taught, says_class=True) == "a <v> critter on snow"
    assert spell("a <v> critter on snow", classes, taught, says_class=True) == "a <v> critter on snow"
    assert spell("a <v> on snow", classes, taught, says_class=False) == "a <v> on snow"
    assert spell("a <v> left of a <w> badge", classes, taught, says_class=False) == "a <v> left of a badge"
    assert spell("a <w> on snow", classes, {}, says_class=True) == "a badge on snow"


def test_bad_input_is_named(prior):
    method = METHODS["word"].fit(on=prior)
    state = method.learn(thing())
    cases = [
        (lambda: method.learn([thing(), thing(1)]), ConfigError, "two concepts are called <v>"),
        (lambda: method.learn(thing(name="v")), ConfigError, "not a name of a concept"),
        (lambda: method.learn([]), EmptyData, "nothing is shown"),
        (lambda: method.learn(Shown(name="<v>", class_word="critter", images=np.zeros((0, 24, 24, 3), np.uint8))), EmptyData, "at least one"),
        (lambda: method.learn(Shown(name="<v>", class_word="critter", images=np.zeros((2, 9, 9, 3), np.uint8))), BadImage, "24 x 24"),
        (lambda: method.learn(Shown(name="<v>", class_word="dragon", images=thing().images)), BadPrompt, "dragon"),
        (lambda: method.draw(["a <w> on snow"], [state]), BadPrompt, "<w> is not a concept here"),
        (lambda: method.draw(["a <v> on mars"], [state]), BadPrompt, "mars"),
        (lambda: method.draw(["a <v>"], [None]), BadPrompt, "without a state, give classes"),
        (lambda: method.draw(["a <v>"], [state, state]), ConfigError, "1 prompts, 2 states"),
        (lambda: method.draw(["a <v>"], [state], loudness=2), ConfigError, "does not draw with 'loudness'"),
        (lambda: TextualInversion(steps=3, batch=4).fit(on=prior).draw(["a <v>"], [state]), StateMismatch, "the state was made by"),
        (lambda: DreamBooth(class_weight=-1.0).fit(on=prior).learn(thing()), ConfigError, "class_weight"),
    ]
    for call, kind, words in cases:
        with pytest.raises(kind, match=words):
            call()


def test_the_prior_that_comes_with_the_package_draws_what_is_said():
    from sartor.data.world.shapes import parse, read
    from sartor.draw.parts.sampler import sample
    from sartor.evaluate.pictures import grade

    prior = Prior.shapes()
    prompts = [f"a red square at {place} on {ground}" for place in ("top left", "bottom right") for ground in ("snow", "sea", "grass")]
    right = grade(read(prior.images(sample(prior, prior.encode(prompts), range(6), steps=8))), parse(prompts)).accuracy()
    assert right["background"] == 1
    assert right["position"] >= 5 / 6
