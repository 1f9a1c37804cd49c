"""Training some parameters of a network and keeping only what changed: the whole network, its token tables, its last block, or any pattern."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import nn

from sartor.errors import ConfigError, CorruptFile

Network = TypeVar("Network", bound=nn.Module)


class Subset(Generic[Network]):
    """A twin of a network with its own copy of some parameters; all others are the network's own, shared and never written to.

        last = Subset(network, last_block(network))
        train(last.network, last.parameters())
        kept = last.arrays()                                   # float16 differences
        again = Subset(network, last_block(network), kept)

    Parameters
    ----------
    network: any module, frozen by whoever owns it.
    patterns: regular expressions; a parameter is taken when one of them matches the beginning of its name. Tied parameters have one name.
    arrays: what `arrays` gave, for this network and these patterns.
    """

    def __init__(self, network: Network, patterns: Sequence[str], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        named = dict(network.named_parameters())
        self.names = tuple(name for name in named if any(re.match(one, name) for one in patterns))
        if not self.names:
            ends = sorted({re.sub(r"\.\d+\.", ".*.", name) for name in named})
            raise ConfigError(f"no parameter is called like {', '.join(patterns)}", fix=f"there are {', '.join(ends[:12])}")
        chosen = {*self.names}
        shared = [*(one for name, one in named.items() if name not in chosen), *network.buffers()]
        # What is in the memo is taken as it is: only modules and the chosen parameters are copied.
        memo: dict[int, Any] = {id(one): one for one in shared}
        self.network: Network = copy.deepcopy(network, memo)
        self._base = {name: named[name].detach() for name in self.names}
        self._own = {name: one for name, one in self.network.named_parameters() if name in chosen}
        for one in self._own.values():
            one.requires_grad_(True)
        if arrays is not None:
            self._put(arrays)

    def parameters(self) -> list[nn.Parameter]:
        """The twin's own ones."""
        return list(self._own.values())

    @property
    def numel(self) -> int:
        """How many numbers they are."""
        return sum(one.numel() for one in self._own.values())

    def arrays(self) -> dict[str, np.ndarray]:
        """Parameter name -> float16 of its shape: what was added to the network's own."""
        return {name: (one.detach() - self._base[name]).cpu().numpy().astype(np.float16) for name, one in self._own.items()}

    def _put(self, arrays: Mapping[str, np.ndarray]) -> None:
        wanted, given = ({name: tuple(one.shape) for name, one in part.items()} for part in (self._own, arrays))
        if wanted != given:
            differ = sorted(name for name in {*wanted, *given} if wanted.get(name) != given.get(name))[0]
            what = f"the changes are of another network: {differ} is {given.get(differ, 'missing')}, wanted {wanted.get(differ, 'nothing')}"
            raise CorruptFile(what, fix="use the network that they were made for")
        with torch.no_grad():
            for name, one in self._own.items():
                one.add_(torch.from_numpy(np.asarray(arrays[name], np.float32)).to(one))


def everything(_network: nn.Module) -> list[str]:
    """Patterns for all parameters."""
    return [""]


def token_tables(network: nn.Module) -> list[str]:
    """Patterns for the table of words in and the layer of words out (L-EO); tables of positions are none."""
    tables = {name: one for name, one in network.named_modules() if isinstance(one, nn.Embedding)}
    if not tables:
        raise ConfigError("the network has no table of tokens", fix="name the parameters yourself")
    words = max(one.num_embeddings for one in tables.values())
    found = [name for name, one in tables.items() if one.num_embeddings == words]
    found += [name for name, one in network.named_modules() if isinstance(one, nn.Linear) and one.out_features == words]
    return [rf"{re.escape(name)}\." for name in found]


def last_block(network: nn.Module) -> list[str]:
    """Patterns for the last of the blocks (L-LDB): of the longest list of modules, the topmost where there are several."""
    lists = {name: len(one) for name, one in network.named_modules() if isinstance(one, nn.ModuleList) and len(one)}
    if not lists:
        raise ConfigError("the network has no list of blocks", fix="name the parameters yourself")
    name = max(lists, key=lambda one: lists[one])
    return [rf"{re.escape(name)}\.{lists[name] - 1}\."]
