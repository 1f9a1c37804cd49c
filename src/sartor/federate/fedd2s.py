"""FedD2S: clients learn from each other through soft labels, not weights, and keep more and more of their upper layers to themselves.

A client sends, of each of its samples, the features at a cut of its network, the label, and its own soft labels. The server trains a head that
continues from the cut on everybody's features, and answers with the head's soft labels, which the clients learn from as they do from their labels;
no public data are needed. The cut starts deep and moves to shallower layers: what lies above it is personal from then on.

Source: Atapour et al., FedD2S: Personalized Data-Free Federated Knowledge Distillation, 2024. There is no code of the authors'; the two-phase
mutual distillation, its losses and the order of the cuts are the paper's, the schedule and all numbers are our reading.

Features and labels leave the device: at shallow cuts that is much more than weights tell. Clip and blur them by `feature_length` and
`feature_noise`; raw inputs (cut 0) are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, softmax

from sartor.errors import ConfigError, StateMismatch
from sartor.federate.federation import Examples
from sartor.federate.local import Local
from sartor.federate.parts import privacy
from sartor.federate.parts.networks import Layered
from sartor.federate.parts.shards import Batch, Shards
from sartor.federate.parts.training import Optimizer, mean_cross_entropy, train
from sartor.federate.parts.wire import Message


@dataclass(kw_only=True, eq=False)
class FedD2S(Local):
    """Own networks, a common head on the server, and a cut between them that moves from deep to shallow. Without a state: an untrained answer."""

    hidden: Sequence[int] = (64, 64, 64, 64)
    epochs: int = 2
    lr: float = 0.05
    momentum: float = 0.9
    gradient_clip: float = 5.0
    cuts: Sequence[int] = (4, 3, 2, 1)
    """After how many layers features are taken, from deep to shallow; one number keeps the cut where it is."""
    every: int = 0
    """Rounds at a cut (the paper's dropping rate); 0 for rounds / (cuts + 1), so that the shallowest has twice as many."""
    weight: float = 1.0
    """Of distillation, and of the head's loss on a client's features, beside the loss on labels."""
    temperature: float = 3.0
    teaches: Literal["network", "shared"] = "network"
    """What soft labels change on a client: all of its network, or the shared layers below the cut alone."""
    server_epochs: int = 1
    server_batch: int = 64
    feature_noise: float = 0.0
    """Standard deviation of the noise on a sample's features, in lengths they are clipped to."""
    feature_length: float = 0.0
    """What the features of one sample are clipped to; 0 for any, which allows no noise."""

    ragged: ClassVar[tuple[str, ...]] = ("features", "labels", "soft")
    leaves: ClassVar[Mapping[str, str]] = {
        "features": "each sample's output at the cut", "labels": "each sample's class", "soft": "each sample's soft labels by the client's network",
        "examples": "how many labelled examples there are",
    }  # fmt: skip

    def make_network(self) -> nn.Module:
        """The layers that a client has; the server's head is the same layers, entered at the cut."""
        return Layered.make(self.network, self.shape_, self.classes_, self.hidden)

    def _prepare(self, able: int) -> None:
        cuts = list(self.cuts)
        if not cuts or any(a <= b for a, b in pairwise(cuts)) or cuts[0] > len(self.hidden):
            raise ConfigError(f"cuts are {cuts} of {len(self.hidden) + 1} layers", fix="go strictly from deep to shallow, below the last layer")
        if cuts[-1] < 1:
            raise ConfigError("cut 0 would send raw inputs", fix="cut after the first layer at least")
        if self.feature_noise and not self.feature_length:
            raise ConfigError("feature_noise without feature_length", fix="clip features to a length first")
        if min(self.weight, self.every, self.feature_noise, self.feature_length) < 0 or self.temperature <= 0 or self.server_epochs < 1:
            raise ConfigError("weight, every, noise and length are 0 or more, the temperature above 0", fix="use such numbers")

    def cut(self, turn: int) -> int:
        """After how many layers features are taken in a round."""
        every = self.every or max(1, self.rounds // (len(self.cuts) + 1))
        return self.cuts[min(turn // every, len(self.cuts) - 1)]

    def _above(self, cut: int) -> int:
        """Where the weights of the layers above a cut start."""
        return sum(size for name, size in zip(self._net.names, self._net.sizes, strict=True) if int(name.split(".")[1]) < cut)

    # --- client

    def _begin(self, count: int) -> Message:
        return {**super()._begin(count), "soft": torch.zeros(count, 0, self.classes_), "made": torch.full((count,), -1)}

    def _send(self, server: Message, numbers: np.ndarray, turn: int) -> Message:
        head = server["weights"][self._above(self.cut(turn)) :]
        return {"head": head.expand(len(numbers), -1), "soft": server["soft"][numbers]}

    def _learn(self, shards: Shards, message: Message, kept: Message, turn: int) -> Message:
        """What is kept after a local phase on labels, on the server's soft labels, and through the server's head."""
        cut, most = self.cut(turn), int(shards.counts.max())
        above = self._above(cut)
        soft = torch.zeros(len(shards), most, self.classes_)
        soft[:, : message["soft"].shape[1]] = message["soft"][:, :most]

        def loss(own: Tensor, batch: Batch) -> Tensor:
            x, taught = batch.inputs
            features = self._net.batched(own, x, stop=cut)
            logits = self._net.batched(own, features, start=cut)
            head = message["head"] if batch.rows is None else message["head"][batch.rows]
            onward = torch.cat([own[:, :above].detach(), head], dim=1)
            through = mean_cross_entropy(self._net.batched(onward, features, start=cut), batch)
            if self.teaches == "shared":
                fixed = torch.cat([own[:, :above], own[:, above:].detach()], dim=1)
                distilled = self._net.batched(fixed, features, start=cut)
            else:
                distilled = logits
            return mean_cross_entropy(logits, batch) + self.weight * (self._divergence(distilled, taught, batch) + through)

        own, kept = self._phase(kept["own"], shards.beside(soft), kept, turn, loss=loss)
        return {**kept, "own": own}

    def _divergence(self, logits: Tensor, soft: Tensor, batch: Batch) -> Tensor:
        """KL(soft || softmax(logits / T)) [k], where there are soft labels."""
        each = (soft * (soft.clamp(min=1e-12).log() - log_softmax(logits / self.temperature, dim=2))).sum(2)
        return (each * batch.weight).sum(1) / batch.weight.sum(1).clamp(min=1)

    def _local(self, shards: Shards, message: Message, kept: Message, turn: int) -> tuple[Message, Message]:
        kept, cut = self._learn(shards, message, kept, turn), self.cut(turn)
        every = shards.whole()
        with torch.no_grad():
            features = self._net.batched(kept["own"], *every.inputs, stop=cut)
            soft = softmax(self._net.batched(kept["own"], features, start=cut) / self.temperature, dim=2)
        if self.feature_length:
            features = self._blurred(features, shards.numbers, turn)
        # Label 0 means that there is no sample: clients have different numbers of them.
        there = every.weight.bool()
        zero = torch.zeros(())
        features = torch.where(there.view(*there.shape, *[1] * (features.dim() - 2)), features, zero)
        return {"features": features, "labels": (every.y + 1) * there, "soft": torch.where(there[:, :, None], soft, zero)}, kept

    def _blurred(self, features: Tensor, numbers: np.ndarray, turn: int) -> Tensor:
        out = []
        for own, number in zip(features, numbers, strict=True):
            generator = privacy.source([self.seed, 12, turn, int(number)] if self.seeded_noise else None)
            blurred = privacy.privatise(own.flatten(1), clip=self.feature_length, noise=self.feature_noise, generator=generator)
            out.append(blurred.view_as(own))
        return torch.stack(out)

    # --- server

    def _receive(self, server: Message, numbers: np.ndarray, replies: Message, shares: Tensor, turn: int) -> Message:
        cut, there = self.cut(turn), replies["labels"] > 0
        self._check_replies(replies, cut)
        shards = Shards([Examples(replies["features"][there].numpy(), (replies["labels"][there] - 1).numpy())])
        taught = shards.beside(replies["soft"][there][None])
        fixed = server["weights"][None, : self._above(cut)]

        def loss(head: Tensor, batch: Batch) -> Tensor:
            logits = self._net.batched(torch.cat([fixed, head], dim=1), batch.inputs[0], start=cut)
            return mean_cross_entropy(logits, batch) + self.weight * self._divergence(logits, batch.inputs[1], batch)

        start = server["weights"][None, self._above(cut) :]
        optimizer = Optimizer("sgd", self.lr, self.momentum, self.weight_decay, self.gradient_clip)
        learn: dict[str, Any] = {"epochs": self.server_epochs, "batch": self.server_batch, "key": (self.seed, 1 << 20, turn)}
        head = train(self._net, start, taught, loss, optimizer, **learn)
        whole = torch.cat([fixed, head], dim=1)
        with torch.no_grad():
            logits = self._net.batched(whole, replies["features"].flatten(0, 1)[None], start=cut)[0]
        answers = softmax(logits / self.temperature, dim=1).view(*there.shape, -1) * there[:, :, None]
        # Who was not asked keeps what it was told last.
        most = max(server["soft"].shape[1], answers.shape[1])
        soft, made = torch.zeros(len(server["soft"]), most, self.classes_), server["made"].clone()
        soft[:, : server["soft"].shape[1]] = server["soft"]
        soft[numbers] = 0
        soft[numbers, : answers.shape[1]], made[numbers] = answers, turn
        return {"weights": whole[0], "soft": soft, "made": made}

    def _check_replies(self, replies: Message, cut: int) -> None:
        with torch.no_grad():
            sides = self._net.logits(self._net.initial(self.seed), torch.zeros(1, *self.shape_), stop=cut).shape[1:]
        if (found := replies["features"].shape[2:]) != sides:
            raise StateMismatch(
                f"features at cut {cut} are {list(found)}, the head reads {list(sides)}",
                fix="add a linear adapter from one to the other on the device",
            )
        if (found := replies["soft"].shape[2:]) != (self.classes_,):
            raise StateMismatch(f"soft labels are of {list(found)} classes, the head has {self.classes_}", fix="let every client know all classes")

    def ages(self) -> dict[Any, int]:
        """Rounds since each participant was last told soft labels; -1 for never."""
        part = self._participants()
        return {
            client.id: part.turn - 1 - int(made) if made >= 0 else -1
            for client, made in zip(part.federation, part.server["made"].tolist(), strict=True)
        }

    # --- what is each client's own

    def _lasting(self, server: Message) -> Message:
        # What was told about each sample is the clients' and is not kept with the head.
        return {"weights": server["weights"]}

    def _personal(self, shards: Shards, message: Message, kept: Message, turn: int, tuned: bool) -> Message:
        # Who joins later learns with the head of the last cut for as long as the others did.
        for phase in range(self.rounds if "joining" in message else int(tuned)):
            kept = self._learn(shards, message, kept, turn + phase)
        return {"weights": kept["own"]}

    def _welcome(self, server: Message, shards: Shards) -> Message:
        message = self._send({**server, "soft": torch.zeros(len(shards), 0, self.classes_)}, np.arange(len(shards)), self.rounds)
        return {**message, "joining": torch.ones(1)}
