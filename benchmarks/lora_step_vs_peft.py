"""A step of tuning a denoiser at low rank (DreamBooth's loss on 4 photos): seconds, ours against peft in the loop of diffusers' trainer.

Both on the same random Stable Diffusion (14 million weights, 32 x 32 latents), rank 4 on every projection of attention, photos encoded once, prompts
encoded in every step, AdamW. Quality is the mean denoising error of the last 8 steps, which says that both learn the same task: lower is better.
"""

from __future__ import annotations

from typing import Any

from _draw import BATCH, diffusers_loss, learned, photos, pipeline

NAME = "lora-step-vs-peft"
UNIT = "seconds"
PEER = "peft"
RANK, RATE = 4, 1e-4
PROMPT = "a photo of mug"


def ours() -> dict[str, Any]:
    from sartor.draw.parts.objectives import denoising, noised
    from sartor.draw.parts.prior import Prior
    from sartor.draw.parts.references import References
    from sartor.draw.parts.weights import LowRank

    prior = Prior.from_pretrained(pipeline())
    references = References.of(prior, photos(BATCH))
    with LowRank(prior, rank=RANK) as weights:
        parameters = weights.parameters()
        for one in parameters:
            one.requires_grad_(True)

        def loss() -> Any:
            context = prior.encode([PROMPT] * BATCH)
            with weights.use(BATCH):
                return denoising(prior, noised(prior, references.latents), context).mean()

        return learned(parameters, RATE, loss, rank=RANK)


def peer() -> dict[str, Any]:
    import torch
    from peft import LoraConfig

    from sartor.draw.parts.codec import to_tensor

    pipe = pipeline()
    pipe.unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
    with torch.no_grad():
        latents = pipe.vae.encode(to_tensor(photos(BATCH))).latent_dist.mode() * pipe.vae.config.scaling_factor
    parameters = [one for one in pipe.unet.parameters() if one.requires_grad]
    return learned(parameters, RATE, lambda: diffusers_loss(pipe, latents, PROMPT), rank=RANK)
