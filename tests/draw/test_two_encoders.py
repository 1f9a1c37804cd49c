"""An SDXL through the same code path as every other prior: prompts, learned words, files, and every method that runs on it."""

import copy

import numpy as np
import pytest
import torch

from sartor.draw._shown import Shown
from sartor.draw.alignit import AlignIT
from sartor.draw.break_a_scene import BreakAScene
from sartor.draw.classdiffusion import ClassDiffusion
from sartor.draw.concepts import open_concepts, write_embeddings
from sartor.draw.core import CoRe
from sartor.draw.cross_init import CrossInit
from sartor.draw.custom_diffusion import CustomDiffusion
from sartor.draw.disendiff import DisenDiff
from sartor.draw.dreambooth import DreamBooth
from sartor.draw.neti import NeTI
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.sampler import sample
from sartor.draw.parts.tokens import Concept, load_embeds, of_word, save_embeds
from sartor.draw.perfusion import Perfusion
from sartor.draw.prospect import ProSpect
from sartor.draw.textual_inversion import TextualInversion
from sartor.errors import ConfigError, FileProblem

PROMPTS, SEEDS = ["a photo of a mug", "the beach"], [3, 4]


@pytest.fixture(scope="module")
def prior(pipeline_xl):
    return Prior.from_pretrained(pipeline_xl)


def drawn(pipeline, **settings):
    """What diffusers draws."""
    return pipeline(
        PROMPTS, num_inference_steps=3, height=16, width=16, output_type="np", generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        **settings,
    ).images  # fmt: skip


@pytest.mark.parametrize("zeros", [True, False])
def test_an_sdxl_draws_what_its_own_pipeline_draws(pipeline_xl, tmp_path, zeros):
    pipeline_xl.register_to_config(force_zeros_for_empty_prompt=zeros)
    with torch.no_grad():
        theirs = drawn(pipeline_xl, guidance_scale=3.0)
    pipeline_xl.save_pretrained(tmp_path / "xl")
    opened = Prior.from_pretrained(pipeline_xl)
    assert (opened.size, opened.dim, opened.guidance) == (16, 64, 5.0)
    saved = Prior.load(opened.save(tmp_path / "ours", dtype=torch.float32))
    assert saved.fingerprint == opened.fingerprint
    for prior in (opened, Prior.from_pretrained(tmp_path / "xl"), saved):
        ours = prior.images(sample(prior, prior.encode(PROMPTS), SEEDS, steps=3, guidance=3.0))
        assert np.abs(ours / 255 - theirs).max() < 0.003
    (tmp_path / "xl" / "tokenizer_2").rename(tmp_path / "gone")
    with pytest.raises(FileProblem, match="tokenizer_2"):
        Prior.from_pretrained(tmp_path / "xl")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_in_half_precision_it_draws_about_the_same_and_the_autoencoder_is_spared(pipeline_xl, prior, kind):
    half = Prior.from_pretrained(copy.deepcopy(pipeline_xl)).to("cpu", kind)
    assert {one.dtype for one in half.unet.parameters()} == {kind}
    # float16 has no room for what an SDXL's autoencoder computes.
    assert {one.dtype for one in half.vae.parameters()} == {torch.float32 if kind == torch.float16 else kind}
    whole, rough = (one.images(sample(one, one.encode(PROMPTS), SEEDS, steps=2)).astype(int) for one in (prior, half))
    assert np.abs(whole - rough).mean() < 4
    pictures = np.random.default_rng(0).integers(0, 255, (1, 16, 16, 3)).astype(np.uint8)
    assert half.latents(pictures).dtype == kind


def test_a_learned_word_has_a_row_in_each_encoder_and_diffusers_reads_them(pipeline_xl, prior, tmp_path):
    rows = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    file = save_embeds(tmp_path / "learned_embeds.safetensors", [Concept("<m>", rows)], widths=prior.widths)
    (back,) = load_embeds(file, dim=64, name="<m>")
    assert torch.equal(back.rows, rows)
    ours = prior.encode(["a photo of <m> on the beach"], [back])
    for part, (coder, words) in {
        "clip_l": (pipeline_xl.text_encoder, pipeline_xl.tokenizer), "clip_g": (pipeline_xl.text_encoder_2, pipeline_xl.tokenizer_2),
    }.items():  # fmt: skip
        table = coder.get_input_embeddings().weight.detach().clone()
        pipeline_xl.load_textual_inversion(_part(file, part), token="<m>", text_encoder=coder, tokenizer=words)
        assert len(coder.get_input_embeddings().weight) == len(table) + 2
    with torch.no_grad():
        theirs, _, summary, _ = pipeline_xl.encode_prompt("a photo of <m> on the beach", device="cpu", do_classifier_free_guidance=False)
    for coder, words in ((pipeline_xl.text_encoder, pipeline_xl.tokenizer), (pipeline_xl.text_encoder_2, pipeline_xl.tokenizer_2)):
        pipeline_xl.unload_textual_inversion(text_encoder=coder, tokenizer=words)
    assert torch.allclose(prior.tokens(ours), theirs, atol=1e-5)
    assert torch.allclose(ours[:, -1, :24], summary, atol=1e-5)
    assert torch.allclose(of_word(prior.text_encoder, prior.tokenizer, "mug")[0, :32], pipeline_xl.text_encoder.get_input_embeddings().weight[
        pipeline_xl.tokenizer("mug", add_special_tokens=False).input_ids[0]
    ])  # fmt: skip


def test_what_is_learned_on_an_sdxl_goes_out_and_comes_back_as_files(prior, tmp_path):
    word = TextualInversion(**TWO).fit(on=prior)
    state = word.learn(thing())
    again = open_concepts(prior, {"m": write_embeddings(prior, state, tmp_path / "m.safetensors")}, classes={"m": "mug"}, sampling_steps=2)
    tuned = DreamBooth(**TWO, **QUICK, learning_rate=0.1).fit(on=prior)
    weights, _ = tuned.export(tuned.learn(thing()), "<m>", tmp_path)
    adapter = open_concepts(prior, {"m": weights}, classes={"m": "mug"}, sampling_steps=2)

    def drawn(method, own):
        return method.draw(["a photo of <m>"], [own], seeds=[3], classes={"<m>": "mug"})[0].astype(int)

    assert np.abs(drawn(word, state) - drawn(again.method, again.state)).max() <= 1
    assert np.abs(drawn(adapter.method, adapter.state) - drawn(word, None)).max() > 2


def _part(file, name):
    from safetensors.torch import load_file

    return load_file(file)[name]


def thing(name="<m>", class_word="mug", **more):
    pictures = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3)).astype(np.uint8)
    return Shown(name=name, class_word=class_word, images=pictures, **more)


def halves():
    """Two things of the same pictures."""
    masks = np.zeros((2, 2, 16, 16), bool)
    masks[0, :, :, :8] = masks[1, :, :, 8:] = True
    captions = ["a <m> mug on a <b> beach"] * 2
    return [thing(masks=masks[0], captions=captions), thing("<b>", "beach", masks=masks[1], captions=captions)]


TWO, QUICK = {"steps": 2, "batch": 2, "sampling_steps": 2}, {"class_images": 2}
METHODS = {
    "textual-inversion": TextualInversion(**TWO),
    "cross-init": CrossInit(**TWO),
    "prospect": ProSpect(**TWO),
    "core": CoRe(**TWO, second_steps=1),
    "dreambooth": DreamBooth(**TWO, **QUICK),
    "whole": DreamBooth(**TWO, **QUICK, tune="whole", learning_rate=1e-4),
    "custom-diffusion": CustomDiffusion(**TWO),
    "classdiffusion": ClassDiffusion(**TWO),
    "perfusion": Perfusion(**TWO, counted=20),
    "alignit": AlignIT(base=CustomDiffusion(**TWO), sampling_steps=2),
    "break-a-scene": BreakAScene(**TWO, **QUICK, word_steps=1),
    "disendiff": DisenDiff(**TWO),
}


@pytest.mark.parametrize("slug", METHODS)
def test_every_method_learns_and_draws_on_an_sdxl(prior, slug):
    method = METHODS[slug].fit(on=prior)
    before = {name: value.clone() for part in prior.modules for name, value in part.state_dict().items()}
    state = method.learn(halves() if slug in ("break-a-scene", "disendiff") else thing())
    own, others = (method.draw(["a photo of <m>"], [one], seeds=[3], classes={"<m>": "mug"})[0] for one in (state, None))
    assert own.shape == (16, 16, 3)
    assert not np.array_equal(own, others)
    assert all(torch.equal(before[name], value) for part in prior.modules for name, value in part.state_dict().items())


def test_the_summary_of_the_context_that_is_heard_is_what_counts(prior):
    """A method that puts another context in place of the prompt's puts its summary there, too."""
    from sartor.draw.parts.tap import Slots

    own, other = prior.encode(PROMPTS)[:, None]
    x, t = torch.zeros(1, 4, 8, 8), torch.tensor([500])
    plain = prior.predict(x, t, other)
    assert torch.allclose(prior.predict(x, t, own, slots=Slots(context=lambda layer, _: other if layer.cross else None)), plain, atol=1e-5)
    assert not torch.allclose(prior.predict(x, t, own), plain, atol=1e-5)


def test_what_does_not_run_on_an_sdxl_is_named(pipeline, pipeline_xl, prior):
    with pytest.raises(ConfigError, match="NeTI does not run on an SDXL"):
        NeTI(**TWO).fit(on=prior).learn(thing())
    kept = pipeline_xl.text_encoder
    pipeline_xl.text_encoder = None
    with pytest.raises(ConfigError, match="no text_encoder"):
        Prior.from_pretrained(pipeline_xl)
    pipeline_xl.text_encoder = kept
    with pytest.raises(ConfigError, match="one text encoder"):
        Prior(pipeline_xl.unet, pipeline.text_encoder, pipeline.tokenizer, pipeline.vae, pipeline.scheduler)
    with pytest.raises(ConfigError, match="wants no added conditions"):
        Prior(pipeline.unet, prior.text_encoder, pipeline.tokenizer, pipeline.vae, pipeline.scheduler)
