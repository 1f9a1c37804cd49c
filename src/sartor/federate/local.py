"""Every client learns alone: the least that learning together must beat. Nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from sartor.federate._base import Federated
from sartor.federate.parts.shards import Shards
from sartor.federate.parts.wire import Message


@dataclass(kw_only=True, eq=False)
class Local(Federated):
    """A model per client, from as many local phases as the others have rounds; without a state it answers by the untrained start."""

    leaves: ClassVar[Mapping[str, str]] = {}

    def _fresh(self, shards: Shards) -> Message:
        return {"own": self._net.initial(self.seed).repeat(len(shards), 1), **super()._fresh(shards)}

    def _send(self, server: Message, numbers: np.ndarray, turn: int) -> Message:
        return {}

    def _local(self, shards: Shards, message: Message, kept: Message, turn: int) -> tuple[Message, Message]:
        own, kept = self._phase(kept["own"], shards, kept, turn)
        return {}, {**kept, "own": own}

    def _receive(self, server: Message, numbers: np.ndarray, replies: Message, shares: Tensor, turn: int) -> Message:
        return server

    def _personal(self, shards: Shards, message: Message, kept: Message, turn: int, tuned: bool) -> Message:
        own = message.get("own", kept["own"])
        return {"weights": self._phase(own, shards, kept, turn)[0] if tuned else own}

    def _welcome(self, server: Message, shards: Shards) -> Message:
        # Who joins later learns alone for as long as the others did.
        kept = self._fresh(shards)
        for turn in range(self.rounds):
            _, kept = self._local(shards, {}, kept, turn)
        return {"own": kept["own"]}
