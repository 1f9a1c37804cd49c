"""One linear layer from frozen feature maps to labels: all that a site learns for a task of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.errors import BadValue
from sartor.parts.trainer import Trainer, seeded

VOXELS = 20_000
"""Of each scan that a head learns from, drawn at random where there are more."""


def fitted_head(
    features: np.ndarray, numbers: np.ndarray, labels: int, *, start: Mapping[str, np.ndarray] | None = None, steps: int = 200, seed: int = 0
) -> dict[str, np.ndarray]:
    """`weight` float32 [labels, c] and `bias` [labels], a convolution of 1, from features [n, c, *shape] and label numbers int [n, *shape].

    It minimises cross-entropy plus one minus the soft Dice of the labels that occur. `start`: a head to go on from.
    """
    rng = np.random.default_rng([seed, 41])
    x, y = [], []
    for maps, number in zip(features, numbers, strict=True):
        flat, found = maps.reshape(maps.shape[0], -1), number.reshape(-1)
        rows = np.arange(found.size) if found.size <= VOXELS else rng.choice(found.size, VOXELS, replace=False)
        x.append(flat[:, rows].T)
        y.append(found[rows])
    inputs, target = np.concatenate(x).astype(np.float32), torch.from_numpy(np.concatenate(y).astype(np.int64))
    # Features of like size make a plain gradient step fit all of them; the layer takes them as they are in the end.
    mean, deviation = inputs.mean(0), inputs.std(0) + 1e-6
    scaled = torch.from_numpy((inputs - mean) / deviation)
    with seeded(seed):
        layer = nn.Linear(inputs.shape[1], labels)
    with torch.no_grad():
        if start is None:
            layer.weight.zero_()
            layer.bias.zero_()
        else:
            layer.weight.copy_(torch.from_numpy(start["weight"] * deviation))
            layer.bias.copy_(torch.from_numpy(start["bias"] + start["weight"] @ mean))
    truth = F.one_hot(target, labels).float()

    def loss(_: int) -> Tensor:
        scores = layer(scaled)
        return F.cross_entropy(scores, target) + dice_loss(scores.softmax(1), truth)

    def batches(_: np.random.Generator) -> Iterator[int]:
        yield from range(steps)

    rate = 0.1 if start is None else 0.02
    Trainer(epochs=1, learning_rate=rate, seed=seed, schedule=lambda _, step: 1 - 0.9 * step / steps).fit(layer, batches, loss)
    weight = layer.weight.detach().numpy() / deviation
    return {"weight": weight.astype(np.float32), "bias": (layer.bias.detach().numpy() - weight @ mean).astype(np.float32)}


def numbered(labels: np.ndarray, table: Sequence[int]) -> np.ndarray:
    """int64 like `labels`, places of their ids in a rising table. Raises `BadValue` that lists ids that are not in it, or for what is no id."""
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        if not np.array_equal(np.round(labels), labels):
            raise BadValue("label maps hold numbers that are no ids", fix="give whole numbers")
        labels = labels.astype(np.int64)
    if strange := np.setdiff1d(labels, np.asarray(table, np.int64)).tolist():
        raise BadValue(f"label ids {strange[:20]} are not in the table {list(table)}", fix="map them, or name them in table= when fitting")
    return np.searchsorted(np.asarray(table, np.int64), labels)


def dice_loss(chances: Tensor, truth: Tensor) -> Tensor:
    """One minus the soft Dice of chances and truth [voxels, labels], mean over the labels that occur."""
    both, each = (chances * truth).sum(0), chances.sum(0) + truth.sum(0)
    there = truth.sum(0) > 0
    return 1 - (2 * both / each.clamp_min(1e-6))[there].mean()


def read_out(features: np.ndarray, head: Mapping[str, np.ndarray]) -> np.ndarray:
    """int64 [n, *shape], the likeliest label's number at each place of features [n, c, *shape]."""
    flat = np.einsum("lc,ncx->nlx", head["weight"], features.reshape(*features.shape[:2], -1), optimize=True)
    return np.asarray((flat + head["bias"][:, None]).argmax(1).reshape(len(features), *features.shape[2:]))
