"""Clients with alike data find each other by the directions of their updates, and train a half-global model per group; groups may split again.

After a few rounds of plain averaging the server clusters the clients' updates (average linkage on cosine distance, cut at the largest gap), and
each cluster goes on alone by Reptile's outer step, which leaves a model that a member makes its own in one local phase. A newcomer walks down the
tree of clusters by the direction of its own update.

Source: Yeganeh et al., Adaptive Personlization in Federated Learning for Highly Non-i.i.d. Data, 2022 (its structure; every number is ours); the
outer step: Nichol, Achiam and Schulman, On First-Order Meta-Learning Algorithms, 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sartor.errors import ConfigError
from sartor.federate._base import Federated
from sartor.federate.parts.clustering import by_direction
from sartor.federate.parts.shards import Shards
from sartor.federate.parts.wire import Message


@dataclass(kw_only=True, eq=False)
class FedCluster(Federated):
    """A tree of models, found from update directions; each client is served by its leaf."""

    warm_up: int = 5
    """Rounds of plain averaging before updates are compared."""
    every: int = 10
    """Rounds between attempts to split clusters of at least four."""
    gap: float = 0.1
    """A cluster stays whole when no gap between merges is at least this share of the last merge's height."""
    silhouette: float = 0.5
    """A cluster stays whole when the mean silhouette of its parts would be below this: weak structure is noise of single updates."""
    clusters: int = 0
    """So many at the first split, whatever the gaps; 0 to find out."""
    outer: float = 0.7
    """Reptile's step at the first clustered round, falling linearly to `outer_end` at the last. 1 and 1 is plain averaging in each cluster."""
    outer_end: float = 0.3

    def _prepare(self, able: int) -> None:
        if self.clusters > able:
            raise ConfigError(f"{self.clusters} clusters of {able} clients with labels", fix="use fewer, or 0 to find out")
        if self.warm_up < 1 or self.every < 1:
            raise ConfigError(f"warm_up {self.warm_up}, every {self.every}", fix="compare updates after at least one round")
        if not (0 < self.outer <= 1 and 0 < self.outer_end <= 1):
            raise ConfigError(f"outer {self.outer} to {self.outer_end}", fix="use steps above 0, at most 1")

    def _begin(self, count: int) -> Message:
        start = self._net.initial(self.seed)
        return {
            "weights": start, "nodes": start[None].clone(), "parents": torch.tensor([-1]), "signatures": torch.zeros(1, start.numel()),
            "leaves": torch.zeros(count, dtype=torch.int64), "silhouettes": torch.full((1,), torch.nan),
        }  # fmt: skip

    def _send(self, server: Message, numbers: np.ndarray, turn: int) -> Message:
        return {"weights": server["nodes"][server["leaves"][numbers]]}

    def _receive(self, server: Message, numbers: np.ndarray, replies: Message, shares: Tensor, turn: int) -> Message:
        server = {name: one.clone() for name, one in server.items()}
        # The population's answer: everybody's mean, which no cluster trains on.
        server["weights"] = shares @ replies["weights"]
        leaves = server["leaves"][numbers]
        split = turn >= self.warm_up and (turn - self.warm_up) % self.every == 0
        for node in leaves.unique().tolist():
            rows = (leaves == node).nonzero()[:, 0]
            updates = replies["weights"][rows] - server["nodes"][node]
            if (children := (server["parents"] == node).nonzero()[:, 0]).numel():
                # They missed the split: they learned from the frozen parent, and only find their place now.
                moved = _moved(updates)
                server["leaves"][numbers[rows[moved].numpy()]] = children[_nearest(updates[moved], server["signatures"][children])]
                continue
            # An update too short to have a length has no direction: who sends it is told no cluster, and cannot end the round either.
            moved = _moved(updates)
            if split and int(moved.sum()) >= max(4 if node else 2, 0 if node else self.clusters):
                found = by_direction(updates[moved].numpy(), gap=self.gap, silhouette=self.silhouette, groups=0 if node else self.clusters)
                server["silhouettes"][node] = found.silhouette
                if found.count > 1:
                    self._divide(server, node, numbers[rows[moved].numpy()], updates[moved], found.labels, turn)
                    continue
            server["nodes"][node] += self._step(turn) * (shares[rows] @ updates / shares[rows].sum())
        return server

    def _divide(self, server: Message, node: int, numbers: np.ndarray, updates: Tensor, labels: np.ndarray, turn: int) -> None:
        for label in range(int(labels.max()) + 1):
            rows = torch.from_numpy(np.flatnonzero(labels == label))
            units = updates[rows] / updates[rows].norm(dim=1, keepdim=True)
            server["leaves"][numbers[rows.numpy()]] = len(server["nodes"])
            for name, one in (
                ("nodes", server["nodes"][node] + self._step(turn) * updates[rows].mean(0)), ("signatures", units.mean(0)),
                ("parents", torch.tensor(node)), ("silhouettes", torch.tensor(torch.nan)),
            ):  # fmt: skip
                server[name] = torch.cat([server[name], one[None]])

    def _step(self, turn: int) -> float:
        """1 while everybody averages, then Reptile's."""
        if turn < self.warm_up:
            return 1.0
        share = (turn - self.warm_up) / max(1, self.rounds - 1 - self.warm_up)
        return self.outer + share * (self.outer_end - self.outer)

    def _leaf(self, server: Message, shards: Shards) -> int:
        """Where a newcomer belongs: at every node one local phase, then the child whose members moved most alike."""
        node = 0
        while (children := (server["parents"] == node).nonzero()[:, 0]).numel():
            start = server["nodes"][node][None]
            own, _ = self._phase(start, shards, self._moments(1, start.shape[1]), self.rounds)
            if not _moved(own - start)[0]:
                break
            node = int(children[_nearest(own - start, server["signatures"][children])][0])
        return node

    def _lasting(self, server: Message) -> Message:
        # Who is of which cluster is in the participants' states.
        return {name: one for name, one in server.items() if name != "leaves"}

    def _welcome(self, server: Message, shards: Shards) -> Message:
        return {"weights": server["nodes"][self._leaf(server, shards)][None]}

    def leaf_of(self) -> dict[Any, int]:
        """The leaf of every participant, by client id."""
        part = self._participants()
        return {client.id: int(leaf) for client, leaf in zip(part.federation, part.server["leaves"], strict=True)}

    def _personal(self, shards: Shards, message: Message, kept: Message, turn: int, tuned: bool) -> Message:
        if tuned:
            return super()._personal(shards, message, kept, turn, tuned)
        return {"leaf": self._participants().server["leaves"][shards.numbers].int()}

    def _weights(self, arrays: Mapping[str, np.ndarray]) -> Tensor:
        return self._server()["nodes"][int(arrays["leaf"])] if "leaf" in arrays else super()._weights(arrays)


def _moved(updates: Tensor) -> Tensor:
    """bool [k]: updates that have a direction."""
    return updates.norm(dim=1) > 0


def _nearest(updates: Tensor, signatures: Tensor) -> Tensor:
    """int64 [k]: the signature of the largest cosine."""
    return (torch.nn.functional.normalize(updates, dim=1) @ torch.nn.functional.normalize(signatures, dim=1).T).argmax(1)
