"""The small reader of RPM: from a factor table, examples with reasons and a request's features to an answer on a scale.

It stands in for a language model where none is at hand. Factors and examples are sets: each member goes through the same small network, members are
summed, and a second network reads the sums. So it works for any number of factors and examples, none included, and never sees a word: what it
learns from some people's histories it can do for anybody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

FACTOR, EXAMPLE, CONTEXT = 8, 6, 3
"""Numbers that a factor, an example and the history as a whole come as."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """What the reader sees for one request; each part may be empty."""

    factors: np.ndarray
    """float32 [factors, 8]: `factor_rows`."""
    examples: np.ndarray
    """float32 [examples, 6]: score, answer, similar by text or by features, reasons that hold here too, how many it has, that it has any."""
    context: np.ndarray
    """float32 [3]: mean answer, log of the number of items, that there is a history."""

    def alone(self, factor: int) -> Prompt:
        """The same without one factor."""
        return Prompt(np.delete(self.factors, factor, axis=0), self.examples, self.context)

    def only(self, factors: Sequence[int]) -> Prompt:
        """These factors and no examples."""
        return Prompt(self.factors[list(factors)], np.zeros((0, EXAMPLE), np.float32), self.context)


class SetReader(nn.Module):
    """See the module. Batches of prompts -> float32 [n] in (-1, 1)."""

    def __init__(self, dim: int = 32) -> None:
        super().__init__()
        self.dim = dim
        self.factor = nn.Sequential(nn.Linear(FACTOR, dim), nn.GELU(), nn.Linear(dim, dim))
        self.example = nn.Sequential(nn.Linear(EXAMPLE, dim), nn.GELU(), nn.Linear(dim, dim))
        self.read = nn.Sequential(nn.Linear(2 * dim + CONTEXT, 2 * dim), nn.GELU(), nn.Linear(2 * dim, 1))

    def forward(self, factors: Tensor, factor_of: Tensor, examples: Tensor, example_of: Tensor, context: Tensor) -> Tensor:
        """Rows of all prompts one after another, with the prompt of each."""
        zero = context.new_zeros(context.shape[0], self.dim)
        summed = torch.index_add(zero, 0, factor_of, self.factor(factors)) / 4
        shown = torch.index_add(zero, 0, example_of, self.example(examples)) / 2
        return torch.tanh(self.read(torch.cat([summed, shown, context], dim=1)))[:, 0]


def packed(prompts: Sequence[Prompt]) -> tuple[Tensor, ...]:
    """Prompts as `SetReader` takes them."""

    def rows(parts: Sequence[np.ndarray], width: int) -> tuple[Tensor, Tensor]:
        whole = np.concatenate([*parts, np.zeros((0, width), np.float32)]).astype(np.float32)
        return torch.from_numpy(whole), torch.from_numpy(np.repeat(np.arange(len(parts)), [len(one) for one in parts]))

    factors, examples = rows([one.factors for one in prompts], FACTOR), rows([one.examples for one in prompts], EXAMPLE)
    return (*factors, *examples, torch.from_numpy(np.stack([one.context for one in prompts]).astype(np.float32)))


@torch.no_grad()
def answered(network: nn.Module, prompts: Sequence[Prompt], batch: int = 4096) -> np.ndarray:
    """float64 [prompts] on the scale -1 to 1."""
    if not prompts:
        return np.zeros(0)
    parts = [network(*packed(prompts[at : at + batch])).numpy() for at in range(0, len(prompts), batch)]
    return np.concatenate(parts).astype(np.float64)
