"""A picture of a learned word, 20 steps of DDIM with guidance, 4 at once: CPU-seconds each, ours against diffusers' own pipeline.

Both on the same random Stable Diffusion (8.8 million weights, 256 pixels) with the same file of a learned word, prompt, noise and schedule. Ours is
what people call, `draw` on a concept that was opened from the file. Quality is the mean grey level of the pictures, and `size` has by how much a
pixel of ours differs from diffusers' at most.
"""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path
from typing import Any

from _draw import LATENT, WIDTH, pipeline

NAME = "draw-image-vs-diffusers"
UNIT = "CPU-seconds"
PEER = "diffusers"
STEPS, GUIDANCE, BATCH = 20, 3.5, 4
PROMPT = "a photo of <v> on the beach"


def _word(folder: str) -> Path:
    """The file of a word, as textual inversions are shared."""
    import torch

    from sartor.draw.parts.tokens import Concept, save_embeds

    rows = 0.02 * torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(3))
    return save_embeds(Path(folder) / "learned_embeds.safetensors", [Concept("<v>", rows)])


def _measure(draw: Any) -> tuple[float, Any]:
    """CPU-seconds of a picture, the second time that it is drawn, and the pictures."""
    draw()
    start = time.process_time()
    pictures = draw()
    return (time.process_time() - start) / BATCH, pictures


def _theirs() -> Any:
    """diffusers' pipeline with the word, as a function that draws."""
    import numpy as np
    import torch

    # The noise that ours begins with.
    start = torch.cat([torch.randn((1, 4, LATENT, LATENT), generator=torch.Generator().manual_seed(seed)) for seed in range(BATCH)])
    pipe = pipeline()
    with tempfile.TemporaryDirectory() as folder:
        pipe.load_textual_inversion(str(_word(folder)))

    def draw() -> Any:
        made = pipe([PROMPT] * BATCH, num_inference_steps=STEPS, guidance_scale=GUIDANCE, latents=start.clone(), output_type="np").images
        return (np.asarray(made) * 255).round().astype(np.uint8)

    return draw


def _ours() -> Any:
    """What people call, with the word opened from its file, as a function that draws."""
    from sartor.draw.concepts import open_concepts
    from sartor.draw.parts.prior import Prior

    prior = Prior.from_pretrained(pipeline())
    with tempfile.TemporaryDirectory() as folder:
        opened = open_concepts(prior, {"v": _word(folder)}, classes={"v": "mug"}, sampling_steps=STEPS, guidance=GUIDANCE)
    return lambda: opened.method.draw([PROMPT] * BATCH, [opened.state] * BATCH, seeds=range(BATCH))


def ours() -> dict[str, Any]:
    import numpy as np

    seconds, pictures = _measure(_ours())
    # Ours is gone by now, so that the memory is of one of them.
    gc.collect()
    apart = int(np.abs(pictures.astype(int) - _theirs()().astype(int)).max())
    size = {"steps": STEPS, "guidance": GUIDANCE, "batch": BATCH, "pixels": 256, "largest difference of a pixel, of 255": apart}
    return {"value": seconds, "quality": float(pictures.mean()), "size": size}


def peer() -> dict[str, Any]:
    seconds, pictures = _measure(_theirs())
    return {"value": seconds, "quality": float(pictures.mean())}
