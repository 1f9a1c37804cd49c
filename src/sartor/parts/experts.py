"""An expert bank inside a network: copies of linear layers, or low-rank additions to them, chosen by an id and never by a router.

Every text of a batch names the expert that serves it; all its tokens go through that expert's copies.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.errors import ConfigError

Layers = Literal["all", "last"]

_MLP = re.compile(r"(?:^|\.)(?:up|down|intermediate\.dense|output\.dense|(?:mlp|ffn|feed_forward)\.\w+)$")
_ATTENTION = re.compile(r"attention|attn", re.IGNORECASE)


class Route:
    """Which expert serves each row of what flows through a network, in the two shapes that rows have."""

    def __init__(self) -> None:
        self.texts: Tensor | None = None
        """int64 [B], for padded batches [B, L, d]."""
        self.tokens: Tensor | None = None
        """int64 [N], for ragged batches [N, d]."""

    def set(self, texts: Tensor, lengths: Tensor) -> None:
        """texts int64 [B]; lengths int64 [B], tokens per text."""
        self.texts, self.tokens = texts, texts.repeat_interleave(lengths)

    def of(self, x: Tensor) -> Tensor:
        ids = self.texts if x.ndim == 3 else self.tokens
        if ids is None or ids.numel() != x.shape[0]:
            raise ConfigError("no expert was named for these texts", fix="say which expert serves each text")
        return ids


class ExpertLinear(nn.Module):
    """A linear layer that every expert has a version of.

    Parameters
    ----------
    base: the layer as it was; every expert starts as it is ("seeding").
    experts: how many.
    rank: 0 makes full copies; else experts share the base and each adds a product of two matrices of this rank (LoRA, zero at the start).
    """

    def __init__(self, base: nn.Linear, experts: int, route: Route, *, rank: int = 0, alpha: float = 16.0) -> None:
        super().__init__()
        self.route, self.rank, self.scale = route, rank, alpha / rank if rank else 1.0
        if rank:
            self.base = base
            self.inner = nn.ParameterList(torch.randn(rank, base.in_features) * base.in_features**-0.5 for _ in range(experts))
            self.outer = nn.ParameterList(torch.zeros(base.out_features, rank) for _ in range(experts))
        else:
            self.copies = nn.ModuleList(copy.deepcopy(base) for _ in range(experts))

    @property
    def experts(self) -> int:
        return len(self.inner) if self.rank else len(self.copies)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in] or [B, L, in] -> the same with out."""
        ids = self.route.of(x)
        used = ids.unique().tolist()
        shared = self.base(x) if self.rank else None
        if len(used) == 1:
            made = self._one(x, used[0])
            return made if shared is None else shared + made
        rows = [(ids == one).nonzero().flatten() for one in used]
        parts = torch.cat([self._one(x[own], one) for own, one in zip(rows, used, strict=True)])
        made = parts.new_empty(parts.shape).index_copy(0, torch.cat(rows), parts)
        return made if shared is None else shared + made

    def _one(self, x: Tensor, expert: int) -> Tensor:
        if self.rank:
            return self.scale * F.linear(F.linear(x, self.inner[expert]), self.outer[expert])
        return self.copies[expert](x)

    def own(self, expert: int) -> dict[str, nn.Parameter]:
        """The parameters of one expert."""
        if self.rank:
            return {"inner": self.inner[expert], "outer": self.outer[expert]}
        return dict(self.copies[expert].named_parameters())


class ExpertBank:
    """All expert layers of a network, and the one route that they share.

    Made by `seed`; a deep copy of the network needs a bank of its own: `ExpertBank(copied)`.
    """

    def __init__(self, network: nn.Module) -> None:
        self.layers = {name: one for name, one in network.named_modules() if isinstance(one, ExpertLinear)}
        if not self.layers:
            raise ConfigError("the network has no experts", fix="seed them first: ExpertBank.seed(network, stack, experts)")
        self.route = next(iter(self.layers.values())).route

    @classmethod
    def seed(cls, network: nn.Module, stack: Sequence[nn.Module], experts: int, *, layers: Layers = "all", rank: int = 0) -> ExpertBank:
        """Replace the linear layers of every block's MLP (or of the last block's only) by experts that start as copies of them.

        stack: the network's transformer blocks; attention, norms and word vectors stay shared. Knows the blocks of `TextTransformer`, and
        of BERT, MPNet, ModernBERT, Qwen and others of transformers that name their layers alike.
        """
        if experts < 1 or rank < 0:
            raise ConfigError(f"{experts} experts of rank {rank}", fix="use at least 1, and a rank of 0 (full copies) or more")
        if layers not in ("all", "last"):
            raise ConfigError(f"there are no '{layers}' layers", fix='use "all" or "last"')
        route, found = Route(), 0
        for block in stack if layers == "all" else stack[-1:]:
            names = [
                name for name, one in block.named_modules() if isinstance(one, nn.Linear) and _MLP.search(name) and not _ATTENTION.search(name)
            ]  # fmt: skip
            for name in names:
                owner_name, _, leaf = name.rpartition(".")
                owner = block.get_submodule(owner_name)
                setattr(owner, leaf, ExpertLinear(getattr(owner, leaf), experts, route, rank=rank))
            found += len(names)
        if not found:
            raise ConfigError(f"a {type(stack[0]).__name__} has no MLP that is known here", fix="use an encoder such as BERT, MPNet or SmallEncoder")
        return cls(network)

    @property
    def experts(self) -> int:
        return next(iter(self.layers.values())).experts

    def parameters(self, expert: int) -> dict[str, nn.Parameter]:
        """Everything that is one expert's own, by name."""
        return {f"{name}.{part}": weight for name, layer in self.layers.items() for part, weight in layer.own(expert).items()}


def fold(network: nn.Module) -> None:
    """Undo `ExpertBank.seed` in place: the shared layer under LoRA experts, or the first expert's copy, is the layer again."""
    for name, layer in [(name, one) for name, one in network.named_modules() if isinstance(one, ExpertLinear)]:
        owner, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(owner), leaf, layer.base if layer.rank else layer.copies[0])
