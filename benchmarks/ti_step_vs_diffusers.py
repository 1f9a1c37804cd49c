"""A step of textual inversion on 4 photos: seconds, ours against the loop of diffusers' `textual_inversion.py`.

Both on the same random Stable Diffusion with a table of 49,408 words. As that script does, the peer's gradient falls on the whole table, whose other
rows are put back after every step, and photos are encoded in every step; ours learns one row beside the table, from photos encoded once.
Quality is the mean denoising error of the last 8 steps: lower is better.
"""

from __future__ import annotations

import time
from typing import Any

from _draw import WORDS, photos, pipeline
from lora_step_vs_peft import _result

NAME = "ti-step-vs-diffusers"
UNIT = "seconds"
PEER = "diffusers"
WARM, STEPS, BATCH, RATE = 4, 24, 4, 5e-3


def ours() -> dict[str, Any]:
    import torch
    from torch import nn

    from sartor.draw.parts.objectives import denoising, noised
    from sartor.draw.parts.prior import Prior
    from sartor.draw.parts.references import References
    from sartor.draw.parts.tokens import Concept, of_word

    prior = Prior.from_pretrained(pipeline())
    references = References.of(prior, photos(BATCH))
    row = nn.Parameter(of_word(prior.text_encoder, prior.tokenizer, "mug"))
    optimizer = torch.optim.AdamW([row], lr=RATE)
    torch.manual_seed(1)
    times, losses = [], []
    for _ in range(WARM + STEPS):
        start = time.perf_counter()
        context = prior.encode(["a photo of <v>"] * BATCH, [Concept("<v>", row)])
        loss = denoising(prior, noised(prior, references.latents), context).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        times.append(time.perf_counter() - start)
    return _result(times, losses) | {"size": {"steps": STEPS, "batch": BATCH, "words": WORDS}}


def peer() -> dict[str, Any]:
    import torch
    import torch.nn.functional as F

    from sartor.draw.parts.codec import to_tensor

    pipe = pipeline()
    pipe.tokenizer.add_tokens(["<v>"])
    table = pipe.text_encoder.get_input_embeddings().weight
    number, mug = (pipe.tokenizer.convert_tokens_to_ids(word) for word in ("<v>", pipe.tokenizer.tokenize("mug")[0]))
    with torch.no_grad():
        table[number] = table[mug]
    before, others = table.detach().clone(), torch.ones(len(table), dtype=torch.bool)
    others[number] = False
    table.requires_grad_(True)
    pixels, optimizer = to_tensor(photos(BATCH)), torch.optim.AdamW([table], lr=RATE)
    torch.manual_seed(1)
    times, losses = [], []
    for _ in range(WARM + STEPS):
        start = time.perf_counter()
        with torch.no_grad():
            latents = pipe.vae.encode(pixels).latent_dist.sample() * pipe.vae.config.scaling_factor
        ids = pipe.tokenizer(["a photo of <v>"] * BATCH, padding="max_length", max_length=77, return_tensors="pt").input_ids
        context = pipe.text_encoder(ids)[0]
        noise, t = torch.randn_like(latents), torch.randint(0, pipe.scheduler.config.num_train_timesteps, (BATCH,))
        loss = F.mse_loss(pipe.unet(pipe.scheduler.add_noise(latents, noise, t), t, context).sample, noise)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            table[others] = before[others]
        losses.append(loss.item())
        times.append(time.perf_counter() - start)
    return _result(times, losses) | {"size": {"steps": STEPS, "batch": BATCH, "words": WORDS}}
