"""A step of tuning a denoiser at low rank (DreamBooth's loss on 4 photos): seconds, ours against peft in the loop of diffusers' trainer.

Both on the same random Stable Diffusion (14 million weights, 32 x 32 latents), rank 4 on every projection of attention, photos encoded once, prompts
encoded in every step, AdamW. Quality is the mean denoising error of the last 8 steps, which says that both learn the same task: lower is better.
"""

from __future__ import annotations

import time
from typing import Any

from _draw import photos, pipeline

NAME = "lora-step-vs-peft"
UNIT = "seconds"
PEER = "peft"
WARM, STEPS, BATCH, RANK, RATE = 4, 24, 4, 4, 1e-4
PROMPT = "a photo of mug"


def _result(times: list[float], losses: list[float]) -> dict[str, Any]:
    import statistics

    return {"value": statistics.median(times[WARM:]), "quality": statistics.mean(losses[-8:]), "size": {"steps": STEPS, "batch": BATCH, "rank": RANK}}


def ours() -> dict[str, Any]:
    import torch

    from sartor.draw.parts.objectives import denoising, noised
    from sartor.draw.parts.prior import Prior
    from sartor.draw.parts.references import References
    from sartor.draw.parts.weights import LowRank

    prior = Prior.from_pretrained(pipeline())
    references = References.of(prior, photos(BATCH))
    torch.manual_seed(1)
    times, losses = [], []
    with LowRank(prior, rank=RANK) as weights:
        parameters = weights.parameters()
        for one in parameters:
            one.requires_grad_(True)
        optimizer = torch.optim.AdamW(parameters, lr=RATE)
        for _ in range(WARM + STEPS):
            start = time.perf_counter()
            context = prior.encode([PROMPT] * BATCH)
            with weights.use(BATCH):
                loss = denoising(prior, noised(prior, references.latents), context).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            times.append(time.perf_counter() - start)
    return _result(times, losses)


def peer() -> dict[str, Any]:
    import torch
    import torch.nn.functional as F
    from peft import LoraConfig

    from sartor.draw.parts.codec import to_tensor

    pipe = pipeline()
    pipe.unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
    with torch.no_grad():
        latents = pipe.vae.encode(to_tensor(photos(BATCH))).latent_dist.mode() * pipe.vae.config.scaling_factor
    optimizer = torch.optim.AdamW([one for one in pipe.unet.parameters() if one.requires_grad], lr=RATE)
    torch.manual_seed(1)
    times, losses = [], []
    for _ in range(WARM + STEPS):
        start = time.perf_counter()
        ids = pipe.tokenizer([PROMPT] * BATCH, padding="max_length", max_length=77, return_tensors="pt").input_ids
        context = pipe.text_encoder(ids)[0]
        noise, t = torch.randn_like(latents), torch.randint(0, pipe.scheduler.config.num_train_timesteps, (BATCH,))
        loss = F.mse_loss(pipe.unet(pipe.scheduler.add_noise(latents, noise, t), t, context).sample, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        times.append(time.perf_counter() - start)
    return _result(times, losses)
