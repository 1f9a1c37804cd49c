"""FedCAC: a client shares the parameters that do not care about its data with everybody, and the sensitive ones only with clients like it.

A parameter is sensitive by the first-order effect of its change in a local phase, |change x value|; the most sensitive share of every tensor is a
client's critical mask. The server compares masks: clients whose masks overlap more than a threshold, which rises round by round from the mean
overlap to the largest, collaborate. Next round a client starts from its collaborators' mean in its critical parameters, and from everybody's
elsewhere.

Source: Wu et al., Bold but Cautious: Unlocking the Potential of Personalized Federated Learning through Cautiously Aggressive Collaboration,
ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sartor.errors import BadValue, ConfigError
from sartor.federate._base import Federated
from sartor.federate.parts import wire
from sartor.federate.parts.shards import Shards
from sartor.federate.parts.wire import Message

DEAD = 1e-10
"""A threshold of sensitivity below it would make parameters critical that never change."""


@dataclass(kw_only=True, eq=False)
class FedCAC(Federated):
    """Collaboration in critical parameters with similar clients, in all others with everybody."""

    critical: float = 0.5
    """Share of each tensor that is critical (the paper's tau)."""
    cautious: int = 100
    """Rounds until nobody collaborates in critical parameters (the paper's beta)."""
    collaborate: bool = True
    """False keeps critical parameters private from the start: the method without its idea, to compare with."""

    keeps_clients: ClassVar[tuple[str, ...]] = ("models", "masks", "starts", "seen")
    leaves: ClassVar[Mapping[str, str]] = {
        "weights": "the model after the local phase", "mask": "which parameters were sensitive, a bit each",
        "examples": "how many labelled examples there are",
    }  # fmt: skip

    def _prepare(self, able: int) -> None:
        if not 0 < self.critical <= 1:
            raise ConfigError(f"critical (tau) is {self.critical}", fix="use a share above 0, at most 1")
        if self.cautious < 1:
            raise ConfigError(f"cautious (beta) is {self.cautious}", fix="use at least 1")
        if able < 2:
            raise ConfigError("overlap needs at least two clients with labels", fix="use FedAvg, or add clients")

    def _begin(self, count: int) -> Message:
        start = self._net.initial(self.seed)
        many = start.repeat(count, 1)
        return {
            "weights": start, "starts": many, "models": many.clone(), "masks": torch.zeros(count, -(-self._net.size // 8), dtype=torch.uint8),
            "seen": torch.zeros(count, dtype=torch.bool),
        }  # fmt: skip

    def _fresh(self, shards: Shards) -> Message:
        return {"mask": torch.zeros(len(shards), -(-self._net.size // 8), dtype=torch.uint8), **super()._fresh(shards)}

    def _send(self, server: Message, numbers: np.ndarray, turn: int) -> Message:
        return {"weights": server["starts"][numbers]}

    def _local(self, shards: Shards, message: Message, kept: Message, turn: int) -> tuple[Message, Message]:
        own, kept = self._phase(message["weights"], shards, kept, turn)
        mask = wire.pack_bits(self._mask(message["weights"], own, shards.numbers))
        return {"weights": own, "mask": mask}, {**kept, "mask": mask}

    def _mask(self, before: Tensor, after: Tensor, numbers: np.ndarray) -> Tensor:
        """bool [k, numbers]: the most sensitive share of each tensor."""
        if (still := (before == after).all(1)).any():
            raise BadValue(
                "the update is exactly zero",
                fix="give it labelled examples and a learning rate above 0",
                client=int(numbers[int(still.nonzero()[0])]),
            )
        every = ((after - before) * after).abs()
        out = torch.empty_like(every, dtype=torch.bool)
        for name in self._net.names:
            place = self._net.place(name)
            part = every[:, place]
            limit = part.topk(max(1, int(self.critical * part.shape[1])), dim=1).values[:, -1:]
            alive = torch.where(part > 1e-20, part, torch.inf).amin(1, keepdim=True)
            out[:, place] = part >= torch.where(limit <= DEAD, alive, limit)
        return out

    def _receive(self, server: Message, numbers: np.ndarray, replies: Message, shares: Tensor, turn: int) -> Message:
        server = {name: one.clone() for name, one in server.items()}
        server["weights"] = shares @ replies["weights"]
        server["models"][numbers], server["masks"][numbers], server["seen"][numbers] = replies["weights"], replies["mask"], True
        rows = server["seen"].nonzero()[:, 0]
        masks = wire.unpack_bits(server["masks"][rows], self._net.size)
        with_whom = self.collaborators(masks, turn)
        circle = (with_whom.float() @ server["models"][rows]) / with_whom.sum(1, keepdim=True)
        server["starts"][:] = server["weights"]
        server["starts"][rows] = torch.where(masks, circle, server["weights"])
        return server

    def _lasting(self, server: Message) -> Message:
        # Newcomers find their circle among models and masks; starts are the participants' own.
        return {name: one for name, one in server.items() if name != "starts"}

    def collaborators(self, masks: Tensor, turn: int) -> Tensor:
        """bool [k, k]: who averages critical parameters with whom after round `turn` (from 0); everybody with itself."""
        alone = torch.eye(len(masks), dtype=torch.bool)
        if not self.collaborate or len(masks) < 2:
            return alone
        shared = overlap(masks)
        others = shared[~alone]
        limit = others.mean() + (turn + 1) / self.cautious * (others.max() - others.mean())
        return ((shared >= limit) & ~alone) | alone

    def _welcome(self, server: Message, shards: Shards) -> Message:
        first = server["weights"][None]
        own, _ = self._phase(first, shards, self._moments(1, self._net.size), self.rounds)
        mask = self._mask(first, own, np.zeros(1, np.int64))
        rows = server["seen"].nonzero()[:, 0]
        masks = torch.cat([mask, wire.unpack_bits(server["masks"][rows], self._net.size)])
        circle = self.collaborators(masks, self.rounds - 1)[0].float()
        mean = circle @ torch.cat([own, server["models"][rows]]) / circle.sum()
        return {"weights": torch.where(mask, mean, server["weights"])}

    def _personal(self, shards: Shards, message: Message, kept: Message, turn: int, tuned: bool) -> Message:
        if tuned:
            return super()._personal(shards, message, kept, turn, tuned)
        return {"start": message["weights"], "mask": kept["mask"]}

    def _compact(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if "mask" not in arrays:
            return arrays
        # Elsewhere it is everybody's mean, which the server has.
        critical = np.unpackbits(arrays["mask"], count=self._net.size).astype(bool)
        return {"critical": arrays["start"][critical], "mask": arrays["mask"]}

    def _weights(self, arrays: Mapping[str, Any]) -> Tensor:
        if "mask" not in arrays:
            return super()._weights(arrays)
        out = self._server()["weights"].clone()
        out[torch.from_numpy(np.unpackbits(arrays["mask"], count=self._net.size).astype(bool))] = torch.from_numpy(np.array(arrays["critical"]))
        return out


def overlap(masks: Tensor) -> Tensor:
    """float [k, k] of bool masks [k, n]: 1 - |M_i - M_j| / (2 |M_i|)."""
    table = masks.float()
    sizes, both = table.sum(1), table @ table.T
    return 1 - (sizes[:, None] + sizes - 2 * both) / (2 * sizes[:, None])
