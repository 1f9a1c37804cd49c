"""FedPer: the body of the network is averaged, the last layer stays on each device.

Source: Arivazhagan et al., Federated Learning with Personalization Layers, 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sartor.federate._base import Federated
from sartor.federate.parts.shards import Shards
from sartor.federate.parts.wire import Message


@dataclass(kw_only=True, eq=False)
class FedPer(Federated):
    """A shared body and personal last layers; without a state it answers with the untrained last layer that everybody started from."""

    leaves: ClassVar[Mapping[str, str]] = {"weights": "the body after the local phase", "examples": "how many labelled examples there are"}

    @property
    def _cut(self) -> int:
        """Where the last layer (a weight and a bias) starts."""
        return self._net.place(self._net.names[-2]).start

    def _fresh(self, shards: Shards) -> Message:
        return {"head": self._net.initial(self.seed)[self._cut :].repeat(len(shards), 1), **super()._fresh(shards)}

    def _send(self, server: Message, numbers: np.ndarray, turn: int) -> Message:
        return {"weights": server["weights"][: self._cut].expand(len(numbers), -1)}

    def _welcome(self, server: Message, shards: Shards) -> Message:
        return self._send(server, np.zeros(1, np.int64), 0)

    def _local(self, shards: Shards, message: Message, kept: Message, turn: int) -> tuple[Message, Message]:
        own, kept = self._phase(torch.cat([message["weights"], kept["head"]], dim=1), shards, kept, turn)
        return {"weights": own[:, : self._cut]}, {**kept, "head": own[:, self._cut :]}

    def _receive(self, server: Message, numbers: np.ndarray, replies: Message, shares: Tensor, turn: int) -> Message:
        return {"weights": torch.cat([shares @ replies["weights"], server["weights"][self._cut :]])}

    def _personal(self, shards: Shards, message: Message, kept: Message, turn: int, tuned: bool) -> Message:
        if not tuned:
            return {"head": kept["head"]}
        return {"weights": self._phase(torch.cat([message["weights"], kept["head"]], dim=1), shards, kept, turn)[0]}

    def _weights(self, arrays: Mapping[str, np.ndarray]) -> Tensor:
        if "head" not in arrays:
            return super()._weights(arrays)
        return torch.cat([self._server()["weights"][: self._cut], torch.from_numpy(np.array(arrays["head"]))])
