"""An untrained prior for small pictures and a closed language, of diffusers' and transformers' own classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch

from sartor.draw.parts.codec import SpaceToDepth
from sartor.draw.parts.word_tokenizer import word_tokenizer
from sartor.errors import ConfigError
from sartor.parts.trainer import seeded

GUIDANCE = 2.0
"""Of 1, 1.5, 2 and 3.5 what follows short prompts best."""
WORDS_START, ATTENTION_START = 50.0, 3.0
"""Where training from nothing starts, times the libraries' own start."""


def small_parts(
    vocabulary: Sequence[str], *, size: int, factor: int, widths: Sequence[int], text_width: int, text_layers: int, longest: int, seed: int
) -> dict[str, Any]:
    """The arguments of `Prior`; see `Prior.small`."""
    from diffusers import DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    if size % (factor * 2 ** (len(widths) - 1)) or any(width % 16 for width in widths):
        fix = "size must be a multiple of factor * 2 ** (levels - 1), widths multiples of 16"
        raise ConfigError(f"size {size}, factor {factor}, widths {list(widths)}", fix=fix)
    tokenizer = word_tokenizer(vocabulary, longest)
    with seeded(seed):
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer), hidden_size=text_width, intermediate_size=4 * text_width, num_hidden_layers=text_layers,
                num_attention_heads=4, max_position_embeddings=longest, hidden_act="gelu", projection_dim=text_width,
                bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            )
        )  # fmt: skip
        levels = len(widths)
        unet = UNet2DConditionModel(
            sample_size=size // factor, in_channels=3 * factor**2, out_channels=3 * factor**2, layers_per_block=1,
            block_out_channels=tuple(widths), down_block_types=("CrossAttnDownBlock2D",) * levels,
            up_block_types=("CrossAttnUpBlock2D",) * levels, cross_attention_dim=text_width, attention_head_dim=4, norm_num_groups=16,
        )  # fmt: skip
    with torch.no_grad():
        # CLIP starts words small beside what its layers add, and attention even over all words: which of five places a prompt says
        # ("top left") was then not learned in 400 steps of a trial, and from this start in 160.
        words, denoiser = cast("Any", text.get_input_embeddings()), cast("Any", unet)
        words.weight.mul_(WORDS_START)
        for name, layer in denoiser.named_modules():
            if name.endswith(("attn2.to_q", "attn2.to_k")):
                layer.weight.mul_(ATTENTION_START)
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=True, set_alpha_to_one=True, timestep_spacing="trailing",
    )  # fmt: skip
    card = {"vocabulary": list(vocabulary), "size": size, "steps": 0, "seed": seed, "guidance": GUIDANCE}
    return {"unet": unet, "text_encoder": text, "tokenizer": tokenizer, "vae": SpaceToDepth(factor), "scheduler": scheduler, "card": card}
