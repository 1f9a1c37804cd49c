"""LoRA files of others mean here what they mean to diffusers: kohya's and peft's, of Stable Diffusion and of an SDXL, text encoders included."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sartor.draw.concepts import open_concepts
from sartor.draw.parts.lora_files import FACTS, read_lora
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.weights import changed
from sartor.errors import ConfigError, CorruptFile

PROMPT, TEXT = "a photo of a mug", "text_model_encoder_layers_{}_{}"
RANK, ALPHA = 2, 4.0

# What kohya's trainers call them -> the part of the pipeline, and the layer there.
OF_SD = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": ("unet", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"),
    "lora_unet_down_blocks_0_attentions_0_proj_in": ("unet", "down_blocks.0.attentions.0.proj_in"),
    "lora_unet_up_blocks_1_attentions_1_transformer_blocks_0_ff_net_2": ("unet", "up_blocks.1.attentions.1.transformer_blocks.0.ff.net.2"),
    f"lora_te_{TEXT.format(0, 'self_attn_out_proj')}": ("text_encoder", "encoder.layers.0.self_attn.out_proj"),
}
OF_XL = {
    "lora_unet_input_blocks_3_1_transformer_blocks_1_attn2_to_k": ("unet", "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k"),
    "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_out_0": ("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0"),
    "lora_unet_output_blocks_1_1_proj_in": ("unet", "up_blocks.0.attentions.1.proj_in"),
    f"lora_te1_{TEXT.format(0, 'self_attn_out_proj')}": ("text_encoder", "encoder.layers.0.self_attn.out_proj"),
    f"lora_te2_{TEXT.format(1, 'self_attn_out_proj')}": ("text_encoder_2", "text_model.encoder.layers.1.self_attn.out_proj"),
}


@pytest.fixture(params=["pipeline", "pipeline_xl"])
def case(request):
    """A pipeline, its prior, and kohya's names of some layers."""
    pipe = request.getfixturevalue(request.param)
    return pipe, Prior.from_pretrained(pipe), OF_XL if request.param == "pipeline_xl" else OF_SD


def halves(module, random):
    """Down and up of a layer, as large as its weights."""
    out, *rest = module.weight.shape
    down, up = torch.randn(RANK, *rest, generator=random), torch.randn(out, RANK, *[1] * (len(rest) - 1), generator=random)
    return down * 0.3, up * 0.3


def kohya_file(pipe, names, path):
    random, arrays = torch.Generator().manual_seed(0), {}
    for name, (part, layer) in names.items():
        down, up = halves(getattr(pipe, part).get_submodule(layer), random)
        arrays |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(ALPHA)}
    save_file(arrays, path)


def diffusers_file(pipe, names, path):
    """As diffusers' trainers write it, with peft's settings beside it."""
    random, arrays, facts = torch.Generator().manual_seed(0), {}, {}
    for part, layer in names.values():
        module = getattr(pipe, part).get_submodule(layer)
        if isinstance(module, nn.Linear):
            down, up = halves(module, random)
            arrays |= {f"{part}.{layer}.lora_A.weight": down.bfloat16(), f"{part}.{layer}.lora_B.weight": up.bfloat16()}
            facts |= {f"{part}.r": RANK, f"{part}.lora_alpha": ALPHA, f"{part}.use_dora": False, f"{part}.alpha_pattern": {}}
            facts |= {f"{part}.target_modules": sorted(one for place, one in names.values() if place == part)}
    save_file(arrays, path, {"format": "pt", FACTS: json.dumps(facts)})


@pytest.mark.parametrize("write", [kohya_file, diffusers_file])
def test_a_file_changes_here_what_it_changes_in_diffusers(case, write, tmp_path):
    pipe, prior, names = case
    file = tmp_path / "adapter.safetensors"
    write(pipe, names, file)
    x, t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([500])

    def seen():
        context = prior.encode([PROMPT])
        return context, prior.predict(x, t, context)

    with torch.no_grad():
        before = seen()
        with changed(prior, [read_lora(prior.unet, file, text_encoder=prior.text_encoder)]):
            ours = seen()
        pipe.load_lora_weights(str(tmp_path), weight_name=file.name)
        theirs = seen()
        pipe.unload_lora_weights()
        after = seen()
    for plain, own, other, again in zip(before, ours, theirs, after, strict=True):
        assert torch.allclose(own, other, atol=2e-4)
        assert not torch.allclose(own, plain, atol=1e-2)
        assert torch.equal(plain, again)


def test_a_kohya_file_is_drawn_at_any_strength(pipeline, tmp_path):
    prior, file = Prior.from_pretrained(pipeline), tmp_path / "adapter.safetensors"
    kohya_file(pipeline, OF_SD, file)
    opened = open_concepts(prior, {"cup": file}, classes={"cup": "mug"}, sampling_steps=2)

    def drawn(**options):
        return opened.method.draw(["a <cup> on the beach"], [opened.state], seeds=[3], **options)[0].astype(int)

    whole, none = drawn(), drawn(strength=0.0)
    assert np.abs(whole - none).max() > 2
    assert np.abs(drawn(strength={"<cup>": 0.0}) - none).max() == 0
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    pipeline.load_lora_weights(str(tmp_path), weight_name=file.name)
    theirs = pipeline("a mug mug on the beach", latents=start, num_inference_steps=2, guidance_scale=7.5, output_type="np").images[0] * 255
    pipeline.unload_lora_weights()
    # What is kept is rounded to half precision.
    assert np.abs(theirs - whole).max() <= 3


def test_what_is_more_than_lora_is_refused(case, tmp_path):
    pipe, prior, names = case
    file = tmp_path / "adapter.safetensors"
    diffusers_file(pipe, names, file)
    (part, layer), *_ = names.values()
    down, up = halves(getattr(pipe, part).get_submodule(layer), torch.Generator())
    whole = {f"{part}.{layer}.lora_A.weight": down, f"{part}.{layer}.lora_B.weight": up}
    for arrays, facts, says in (
        (whole | {f"{part}.{layer}.lora_magnitude_vector": up.clone()}, {}, "no LoRA weight"), (whole, {f"{part}.use_dora": True}, "use_dora"),
        (whole | {f"{part}.{layer}.lora_B.weight": up[:3]}, {}, "the adapter's"), ({}, {}, "changes nothing"),
        (whole | {f"{part}.{layer}.lora_A.weight": down[0]}, {}, "of size"), (whole | {f"{part}.{layer}.lora_A.weight": down[:0]}, {}, "of size"),
    ):  # fmt: skip
        save_file(arrays, file, {FACTS: json.dumps(facts)})
        with pytest.raises(ConfigError, match=says):
            read_lora(prior.unet, file)
    for arrays, told in ((whole, [1]), (whole, {f"{part}.lora_alpha": "much"}), (whole | {f"{part}.{layer}.alpha": torch.ones(2)}, {})):
        save_file(arrays, file, {FACTS: json.dumps(told)})
        with pytest.raises(CorruptFile, match=r"this adapter|alpha"):
            read_lora(prior.unet, file)
