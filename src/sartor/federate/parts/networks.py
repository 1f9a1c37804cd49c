"""Small networks for devices, and any network's weights as one flat vector.

One vector per client makes the rest simple: averages are matrix products, similarities are cosines, an optimiser is a handful of operations on a
[clients, weights] table, and all clients' networks run at once through `torch.func`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from sartor.errors import ConfigError
from sartor.parts.trainer import seeded

DROPOUT = 0.5
"""Of the graph network, after each hidden layer."""


class ConvNet(nn.Module):
    """Two strided 3x3 convolutions with group normalisation, then a linear layer. Batch normalisation would mix clients' statistics."""

    def __init__(self, shape: Sequence[int], classes: int, width: int = 16) -> None:
        super().__init__()
        channels, height, side = shape
        self.first, self.norm1 = nn.Conv2d(channels, width, 3, 2, 1), nn.GroupNorm(4, width)
        self.second, self.norm2 = nn.Conv2d(width, 2 * width, 3, 2, 1), nn.GroupNorm(4, 2 * width)
        self.head = nn.Linear(2 * width * (-(-height // 4)) * (-(-side // 4)), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes] of images [n, channels, height, width]."""
        x = torch.relu(self.norm1(self.first(x)))
        return self.head(torch.relu(self.norm2(self.second(x))).flatten(1))


class Layered(nn.Module):
    """A network as a list of blocks, which can be left after any of them and entered before any."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    @classmethod
    def make(cls, kind: str, shape: Sequence[int], classes: int, hidden: Sequence[int]) -> Layered:
        """mlp: a linear block per width of `hidden`; cnn: a 3x3 convolution per width, the first two strided. Then a linear layer."""
        if kind == "mlp":
            widths = [int(np.prod(shape)), *hidden]
            body: list[nn.Module] = [nn.Sequential(nn.Flatten(), nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
            return cls([*body, nn.Linear(widths[-1], classes)])
        if kind != "cnn" or len(shape) != 3 or any(width % 4 for width in hidden):
            raise ConfigError(f"no layers of kind '{kind}' with widths {list(hidden)} for an input {list(shape)}", fix="use mlp, or cnn for images")
        widths, side = [shape[0], *hidden], list(shape[1:])
        body = []
        for number, (a, b) in enumerate(pairwise(widths)):
            stride = 2 if number < 2 else 1
            side = [-(-one // stride) for one in side]
            body.append(nn.Sequential(nn.Conv2d(a, b, 3, stride, 1), nn.GroupNorm(4, b), nn.ReLU()))
        return cls([*body, nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * side[0] * side[1], classes))])

    def forward(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """The output of the blocks from `start` up to `stop`; all of them give logits [n, classes]."""
        for block in self.blocks[start:stop]:
            x = block(x)
        return x


class GCN(nn.Module):
    """Two graph convolutions and a linear layer on nodes; the adjacency comes normalised. Source: Kipf and Welling, ICLR 2017."""

    def __init__(self, features: int, classes: int, hidden: int = 128) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(features, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, classes)

    def embed(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """The second convolution's output [n, hidden], before its ReLU."""
        hidden = torch.relu(adjacency @ self.first(x))
        return adjacency @ self.second(nn.functional.dropout(hidden, DROPOUT, self.training))

    def forward(self, x: Tensor, adjacency: Tensor, embedding: bool = False) -> Tensor:
        """Logits [n, classes] of nodes [n, features] with adjacency [n, n]; or what `embed` gives."""
        out = self.embed(x, adjacency)
        return out if embedding else self.head(nn.functional.dropout(torch.relu(out), DROPOUT, self.training))


def make_network(kind: str, shape: Sequence[int], classes: int, hidden: Sequence[int]) -> nn.Module:
    """linear, mlp (`hidden` widths), cnn (images [channels, height, width]; `hidden[0]` is the first width) or gcn (`hidden[0]` is its width)."""
    if kind in ("linear", "mlp"):
        widths = [int(np.prod(shape)), *(hidden if kind == "mlp" else ()), classes]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        return nn.Sequential(*layers[:-1])
    if kind == "cnn":
        if len(shape) != 3:
            raise ConfigError(f"a cnn reads images [channels, height, width], an input is {list(shape)}", fix="reshape them, or use an mlp")
        return ConvNet(shape, classes, hidden[0] if hidden else 16)
    if kind == "gcn":
        return GCN(int(shape[0]), classes, hidden[0] if hidden else 128)
    raise ConfigError(f"there is no network '{kind}'", fix="use linear, mlp, cnn or gcn, or a subclass with a make_network of its own")


@dataclass(frozen=True, eq=False)
class Flat:
    """A network whose weights are given with every call, as one vector of `size` numbers."""

    module: nn.Module
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, module: nn.Module) -> Flat:
        """Of any module without buffers: running statistics have no place in a vector of weights."""
        if buffers := [name for name, _ in module.named_buffers()]:
            raise ConfigError(f"the network keeps running values ({buffers[0]})", fix="use GroupNorm or LayerNorm instead of BatchNorm")
        named = list(module.named_parameters())
        # Without dropout, but for `train`.
        return cls(module.eval(), tuple(name for name, _ in named), tuple(tuple(one.shape) for _, one in named))

    @property
    def sizes(self) -> list[int]:
        """Numbers in each tensor."""
        return [int(np.prod(shape)) for shape in self.shapes]

    @property
    def size(self) -> int:
        """Numbers in all."""
        return sum(self.sizes)

    def place(self, name: str) -> slice:
        """Where a tensor lies in the vector."""
        start = sum(self.sizes[: self.names.index(name)])
        return slice(start, start + self.sizes[self.names.index(name)])

    def initial(self, seed: int) -> Tensor:
        """float32 [size]: fresh weights."""
        with seeded(seed):
            for part in self.module.modules():
                if callable(reset := getattr(part, "reset_parameters", None)):
                    reset()
            if callable(known := getattr(self.module, "start_head", None)):
                known()
            return torch.cat([one.detach().reshape(-1) for one in self.module.parameters()]).float()

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of a vector by name."""
        return {name: one.view(shape) for name, one, shape in zip(self.names, flat.split(self.sizes), self.shapes, strict=True)}

    def logits(self, flat: Tensor, *inputs: Tensor, **options: Any) -> Tensor:
        """One network's output."""
        return functional_call(self.module, self.split(flat), inputs, options)

    def batched(self, flat: Tensor, *inputs: Tensor, **options: Any) -> Tensor:
        """Many networks' outputs, each on its own inputs: weights [k, size], inputs [k, n, ...] -> [k, n, ...]."""
        if callable(together := getattr(self.module, "together", None)):
            # It knows how to run many at once itself.
            parts = zip(self.names, flat.split(self.sizes, dim=1), self.shapes, strict=True)
            return together({name: one.reshape(len(flat), *shape) for name, one, shape in parts}, *inputs, **options)
        if len(flat) == 1:
            return self.logits(flat[0], *(one[0] for one in inputs), **options)[None]

        def one(weights: Tensor, *own: Tensor) -> Tensor:
            return self.logits(weights, *own, **options)

        return vmap(one, randomness="different")(flat, *inputs)

    def train(self, on: bool) -> None:
        """Switch dropout."""
        self.module.train(on)
