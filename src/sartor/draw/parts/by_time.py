"""Words that the denoiser hears differently at every time, and in every layer: what `Slots.context` chooses from."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sartor.draw.parts.tap import Layer, Slots
from sartor.draw.parts.tokens import Words


class Heard(NamedTuple):
    """Contexts of n prompts, float [layers, n, T, d], or [1, n, T, d] where all cross-attention layers hear the same."""

    keys: Tensor
    values: Tensor | None = None
    """The same for values, where they differ from what keys are made of."""


Speak = Callable[[Words, Tensor], Heard]
"""From prompts and a time int64 [n] for each to what is heard then."""


def at_each(find: Callable[[int], Heard]) -> Slots:
    """Slots in which every cross-attention layer hears what `find` gives for the time of the call."""

    def choose(layer: Layer, time: Tensor) -> Tensor | tuple[Tensor, Tensor] | None:
        if not layer.cross:
            return None
        now = find(int(time.reshape(-1)[0]))
        keys, values = (None if part is None else part[layer.number if len(part) > 1 else 0] for part in now)
        assert keys is not None
        return keys if values is None else (keys, values)

    return Slots(context=choose)


def now(heard: Heard) -> Slots:
    """For a single call, in which every prompt has a time of its own, already put in."""
    return at_each(lambda _: heard)


@torch.no_grad()
def ahead(speak: Speak, words: Words, times: list[int]) -> Slots:
    """For a whole run of a sampler: encoded once for each of its times (`sampler.times`), looked up at every step."""
    table = {time: speak(words, torch.full((len(words.ids),), time)) for time in times}
    return at_each(table.__getitem__)
