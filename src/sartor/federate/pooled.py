"""One model from everybody's examples brought together: what a federation gives up by not pooling, or wins by being personal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch

from sartor.federate._base import Federated, Participants
from sartor.federate.federation import Federation
from sartor.federate.parts.shards import Shards


@dataclass(kw_only=True, eq=False)
class Pooled(Federated):
    """Not private: it stands for a data centre that has all examples. As many passes over them as the clients make together."""

    leaves: ClassVar[Mapping[str, str]] = {"examples": "all labelled examples themselves"}

    def fit(self, federation: Federation, **options: Any) -> Self:  # type: ignore[override]
        """`Federated.fit` on one client that has everything; `states` still gives every client a state."""
        super().fit(federation.pooled(), **options)
        shards = Shards([client.train for client in federation])
        assert self._part is not None
        self._part = Participants(federation, shards, {"weights": torch.from_numpy(self.server_["weights"])}, self._fresh(shards), self.rounds)
        return self
