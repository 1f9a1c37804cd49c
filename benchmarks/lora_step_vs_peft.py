"""A step of tuning a denoiser at low rank (DreamBooth's loss on 4 photos): CPU-seconds, ours against peft in the loop of diffusers' trainer.

Both on the same random Stable Diffusion (8.8 million weights, 32 x 32 latents), rank 4 on every projection of attention, photos encoded once, AdamW.
Ours is `tune`, the loop that all methods learn with. Quality is the mean denoising error of the photos afterwards, at the same noise for both: lower
is better; `size` has what it was before.
"""

from __future__ import annotations

from typing import Any

from _draw import BATCH, STEPS, WARM, diffusers_loss, error, photos, pipeline, trained

NAME = "lora-step-vs-peft"
UNIT = "CPU-seconds"
PEER = "peft"
RANK, RATE = 4, 2e-3
PROMPT = "a photo of mug"


def ours() -> dict[str, Any]:
    import torch

    from sartor.draw.parts.prior import Prior
    from sartor.draw.parts.references import References
    from sartor.draw.parts.tuning import tune
    from sartor.draw.parts.weights import LowRank

    pipe = pipeline()
    prior = Prior.from_pretrained(pipe)
    references = References.of(prior, photos(BATCH))
    with torch.no_grad():
        context = prior.encode([PROMPT])
    before = error(pipe, references.latents, context)
    with LowRank(prior, rank=RANK) as weights:
        tune(prior, references, [], [PROMPT], steps=WARM, weights=weights, weight_rate=RATE, weight_decay=1e-2, batch=BATCH)
        run = tune(prior, references, [], [PROMPT], steps=STEPS, weights=weights, weight_rate=RATE, weight_decay=1e-2, batch=BATCH, seed=1)
        with weights.use(16):
            after = error(pipe, references.latents, context)
    size = {"steps": STEPS, "batch": BATCH, "rank": RANK, "quality before": before}
    return {"value": run.record["cpu_seconds"] / STEPS, "quality": after, "size": size}


def peer() -> dict[str, Any]:
    import torch
    from peft import LoraConfig

    from sartor.draw.parts.codec import to_tensor

    pipe = pipeline()
    # Starts as ours does (peft's own default); the scripts' "gaussian" is the same work.
    pipe.unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
    ids = pipe.tokenizer([PROMPT], padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        latents = pipe.vae.encode(to_tensor(photos(BATCH))).latent_dist.mode() * pipe.vae.config.scaling_factor
        context = pipe.text_encoder(ids)[0]
    seconds = trained([one for one in pipe.unet.parameters() if one.requires_grad], RATE, lambda: diffusers_loss(pipe, latents, PROMPT))
    return {"value": seconds, "quality": error(pipe, latents, context)}
