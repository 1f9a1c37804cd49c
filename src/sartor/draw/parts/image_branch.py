"""What a layer of attention takes from pictures of several things: each by itself, then put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sartor.draw.parts.tap import KeysValues, Layer, Merge

Together = Callable[[Layer, Tensor, Tensor, KeysValues, "PictureTokens"], Tensor]
"""(layer, queries [B, P, w], what attention to the text gives [B, P, w], branch, tokens) -> what to add [B, P, w]."""


@dataclass(frozen=True, eq=False)
class PictureTokens:
    """Tokens of the pictures of the things that each row of a batch names."""

    tokens: Tensor
    """float [B, things, pictures, m, d]."""
    there: Tensor
    """float [B, things]: how much a thing counts, 1 as it is; 0 for an empty place."""
    phrases: Tensor
    """float [B, things, T, d], the text encoder's states of what each thing is called."""
    said: Tensor
    """float [B, things, T]: 1 at the words of the phrase."""


def each_thing(layer: Layer, query: Tensor, branch: KeysValues, seen: PictureTokens) -> Tensor:
    """float [B, things, P, w]: attention to the tokens of each picture by itself, with a softmax of its own; the mean over a thing's pictures."""
    keys, values = branch.of(layer, seen.tokens)
    rows, things, pictures, count, width = keys.shape
    heads, each = layer.heads, width // layer.heads
    asked = query.view(rows, -1, heads, each)
    logits = torch.einsum("bphe,bormhe->borhpm", asked, keys.view(rows, things, pictures, count, heads, each)) * each**-0.5
    found = torch.einsum("borhpm,bormhe->borphe", logits.softmax(-1), values.view(rows, things, pictures, count, heads, each))
    return found.mean(2).flatten(-2)


def summed(layer: Layer, query: Tensor, _text: Tensor, branch: KeysValues, seen: PictureTokens) -> Tensor:
    """What IP-Adapter does with several pictures: the sum over things."""
    return (each_thing(layer, query, branch, seen) * seen.there[:, :, None, None]).sum(1)


def joined(layer: Layer, query: Tensor, _text: Tensor, branch: KeysValues, seen: PictureTokens) -> Tensor:
    """One softmax over the tokens of all things, as when their lists are put one behind the other."""
    keys, values = branch.of(layer, seen.tokens)
    rows, things, pictures, count, width = keys.shape
    heads, each = layer.heads, width // layer.heads
    keys, values = (part.reshape(rows, things, pictures * count, heads, each) for part in (keys, values))
    logits = torch.einsum("bphe,bsmhe->bhpsm", query.view(rows, -1, heads, each), keys) * each**-0.5
    # Not -inf: a row may have no thing at all.
    logits = (logits + seen.there.clamp(min=1e-12).log()[:, None, None, :, None]).flatten(-2)
    found = torch.einsum("bhpm,bmhe->bphe", logits.softmax(-1), values.flatten(1, 2)).flatten(-2)
    return found * seen.there.amax(1)[:, None, None]


def merging(branch: KeysValues, seen: PictureTokens, scale: float, together: Together) -> Merge:
    """For `Slots`: what pictures give is added to what the text gives, in every layer that the branch has."""

    def merge(layer: Layer, query: Tensor, text: Tensor) -> Tensor:
        return text + scale * together(layer, query, text, branch, seen) if layer.name in branch.numbers else text

    return merge
