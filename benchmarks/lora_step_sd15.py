"""One step of tuning at low rank on a denoiser of the shape of Stable Diffusion 1.5 (random weights, 512 pixels): CPU-seconds, ours and peft.

As `lora_step_vs_peft.py`, where the results are shown to be equal, at the size that people tune: 860 million weights, rank 4 on every projection of
attention. One step of one photo, counted from the first.
"""

from __future__ import annotations

from typing import Any

from _draw import diffusers_loss, pipeline, trained
from lora_step_vs_peft import PROMPT, RANK, RATE

NAME = "lora-step-sd15"
UNIT = "CPU-seconds"
PEER = "peft"


def _latents() -> Any:
    """Of the one photo: as learning sees it after the autoencoder."""
    import torch

    return torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(5))


def ours() -> dict[str, Any]:
    import numpy as np

    from sartor.draw.parts.prior import Prior
    from sartor.draw.parts.references import References
    from sartor.draw.parts.tuning import tune
    from sartor.draw.parts.weights import LowRank

    prior = Prior.from_pretrained(pipeline(real=True))
    references = References(np.zeros((1, 512, 512, 3), np.uint8), _latents(), None, ("",))
    with LowRank(prior, rank=RANK) as weights:
        run = tune(prior, references, [], [PROMPT], steps=1, weights=weights, weight_rate=RATE, weight_decay=1e-2, batch=1)
    return {"value": run.record["cpu_seconds"], "size": {"steps": 1, "batch": 1, "rank": RANK, "weights": prior.parameters}}


def peer() -> dict[str, Any]:
    from peft import LoraConfig

    pipe = pipeline(real=True)
    pipe.unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
    parameters = [one for one in pipe.unet.parameters() if one.requires_grad]
    return {"value": trained(parameters, RATE, lambda: diffusers_loss(pipe, _latents(), PROMPT), warm=0, steps=1)}
