"""Ways to change a frozen causal language model for one person: all weights, few of them, low-rank factors, or a prefix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from sartor.errors import ConfigError, CorruptFile
from sartor.parts.lora import LoraBank
from sartor.parts.trainable_subset import Subset, everything, last_block, token_tables
from sartor.write.parts.causal_lm import CausalLM, Past
from sartor.write.parts.soft_prefix import KeyValuePrefix, stacked_past

Technique = Literal["full", "light-embed", "light-last", "prefix", "lora"]
"""All weights; the table of words in and out; the last block; keys and values in front of every layer; LoRA on attention."""
TECHNIQUES: tuple[Technique, ...] = get_args(Technique)
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")

Arrays = Mapping[str, np.ndarray]


class Tuned(ABC):
    """One person's change of a network while it is learned or used; the network's own weights are never written to."""

    module: nn.Module
    """What a trainer trains."""
    trained: list[nn.Parameter]
    """Of it."""
    passed: int
    """Weights on the gradient's way back."""
    network: CausalLM
    """Whose words out are meant."""

    @abstractmethod
    def run(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Last hidden states float [B, L, dim] of int64 [B, L]."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept, float16."""

    def close(self) -> None:  # noqa: B027 (most have nothing to leave)
        """Leave the network as it was."""


class Untuned(Tuned):
    """No change: the population's own network."""

    def __init__(self, network: CausalLM) -> None:
        self.network = self.module = network
        self.trained, self.passed = [], 0

    def run(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        return self.network.run(ids, mask=mask).hidden

    def arrays(self) -> dict[str, np.ndarray]:
        return {}


class TunedWeights(Tuned):
    """Some of the weights, as differences."""

    def __init__(self, network: CausalLM, patterns: Callable[[nn.Module], list[str]], arrays: Arrays | None = None) -> None:
        self.subset = Subset(network, patterns(network), arrays)
        self.network = self.module = self.subset.network
        self.trained = self.subset.parameters()
        # Below the last block no gradient goes.
        self.passed = self.subset.numel + network.model.embed_tokens.weight.numel() if patterns is last_block else multiplied(network)

    def run(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        return self.network.run(ids, mask=mask).hidden

    def arrays(self) -> dict[str, np.ndarray]:
        return self.subset.arrays()


class TunedFactors(Tuned):
    """LoRA on attention."""

    def __init__(self, network: CausalLM, rank: int, arrays: Arrays | None = None, *, seed: int = 0) -> None:
        self.network, self.bank = network, factor_bank(network, rank, seed)
        self.bank.add(arrays)
        self.module, self.trained, self.passed = self.bank, list(self.bank.parameters()), multiplied(network)

    def run(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        with self.bank.use([0] * len(ids)):
            return self.network.run(ids, mask=mask).hidden

    def arrays(self) -> dict[str, np.ndarray]:
        return self.bank.get(0)

    def close(self) -> None:
        self.bank.detach()


class TunedPrefix(Tuned):
    """Keys and values in front of every layer, learned behind a small network that is thrown away when they are kept."""

    def __init__(
        self, network: CausalLM, places: int, *, hidden: int = 0, start: Sequence[int] | None = None, arrays: Arrays | None = None, seed: int = 0
    ) -> None:  # fmt: skip
        self.network = network
        self.prefix = KeyValuePrefix(network, places, hidden=hidden, start=start, seed=seed)
        if arrays is not None:
            kept = prefix_of(arrays, places, self.prefix.values.shape[1])
            with torch.no_grad():
                self.prefix.values.copy_(torch.from_numpy(kept))
        self.module, self.trained, self.passed = self.prefix, list(self.prefix.parameters()), multiplied(network)

    def run(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        return self.network.run(ids, mask=mask, past=self.prefix.past(len(ids))).hidden

    def arrays(self) -> dict[str, np.ndarray]:
        self.prefix.settle()
        return {"prefix": self.prefix.values.detach().cpu().numpy().astype(np.float16)}


def open_tuned(
    network: CausalLM, technique: Technique, arrays: Arrays | None = None, *, rank: int = 8, places: int = 32, hidden: int = 0,
    start: Sequence[int] | None = None, seed: int = 0,
) -> Tuned:  # fmt: skip
    """A change of `network` to be learned from nothing, or one that was kept.

    Parameters
    ----------
    technique: which one.
    arrays: what `Tuned.arrays` gave.
    rank: of LoRA.
    places, hidden, start: of a prefix, as `KeyValuePrefix` takes them.
    """
    if technique == "lora":
        return TunedFactors(network, rank, arrays, seed=seed)
    if technique == "prefix":
        return TunedPrefix(network, places, hidden=hidden, start=start, arrays=arrays, seed=seed)
    patterns = {"full": everything, "light-embed": token_tables, "light-last": last_block}
    if technique not in patterns:
        raise ConfigError(f"there is no technique '{technique}'", fix=f"use one of {', '.join(TECHNIQUES)}")
    return TunedWeights(network, patterns[technique], arrays)


def factor_bank(network: CausalLM, rank: int, seed: int = 0) -> LoraBank:
    """An empty bank of LoRA factors on attention."""
    return LoraBank(network, targets=ATTENTION, rank=rank, alpha=2.0 * rank, seed=seed)


def prefix_of(arrays: Arrays, places: int, width: int) -> np.ndarray:
    """A kept prefix, float32 [places, width]; raises `CorruptFile`."""
    kept = arrays.get("prefix")
    if kept is None or kept.shape != (places, width) or not np.isfinite(kept).all():
        shape = "missing" if kept is None else f"of shape {list(kept.shape)}"
        raise CorruptFile(f"the prefix is {shape}, or not of numbers; wanted {[places, width]}", fix="adapt the person again")
    return kept.astype(np.float32)


def prefixes_past(network: CausalLM, kept: Sequence[Arrays], places: int) -> Past:
    """Kept prefixes of several rows as what came before them (`Past`)."""
    config = network.config
    width = config.layers * 2 * config.shared_heads * (config.dim // config.heads)
    return stacked_past(network, torch.from_numpy(np.stack([prefix_of(one, places, width) for one in kept])))


def multiplied(network: CausalLM) -> int:
    """Weights that one token is multiplied with: looking a word up is none."""
    total = sum(one.numel() for one in network.parameters() if one.ndim > 1)
    return total - (0 if network.lm_head is None else network.model.embed_tokens.weight.numel())
