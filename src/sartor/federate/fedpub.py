"""FED-PUB: owners of pieces of one graph learn together; each mostly from owners whose model does the same on one random graph.

Every weight matrix has a personal mask, learned with it and never averaged. After a local phase an owner runs its masked model on a random graph
that all have, and sends the mean output of the hidden layer with its weights. The server averages weights for each owner by a softmax over
cosines of these outputs.

Source: Baek et al., Personalized Subgraph Federated Learning, ICML 2023. In the authors' code the two penalties reach no gradient (they are taken
of detached tensors); here they do, so their defaults are scaled down: as printed, on summed norms, they undo training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from sartor.errors import ConfigError
from sartor.federate._base import Federated
from sartor.federate.parts.shards import Batch, Shards, normalised
from sartor.federate.parts.training import mean_cross_entropy
from sartor.federate.parts.wire import Message

COMMUNITIES, NODES, EDGE = 5, 100, 0.1
"""Of the random graph: communities without edges between them, nodes in each, chance of an edge inside."""


@dataclass(kw_only=True, eq=False)
class FedPub(Federated):
    """Personal masks and similarity-weighted averages, for node classification."""

    network: str = "gcn"
    hidden: tuple[int, ...] = (128,)
    rounds: int = 100
    epochs: int = 1
    batch: int = 0
    optimizer: Literal["sgd", "adam"] = "adam"
    lr: float = 0.01
    weight_decay: float = 1e-6
    keep_moments: bool = True
    sharpness: float = 3.0
    """Of the softmax over cosines (the paper's tau): 3 for disjoint pieces, 5 for overlapping ones."""
    sparse: float = 1e-6
    """Weight of the sum of the mask's absolute values; entries below it count as 0 in answers."""
    near: float = 1e-3
    """Weight of the distance from what was sent, from the second round on."""

    keeps_clients: ClassVar[tuple[str, ...]] = ("models", "embeddings", "seen")
    leaves: ClassVar[Mapping[str, str]] = {
        "weights": "the model after the local phase, without the mask", "embedding": "mean hidden output of the masked model on the random graph",
        "examples": "how many labelled examples there are",
    }  # fmt: skip

    def _prepare(self, able: int) -> None:
        if self.network != "gcn":
            raise ConfigError(f"the network is '{self.network}'", fix="FED-PUB compares hidden outputs of a gcn")

    def _begin(self, count: int) -> Message:
        start = self._net.initial(self.seed)
        return {
            "weights": start, "models": start.repeat(count, 1), "embeddings": torch.zeros(count, self.hidden[0]),
            "seen": torch.zeros(count, dtype=torch.bool),
        }  # fmt: skip

    def _fresh(self, shards: Shards) -> Message:
        masked, count = int(self._masked().sum()), len(shards)
        return {"mask": torch.ones(count, masked), **self._moments(count, self._net.size + masked)}

    def _masked(self) -> Tensor:
        """bool [numbers]: which weights have a mask; biases have none."""
        return torch.cat([torch.full((int(np.prod(shape)),), len(shape) > 1) for shape in self._net.shapes])

    def _effective(self, weights: Tensor, mask: Tensor) -> Tensor:
        """weights x mask [k, numbers]."""
        full = torch.ones_like(weights).masked_scatter(self._masked().expand_as(weights), mask)
        return weights * full

    def _sharp(self, mask: Tensor) -> Tensor:
        return torch.where(mask.abs() < self.sparse, 0.0, mask)

    def _learn(self, shards: Shards, sent: Tensor, kept: Message, turn: int) -> tuple[Tensor, Message]:
        """Weights [k, numbers] after a local phase, and what is kept: mask and moments."""
        size = self._net.size

        def loss(table: Tensor, batch: Batch) -> Tensor:
            weights, mask = table[:, :size], table[:, size:]
            start = sent if batch.rows is None else sent[batch.rows]
            away = (weights - start).square().sum(1)
            # The root has no slope at 0, where every phase starts.
            distance = torch.where(away > 0, away.clamp(min=1e-24).sqrt(), 0.0) if turn else 0.0
            fit = mean_cross_entropy(self._net.batched(self._effective(weights, mask), *batch.inputs), batch)
            return fit + self.sparse * mask.abs().sum(1) + self.near * distance

        table, kept = self._phase(torch.cat([sent, kept["mask"]], dim=1), shards, kept, turn, loss=loss)
        return table[:, :size], {**kept, "mask": table[:, size:]}

    def _local(self, shards: Shards, message: Message, kept: Message, turn: int) -> tuple[Message, Message]:
        weights, kept = self._learn(shards, message["weights"], kept, turn)
        return {"weights": weights, "embedding": self._embed(weights, kept["mask"])}, kept

    def _embed(self, weights: Tensor, mask: Tensor) -> Tensor:
        """float [k, hidden]: what the masked models do on the random graph."""
        x, adjacency = self._graph()
        with torch.no_grad():
            out = [self._net.logits(one, x, adjacency, embedding=True).mean(0) for one in self._effective(weights, mask)]
        return torch.stack(out)

    def _graph(self) -> tuple[Tensor, Tensor]:
        """The random graph of this seed, the same for all and in all rounds."""
        key = (self.seed, *self.shape_)
        known: tuple[Any, Tensor, Tensor] | None = self.__dict__.get("_proxy")
        if known is None or known[0] != key:
            rng = np.random.default_rng([self.seed, 13])
            x = rng.normal(size=(COMMUNITIES * NODES, self.shape_[0])).astype(np.float32)
            inside = np.kron(np.eye(COMMUNITIES), np.triu(np.ones((NODES, NODES)), 1)) * (rng.random((len(x), len(x))) < EDGE)
            known = key, torch.from_numpy(x), normalised(np.array(inside.nonzero()), len(x))
            self.__dict__["_proxy"] = known
        return known[1], known[2]

    def _receive(self, server: Message, numbers: np.ndarray, replies: Message, shares: Tensor, turn: int) -> Message:
        server = {name: one.clone() for name, one in server.items()}
        server["weights"] = shares @ replies["weights"]
        server["models"][numbers], server["embeddings"][numbers], server["seen"][numbers] = replies["weights"], replies["embedding"], True
        return server

    def alphas(self, server: Message, embeddings: Tensor) -> Tensor:
        """float [k, clients]: whose weights count how much for whom; only those who have replied count."""
        unit = torch.nn.functional.normalize
        cosines = unit(embeddings, dim=1) @ unit(server["embeddings"], dim=1).T
        return torch.softmax(torch.where(server["seen"], self.sharpness * cosines, -torch.inf), dim=1)

    def _send(self, server: Message, numbers: np.ndarray, turn: int) -> Message:
        out = server["weights"].repeat(len(numbers), 1)
        if bool((known := server["seen"][numbers]).any()):
            out[known] = self.alphas(server, server["embeddings"][numbers][known]) @ server["models"]
        return {"weights": out}

    def _welcome(self, server: Message, shards: Shards) -> Message:
        weights, kept = self._learn(shards, server["weights"][None], self._fresh(shards), 0)
        return {"weights": self.alphas(server, self._embed(weights, kept["mask"])) @ server["models"]}

    def _personal(self, shards: Shards, message: Message, kept: Message, turn: int, tuned: bool) -> Message:
        if tuned:
            weights, kept = self._learn(shards, message["weights"], kept, turn)
            return {"weights": self._effective(weights, self._sharp(kept["mask"]))}
        return {"mask": kept["mask"].half(), "embedding": self._participants().server["embeddings"][shards.numbers]}

    def _weights(self, arrays: Mapping[str, np.ndarray]) -> Tensor:
        if "mask" not in arrays:
            return super()._weights(arrays)
        server = self._server()
        own = self.alphas(server, torch.from_numpy(np.array(arrays["embedding"]))[None]) @ server["models"]
        return self._effective(own, self._sharp(torch.from_numpy(np.array(arrays["mask"])).float()[None]))[0]
