"""What the picture benchmarks share: a Stable Diffusion of random weights, large enough that a step is work and small enough for a laptop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

SIZE, LATENT, WIDTH, WORDS = 256, 32, 128, 49_408
"""Pixels, latent pixels, width of the text encoder, and rows of its table (as CLIP has)."""
WARM, STEPS, BATCH = 3, 16, 4
"""Steps of learning that are not counted, those that are, and photos in each."""
VOCABULARY = ("a", "photo", "of", "mug", "on", "the", "beach", "snow", "abcdefghijklmnopqrstuvwxyz")


def pipeline(*, real: bool = False, codec: tuple[int, ...] = (16, 32, 32, 32)) -> Any:
    """StableDiffusionPipeline: 3 levels, 8.8 million weights in the denoiser; the same weights in every process.

    real: denoiser and text encoder of the shape of Stable Diffusion 1.5, 860 and 123 million weights, 64 x 64 latents.
    codec: widths of the autoencoder.
    """
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from sartor.draw.parts.word_tokenizer import word_tokenizer

    torch.set_num_threads(int(os.environ.get("SARTOR_BENCH_THREADS", "1")))
    torch.manual_seed(0)
    tokenizer = word_tokenizer(VOCABULARY, 77)
    small: dict[str, Any] = {
        "sample_size": LATENT, "layers_per_block": 1, "block_out_channels": (64, 128, 192), "cross_attention_dim": WIDTH, "attention_head_dim": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    }  # fmt: skip
    # What is not said is diffusers' default, which is Stable Diffusion 1's.
    unet = UNet2DConditionModel(**({"sample_size": 64, "cross_attention_dim": 768} if real else small))
    width, layers = (768, 12) if real else (WIDTH, 4)
    vae = AutoencoderKL(
        block_out_channels=codec, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=8, latent_channels=4, sample_size=SIZE,
    )  # fmt: skip
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=WORDS, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=layers,
            max_position_embeddings=77, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip
    schedule: Any = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    made = StableDiffusionPipeline(vae, text, tokenizer, unet, schedule, None, None, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    for part in (unet, vae, text):
        part.requires_grad_(False).eval()
    return made


def photos(count: int = 4) -> Any:
    """uint8 [count, 256, 256, 3]: one critter of the shapes world on several backgrounds."""
    import numpy as np

    from sartor.data.world.shapes import ShapesWorld
    from sartor.draw.parts.photos import resized

    from PIL import Image  # isort: skip

    world = ShapesWorld()
    scenes = world.references(world.subjects(1, noun="critter")[0], count)
    return np.stack([np.asarray(resized(Image.fromarray(one), SIZE)) for one in scenes.render()])


def trained(
    parameters: Iterable[Any], rate: float, loss_of: Callable[[], Any], after: Callable[[], None] = lambda: None, *, warm: int = WARM,
    steps: int = STEPS,
) -> float:  # fmt: skip
    """CPU-seconds of a step of the peer's loop: a loss, AdamW as diffusers' scripts set it up, and what the loop does behind each step."""
    import torch

    optimizer = torch.optim.AdamW(list(parameters), lr=rate, weight_decay=1e-2)
    torch.manual_seed(1)
    start = 0.0
    for step in range(warm + steps):
        if step == warm:
            start = time.process_time()
        loss_of().backward()
        optimizer.step()
        optimizer.zero_grad()
        after()
    return (time.process_time() - start) / steps


def diffusers_loss(pipe: Any, latents: Any, prompt: str) -> Any:
    """What diffusers' training scripts minimise; prompts are encoded in every step, as there."""
    import torch
    import torch.nn.functional as F

    ids = pipe.tokenizer([prompt] * len(latents), padding="max_length", max_length=77, return_tensors="pt").input_ids
    context = pipe.text_encoder(ids)[0]
    noise, t = torch.randn_like(latents), torch.randint(0, pipe.scheduler.config.num_train_timesteps, (len(latents),))
    return F.mse_loss(pipe.unet(pipe.scheduler.add_noise(latents, noise, t), t, context).sample, noise)


def error(pipe: Any, latents: Any, context: Any) -> float:
    """Mean denoising error of the photos under a learned context [1, T, d], at 16 times and noises that are the same for both sides."""
    import torch
    import torch.nn.functional as F

    made = torch.Generator().manual_seed(9)
    noise, t = torch.randn(16, *latents.shape[1:], generator=made), torch.arange(30, 990, 60)
    clean = latents[torch.arange(16) % len(latents)]
    with torch.no_grad():
        return float(F.mse_loss(pipe.unet(pipe.scheduler.add_noise(clean, noise, t), t, context.expand(16, -1, -1)).sample, noise))
