"""Tokens that make a prompt inclusive: where they stand, how they add up, and what they are learned by."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

WORD = "<inclusive>"
"""What stands behind a prompt, or where the prompt says it; its rows are the sum of the tokens of the chosen categories."""
STILL = 1e-4
"""Two prompts are one when their vectors of length 1 differ by less."""


def spelled(prompt: str, *, marked: bool = True) -> str:
    """A prompt with the tokens' place, which is behind it unless it says another; or without."""
    words = [one for one in prompt.split() if one != WORD]
    if not marked:
        return " ".join(words)
    return prompt if len(words) < len(prompt.split()) else f"{prompt} {WORD}"


def sum_of(tokens: Sequence[Tensor], combos: Tensor) -> Tensor:
    """float [n, tokens, d] of combinations int64 [n, attributes]."""
    return torch.stack([one[combos[:, place].to(one.device)] for place, one in enumerate(tokens)]).sum(0)


def inclusive(said: Tensor, kinds: Tensor, means: Sequence[Tensor], plain: Tensor, near: float) -> Tensor:
    """The loss of one attribute.

    said: float [n, e] of all combinations, of length 1; kinds: int64 [n], their category of this attribute; means: of each category's pictures [e],
    NaN where the batch has none; plain: [e], of the prompt without tokens. Both parts are divided so that attributes of any number of categories
    weigh alike. Where a direction is not there, the cosine of prompts and their categories' pictures takes its place.
    """
    count = len(means)
    by_kind = [said[kinds == one] for one in range(count)]
    pairs = [*itertools.combinations(range(count), 2)]
    away, apart = [], []
    for a, b in pairs:
        # Combinations stand in one order, so that rows of two categories agree in all other attributes.
        ways = by_kind[a] - by_kind[b]
        length = ways.norm(dim=1)
        ways = ways / torch.where(length > STILL, length, torch.nan)[:, None]
        away.append(1 - (ways @ F.normalize(means[a] - means[b], dim=0)).mean())
        both = torch.stack([by_kind[a] @ plain, by_kind[b] @ plain]).mean(0)
        apart.append(F.relu(near - both).mean())
    share = 2 * len(pairs) / count
    direction, consistency = torch.stack(away).sum() / share, torch.stack(apart).sum() / share
    if bool(direction.isnan()):
        # A batch without pictures of a category, and the first step: between prompts that are still one there is no direction.
        there = [one for one in range(count) if not bool(means[one].isnan().any())]
        direction = torch.stack([1 - (by_kind[one] @ means[one]).mean() for one in there]).sum()
    return direction + consistency


def batches(rng: np.random.Generator, sizes: Sequence[int], steps: int) -> Iterator[list[Tensor]]:
    """For each step, which pictures of each category: all of them in a new order, parted without regard to categories."""
    kinds = np.repeat(np.arange(len(sizes)), sizes)
    within = np.concatenate([np.arange(size) for size in sizes])
    order = rng.permutation(len(kinds))
    for part in np.array_split(order, steps):
        yield [torch.from_numpy(within[part[kinds[part] == one]]) for one in range(len(sizes))]
