"""A picture of a learned word, 20 steps of DDIM with guidance, 4 at once: seconds each, ours against diffusers' own pipeline.

Both on the same random Stable Diffusion, with the same word (learned embeddings), prompt, noise and schedule, so that both draw the same pictures:
quality is the mean brightness of them, which must agree.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from _draw import WIDTH, pipeline

NAME = "draw-image-vs-diffusers"
UNIT = "seconds"
PEER = "diffusers"
STEPS, GUIDANCE, BATCH, ROUNDS = 20, 3.5, 4, 3
PROMPT = "a photo of <v> on the beach"


def _word() -> Any:
    import torch

    return 0.02 * torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(3))


def _measure(draw: Any) -> dict[str, Any]:
    import numpy as np

    times, pictures = [], None
    for number in range(ROUNDS + 1):
        start = time.perf_counter()
        pictures = draw()
        if number:
            times.append((time.perf_counter() - start) / BATCH)
    size = {"steps": STEPS, "guidance": GUIDANCE, "batch": BATCH, "pixels": 256}
    return {"value": statistics.median(times), "quality": float(np.mean(np.asarray(pictures, np.float64))), "size": size}


def ours() -> dict[str, Any]:
    import torch

    from sartor.draw.parts.prior import Prior
    from sartor.draw.parts.sampler import sample
    from sartor.draw.parts.tokens import Concept

    prior, word = Prior.from_pretrained(pipeline()), Concept("<v>", _word())

    @torch.no_grad()
    def draw() -> Any:
        context = prior.encode([PROMPT] * BATCH, [word])
        return prior.images(sample(prior, context, range(BATCH), steps=STEPS, guidance=GUIDANCE))

    return _measure(draw)


def peer() -> dict[str, Any]:
    import numpy as np

    from sartor.draw.parts.prior import Prior
    from sartor.draw.parts.sampler import noise
    from sartor.draw.parts.tokens import Concept, save_embeds

    start = noise(Prior.from_pretrained(pipeline()), range(BATCH))
    pipe = pipeline()
    with tempfile.TemporaryDirectory() as folder:
        pipe.load_textual_inversion(str(save_embeds(Path(folder) / "learned_embeds.safetensors", [Concept("<v>", _word())])))

    def draw() -> Any:
        made = pipe([PROMPT] * BATCH, num_inference_steps=STEPS, guidance_scale=GUIDANCE, latents=start.clone(), output_type="np").images
        return (np.asarray(made) * 255).round()

    return _measure(draw)
