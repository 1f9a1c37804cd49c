"""Tiny random Stable Diffusions: the real classes, built from configurations."""

import pytest
import torch

WORDS = ("a", "photo", "of", "mug", "on", "the", "beach", "abcdefghijklmnopqrstuvwxyz")


def tokenizer():
    """A CLIP vocabulary of letters and a few words."""
    from sartor.draw.parts.word_tokenizer import word_tokenizer

    return word_tokenizer(WORDS, 16)


def text_encoder(kind, **settings):
    from transformers import CLIPTextConfig

    made = CLIPTextConfig(
        vocab_size=len(tokenizer()), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=16,
        bos_token_id=0, eos_token_id=1, pad_token_id=1, **settings,
    )  # fmt: skip
    return kind(made)


def image_parts():
    """AutoencoderKL for 16 x 16 pixels, 8 x 8 latents; scheduler."""
    from diffusers import AutoencoderKL, DDIMScheduler

    vae = AutoencoderKL(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4,
        latent_channels=4, sample_size=16,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    return vae, scheduler


UNET = {"sample_size": 8, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": 4}


@pytest.fixture(scope="module")
def pipeline():
    """StableDiffusionPipeline."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        **UNET, block_out_channels=(32, 64), cross_attention_dim=32, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    vae, scheduler = image_parts()
    made = StableDiffusionPipeline(vae, text_encoder(CLIPTextModel), tokenizer(), unet, scheduler, None, None, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def pipeline_xl():
    """StableDiffusionXLPipeline: the second text encoder has a summary, and a filler of its own."""
    from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        **UNET, block_out_channels=(32, 64), cross_attention_dim=64, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=(1, 2), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=24 + 6 * 8,
    )  # fmt: skip
    first, second = text_encoder(CLIPTextModel), text_encoder(CLIPTextModelWithProjection, projection_dim=24, hidden_act="gelu")
    filled = tokenizer()
    filled.pad_token = "a</w>"
    vae, scheduler = image_parts()
    made = StableDiffusionXLPipeline(vae, first, second, tokenizer(), filled, unet, scheduler, add_watermarker=False)
    made.set_progress_bar_config(disable=True)
    return made
