"""The diffusion prior: the same bundle for a small one and a Stable Diffusion; files, words, schedules, training."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw.parts.codec import read_images, to_images, to_tensor
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.prior_training import CHUNK, Lesson, Recipe, train_prior
from sartor.draw.parts.sampler import invert, noise, sample
from sartor.draw.parts.tokens import Concept, load_embeds, save_embeds
from sartor.errors import BadImage, BadPrompt, ConfigError, CorruptFile, EmptyData, FileProblem

WORLD = ShapesWorld()
SMALL = Recipe(steps=6, batch=2, widths=(16, 16), simple=3)


@pytest.fixture(scope="module")
def prior():
    return Prior.small(VOCABULARY, widths=(16, 32), text_width=16)


def test_every_word_of_the_language_is_one_token_and_the_codec_loses_nothing(prior):
    pictures, captions = WORLD.batch(np.random.default_rng(0), 8)
    assert (prior.images(prior.latents(pictures)) == pictures).all()
    words = prior.words(captions)
    assert words.lengths == [len(caption.split()) + 2 for caption in captions]
    assert prior.tokenizer.decode(words.ids[0], skip_special_tokens=True) == captions[0]
    assert Prior.small(VOCABULARY[::-1], widths=(16, 32), text_width=16).tokenizer.get_vocab() == prior.tokenizer.get_vocab()


def test_a_long_prompt_is_refused_without_a_remark_of_the_libraries(prior, monkeypatch):
    from transformers import tokenization_utils_base as theirs

    said = []
    monkeypatch.setattr(theirs.logger, "warning", lambda *words, **_: said.append(words))
    prior.tokenizer.deprecation_warnings.clear()
    with pytest.raises(BadPrompt, match="40 tokens"):
        prior.words(["red " * 40])
    assert not said


def test_saved_and_loaded_it_draws_the_same_and_damage_is_noticed(prior, tmp_path):
    folder = prior.save(tmp_path / "prior")
    again = Prior.load(folder)
    assert again.fingerprint == prior.fingerprint
    again.save(tmp_path / "moved")
    assert not [file for file in (tmp_path / "moved").rglob("*.json") if str(tmp_path) in file.read_text()]
    drawn = [sample(one, one.encode(["a red circle on sea"]), [3], steps=2) for one in (prior, again)]
    assert torch.equal(*drawn)
    card = folder / "card.json"
    facts = json.loads(card.read_bytes())
    card.write_text(json.dumps({**facts, "fingerprint": "0" * 32}))
    with pytest.raises(CorruptFile, match="not those of the card"):
        Prior.load(folder)
    card.write_text(json.dumps(facts))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CorruptFile):
        Prior.load(folder)
    with pytest.raises(FileProblem, match="train-prior"):
        Prior.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("prompt", "says"),
    [("a red dragon on sea", "dragon"), ("a <v> critter", "<v>"), (" ".join(["red"] * 40), "40 tokens"), ("a gren circle", "green")],
)
def test_prompts_that_cannot_be_read_are_named(prior, prompt, says):
    with pytest.raises(BadPrompt, match=says):
        prior.encode([prompt])


def test_pictures_that_cannot_be_read_are_named(tmp_path):
    from PIL import Image

    for name, size in (("tiny", (4, 4)), ("good", (40, 30))):
        Image.new("RGBA" if name == "good" else "RGB", size, (255, 0, 0)).save(tmp_path / f"{name}.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    (tmp_path / "text.jpg").write_text("not a picture")
    for name in ("tiny.png", "cut.png", "text.jpg"):
        with pytest.raises(BadImage, match=name):
            read_images([tmp_path / name], 24)
    Image.fromarray(np.ones((40, 40), np.float32)).save(tmp_path / "floats.tif")
    with pytest.raises(BadImage, match="floats"):
        read_images([tmp_path / "floats.tif"], 24)
    with pytest.raises(FileProblem):
        read_images([tmp_path / "none.png"], 24)
    with pytest.raises(EmptyData):
        read_images([], 24)
    with pytest.raises(BadImage, match="float64"):
        to_tensor(np.zeros((1, 8, 8, 3)))
    assert (read_images([tmp_path / "good.png"], 24)[0, 0, 0] == [255, 0, 0]).all()
    # What other programs would cut or show: 16 bits become 8, behind what is transparent it is white.
    Image.fromarray(np.full((40, 40), 128 * 257, np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_images([tmp_path / "deep.png", tmp_path / "clear.png"], 24)[:, 0, 0] == [[128] * 3, [255] * 3]).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_pixels_go_through_tensors_unchanged(seed):
    pictures = np.random.default_rng(seed).integers(0, 256, (1, 6, 6, 3), np.uint8)
    assert (to_images(to_tensor(pictures)) == pictures).all()


# --- against diffusers


def test_a_stable_diffusion_draws_what_its_own_pipeline_draws(pipeline, tmp_path):
    prompts, seeds = ["a photo of a mug", "the beach"], [3, 4]
    with torch.no_grad():
        theirs = pipeline(
            prompts, num_inference_steps=4, guidance_scale=3.0, height=16, width=16, output_type="np",
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        ).images  # fmt: skip
    pipeline.save_pretrained(tmp_path / "sd")
    for prior in (Prior.from_pretrained(pipeline), Prior.from_pretrained(tmp_path / "sd")):
        ours = prior.images(sample(prior, prior.encode(prompts), seeds, steps=4, guidance=3.0))
        assert np.abs(ours / 255 - theirs).max() < 0.003
    assert prior.size == 16
    saved = Prior.load(prior.save(tmp_path / "ours", dtype=torch.float32))
    assert saved.fingerprint == prior.fingerprint
    for broken in ("unet", "text_encoder"):
        folder = tmp_path / "sd" / broken
        folder.rename(tmp_path / f"gone-{broken}")
        with pytest.raises(FileProblem, match=broken):
            Prior.from_pretrained(tmp_path / "sd")
        (tmp_path / f"gone-{broken}").rename(folder)


@pytest.mark.parametrize("kind", ["sample", "epsilon", "v_prediction"])
def test_every_step_is_that_of_diffusers_scheduler(prior, kind):
    """The loop by hand, over diffusers' DDIM, step by step; and x0 is what the scheduler makes of an output."""
    from diffusers import DDIMScheduler

    plan = DDIMScheduler.from_config(prior.scheduler.config, prediction_type=kind)
    other = replace(prior, scheduler=plan)
    own, away = other.encode(["a red circle on sea", "two flags"]), other.encode([""]).expand(2, -1, -1)
    seen = []
    sample(other, own, [1, 2], steps=3, guidance=2.0, callback=lambda step, t, x: seen.append(x))
    by_hand = DDIMScheduler.from_config(plan.config)
    by_hand.set_timesteps(3)
    x = noise(other, [1, 2])
    for t, ours in zip(by_hand.timesteps, seen, strict=True):
        with torch.no_grad():
            a, b = (other.unet(x, t, encoder_hidden_states=part).sample for part in (away, own))
        output = a + 2.0 * (b - a)
        step = by_hand.step(output, t, x)
        clipped = other.x0(output, x, t[None].expand(2)).clamp(-1, 1)
        assert torch.allclose(clipped, step.pred_original_sample, atol=1e-4)
        x = step.prev_sample
        assert torch.allclose(x, ours, atol=1e-4)
    data = torch.randn(2, 27, 8, 8, generator=torch.Generator().manual_seed(0))
    drawn, t = noise(other, [5, 6]), torch.tensor([10, 700])
    assert torch.allclose(other.noised(data, drawn, t), by_hand.add_noise(data, drawn, t), atol=1e-6)
    assert torch.allclose(other.x0(other.target(data, drawn, t), other.noised(data, drawn, t), t), data, atol=1e-3)


def test_a_picture_does_not_depend_on_the_others_of_its_batch(prior):
    prompts = ["a red circle on sea", "two flags", "a critter"]
    whole = sample(prior, prior.encode(prompts), [1, 2, 3], steps=2)
    alone = sample(prior, prior.encode(prompts[1:2]), [2], steps=2)
    assert torch.allclose(whole[1:2], alone, atol=1e-5)
    with pytest.raises(ConfigError, match="2 seeds for 3"):
        sample(prior, prior.encode(prompts), [1, 2])


def test_inversion_is_that_of_diffusers_and_finds_the_way_back(pipeline):
    from diffusers import DDIMInverseScheduler

    prior = Prior.from_pretrained(pipeline)
    context = prior.encode(["the beach"])
    x = start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    plan = DDIMInverseScheduler.from_config(prior.scheduler.config)
    plan.set_timesteps(10)
    for t in plan.timesteps:
        with torch.no_grad():
            x = plan.step(prior.unet(x, t, encoder_hidden_states=context).sample, t, x).prev_sample
    assert torch.allclose(invert(prior, start, context, steps=10, refine=1), x, atol=1e-4)
    back = [sample(prior, context, [0], steps=10, guidance=1, start=invert(prior, start, context, steps=10, refine=n)) for n in (1, 8)]
    errors = [float((one - start).abs().mean()) for one in back]
    assert errors[1] < 0.05 * errors[0]


def test_learned_words_are_those_that_diffusers_loads(pipeline, tmp_path):
    rows = torch.randn(2, 32, generator=torch.Generator().manual_seed(2))
    file = save_embeds(tmp_path / "learned_embeds.safetensors", [Concept("<mug>", rows)])
    prior, prompt = Prior.from_pretrained(pipeline), "a photo of a <mug> on the beach"
    ours = prior.encode([prompt], load_embeds(file, dim=prior.dim))
    table = pipeline.text_encoder.get_input_embeddings().weight.detach().clone()
    pipeline.load_textual_inversion(str(tmp_path), weight_name=file.name, token="<mug>")
    with torch.no_grad():
        theirs, _ = pipeline.encode_prompt(prompt, "cpu", 1, False)
    pipeline.unload_textual_inversion()
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.equal(pipeline.text_encoder.get_input_embeddings().weight, table)
    with pytest.raises(ConfigError, match="takes 16"):
        load_embeds(file, dim=16)
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(CorruptFile):
        load_embeds(file)


def test_gradients_reach_the_concepts_rows_and_nothing_else(prior):
    random = torch.Generator().manual_seed(5)
    rows = torch.randn(2, prior.dim, generator=random).requires_grad_(True)
    concept = Concept("<v>", rows)
    context = prior.encode(["a <v> critter on sea", "a red circle"], [concept])
    assert torch.allclose(context[1], prior.encode(["a red circle"])[0], atol=1e-5)
    context.sum().backward()
    assert rows.grad is not None
    assert rows.grad.abs().sum() > 0
    assert all(p.grad is None for p in prior.text_encoder.parameters())
    # A row of its own for every prompt of the batch is the same as one after another.
    both = torch.randn(2, 1, prior.dim, generator=random)
    batch = prior.encode(["a <v>", "a <v>"], [Concept("<v>", both)])
    single = torch.cat([prior.encode(["a <v>"], [Concept("<v>", one)]) for one in both])
    assert torch.allclose(batch, single, atol=1e-5)
    with pytest.raises(ConfigError, match="one name"):
        prior.encode(["a <v>"], [concept, concept])
    with pytest.raises(ConfigError, match="not a name"):
        Concept("v", rows)


# --- training


def test_training_goes_on_where_it_was_stopped_and_keeps_the_averaged_weights(tmp_path, monkeypatch):
    import sartor.draw.parts.prior_training as training

    monkeypatch.setattr(training, "CHUNK", 2)
    whole = train_prior(WORLD, SMALL)
    assert whole.card["steps"] == SMALL.steps
    assert train_prior(WORLD, replace(SMALL, simple=0)).fingerprint != whole.fingerprint
    kept = []

    def stop(made):
        kept.append(made)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_prior(WORLD, SMALL, checkpoint=tmp_path / "run", snapshot=stop, every=4)
    # The third chunk's hook was stopped; what the second one left is there.
    again = train_prior(WORLD, SMALL, checkpoint=tmp_path / "run")
    assert again.fingerprint == whole.fingerprint
    assert kept[0].fingerprint != whole.fingerprint
    with pytest.raises(KeyboardInterrupt):
        train_prior(WORLD, SMALL, checkpoint=tmp_path / "run", snapshot=stop, every=4)
    with pytest.raises(ConfigError, match="other settings"):
        train_prior(WORLD, replace(SMALL, learning_rate=2e-3), checkpoint=tmp_path / "run")


def test_training_goes_on_from_a_trained_prior_and_its_card_says_so():
    first, recipe = train_prior(WORLD, SMALL), replace(SMALL, steps=1, learning_rate=1e-9, heaviest=5.0, noisy=0.3, simple=0)
    second = train_prior(WORLD, recipe, start=first)
    for one, other in zip(first.unet.parameters(), second.unet.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    assert second.card["before"] == [first.card["recipe"]]
    assert second.card["recipe"]["heaviest"] == 5.0
    with pytest.raises(ConfigError, match="widths"):
        train_prior(WORLD, replace(recipe, widths=(32, 32)), start=first)


def test_the_rate_warms_up_and_decays_and_the_average_follows():
    recipe = Recipe(steps=1000, warm_up=100, decay=0.3)
    rates = [recipe.rate(step // CHUNK, step % CHUNK) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99] == rates[500] == 1
    assert rates[850] == pytest.approx(0.5)
    assert rates[-1] < 0.01
    lesson = Lesson(Prior.small(VOCABULARY, widths=(16, 16), text_width=16), SMALL)
    with torch.no_grad():
        for weight in lesson.live.parameters():
            weight.add_(1.0)
    for _ in range(200):
        lesson.follow()
    assert all(torch.allclose(a, b, atol=0.05) for a, b in zip(lesson.mean.parameters(), lesson.live.parameters(), strict=True))
    for wrong in ({"steps": 0}, {"empty": 1.0}, {"decay": 0.0}, {"heaviest": 0.0}):
        with pytest.raises(ConfigError):
            Recipe(**wrong)


def test_training_lowers_the_error():
    recipe = replace(SMALL, steps=60, batch=4, warm_up=5, learning_rate=3e-3, average=0.8)
    trained, fresh = train_prior(WORLD, recipe), Prior.small(VOCABULARY, widths=(16, 16))
    pictures, captions = WORLD.batch(np.random.default_rng(9), 16)
    errors = []
    for prior in (fresh, trained):
        latents, t = prior.latents(pictures), torch.arange(16) * 60 + 50
        seen = prior.noised(latents, noise(prior, range(16)), t)
        with torch.no_grad():
            errors.append(float((prior.predict(seen, t, prior.encode(captions)) - latents).square().mean()))
    assert errors[1] < 0.7 * errors[0]
