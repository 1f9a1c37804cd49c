"""pFedPG: a frozen vision transformer serves every site, and the server learns to write each site a few prompt tokens that make it fit.

Every client's prompt is made by one generator: the basis that all share, and an attention from it over the client's own descriptor. A client
trains the prompt it gets and a head of its own, which never leaves it; where the prompt has moved to teaches the generator, as the negative
gradient of the client's loss. So clients learn from each other through the generator, and nobody's prompt is an average.

Source: Yang, Wang and Wang, Efficient Model Personalization in Federated Learning via Client-Specific Prompt Generation, ICCV 2023. There is no
code of the authors'; which side of the attention asks, and where the generator starts (every prompt is the basis) are our
reading. A port that is around passes the gradient with the other sign and never uses the prompts it makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sartor.errors import ConfigError, StateMismatch, UnknownId
from sartor.federate._prompted import OnPrompts
from sartor.federate.fedper import FedPer
from sartor.federate.parts.implicit import pull
from sartor.federate.parts.shards import Batch, Shards
from sartor.federate.parts.training import Optimizer, mean_cross_entropy, train
from sartor.federate.parts.wire import Message
from sartor.parts.trainer import seeded


@dataclass(kw_only=True, eq=False)
class PFedPG(OnPrompts, FedPer):
    """Prompts that a generator on the server writes for each client, and heads that stay on the devices."""

    heads: int = 4
    """Of the generator's attention; they divide the encoder's width."""
    server_lr: float = 1.0
    """Of the generator, whose gradient is summed over clients."""

    leaves: ClassVar[Mapping[str, str]] = {"weights": "the prompt after the local phase", "examples": "how many labelled examples there are"}

    def _prepare(self, able: int) -> None:
        width = self._net.shapes[0][1]
        if self.tokens < 1 or self.heads < 1 or width % self.heads or self.server_lr <= 0:
            raise ConfigError(
                f"tokens {self.tokens}, heads {self.heads} of a width of {width}, server_lr {self.server_lr}",
                fix="use at least one token, heads that divide the width, and a rate above 0",
            )

    # --- the generator

    def _begin(self, count: int) -> Message:
        width = self._net.shapes[0][1]
        start = self._net.initial(self.seed)
        bound = float(start[: self._numbers].abs().max())
        with seeded(self.seed):
            descriptors = torch.empty(count, width).uniform_(-bound, bound)
            maps = torch.empty(4, width, width).uniform_(-(width**-0.5), width**-0.5)
        # The last one, from attention to prompts, starts at nothing: the first round sends the basis to everybody.
        maps[3] = 0
        return {"weights": start, "descriptors": descriptors, "maps": maps}

    def _made(self, basis: Tensor, maps: Tensor, descriptors: Tensor) -> Tensor:
        """float [k, tokens x width]: prompts for descriptors [k, width]."""
        width = self._net.shapes[0][1]
        if descriptors.shape[1] != width:
            raise StateMismatch(f"the generator is of width {descriptors.shape[1]}, the encoder of {width}", fix="use the encoder it was fitted on")
        basis = basis.view(self.tokens, width)
        asking = basis + descriptors[:, None]
        seen = torch.cat([descriptors[:, None], asking], dim=1)
        ask, key, value = (
            (one @ part).unflatten(2, (self.heads, -1)).transpose(1, 2) for one, part in zip((asking, seen, seen), maps[:3], strict=True)
        )
        return (basis + scaled_dot_product_attention(ask, key, value).transpose(1, 2).flatten(2) @ maps[3]).flatten(1)

    def _prompts(self, server: Message, descriptors: Tensor) -> Tensor:
        with torch.no_grad():
            return self._made(server["weights"][: self._numbers], server["maps"], descriptors)

    def _send(self, server: Message, numbers: np.ndarray, turn: int) -> Message:
        return {"weights": self._prompts(server, server["descriptors"][numbers])}

    def _receive(self, server: Message, numbers: np.ndarray, replies: Message, shares: Tensor, turn: int) -> Message:
        names = ("basis", "maps", "descriptors")
        now = dict(zip(names, (server["weights"][: self._numbers], server["maps"], server["descriptors"]), strict=True))
        asked = {name: one.clone().requires_grad_() for name, one in now.items()}
        made = self._made(asked["basis"], asked["maps"], asked["descriptors"][numbers])
        # Summed over clients: each has a descriptor of its own, which a mean would move less the more clients there are.
        back = pull(made, replies["weights"], len(numbers) * shares, list(asked.values()))
        new = {name: now[name] - self.server_lr * one for name, one in zip(names, back, strict=True)}
        weights = torch.cat([new["basis"], server["weights"][self._numbers :]])
        return {"weights": weights, "maps": new["maps"], "descriptors": new["descriptors"]}

    def prompt_of(self, id: Any) -> Tensor:
        """float [tokens, width]: the prompt that the generator makes for a participant."""
        part = self._participants()
        try:
            number = part.federation.number(id)
        except UnknownId as cause:
            raise UnknownId("this client has no descriptor", id=id, fix="adapt(its examples) learns one, with a head") from cause
        return self._prompts(part.server, part.server["descriptors"][[number]])[0].view(self.tokens, -1)

    # --- what is each client's own

    def _lasting(self, server: Message) -> Message:
        # Descriptors are the participants' own; newcomers start from their mean.
        return {**server, "descriptors": server["descriptors"].mean(0, keepdim=True)}

    def _welcome(self, server: Message, shards: Shards) -> Message:
        return {"weights": server["weights"][None, : self._numbers], "joining": torch.ones(1)}

    def _personal(self, shards: Shards, message: Message, kept: Message, turn: int, tuned: bool) -> Message:
        if "joining" in message:
            return self._join(shards, kept, turn)
        if tuned:
            return super()._personal(shards, message, kept, turn, tuned)
        return {"descriptor": self._participants().server["descriptors"][shards.numbers], "head": kept["head"]}

    def _join(self, shards: Shards, kept: Message, turn: int) -> Message:
        """Somebody new learns a descriptor and a head, the generator as it is, for as long as the others learned."""
        server = self._server()
        width = self._net.shapes[0][1]

        def loss(table: Tensor, batch: Batch) -> Tensor:
            prompt = self._made(server["weights"][: self._numbers], server["maps"], table[:, :width])
            return mean_cross_entropy(self._net.batched(torch.cat([prompt, table[:, width:]], dim=1), *batch.inputs), batch)

        start = torch.cat([server["descriptors"].mean(0, keepdim=True), kept["head"]], dim=1)
        rates = torch.cat([torch.full((width,), self.lr), torch.full((start.shape[1] - width,), self.lr_head)])
        optimizer = Optimizer(self.optimizer, rates, self.momentum, self.weight_decay, self.gradient_clip)
        end = train(self._net, start, shards, loss, optimizer, epochs=self.rounds * self.epochs, batch=self.batch, key=(self.seed, turn))
        return {"descriptor": end[:, :width], "head": end[:, width:]}

    def _weights(self, arrays: Mapping[str, np.ndarray]) -> Tensor:
        if "descriptor" not in arrays:
            return super()._weights(arrays)
        descriptor, head = (torch.from_numpy(np.array(arrays[name])) for name in ("descriptor", "head"))
        return torch.cat([self._prompts(self._server(), descriptor[None])[0], head])
