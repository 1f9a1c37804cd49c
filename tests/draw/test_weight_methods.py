"""Methods that change weights, keys and values: what is theirs is there exactly, the prior is left as it was. Untrained priors are enough."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw._shown import Shown
from sartor.draw.alignit import AlignIT
from sartor.draw.classdiffusion import ClassDiffusion, semantic_drift
from sartor.draw.custom_diffusion import CustomDiffusion
from sartor.draw.dreambooth import DreamBooth
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.sampler import noise
from sartor.draw.parts.tap import layers_of
from sartor.draw.parts.text_statistics import RIDGE, captions_for, inverse_moment
from sartor.draw.perfusion import Perfusion, RankOne, encoding
from sartor.draw.textual_inversion import TextualInversion
from sartor.errors import BadImage, BadPrompt, ConfigError, EmptyData, StateMismatch, UnknownId

WORLD = ShapesWorld()
QUICK = {"steps": 2, "batch": 2, "sampling_steps": 2}


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 16), text_width=16)


@pytest.fixture(scope="module")
def critters():
    made = []
    for number, subject in enumerate(WORLD.subjects(2, noun="critter")):
        scenes = WORLD.references(subject, 3)
        made.append(Shown(name=f"<{'ab'[number]}>", class_word="critter", images=scenes.render(), masks=scenes.masks()))
    return made


def mug(images=None, **more):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8) if images is None else images
    return Shown(name="<v>", class_word="mug", images=pictures, **more)


@pytest.mark.parametrize(
    "method",
    [
        DreamBooth(**QUICK, class_images=2), DreamBooth(**QUICK, class_images=2, tune="whole", learning_rate=1e-4), CustomDiffusion(**QUICK),
        Perfusion(**QUICK, counted=64), ClassDiffusion(**QUICK), AlignIT(base=ClassDiffusion(**QUICK), sampling_steps=2),
    ],
)  # fmt: skip
def test_a_stable_diffusion_learns_a_thing_and_is_left_as_it_was(pipeline, method):
    prior = Prior.from_pretrained(pipeline)
    before = {name: value.clone() for part in prior.modules for name, value in part.state_dict().items()}
    method.fit(on=prior)
    state = method.learn(mug())
    assert all(torch.equal(before[name], value) for part in prior.modules for name, value in part.state_dict().items())
    drawn = method.draw(["a photo of <v>", "a photo of <v>"], [state, None], seeds=[3, 3], classes={"<v>": "mug"})
    assert drawn.shape == (2, 16, 16, 3)
    assert not np.array_equal(drawn[0], drawn[1])
    assert all(torch.equal(before[name], value) for part in prior.modules for name, value in part.state_dict().items())


@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
def test_what_dreambooth_exports_is_drawn_alike_by_diffusers(pipeline, layout, tmp_path):
    method = DreamBooth(**QUICK, class_weight=0, learning_rate=0.1).fit(on=Prior.from_pretrained(pipeline))
    state = method.learn(mug())
    weights, words = method.export(state, "<v>", tmp_path, layout=layout)
    ours = method.draw(["a photo of <v>"], [state], seeds=[5])[0]
    theirs = copy.deepcopy(pipeline)
    theirs.load_textual_inversion(str(words))
    start = noise(method.bundle, [5])

    def draw(prompt):
        return theirs(prompt, latents=start, num_inference_steps=2, guidance_scale=method.bundle.guidance, output_type="np").images[0] * 255

    plain = draw("a photo of <v> mug")
    theirs.load_lora_weights(str(weights.parent), weight_name=weights.name)
    assert np.abs(draw("a photo of <v> mug") - ours).max() <= 1
    assert np.abs(plain - ours).max() > 2
    with pytest.raises(UnknownId):
        method.export(state, "<w>", tmp_path)


def test_dreambooth_says_what_it_cannot_take(pipeline, prior, critters):
    with pytest.raises(ConfigError, match=r"<sks>, <zwx> or <vqn>"):
        DreamBooth(**QUICK, identifier="red").fit(on=prior).learn(critters[0])
    real = Prior.from_pretrained(pipeline)
    with pytest.raises(ConfigError, match=r"ordinary word.*of, on, the"):
        DreamBooth(**QUICK, identifier="a").fit(on=real).learn(mug())
    with pytest.raises(ConfigError, match="2 tokens"):
        DreamBooth(**QUICK, identifier="of the").fit(on=real).learn(mug())
    rare = DreamBooth(**QUICK, class_weight=0, identifier="on").fit(on=real).learn(mug())
    number = real.tokenizer("on", add_special_tokens=False).input_ids[0]
    assert np.array_equal(rare["<v>/rows"][0], real.text_encoder.get_input_embeddings().weight[number].numpy())
    method = DreamBooth(**QUICK, class_images=4).fit(on=prior)
    for wrong, error, said in (
        ([], EmptyData, "at least one image, got 0"),
        ([critters[0].images[0], critters[0].images[1][:20]], BadImage, "picture 1 has shape"),
        ([critters[0].images[0], critters[0].images[1] / 127.5 - 1], BadImage, "picture 1 is float64 from"),
    ):
        with pytest.raises(error, match=said):
            method.learn(Shown(name="<a>", class_word="critter", images=wrong))
    with pytest.raises(BadPrompt, match="did you mean critter"):
        method.learn(Shown(name="<a>", class_word="criter", images=critters[0].images))
    whole = DreamBooth(**QUICK, class_weight=0, tune="whole", learning_rate=1e-4).fit(on=prior)
    with pytest.raises(ConfigError, match="no LoRA"):
        whole.export(whole.learn(critters[0]), "<a>", "nowhere")


def test_the_class_pictures_are_the_frozen_priors_own(prior, critters):
    prior.kept.clear()
    DreamBooth(**QUICK, class_weight=0, class_images=4).fit(on=prior).learn(critters[0])
    assert not prior.kept
    method = DreamBooth(**QUICK, class_images=4).fit(on=prior)
    method.learn(critters[0])
    (kept,) = prior.kept.values()
    method.learn(critters[1])
    assert [one is kept for one in prior.kept.values()] == [True]


def test_the_edit_is_the_papers_formula(prior):
    random = torch.Generator().manual_seed(0)
    inverse = inverse_moment(prior, count=200)
    rows = prior.encode(captions_for(prior, 200)).flatten(0, 1).double()
    moment = rows.T @ rows / len(rows)
    assert torch.allclose(inverse @ (moment + RIDGE * moment.diagonal().mean() * torch.eye(16)), torch.eye(16, dtype=torch.float64), atol=1e-6)
    layers = layers_of(prior.unet, cross=True)
    directions = [rows[2].float(), rows[3].float()]
    keys, values = ([{one.name: torch.randn(one.width, generator=random) for one in layers} for _ in range(2)] for _ in range(2))
    context = rows[:15].reshape(3, 5, 16).float()
    with torch.no_grad():
        for several in (1, 2):
            edit = RankOne(prior.unet, directions[:several], keys[:several], values[:several], inverse)
            edit.beta, edit.tau = 0.6, 0.2
            # The span of the directions, made orthonormal under C^-1 one after another.
            basis = []
            for one in directions[:several]:
                rest = one.double() - sum(((one.double() @ inverse @ u) * u for u in basis), torch.zeros(16, dtype=torch.float64))
                basis.append(rest / (rest @ inverse @ rest).sqrt())
            for layer in layers:
                attention = prior.unet.get_submodule(layer.name)
                key, value = edit(layer, attention.to_k(context), attention.to_v(context), context)
                for e, k, v in zip(context.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), strict=True):
                    outside = (e - sum((e.double() @ inverse @ u) * u for u in basis)).float()
                    hand_k, hand_v = attention.to_k(outside), attention.to_v(outside)
                    for number, i in enumerate(directions[:several]):
                        s, energy = (float(one.double() @ inverse @ i.double()) for one in (e, i))
                        gate = 1 / (1 + np.exp(-(s / energy - 0.6) / 0.2))
                        hand_k, hand_v = hand_k + gate * keys[number][layer.name], hand_v + gate * values[number][layer.name]
                    assert torch.allclose(k, hand_k, atol=1e-3)
                    assert torch.allclose(v, hand_v, atol=1e-3)


def test_perfusion_keeps_keys_of_the_class_and_moves_its_gate_at_request_time(prior, critters):
    method = Perfusion(**QUICK, counted=200).fit(on=prior)
    state = method.learn(critters[0])
    assert {key.split("/")[1].split(".")[0] for key in state.arrays} == {"rows", "direction", "values"}
    assert state.nbytes == 4 * (16 + 16 + 16 * len(layers_of(prior.unet, cross=True)))
    # At the direction itself, with the gate open, a layer has the key of the class word.
    plan = method._plan(prior, ["a <a>"], method.taught(state), beta=-100.0)
    here, layer = torch.from_numpy(state["<a>/direction"].copy())[None, None], layers_of(prior.unet, cross=True)[0]
    attention = prior.unet.get_submodule(layer.name)
    with torch.no_grad():
        key, value = plan.slots.edit(layer, attention.to_k(here), attention.to_v(here), here)
        assert torch.allclose(key[0, 0], attention.to_k(encoding(prior, "critter")), atol=1e-4)
        assert torch.allclose(value[0, 0], torch.from_numpy(state[f"<a>/values.{layer.name}"].copy()), atol=1e-4)
    free = Perfusion(**QUICK, counted=200, locked=False).fit(on=prior).learn(critters[0])
    assert any("/keys." in key for key in free.arrays)
    drawn = [
        method.draw(["a <a> on sand"], [state], seeds=[1], beta=beta, global_lock=lock) for beta, lock in ((0.1, False), (2.0, False), (0.1, True))
    ]
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_perfusion_says_what_it_cannot_take(prior, critters):
    method = Perfusion(**QUICK, counted=200).fit(on=prior)
    masks = critters[0].masks.copy()
    masks[2] = 0
    with pytest.raises(BadImage, match="mask 2 selects no pixels"):
        method.learn(Shown(name="<a>", class_word="critter", images=critters[0].images, masks=masks))
    state = method.learn(critters)
    # After two steps both directions are still that of the class.
    with pytest.raises(ConfigError, match="both a critter"):
        method.draw(["a <a> left of a <b>"], [state])
    with pytest.raises(ConfigError, match="tau must be more than 0"):
        method.draw(["a <a>"], [state], tau=0.0)
    with pytest.raises(ConfigError, match="tau must be more than 0"):
        Perfusion(**QUICK, tau=-1.0).fit(on=prior).learn(critters[0])
    with pytest.raises(ConfigError):
        inverse_moment(prior, count=0)


def alike(a, b):
    """The same pictures: guidance draws its halves together or apart, which rounds differently in the last bit."""
    return np.abs(a.astype(int) - b).max() <= 1


def test_aligned_prompts_differ_at_the_concept_alone(prior, critters):
    prompts = ["a <a> at top left on sand", "a <a> with a red hat"]
    nothing = TextualInversion(steps=0, sampling_steps=2)
    same = AlignIT(base=nothing, sampling_steps=2).fit(on=prior)
    state = same.learn(critters[0])
    assert alike(same.draw(prompts, [state] * 2), same.draw(prompts, [None] * 2, classes={"<a>": "critter"}))
    for base in (TextualInversion(**QUICK, learning_rate=0.5), Perfusion(**QUICK, counted=200, word_rate=0.5)):
        method = AlignIT(base=base, sampling_steps=2).fit(on=prior)
        learned = base.learn(critters[0])
        state = method.of(learned)
        before, after = method.disturbed(prompts, state)
        there = prior.words([prompt.replace("<a>", "critter") for prompt in prompts]).ids == prior.words(["critter"]).ids[0, 1]
        assert (before[:, 3:] > 1e-4).all()
        assert (after[there.numpy()] > 1e-4).all()
        assert (after[~there.numpy()] == 0).all()
        drawn = [method.draw(prompts, [state] * 2, **how) for how in ({}, {"mix": 0.0}, {"infuse": "keys"}, {"infuse": "values"})]
        assert alike(drawn[1], method.draw(prompts, [None] * 2, classes={"<a>": "critter"}))
        assert len({one.tobytes() for one in drawn}) == 4
        with pytest.raises(StateMismatch):
            method.draw(prompts, [learned] * 2)


def test_aligned_phrases_of_several_words_and_what_is_refused(prior, critters):
    method = AlignIT(base=CustomDiffusion(**QUICK, learning_rate=0.5), sampling_steps=2).fit(on=prior)
    state = method.learn(critters)
    plan = method._plan(prior, ["a <a> left of a <b>"], method.taught(state))
    layer = layers_of(prior.unet, cross=True)[1]
    attention = prior.unet.get_submodule(layer.name)
    with torch.no_grad():
        key, value = attention.to_k(plan.context), attention.to_v(plan.context)
        new_key, new_value = plan.slots.edit(layer, key, value, plan.context)
    # The class word's row is the phrase's last; its first stands behind the prompt's own.
    assert new_key.shape[1] == new_value.shape[1] == key.shape[1] + 2
    changed = (new_key[0, : key.shape[1]] != key[0]).any(-1).nonzero().flatten().tolist()
    assert changed == [2, 6]
    assert np.array_equal(method.draw(["a <a> critter on sand"], [state]), method.draw(["a <a> on sand"], [state]))
    for base in (DreamBooth(**QUICK, class_weight=0), DreamBooth(**QUICK, class_weight=0, tune="whole", learning_rate=1e-4)):
        wrong = AlignIT(base=base, sampling_steps=2).fit(on=prior)
        with pytest.raises(ConfigError, match="token and cross-attention states only"):
            wrong.draw(["a <a>"], [wrong.learn(critters[0])])
    for how in ({"mix": 2.0}, {"infuse": "all"}):
        with pytest.raises(ConfigError, match="mix is from 0 to 1"):
            method.draw(["a <a>"], [state], **how)
    with pytest.raises(ConfigError, match="said alone"):
        method.disturbed(["a <a> on sand"], state)
    with pytest.raises(BadPrompt, match="<c> is not a concept here"):
        method.draw(["a <c>"], [state])


def test_the_class_stays_in_the_phrase(prior, critters, pipeline):
    def drift(weight):
        method = ClassDiffusion(steps=12, batch=2, word_rate=0.1, preservation=weight).fit(on=prior)
        state = method.learn(critters[0])
        with torch.no_grad():
            return float(semantic_drift(prior, method.taught(state)["<a>"].concept("<a>"), "critter"))

    assert drift(10.0) < 0.5 * drift(0.0)
    word = TextualInversion(steps=0).fit(on=prior)
    concept = word.taught(word.learn(critters[0]))["<a>"].concept("<a>")
    with pytest.raises(BadPrompt, match="does not say <a>"):
        semantic_drift(prior, concept, "critter", phrase="a critter")
    live = type(concept)("<a>", nn.Parameter(concept.rows))
    semantic_drift(prior, live, "critter").backward()
    assert live.rows.grad.abs().max() > 0
    method = ClassDiffusion(**QUICK).fit(on=prior)
    with pytest.raises(ConfigError, match="0 times"):
        ClassDiffusion(**QUICK, frame="a").fit(on=prior).learn(critters[0])
    with pytest.raises(ConfigError, match="2 tokens"):
        ClassDiffusion(**QUICK).fit(on=Prior.from_pretrained(pipeline)).learn(
            Shown(name="<v>", class_word="photo mug", images=np.zeros((1, 16, 16, 3), np.uint8))
        )
    with pytest.raises(BadPrompt):
        method.learn(Shown(name="<a>", class_word="dragon", images=critters[0].images))
    with pytest.raises(ConfigError, match="two concepts are called <a>"):
        method.learn([critters[0], critters[0]])
