"""The local phase: some epochs of gradient steps, of many clients at once, each on its own weights and examples.

Weights are a table [clients, numbers]. The clients' networks run together through `torch.func.vmap`, and one gradient of the summed loss is
every client's own gradient, since no client's loss depends on another's weights; the optimiser works on the whole table. What each client gets
is what a loop over clients would give it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sartor.federate.parts.networks import Flat
from sartor.federate.parts.shards import Batch, Shards
from sartor.parts.trainer import seeded

Loss = Callable[[Tensor, Batch], Tensor]
"""From weights [k, numbers] and a batch of the same k clients to one loss for each [k]."""


def classify(network: Flat) -> Loss:
    """Mean cross-entropy over a client's labelled examples."""

    def loss(weights: Tensor, batch: Batch) -> Tensor:
        return mean_cross_entropy(network.batched(weights, *batch.inputs), batch)

    return loss


def mean_cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """Of logits [k, n, classes], per client [k]."""
    each = cross_entropy(logits.flatten(0, 1), batch.y.flatten(), reduction="none").view_as(batch.weight)
    return (each * batch.weight).sum(1) / batch.weight.sum(1).clamp(min=1)


@dataclass
class Optimizer:
    """SGD with momentum, or Adam, of every client separately; equal to torch's own on each row.

    Parameters
    ----------
    kind: sgd or adam.
    lr, momentum, weight_decay: as torch has them; Adam's moments are .9 and .999.
    clip: largest length of a client's gradient; 0 for any.
    parts: sizes of what a row holds one after the other, when each part's gradient is clipped alone.
    """

    kind: str = "sgd"
    lr: float | Tensor = 0.1
    """A number, or one for each number of a row."""
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip: float = 0.0
    parts: Sequence[int] = ()
    moments: dict[str, Tensor] = field(default_factory=dict)
    """first and second [clients, numbers], steps [clients, 1]; empty at the start."""

    def step(self, weights: Tensor, gradient: Tensor, rows: Tensor | None) -> None:
        """Change the table of weights in place, of some rows or all."""
        if not self.moments:
            adam = {"second": torch.zeros_like(weights), "steps": torch.zeros(len(weights), 1)} if self.kind == "adam" else {}
            self.moments = {"first": torch.zeros_like(weights), **adam} if adam or self.momentum else {}
        own = weights if rows is None else weights[rows]
        if self.clip:
            pieces = gradient.split(list(self.parts) or gradient.shape[1], dim=1)
            gradient = torch.cat([one * (self.clip / one.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1) for one in pieces], 1)
        if self.weight_decay:
            gradient = gradient + self.weight_decay * own
        move = self._move(gradient, rows)
        if rows is None:
            weights -= self.lr * move
        else:
            weights[rows] = own - self.lr * move

    def _move(self, gradient: Tensor, rows: Tensor | None) -> Tensor:
        if "first" not in self.moments:
            return gradient
        first = self.moments["first"] if rows is None else self.moments["first"][rows]
        if self.kind == "sgd":
            return self._keep("first", self.momentum * first + gradient, rows)
        second, steps = (self.moments[name] if rows is None else self.moments[name][rows] for name in ("second", "steps"))
        first = self._keep("first", 0.9 * first + 0.1 * gradient, rows)
        second = self._keep("second", 0.999 * second + 0.001 * gradient * gradient, rows)
        steps = self._keep("steps", steps + 1, rows)
        return first / (1 - 0.9**steps) / ((second / (1 - 0.999**steps)).sqrt() + 1e-8)

    def _keep(self, name: str, value: Tensor, rows: Tensor | None) -> Tensor:
        if rows is None:
            self.moments[name] = value
        else:
            self.moments[name][rows] = value
        return value


def train(network: Flat, start: Tensor, shards: Shards, loss: Loss, optimizer: Optimizer, *, epochs: int, batch: int, key: tuple[int, ...]) -> Tensor:
    """The weights [clients, numbers] after some epochs from `start`.

    key: whole numbers that seed the order of examples (with each client's own number) and the dropout.
    """
    weights = start.detach().clone()
    network.train(True)
    with seeded(sum(1_000_003**place * one for place, one in enumerate(key)) % 2**63):
        for epoch in range(epochs):
            for one in shards.batches(batch, *key, epoch):
                own = (weights if one.rows is None else weights[one.rows]).requires_grad_()
                (gradient,) = torch.autograd.grad(loss(own, one).sum(), own)
                weights = weights.detach()
                optimizer.step(weights, gradient, one.rows)
    network.train(False)
    return weights
