"""One linear layer from frozen feature maps to labels: all that a site learns for a task of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sartor.errors import BadValue

VOXELS = 20_000
"""Of each scan that a head learns from, drawn at random where there are more."""
PENALTY = 1e-5
"""On the squares of weights for whitened features, or on how far they go from the head that is gone on from."""


def fitted_head(
    features: np.ndarray, numbers: np.ndarray, labels: int, *, start: Mapping[str, np.ndarray] | None = None, steps: int = 100, seed: int = 0
) -> dict[str, np.ndarray]:
    """`weight` float32 [labels, c] and `bias` [labels], a convolution of 1, from features [n, c, *shape] and label numbers int [n, *shape].

    It minimises cross-entropy plus one minus the soft Dice of the labels that occur, by L-BFGS.

    Parameters
    ----------
    start: a head to go on from.
    steps: of L-BFGS at most; it stops where nothing changes any more.
    seed: of the voxels that are drawn.
    """
    rng = np.random.default_rng([seed, 41])
    x, y = [], []
    for maps, number in zip(features, numbers, strict=True):
        flat, found = maps.reshape(maps.shape[0], -1), number.reshape(-1)
        rows = np.arange(found.size) if found.size <= VOXELS else rng.choice(found.size, VOXELS, replace=False)
        x.append(flat[:, rows].T)
        y.append(found[rows])
    inputs, target = np.concatenate(x).astype(np.float64), torch.from_numpy(np.concatenate(y).astype(np.int64))
    mean, away, back = _whitened(inputs)
    scaled = torch.from_numpy(((inputs - mean) @ away).astype(np.float32))
    weight, bias = np.zeros((labels, len(mean))), np.zeros(labels)
    if start is not None:
        weight, bias = start["weight"] @ back.T, start["bias"] + start["weight"] @ mean
    found_weight = torch.tensor(weight, dtype=torch.float32, requires_grad=True)
    found_bias = torch.tensor(bias, dtype=torch.float32, requires_grad=True)
    before, truth = found_weight.detach().clone(), F.one_hot(target, labels).float()
    search = torch.optim.LBFGS([found_weight, found_bias], max_iter=steps, history_size=20, tolerance_change=1e-6, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        scores = scaled @ found_weight.T + found_bias
        value = F.cross_entropy(scores, target) + dice_loss(scores.softmax(1), truth) + PENALTY * (found_weight - before).square().sum()
        value.backward()
        return value

    search.step(loss)
    weight = found_weight.detach().numpy() @ away.T
    return {"weight": weight.astype(np.float32), "bias": (found_bias.detach().numpy() - weight @ mean).astype(np.float32)}


def _whitened(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean of inputs [n, c]; what brings them to like size in all directions, [c, c], and what brings them back.

    Neighbouring maps of a network are much alike: what tells organs apart lies in their small differences, where plain descent hardly gets.
    """
    mean, deviation = inputs.mean(0), inputs.std(0) + 1e-6
    values, axes = np.linalg.eigh(np.cov(((inputs - mean) / deviation).T).reshape(len(mean), -1))
    sizes = np.sqrt(np.maximum(values, 0) + 1e-4)
    return mean, axes / sizes / deviation[:, None], (axes * sizes).T * deviation


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
