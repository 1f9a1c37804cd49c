"""A small vision transformer of one's own: an encoder for prompts where no published one can be had, or would be too slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from sartor import _storage
from sartor.errors import BadValue, ConfigError, MissingExtra
from sartor.parts.trainer import seeded
from sartor.progress import bar


def learn(
    x: np.ndarray, y: np.ndarray, folder: str | Path, *, patch: int, width: int = 48, layers: int = 3, heads: int = 4, epochs: int = 10,
    seed: int = 0, progress: bool = False,
) -> Path:  # fmt: skip
    """Learn a ViT with a classifier and write it as transformers does, all or nothing; gives the folder.

    Parameters
    ----------
    x: float32 [n, channels, side, side].
    y: int [n], classes from 0. Take images that no client has: what an encoder has seen, it cannot be judged on.
    patch, width, layers, heads: of the transformer; the side is a multiple of `patch`, the width of `heads`.
    epochs: passes over the images in batches of 64, AdamW at up to 2e-3 in one cycle.

    Raises `BadValue` for other shapes or a missing label, `ConfigError` for sizes that do not divide, `MissingExtra` without transformers.
    """
    try:
        from transformers import ViTConfig, ViTForImageClassification
        from transformers.utils import logging
    except ImportError as missing:
        raise MissingExtra("transformers", "text") from missing
    logging.disable_progress_bar()
    if x.ndim != 4 or x.shape[2] != x.shape[3] or y.shape != x.shape[:1] or not len(y) or y.min() < 0:
        raise BadValue(
            f"images of shape {x.shape} and labels of shape {y.shape}", fix="give images [n, channels, side, side], a class from 0 for each"
        )
    if min(patch, width, layers, heads, epochs) < 1 or x.shape[2] % patch or width % heads:
        raise ConfigError(
            f"patches of {patch} in images of {x.shape[2]}, a width of {width} with {heads} heads, {layers} layers, {epochs} epochs",
            fix="use patches that divide the side, and heads that divide the width",
        )
    with seeded(seed):
        sizes: dict[str, Any] = {
            "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": 2 * width,
            "image_size": x.shape[2], "patch_size": patch, "num_channels": x.shape[1], "num_labels": int(y.max()) + 1,
        }  # fmt: skip
        model: Any = ViTForImageClassification(ViTConfig(**sizes))
        images, labels = torch.from_numpy(np.ascontiguousarray(x, np.float32)), torch.from_numpy(y.astype(np.int64))
        steps = -(-len(labels) // 64) * epochs
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        with bar("encoder", steps, enabled=progress, unit="step") as shown:
            for _ in range(epochs):
                for rows in torch.randperm(len(labels)).split(64):
                    optimizer.zero_grad()
                    cross_entropy(model(pixel_values=images[rows]).logits, labels[rows]).backward()
                    optimizer.step()
                    schedule.step()
                    shown.advance()
    return _storage.write_folder(Path(folder), model.save_pretrained, marker="config.json")
