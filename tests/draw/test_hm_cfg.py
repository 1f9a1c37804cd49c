"""HM-CFG: weights from pictures in one pass, and guidance of two models. Untrained priors are enough."""

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from sartor.data.population import Population
from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw._shown import Shown
from sartor.draw.hm_cfg import HMCFG, Decoder, mixture, squared_length
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.supplied import supplied
from sartor.errors import BadImage, ConfigError, EmptyData

WORLD = ShapesWorld()
QUICK = {"steps": 3, "batch": 3, "width": 16, "depth": 1, "sampling_steps": 2}


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 16), text_width=16)


def others(folder, noun="critter", size=24):
    frame = {name: [] for name in ("image", "path", "item", "class_word")}
    for number, subject in enumerate(WORLD.subjects(3, noun="critter", start=200)):
        for picture in WORLD.references(subject, 2).render():
            path = folder / f"{len(frame['image'])}.png"
            Image.fromarray(picture[:size, :size]).save(path)
            for name, value in zip(frame, (path.stem, str(path), f"t{number}", noun), strict=True):
                frame[name].append(value)
    return Population.from_frames(images=pl.DataFrame(frame))


@pytest.fixture(scope="module")
def method(prior, tmp_path_factory):
    return HMCFG(**QUICK, learning_rate=0.05).fit(others(tmp_path_factory.mktemp("others")), on=prior, progress=False)


def thing(number=0, **more):
    scenes = WORLD.references(WORLD.subjects(number + 1, noun="critter")[number], 2)
    return Shown(name=f"<{'ab'[number]}>", class_word="critter", images=scenes.render(), **more)


def test_pictures_become_weights_in_one_pass_and_nothing_is_tuned(method, prior, tmp_path):
    before = {name: value.clone() for name, value in prior.unet.state_dict().items()}
    state = method.learn([thing(0), thing(1)])
    assert all(torch.equal(before[name], value) for name, value in prior.unet.state_dict().items())
    assert all(not np.array_equal(state[f"<a>/weights.{layer}.B"], state[f"<b>/weights.{layer}.B"]) for layer in method.shapes_)
    assert state["<a>/rows"].shape == (1, 16)
    drawn = method.draw(
        ["a <a> on sand", "a <b> on sand", "a <a> left of a <b>", "a <a> on sand"], [state] * 3 + [None], seeds=[1] * 4, classes={"<a>": "critter"}
    )
    assert len({one.tobytes() for one in drawn}) == 4
    loaded = HMCFG.load(method.save(tmp_path / "saved"))
    loaded._prior = prior
    assert np.array_equal(loaded.learn(thing(0))["<a>/rows"], state["<a>/rows"])
    tuned = HMCFG(**QUICK, refine_steps=2, refine_rate=0.1)
    tuned._prior, tuned.prior_fingerprint_ = prior, prior.fingerprint
    tuned.patch_, tuned.shapes_, tuned.network_ = method.patch_, method.shapes_, method.network_
    tuned._seal()
    layer = next(iter(method.shapes_))
    assert not np.array_equal(tuned.learn(thing(0))[f"<a>/weights.{layer}.B"], state[f"<a>/weights.{layer}.B"])


def test_it_starts_as_the_base_and_its_length_is_measured():
    torch.manual_seed(0)
    network = Decoder({"x": (8, 6), "y": (8, 8)}, 4, 5, 2, 16, 1)
    factors = network(torch.randn(3, 8, 5))
    assert factors["x"][0].shape == (3, 2, 8)
    assert factors["x"][1].shape == (3, 6, 2)
    assert all((b == 0).all() for _, b in factors.values())
    one = {"x": (torch.ones(2, 1, 3), 2 * torch.ones(2, 4, 1))}
    assert squared_length(one).item() == 3 + 16


def test_the_guidance_is_the_formula(method, prior):
    state = method.learn(thing(0))
    taught = method.taught(state)
    factors = {name: (taught["<a>"].tensors[f"weights.{name}.A"], taught["<a>"].tensors[f"weights.{name}.B"]) for name in method.shapes_}
    own = prior.encode(["a <a> critter on sand"], [taught["<a>"].concept("<a>")])
    plain, nothing = prior.encode(["a critter on sand"]), prior.encode([""])
    x, t = torch.randn(1, 27, 8, 8), torch.tensor(300)
    with torch.no_grad():
        base, said = prior.predict(x, t, nothing), prior.predict(x, t, plain)
        with supplied(prior.unet, factors):
            personal = prior.predict(x, t, own)
        assert (personal - said).abs().max() > 1e-3
        wanted = base + 1.5 * (said - base) + 3.0 * (personal - said)
        assert torch.allclose(mixture(prior, own, plain, factors, 1.5, 3.0)(x, t), wanted, atol=1e-4)
    prompts, seeds = ["a <a> on sand"] * 2, [4, 5]
    none = method.draw(["a critter on sand"] * 2, [None] * 2, seeds=seeds)
    assert np.abs(method.draw(prompts, [state] * 2, seeds=seeds, identity=0.0).astype(int) - none).max() <= 1
    assert not np.array_equal(method.draw(prompts, [state] * 2, seeds=seeds, mixed=False), none)


def test_bad_input_is_named(method, prior):
    two = WORLD.together(WORLD.subjects(2, noun="critter"), 2).render()
    cases = [
        (lambda: method.learn(Shown(name="<a>", class_word="critter", images=two)), BadImage, "shows two things"),
        (lambda: method.draw(["a <a>"], [method.learn(thing(0))], identity=-1.0), ConfigError, "identity is -1"),
        (lambda: HMCFG(**QUICK).fit(on=prior), EmptyData, "learns from others"),
    ]
    for call, kind, words in cases:
        with pytest.raises(kind, match=words):
            call()
    with pytest.raises(ConfigError, match=r"no linear layer mid\.none"), supplied(prior.unet, {"mid.none": (torch.zeros(1, 2), torch.zeros(2, 1))}):
        pass


def test_a_stable_diffusion_learns_from_others(pipeline, tmp_path):
    method = HMCFG(**QUICK, cells=4).fit(others(tmp_path, "mug", 16), on=Prior.from_pretrained(pipeline), progress=False)
    images = np.full((1, 16, 16, 3), 30, np.uint8)
    images[:, 5:11, 4:12] = np.random.default_rng(0).integers(100, 256, (1, 6, 8, 3))
    state = method.learn(Shown(name="<v>", class_word="mug", images=images))
    assert method.draw(["a photo of <v>"], [state]).shape == (1, 16, 16, 3)
