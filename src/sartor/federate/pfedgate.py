"""pFedGate: one shared network, and a tiny gate per client that switches blocks of it on, off, up or down, so that each runs what it can afford.

Every tensor is cut into a few runs, the blocks. A client's gate reads a batch and gives every block a weight from 0 to 1; under the client's budget
the most important blocks are kept, and the network runs with kept blocks scaled by their weights. Blocks and gate learn together; the server
averages the network alone. After training the gate is not needed any more: its weights over the client's own examples, and which blocks are kept,
are the state.

Source: Chen et al., Efficient Personalized Federated Learning via Sparse Model-Adaptation, ICML 2023, in the form that its authors' code trains:
blocks are chosen by a gate clipped below and scaled by the gate as it is, with a straight-through gradient to the choice. Differs: the gate starts
open (its shift at 2): half open, three layers shrink the signal eight times and small networks never leave chance. A budget counts the first blocks
by their true size, where the paper sets its lowest weight aside for them; learning rates stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sartor.errors import ConfigError
from sartor.federate._base import Federated
from sartor.federate.federation import Examples
from sartor.federate.parts import wire
from sartor.federate.parts.shards import Batch, Shards
from sartor.federate.parts.training import Optimizer, mean_cross_entropy, train
from sartor.federate.parts.wire import Message
from sartor.method import State

OPEN = 2.0
"""Where a gate starts, before the sigmoid: .88."""


@dataclass(frozen=True, eq=False)
class Cut:
    """All weights of a network, cut into blocks."""

    of: Tensor
    """int64 [numbers], the block of each weight."""
    sizes: np.ndarray
    """int64 [blocks]."""
    free: np.ndarray
    """bool [blocks], which may be removed."""
    linear: np.ndarray
    """bool [blocks], of linear layers; the others have a budget of their own."""


@dataclass(kw_only=True, eq=False)
class PFedGate(Federated):
    """A shared network that every client runs a part of, chosen by its own gate within its own budget."""

    hidden: Sequence[int] = (128, 128)
    lr: float = 0.3
    lr_gate: float = 0.3
    gradient_clip: float = 10.0
    """Of the network's gradient, and of the gate's."""
    blocks: int = 5
    """Of each tensor; the first is never removed."""
    budgets: Sequence[float] = (0.5,)
    """Share of the weights that a client may keep; client i has number i % len. Who joins later has the first."""
    learned_gate: bool = True
    """False keeps blocks at random, another choice for each client, and learns their weights: the method without its choice, to compare with."""

    # --- blocks

    def _prepare(self, able: int) -> None:
        if self.blocks < 1 or self.lr_gate <= 0:
            raise ConfigError(f"blocks {self.blocks}, lr_gate {self.lr_gate}", fix="use at least one block, and a rate above 0")
        if self.network == "gcn":
            raise ConfigError("the gate reads examples that stand alone", fix="use FedPub for graphs")
        for budget in self.budgets:
            if not 0 < budget <= 1:
                raise ConfigError(f"a budget is {budget}", fix="use a share above 0, at most 1")
        cut = self._cut
        least = float(cut.sizes[~cut.free].sum() / cut.sizes.sum())
        if min(self.budgets) < least:
            raise ConfigError(
                f"a budget is {min(self.budgets)}; the first blocks alone are {least:.3f}", fix=f"use at least {least:.3f}, or more blocks"
            )

    @property
    def _cut(self) -> Cut:
        """The blocks of the present network."""
        net = self._net
        known: tuple[Any, int, Cut] | None = self.__dict__.get("_blocks")
        if known is None or known[0] is not net or known[1] != self.blocks:
            linear = {
                f"{name}.{part}" for name, module in net.module.named_modules() if isinstance(module, torch.nn.Linear) for part in ("weight", "bias")
            }
            counts = [min(self.blocks, size) for size in net.sizes]
            first = np.cumsum([0, *counts])
            of = np.concatenate([at + np.arange(size) * count // size for at, size, count in zip(first, net.sizes, counts, strict=False)])
            free = np.ones(first[-1], bool)
            free[first[:-1]] = False
            kinds = np.repeat([name in linear for name in net.names], counts)
            known = net, self.blocks, Cut(torch.from_numpy(of), np.bincount(of), free, kinds)
            self.__dict__["_blocks"] = known
        return known[2]

    def keep(self, gates: np.ndarray, budgets: np.ndarray) -> np.ndarray:
        """bool [k, blocks]: the blocks that fit, greedily by importance (gates in tenths, then the gate itself), of each kind of layer."""
        cut, rows = self._cut, np.arange(len(gates))
        out = np.repeat(~cut.free[None], len(gates), 0)
        for kind in (cut.linear, ~cut.linear):
            mine = np.flatnonzero(cut.free & kind)
            left = (budgets * cut.sizes[kind].sum()).astype(np.int64) - cut.sizes[kind & ~cut.free].sum()
            for block in mine[np.lexsort((-gates[:, mine], -np.round(10 * gates[:, mine])))].T:
                fits = cut.sizes[block] <= left
                out[rows[fits], block[fits]] = True
                left -= np.where(fits, cut.sizes[block], 0)
        return out

    # --- the gate

    def _fresh(self, shards: Shards) -> Message:
        count, d = self._cut.sizes.size, int(np.prod(self.shape_))
        bound = 1 / np.sqrt(d)
        rng = np.random.default_rng([self.seed, 15])
        weight = rng.uniform(-bound, bound, d * count)
        # Mixing weights of two statistics for mean and spread, then the linear layer, then scale and shift of its normalised output.
        gate = np.concatenate([np.zeros(4), weight, np.ones(count), np.full(count, OPEN)]).astype(np.float32)
        return {"gate": torch.from_numpy(gate).repeat(len(shards), 1), "number": torch.from_numpy(shards.numbers)[:, None]}

    def _gates(self, gate: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """float [k, blocks]: of clients' gates [k, ...] on their batches [k, n, d], the mean over each batch."""
        count, d = self._cut.sizes.size, x.shape[2]
        mix, linear, scale, shift = gate.split([4, d * count, count, count], dim=1)
        share = weight[:, :, None] / weight.sum(1)[:, None, None]
        alone = (x.mean(2, keepdim=True), x.var(2, keepdim=True, unbiased=False))
        middle = (x * share).sum(1, keepdim=True)
        together = (middle, ((x - middle).square() * share).sum(1, keepdim=True))
        # Switchable normalisation: how much of an input's own statistics and how much of the batch's is learned.
        mean, spread = (
            torch.softmax(mix[:, 2 * side : 2 * side + 2], dim=1)[:, None, :1] * alone[side]
            + torch.softmax(mix[:, 2 * side : 2 * side + 2], dim=1)[:, None, 1:] * together[side]
            for side in (0, 1)
        )
        out = ((x - mean) / (spread + 1e-5).sqrt()) @ linear.view(len(x), d, count)
        centre = (out * share).sum(1, keepdim=True)
        spread = ((out - centre).square() * share).sum(1, keepdim=True)
        out = scale[:, None] * (out - centre) / (spread + 1e-5).sqrt() + shift[:, None]
        return (torch.sigmoid(out) * share).sum(1)

    def _limits(self, kept: Message) -> Tensor:
        """float [k, 1], the budget of each client."""
        return torch.tensor(self.budgets, dtype=torch.float32)[kept["number"] % len(self.budgets)]

    def _important(self, gates: Tensor, kept: Message) -> Tensor:
        """float [k, blocks]: gates clipped below, so that no block is less important than others that are hardly open either."""
        return torch.maximum(gates, self._limits(kept).clamp(max=max(1 / self.blocks, 0.1)))

    def _choice(self, gates: Tensor, kept: Message) -> Tensor:
        """float [k, blocks]: 1 for kept blocks."""
        numbers = kept["number"][:, 0].numpy()
        values = self._important(gates.detach(), kept).numpy()
        if not self.learned_gate:
            values = np.stack([np.random.default_rng([self.seed, 16, int(one)]).random(gates.shape[1]) for one in numbers])
        return torch.from_numpy(self.keep(values, np.array(self.budgets)[numbers % len(self.budgets)])).float()

    def _scales(self, gates: Tensor, kept: Message) -> Tensor:
        """float [k, blocks]: what blocks are multiplied by, 0 for those that are not kept; the choice of what is kept has a gradient, too."""
        important = self._important(gates, kept)
        through = torch.where(self._limits(kept) < 1, 1 + important - important.detach(), 1.0)
        return gates * through * self._choice(gates, kept)

    # --- learning

    def _learn(self, shards: Shards, start: Tensor, kept: Message, turn: int, *, shared: bool = True) -> tuple[Tensor, Message]:
        """Network [k, numbers] and what is kept after a local phase; `shared` False leaves the network as it is."""
        of, size = self._cut.of, self._net.size

        def loss(table: Tensor, batch: Batch) -> Tensor:
            rows = slice(None) if batch.rows is None else batch.rows
            gates = self._gates(table[:, size:], batch.inputs[0].flatten(2), batch.weight)
            scale = self._scales(gates, {"number": kept["number"][rows]})
            return mean_cross_entropy(self._net.batched(table[:, :size] * scale[:, of], *batch.inputs), batch)

        rates = torch.cat([torch.full((size,), self.lr if shared else 0.0), torch.full((kept["gate"].shape[1],), self.lr_gate)])
        optimizer = Optimizer(self.optimizer, rates, self.momentum, self.weight_decay, self.gradient_clip, parts=(size, kept["gate"].shape[1]))
        table = torch.cat([start, kept["gate"]], dim=1)
        table = train(self._net, table, shards, loss, optimizer, epochs=self.epochs, batch=self.batch, key=(self.seed, turn))
        return table[:, :size], {**kept, "gate": table[:, size:]}

    def _local(self, shards: Shards, message: Message, kept: Message, turn: int) -> tuple[Message, Message]:
        own, kept = self._learn(shards, message["weights"], kept, turn)
        return {"weights": own}, kept

    def _serving(self, shards: Shards, kept: Message) -> Message:
        """Each client's gate over all its examples, and what is kept."""
        gates = torch.zeros(len(shards), self._cut.sizes.size)
        with torch.no_grad():
            for batch in shards.batches(0, self.seed):
                rows = slice(None) if batch.rows is None else batch.rows
                gates[rows] = self._gates(kept["gate"][rows], batch.inputs[0].flatten(2), batch.weight)
        return {"scale": gates.half(), "keep": wire.pack_bits(self._choice(gates, kept) > 0)}

    def _welcome(self, server: Message, shards: Shards) -> Message:
        return {"weights": server["weights"][None], "joining": torch.ones(1)}

    def _personal(self, shards: Shards, message: Message, kept: Message, turn: int, tuned: bool) -> Message:
        if "joining" in message:
            # Somebody new learns the gate alone.
            _, kept = self._learn(shards, message["weights"], kept, turn, shared=False)
            return self._serving(shards, kept)
        if not tuned:
            return self._serving(shards, kept)
        own, kept = self._learn(shards, message["weights"], kept, turn)
        return {"weights": own * self._scale(self._serving(shards, kept))}

    def adapt(self, evidence: Examples, state: State | None = None) -> State:  # type: ignore[override]
        """`Federated.adapt`; with a state the gate is learned anew from the examples given, so that the budget holds."""
        self.check_state(state)
        found = super().adapt(evidence)
        return found if state is None else self.make_state(found.arrays, before=state, examples=evidence.labelled, notes={"tuned": True})

    def _scale(self, arrays: Mapping[str, Any]) -> Tensor:
        """float [k, numbers] out of rows of states."""
        scale = torch.as_tensor(np.asarray(arrays["scale"])).float() * wire.unpack_bits(
            torch.as_tensor(np.asarray(arrays["keep"])), self._cut.sizes.size
        )
        return scale[:, self._cut.of]

    def _weights(self, arrays: Mapping[str, np.ndarray]) -> Tensor:
        if "scale" not in arrays:
            return super()._weights(arrays)
        return self._server()["weights"] * self._scale({name: one[None].copy() for name, one in arrays.items()})[0]
