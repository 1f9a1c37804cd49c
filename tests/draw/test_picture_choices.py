"""Choices between pictures: checked, encoded without an order, tuned to by preferences, and drawn by for people whom training never saw."""

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from sartor.data.population import Evidence, Population
from sartor.data.world import World
from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.data.world.shapes.tastes import PictureTastes
from sartor.draw.parts.picture_choices import ChoiceEncoder, Clicks, picture_features, train_choices
from sartor.draw.parts.prior import Prior
from sartor.draw.ppd import PPD
from sartor.errors import BadImage, BadValue, ConfigError, EmptyData, MissingColumn, StateMismatch
from sartor.method import State, load


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 16), text_width=16)


@pytest.fixture(scope="module")
def tastes():
    return PictureTastes(people=World(people=8, items=40, seed=1), shapes=ShapesWorld())


def frames(choices, folder):
    """As people hand them over."""
    names = {}
    for side in ("chosen", "rejected"):
        names[side] = [f"{side}-{number}" for number in range(len(choices.prompts))]
        for name, picture in zip(names[side], getattr(choices, side).render(), strict=True):
            Image.fromarray(picture).save(folder / f"{name}.png")
    images = names["chosen"] + names["rejected"]
    who = np.tile(choices.people, 2)
    preferences = pl.DataFrame({"person": choices.people, "prompt": choices.prompts, **names})
    return preferences, pl.DataFrame({"image": images, "person": who, "path": [str(folder / f"{one}.png") for one in images]})


SETTINGS = {
    "tokens": 2,
    "width": 16,
    "pairs": 2,
    "encoder_epochs": 1,
    "steps": 3,
    "batch": 2,
    "sampling_steps": 2,
    "learning_rate": 0.05,
    "beta": 5.0,
}


@pytest.fixture(scope="module")
def population(tastes, tmp_path_factory):
    preferences, images = frames(tastes.choices(range(6), 3), tmp_path_factory.mktemp("pictures"))
    return Population.from_frames(preferences=preferences, images=images)


@pytest.fixture(scope="module")
def method(prior, population):
    return PPD(**SETTINGS).fit(population, on=prior, progress=False)


def close(a, b):
    """The same but for rounding, which depends on how many are drawn at once."""
    return np.abs(a.astype(int) - b).max() <= 2


def clicks(tastes, person, count=4):
    made = tastes.choices([person], count)
    return Clicks(prompts=made.prompts, chosen=made.chosen.render(), rejected=made.rejected.render())


def test_somebody_new_is_drawn_for_without_training(prior, method, tastes, tmp_path):
    before = {name: value.clone() for part in prior.modules for name, value in part.state_dict().items()}
    mine, other, nobody = (method.learn(one) for one in (clicks(tastes, 6), clicks(tastes, 7), clicks(tastes, 6).rows([])))
    assert (mine.nbytes, mine.examples, mine.notes["population"], nobody.notes["population"]) == (128, 4, False, True)
    drawn = method.draw(["a circle"] * 5, [mine, other, nobody, None, State.from_bytes(mine.to_bytes())], seeds=[1] * 5)
    assert not (drawn[0] == drawn[1]).all()
    assert close(drawn[2], drawn[3])
    assert close(drawn[0], drawn[4])
    assert not (drawn[0] == drawn[3]).all()
    plain, base = method.draw(["a circle"], [mine], seeds=[1], strength=0.0), method.draw(["a circle"], [other], seeds=[1], strength=0.0)
    assert close(plain, base)
    assert all((before[name] == value).all() for part in prior.modules for name, value in part.state_dict().items())
    # States mix; at the ends they are what they were.
    ends = [method.mixed([mine, other], one)["tokens"] for one in ([1, 0], [0, 1], [0.5, 0.5])]
    assert (ends[0] == mine["tokens"]).all()
    assert np.allclose(ends[2], (mine["tokens"] + other["tokens"]) / 2)
    # Saved and loaded it draws the same.
    back = load(method.save(tmp_path / "ppd"))
    back._prior = prior
    assert close(back.draw(["a circle"], [mine], seeds=[1])[0], drawn[0])


def test_what_is_tuned_starts_as_the_prior_and_moves_towards_what_was_chosen(prior, population, method, tastes):
    still = PPD(**{**SETTINGS, "steps": 0}).fit(population, on=prior, progress=False)
    state = still.learn(clicks(tastes, 6))
    assert (still.draw(["a circle"], [state], seeds=[1]) == still.draw(["a circle"], [state], seeds=[1], strength=0.0)).all()
    again = PPD(**SETTINGS).fit(population, on=prior, progress=False)
    assert again.fingerprint_ == method.fingerprint_
    # Nobody is told apart when tokens are always left out: the encoder's part has no gradient, the shared one has.
    alone = PPD(**SETTINGS, dropped=1.0).fit(population, on=prior, progress=False)
    assert not torch.equal(alone.network_["shared"][0], still.network_["shared"][0])


def test_choices_are_a_set_and_tell_further_choices():
    rng = np.random.default_rng(0)
    taste, people = rng.standard_normal((40, 6)), np.repeat(np.arange(40), 8)
    pictures = rng.standard_normal((2, 320, 6))
    first = ((pictures[0] - pictures[1]) * taste[people]).sum(1) > 0
    sides = [torch.tensor(np.where((first == want)[:, None], pictures[0], pictures[1]), dtype=torch.float32) for want in (True, False)]
    network = train_choices(*sides, people, tokens=2, width=16, epochs=30, learning_rate=5e-3)
    assert isinstance(network, ChoiceEncoder)
    chosen, rejected = sides[0][:4][None], sides[1][:4][None]
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(network(chosen, rejected), network(chosen[:, order], rejected[:, order]), atol=1e-5)
    assert not torch.allclose(network(chosen, rejected), network(rejected, chosen), atol=1e-2)
    own = torch.stack([network(part[0].reshape(40, 8, 6)[:, :4], part[1].reshape(40, 8, 6)[:, :4]) for part in (sides,)])[0]
    liked = [network.liking(own, part.reshape(40, 8, 6)[:, 4:]) for part in sides]
    assert (liked[0] > liked[1]).float().mean() > 0.6


def test_features_do_not_depend_on_who_else_is_looked_at(prior, tastes):
    pictures = clicks(tastes, 1, 3).chosen
    together = picture_features(prior, pictures)
    assert torch.allclose(together[1:2], picture_features(prior, pictures[1:2]), atol=1e-4)
    assert together.std(0).max() > 0
    assert not prior.unet.mid_block._forward_hooks


def test_a_stable_diffusion_serves_as_well(pipeline, tmp_path):
    prior = Prior.from_pretrained(pipeline)
    rng = np.random.default_rng(0)
    names = [f"{number}" for number in range(12)]
    for name in names:
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    preferences = pl.DataFrame({"person": [1, 1, 1, 2, 2, 2], "prompt": ["a mug"] * 6, "chosen": names[:6], "rejected": names[6:]})
    images = pl.DataFrame({"image": names, "person": [1, 1, 1, 2, 2, 2] * 2, "path": [str(tmp_path / f"{one}.png") for one in names]})
    people = Population.from_frames(preferences=preferences, images=images)
    method = PPD(**{**SETTINGS, "steps": 2}).fit(people, on=prior, progress=False)
    assert method.draw(["a mug", "the beach"], [method.adapt(people[1]), None]).shape == (2, 16, 16, 3)


def test_bad_input_is_named(prior, method, population, tastes):
    good = clicks(tastes, 6)
    turned = Clicks(
        prompts=good.prompts[:1] * 2, chosen=np.stack([good.chosen[0], good.rejected[0]]), rejected=np.stack([good.rejected[0], good.chosen[0]])
    )
    other = Clicks(prompts=good.prompts, chosen=good.chosen, rejected=good.rejected, rejected_prompts=[*good.prompts[:3], "a ring on sea"])
    state, own = method.learn(good), population[0]
    unnamed = Evidence({**own.frames, "preferences": own.frames["preferences"].drop("prompt")})
    lost = Evidence({**own.frames, "images": own.frames["images"].head(1)})
    cases = [
        (lambda: method.learn(turned), BadValue, "chosen both ways: 0 and 1"),
        (lambda: method.learn(other), BadValue, "pair 3 is of"),
        (lambda: method.learn(Clicks(prompts=good.prompts, chosen=good.chosen[:2], rejected=good.rejected)), ConfigError, "2 chosen pictures for 4"),
        (lambda: method.learn(Clicks(prompts=good.prompts, chosen=good.chosen[:, :9], rejected=good.rejected)), BadImage, "uint8"),
        (lambda: method.adapt(unnamed), MissingColumn, "prompt"),
        (lambda: method.adapt(lost), BadValue, "there is no image"),
        (lambda: PPD().fit(on=prior), EmptyData, "learns from others"),
        (lambda: PPD(**{**SETTINGS, "pairs": 3}).fit(population, on=prior, progress=False), ConfigError, "somebody has 3 choices"),
        (lambda: PPD(dropped=2.0).fit(population, on=prior, progress=False), ConfigError, "dropped"),
        (lambda: method.mixed([state], [1, 2]), ConfigError, "1 states, 2 weights"),
        (lambda: method.draw(["a circle"], []), ConfigError, "1 prompts, 0 states"),
        (lambda: PPD(**{**SETTINGS, "steps": 2}).fit(population, on=prior, progress=False).draw(["a circle"], [state]), StateMismatch, "made by"),
    ]
    for call, kind, words in cases:
        with pytest.raises(kind, match=words):
            call()


def test_two_people_may_choose_the_other_way_round(prior, tastes):
    good = clicks(tastes, 6)
    both = Clicks(
        prompts=[good.prompts[0]] * 2, chosen=np.stack([good.chosen[0], good.rejected[0]]), rejected=np.stack([good.rejected[0], good.chosen[0]])
    )
    both.check(prior, ["ana", "ben"])
    with pytest.raises(BadValue, match="chosen both ways: 0 and 1"):
        both.check(prior, ["ana", "ana"])
