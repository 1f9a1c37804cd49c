"""What runs on one device: the network, its local phase, and what an optimiser may keep between rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from sartor.errors import ConfigError, StateMismatch
from sartor.federate.parts.networks import Flat, make_network
from sartor.federate.parts.shards import Shards
from sartor.federate.parts.training import Loss, Optimizer, classify, train
from sartor.federate.parts.wire import Message
from sartor.method import Method, learned
from sartor.parts.trainer import seeded


@dataclass(kw_only=True, eq=False)
class OnDevice(Method):
    """A network that many clients train at once, each on its own examples, as one row of a table of weights."""

    network: str = "mlp"
    """linear, mlp, cnn (images [channels, height, width]) or gcn (nodes of a graph); for one of your own override `make_network`."""
    hidden: Sequence[int] = (64, 64)
    """Widths of hidden layers."""
    epochs: int = 3
    """Of each local phase, also of the last one."""
    batch: int = 10
    """Examples a step; 0 for all at once."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    keep_moments: bool = False
    """Devices keep their optimiser's moments between rounds; without, every local phase starts with none. Matters where a phase is a step or two."""
    gradient_clip: float = 0.0
    """Largest length of a gradient; 0 for any."""
    shape_: list[int] = learned()
    """Of one input."""
    classes_: int = learned(0)

    def make_network(self) -> nn.Module:
        """The untrained network."""
        return make_network(self.network, self.shape_, self.classes_, self.hidden)

    def _rates(self) -> float | Tensor:
        """The learning rate, or one for each number of a row."""
        return self.lr

    def _phase(self, start: Tensor, shards: Shards, kept: Message, turn: int, *, loss: Loss | None = None) -> tuple[Tensor, Message]:
        """A local phase from a table of weights: where it ends, and what the devices keep then."""
        optimizer = Optimizer(self.optimizer, self._rates(), self.momentum, self.weight_decay, self.gradient_clip)
        if self.keep_moments:
            optimizer.moments = {name[8:]: one.clone() for name, one in kept.items() if name.startswith("moments.")}
        loss = loss or classify(self._net)
        own = train(self._net, start, shards, loss, optimizer, epochs=self.epochs, batch=self.batch, key=(self.seed, turn))
        return own, {**kept, **({f"moments.{name}": one for name, one in optimizer.moments.items()} if self.keep_moments else {})}

    def _moments(self, count: int, size: int) -> Message:
        """Nothing yet, for the moments that devices keep of so many numbers."""
        if not self.keep_moments or (self.optimizer == "sgd" and not self.momentum):
            return {}
        adam = {"moments.second": torch.zeros(count, size), "moments.steps": torch.zeros(count, 1)} if self.optimizer == "adam" else {}
        return {"moments.first": torch.zeros(count, size), **adam}

    @property
    def _net(self) -> Flat:
        """The network of the present shape."""
        key = (self.network, tuple(self.hidden), tuple(self.shape_), self.classes_)
        known: tuple[Any, Flat] | None = self.__dict__.get("_flat")
        if known is None or known[0] != key:
            with seeded(self.seed):
                known = key, Flat.of(self.make_network())
            self.__dict__["_flat"] = known
        return known[1]

    def _check_local(self) -> None:
        for name, good, fix in (
            ("epochs", self.epochs >= 1, "use at least 1"),
            ("batch", self.batch >= 0, "use 0 for all at once, or more"),
            ("lr", self.lr > 0, "use a number above 0"),
        ):
            if not good:
                raise ConfigError(f"{name} is {getattr(self, name)}", fix=fix)

    def _check_inputs(self, x: np.ndarray) -> None:
        self.check_fitted()
        if list(x.shape[1:]) != list(self.shape_):
            raise StateMismatch(f"an input is {list(x.shape[1:])}, this model reads {self.shape_}", fix="give inputs of the same kind")
