"""Where things may stand, how much each counts, and pictures while they are drawn: at request time, for any method with words."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from sartor.cli import app
from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw._shown import Shown
from sartor.draw.alignit import AlignIT
from sartor.draw.core import CoRe
from sartor.draw.custom_diffusion import CustomDiffusion
from sartor.draw.dreambooth import DreamBooth
from sartor.draw.neti import NeTI
from sartor.draw.parts.picture_files import facts_in
from sartor.draw.parts.previews import Preview
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.regions import SIDES, kept_inside, region, said_at
from sartor.draw.parts.tap import Recorder, Slots
from sartor.draw.parts.tokens import Concept
from sartor.draw.perfusion import Perfusion
from sartor.draw.prospect import ProSpect
from sartor.draw.textual_inversion import TextualInversion
from sartor.errors import BadImage, ConfigError

WORLD = ShapesWorld()
BOTH = "a <a> left of a <b> on snow"
TWO = {"steps": 2, "batch": 2, "sampling_steps": 3}


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 16), text_width=16)


def things():
    made = []
    for name, noun in (("<a>", "critter"), ("<b>", "badge")):
        subject = WORLD.subjects(1, noun=noun)[0]
        made.append(Shown(name=name, class_word=noun, images=WORLD.references(subject, 2).render()))
    return made


def test_no_pixel_outside_looks_at_the_word_and_attention_stays_a_share(prior):
    words = prior.words(["a <a> critter on snow", "snow <a> on a critter"], [Concept("<a>", torch.zeros(2, prior.dim))])
    kind = prior.tokenizer("critter", add_special_tokens=False).input_ids
    here = said_at(words.ids, words.places["<a>"], kind)
    # The class word counts where it stands right behind.
    assert [row.nonzero()[:, 0].tolist() for row in here] == [[2, 3, 4], [2, 3]]
    recorder, x, t = Recorder(), torch.randn(2, 27, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    context = prior.encode_words(words, [Concept("<a>", torch.zeros(2, prior.dim))])
    slots = Slots(change=kept_inside({"<a>": here}, {"<a>": region("left")}), record=recorder)
    with torch.no_grad():
        prior.predict(x, t, context, slots=slots)
    for maps in recorder.maps.values():
        side = round(maps.shape[1] ** 0.5)
        own = (maps * here[:, None]).sum(-1).reshape(2, side, side)
        assert torch.allclose(maps.sum(-1), torch.ones(()), atol=1e-5)
        assert own[:, :, side // 2 :].max() == 0
        assert own[:, :, : side // 2].min() > 0


METHODS = {
    "textual-inversion": TextualInversion(**TWO), "dreambooth": DreamBooth(**TWO, class_weight=0), "perfusion": Perfusion(**TWO, counted=50),
    "neti": NeTI(**TWO), "prospect": ProSpect(**TWO), "core": CoRe(**TWO),
}  # fmt: skip


@pytest.mark.parametrize("slug", METHODS)
def test_any_method_with_words_keeps_things_in_regions(prior, slug):
    method = METHODS[slug].fit(on=prior)
    state = method.learn(things())

    def drawn(**options):
        return method.draw([BOTH], [state], seeds=[3], **options)[0].astype(int)

    plain = drawn()
    assert np.abs(drawn(regions={"<a>": (0, 0, 1, 1)}) - plain).max() <= 2
    assert np.abs(drawn(regions={"<a>": "left", "<b>": "right"}) - plain).max() > 2
    mask = np.zeros((24, 24), bool)
    mask[:, :12] = True
    assert np.abs(drawn(regions={"<a>": mask}) - drawn(regions={"<a>": SIDES["left"]})).max() <= 2


def test_what_is_no_region_is_named(prior):
    method = TextualInversion(**TWO).fit(on=prior)
    state = method.learn(things()[0])
    for given, error, says in (
        ("nowhere", ConfigError, "'nowhere' is no region"), ("0,0,1", ConfigError, "no region"), ((0.5, 0, 0.2, 1), ConfigError, "left < right"),
        (np.zeros((4, 4), bool), BadImage, "no pixels"), (np.ones((4, 5)), BadImage, r"\[4, 5\]"),
    ):  # fmt: skip
        with pytest.raises(error, match=says):
            method.draw(["a <a>"], [state], regions={"<a>": given})
    with pytest.raises(ConfigError, match="<b>, which is not a concept"):
        method.draw(["a <a>"], [state], regions={"<b>": "left"})
    repaired = AlignIT(base=CustomDiffusion(**TWO)).fit(on=prior)
    with pytest.raises(ConfigError, match="AlignIT takes no regions"):
        repaired.draw(["a <a>"], [repaired.learn(things()[0])], regions={"<a>": "left"})


def test_each_thing_has_a_strength_of_its_own(prior):
    method = DreamBooth(**TWO, class_weight=0, learning_rate=0.1).fit(on=prior)
    state = method.learn(things())

    def drawn(strength):
        return method.draw([BOTH], [state], seeds=[3], strength=strength)[0].astype(int)

    assert np.abs(drawn({}) - drawn(1.0)).max() <= 1
    assert np.abs(drawn({"<a>": 0.0, "<b>": 0.0}) - drawn(0.0)).max() <= 1
    halves = [drawn({"<a>": 0.0}), drawn({"<b>": 0.0}), drawn(0.0), drawn(1.0)]
    assert all(np.abs(one - other).max() > 2 for place, one in enumerate(halves) for other in halves[:place])


def test_previews_are_the_estimates_and_the_last_one_is_the_picture(prior):
    method, seen = TextualInversion(**TWO).fit(on=prior), []
    state = method.learn(things()[0])
    prompts, states = ["a <a> on snow", "a critter", "a <a> on sea"], [state, None, state]
    drawn = method.draw(prompts, states, preview=Preview(1, lambda step, rows, pictures: seen.append((step, rows, pictures))))
    assert [(step, rows) for step, rows, _ in seen] == [(step, rows) for rows in ([0, 2], [1]) for step in (1, 2, 3)]
    # The last step of DDIM is its estimate.
    for step, rows, pictures in seen:
        if step == 3:
            assert np.abs(pictures.astype(int) - drawn[rows]).max() <= 1
    with pytest.raises(ConfigError, match="every 0 steps"):
        Preview(0, lambda *_: None)


def test_the_command_line_takes_regions_strengths_and_previews(prior, tmp_path):
    folder = prior.save(tmp_path / "prior")
    method = DreamBooth(**TWO, class_weight=0, learning_rate=0.1).fit(on=Prior.load(folder))
    state = method.learn(things())
    from sartor.draw.concepts import concept_of

    for name in ("a", "b"):
        concept_of(method, state, name).save(tmp_path / f"{name}.safetensors")
    mask = np.zeros((48, 48), np.uint8)
    mask[:, 24:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")

    def call(*more):
        words = ["draw", "picture", BOTH, "-c", f"a={tmp_path / 'a.safetensors'}", "-c", f"b={tmp_path / 'b.safetensors'}", "--prior", str(folder)]
        done = CliRunner().invoke(app, [*words, "--seed", "3", "--out", str(tmp_path / "drawn.png"), "--json", *more])
        return done.exit_code, json.loads(done.stdout)

    wanted = method.draw([BOTH], [state], seeds=[3], strength={"<a>": 0.5}, regions={"<a>": "left", "<b>": mask > 0})[0]
    code, said = call(
        "--region", "a=left", "--region", f"b={tmp_path / 'mask.png'}", "--strength", "a=0.5", "--preview", str(tmp_path / "growing.png"),
        "--preview-every", "2",
    )  # fmt: skip
    assert code == 0, said
    assert np.abs(np.asarray(Image.open(tmp_path / "drawn.png")).astype(int) - wanted).max() <= 2
    facts = facts_in(tmp_path / "drawn.png")
    assert (facts["strength"], facts["regions"]) == ({"<a>": 0.5}, {"<a>": "left", "<b>": {"mask": 0.5}})
    assert facts_in(tmp_path / "growing.png")["preview"] == 2
    for more, error in (
        (["--region", "a"], "ConfigError"), (["--region", "c=left"], "ConfigError"), (["--strength", "a=much"], "ConfigError"),
        (["--strength", "1", "--strength", "a=1"], "ConfigError"), (["--strength", "c=1"], "ConfigError"),
        (["--region", "a=none.png"], "FileProblem"),
    ):  # fmt: skip
        code, said = call(*more)
        assert (code, said["error"]) == (2, error), more
