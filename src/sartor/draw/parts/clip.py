"""CLIP as people have it: pictures and prompts of a Stable Diffusion 1.x in one space."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sartor.draw.parts.cutouts import clip_pixels
from sartor.errors import ConfigError, FileProblem


class Clip:
    """Of transformers' `CLIPModel`."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @torch.no_grad()
    def pictures(self, images: np.ndarray) -> Tensor:
        """float [n, e] of uint8 [n, H, W, 3]."""
        pixels = clip_pixels(images, int(self.model.config.vision_config.image_size))
        seen = self.model.vision_model(pixels).pooler_output
        return self.model.visual_projection(seen).float()

    def prompts(self, ends: Tensor) -> Tensor:
        """float [n, e] of what its text encoder says at the end of prompts, float [n, d]."""
        own: Tensor = self.model.text_projection(ends.to(self.model.text_projection.weight)).float()
        return own


@lru_cache(maxsize=2)
def open_clip(folder: str, dim: int) -> Clip:
    """From a folder, kept open; raises `FileProblem`, and `ConfigError` where its text encoder is not as wide as `dim`."""
    from transformers import CLIPModel

    if not (Path(folder) / "config.json").is_file():
        raise FileProblem("there is no CLIP here", fix="give the folder of a CLIPModel", file=Path(folder))
    model: Any = CLIPModel.from_pretrained(folder, local_files_only=True).eval().requires_grad_(False)
    if (width := int(model.config.text_config.hidden_size)) != dim:
        raise ConfigError(f"its text encoder has {width} numbers, the prior's has {dim}", fix="use the CLIP that the prior was made with")
    return Clip(model)
