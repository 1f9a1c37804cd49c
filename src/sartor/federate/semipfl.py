"""SemiPFL: a wearer with hardly any labels gets a recogniser that fits how its own sensor signals look, and uploads none of them.

A hypernetwork on the server writes an autoencoder for every user out of the user's embedding. The user trains it on its own windows, which need
no labels, and where that leads teaches the hypernetwork. Then the server encodes a labelled set of its own with each user's encoder, keeps what
the user's autoencoder rebuilds well, that is what looks like this user's signals, and trains small classifiers on the best 100, 70 and 40 % of it.
The user weighs and fine-tunes these on its few labels.

Source: Tashakori et al., SemiPFL: Personalized Semi-Supervised Federated Learning Framework for Edge Intelligence, IEEE Internet of Things
Journal 2023. In the authors' code one autoencoder object serves all users, gradients add up over an epoch and the user-side mixture is missing;
here each user has its own, and the mixture is a softmax that is learned with the classifiers. Differs: users answer together in a round and the
server takes one step for their mean; codes are normalised per window, where the paper has running values of a batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from sartor.errors import BadValue, ConfigError
from sartor.federate._base import Federated
from sartor.federate.federation import Client, Examples, Federation
from sartor.federate.parts.autoencoder import Autoencoder, HyperNetwork
from sartor.federate.parts.implicit import pull
from sartor.federate.parts.mixture import Mixture, code_classifier
from sartor.federate.parts.networks import Flat
from sartor.federate.parts.shards import Batch, Shards
from sartor.federate.parts.training import Optimizer
from sartor.federate.parts.wire import Message
from sartor.method import State, learned
from sartor.parts.trainer import seeded

FEW = 32
"""Windows below which nobody gets an autoencoder of its own."""


@dataclass(kw_only=True, eq=False)
class SemiPFL(Federated):
    """Autoencoders written per user by a hypernetwork, and classifiers from the labelled samples that suit the user. A window is a vector."""

    network: str = "autoencoder"
    hidden: Sequence[int] = (256, 128)
    code: int = 64
    rounds: int = 50
    epochs: int = 5
    batch: int = 32
    optimizer: Literal["sgd", "adam"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 5e-5
    embedding: int = 0
    """Numbers in a user's embedding; 0 for 1 + users / 4, at most 16."""
    server_lr: float = 1e-3
    server_clip: float = 50.0
    suits: Sequence[float] = (1.0, 0.7, 0.4)
    """Shares of the server's set, the best rebuilt first, that each base classifier learns from."""
    head: int = 16
    """Width of a classifier's hidden layer."""
    head_epochs: int = 20
    tune_epochs: int = 50
    """Of a user on its few labels: at five epochs, as published, a handful of labels is a handful of steps."""
    lr_head: float = 0.01
    joining: int = 10
    """Local phases in which a newcomer finds its embedding."""
    personal: bool = True
    """False averages one autoencoder for all: the method without its hypernetwork, to compare with."""

    mean_: np.ndarray = learned()
    """float32 [features], of the server's set, by which everybody's windows are standardised."""
    scale_: np.ndarray = learned()
    """Likewise; 0 where a channel never changes, which leaves it out."""
    windows_: np.ndarray = learned()
    """float32 [samples, features], the server's own, standardised; newcomers' classifiers are made from them."""
    labels_: np.ndarray = learned()

    leaves: ClassVar[Mapping[str, str]] = {"weights": "the autoencoder after the local phase", "examples": "how many windows there are"}

    # --- fit

    def fit(self, federation: Federation, *, server: Examples, **options: Any) -> Self:  # type: ignore[override]
        """All rounds on the users' windows, then classifiers from the server's labelled set.

        server: windows with labels of people who gave them; the only ones that leave a device.
        Raises `BadValue` when both differ in shape or a label is missing.
        """
        if server.x.shape[1:] != federation.shape or server.x.ndim != 2:
            raise BadValue(
                f"the server's windows are {server.x.shape[1:]}, the users' are {federation.shape}", fix="give vectors of the same sensors"
            )
        if not len(server) or server.labelled < len(server):
            raise BadValue(f"the server has {server.labelled} labels for {len(server)} windows", fix="leave windows without a label out")
        if server.y.max() >= federation.classes:
            federation = Federation(federation.clients, int(server.y.max()) + 1, federation.name)
        self.mean_, deviation = server.x.mean(0), server.x.std(0)
        if (still := np.flatnonzero(deviation <= 1e-8)).size:
            warnings.warn(f"channels {still.tolist()} never change in the server's set and are left out", stacklevel=2)
        self.scale_ = np.where(deviation > 1e-8, 1 / np.maximum(deviation, 1e-8), 0).astype(np.float32)
        self.windows_, self.labels_ = self._standard(server.x), server.y
        clients = [Client(one.id, Examples(self._standard(one.train.x), one.train.y), one.test) for one in federation]
        return super().fit(Federation(clients, federation.classes, federation.name), **options)

    def _standard(self, x: np.ndarray) -> np.ndarray:
        return np.clip((x - self.mean_) * self.scale_, -10, 10).astype(np.float32)

    def _prepare(self, able: int) -> None:
        if not self.suits or not all(0 < one <= 1 for one in self.suits):
            raise ConfigError(f"suits is {list(self.suits)}", fix="use shares above 0, at most 1")
        if min(self.code, self.head, self.head_epochs, self.joining) < 1 or self.tune_epochs < 0 or self.embedding < 0 or self.server_lr <= 0:
            raise ConfigError("a width, a number of epochs or a rate is below 1 or 0", fix="use at least one of each")

    def make_network(self) -> nn.Module:
        """The autoencoder."""
        return Autoencoder(self.shape_[0], self.hidden, self.code)

    def _shards(self, parts: Sequence[Examples]) -> Shards:
        return Shards(parts, unlabelled=True)

    # --- rounds

    def _writer(self, clients: int) -> Flat:
        """The hypernetwork for so many users."""
        known: tuple[int, Flat] | None = self.__dict__.get("_hyper")
        if known is None or known[0] != clients:
            with seeded(self.seed):
                known = clients, Flat.of(HyperNetwork(clients, self.embedding or min(16, 1 + clients // 4), self._net.initial(self.seed)))
            self.__dict__["_hyper"] = known
        return known[1]

    def _begin(self, count: int) -> Message:
        start = super()._begin(count)
        if not self.personal:
            return start
        return {**start, "writer": self._writer(count).initial(self.seed), "count": torch.tensor(count)}

    def _embeddings(self, server: Message) -> Tensor:
        """float [users, width]."""
        return self._writer(int(server["count"])).split(server["writer"])["embeddings"]

    def _written(self, server: Message, embeddings: Tensor) -> Tensor:
        """float [k, numbers]: the autoencoders of embeddings [k, width]."""
        with torch.no_grad():
            return self._writer(int(server["count"])).logits(server["writer"], embeddings)

    def _send(self, server: Message, numbers: np.ndarray, turn: int) -> Message:
        if not self.personal:
            return super()._send(server, numbers, turn)
        return {"weights": self._written(server, self._embeddings(server)[numbers])}

    def _rebuild(self, weights: Tensor, batch: Batch) -> Tensor:
        """Mean squared error [k] of rebuilding each user's windows."""
        error = (self._net.batched(weights, *batch.inputs) - batch.inputs[0]).square().mean(2)
        return (error * batch.weight).sum(1) / batch.weight.sum(1).clamp(min=1)

    def _local(self, shards: Shards, message: Message, kept: Message, turn: int) -> tuple[Message, Message]:
        own, kept = self._phase(message["weights"], shards, kept, turn, loss=self._rebuild)
        return {"weights": own}, kept

    def _receive(self, server: Message, numbers: np.ndarray, replies: Message, shares: Tensor, turn: int) -> Message:
        if not self.personal:
            return super()._receive(server, numbers, replies, shares, turn)
        writer = self._writer(int(server["count"]))
        table = server["writer"][None].clone().requires_grad_()
        made = writer.logits(table[0], writer.split(table[0])["embeddings"][numbers])
        (back,) = pull(made, replies["weights"], shares, [table])
        moments = {name[8:]: one for name, one in server.items() if name.startswith("moments.")}
        optimizer = Optimizer("adam", self.server_lr, clip=self.server_clip, moments=moments)
        table = table.detach()
        optimizer.step(table, back, None)
        new = {**server, "writer": table[0], **{f"moments.{name}": one for name, one in optimizer.moments.items()}}
        return {**new, "weights": self._written(new, self._embeddings(new).mean(0, keepdim=True))[0]}

    def _lasting(self, server: Message) -> Message:
        kept = {name: one for name, one in server.items() if not name.startswith("moments.")}
        if self.personal:
            # Embeddings are the participants' own; newcomers start from their mean.
            kept["writer"] = server["writer"].clone()
            self._embeddings(kept)[:] = self._embeddings(server).mean(0)
        return {**kept, "classifiers": self._classifiers(server["weights"][None])[0]}

    # --- what is each user's own

    @property
    def _mixture(self) -> Mixture:
        known: Mixture | None = self.__dict__.get("_heads")
        if known is None or known.autoencoder is not self._net:
            head = Flat.of(code_classifier(self.code, self.head, self.classes_))
            self.__dict__["_heads"] = known = Mixture(self._net, head, tuple(self.suits), self.lr_head, self.batch, self.seed)
        return known

    def _classifiers(self, autoencoders: Tensor) -> Tensor:
        return self._mixture.base(autoencoders, torch.from_numpy(self.windows_), self.labels_, self.head_epochs)

    def _own(self, server: Message, embeddings: Tensor | None, parts: Sequence[Examples], tuned: bool) -> Message:
        autoencoders = self._written(server, embeddings) if embeddings is not None else server["weights"].expand(len(parts), -1)
        base = self._classifiers(autoencoders).flatten(1)
        table = torch.cat([torch.zeros(len(parts), len(self.suits)), base], dim=1)
        table = self._mixture.tuned(table, autoencoders, parts, self.tune_epochs) if tuned else table
        out = {"mix": table[:, : len(self.suits)], "classifiers": table[:, len(self.suits) :]}
        return out if embeddings is None else {"embedding": embeddings, **out}

    def _personal(self, shards: Shards, message: Message, kept: Message, turn: int, tuned: bool) -> Message:
        part = self._participants()
        parts = [part.federation.clients[int(number)].train for number in shards.numbers]
        if not self.personal:
            return self._own(part.server, None, parts, tuned)
        every = self._embeddings(part.server)
        few = torch.from_numpy(shards.counts < FEW)[:, None]
        return self._own(part.server, torch.where(few, every.mean(0), every[shards.numbers]), parts, tuned)

    def adapt(self, evidence: Examples, state: State | None = None) -> State:  # type: ignore[override]
        """A newcomer: the hypernetwork as it is, an embedding from its own windows, then classifiers, tuned on whatever labels it has.

        With fewer than 32 windows it has the population's embedding, and the state's notes say so. A state is found anew from the windows given.
        """
        self.check_state(state)
        self._check_inputs(evidence.x)
        if evidence.labelled and evidence.y.max() >= self.classes_:
            raise BadValue(f"there is a label {evidence.y.max()} with {self.classes_} classes", fix=f"use labels 0 to {self.classes_ - 1}")
        part, server = Examples(self._standard(evidence.x), evidence.y), self._server()
        embedding: Tensor | None = None
        notes: dict[str, Any] = {"tuned": bool(part.labelled)}
        if self.personal:
            embedding = self._embeddings(server).mean(0, keepdim=True)
            if len(part) < FEW:
                notes["population"] = f"{len(part)} windows are too few for an embedding"
            else:
                embedding = self._found(server, embedding, part)
        own = self._own(server, embedding, [part], True)
        return self.make_state({name: one[0].numpy().copy() for name, one in own.items()}, before=state, examples=len(part), notes=notes)

    def _found(self, server: Message, embedding: Tensor, part: Examples) -> Tensor:
        """A newcomer's embedding: the server's step on it alone, where its local phases lead."""
        shards, optimizer = self._shards([part]), Optimizer("adam", 0.1)
        writer = self._writer(int(server["count"]))
        for turn in range(self.joining):
            leaf = embedding.clone().requires_grad_()
            made = writer.logits(server["writer"], leaf)
            moved, _ = self._phase(made.detach(), shards, {}, self.rounds + turn, loss=self._rebuild)
            (back,) = pull(made, moved, torch.ones(1), [leaf])
            optimizer.step(embedding := leaf.detach().clone(), back, None)
        return embedding

    def predict(self, x: np.ndarray, state: State | None = None, *, edges: np.ndarray | None = None) -> np.ndarray:
        """Class probabilities float32 [n, classes] of windows [n, features]; with None by the mean embedding and the server's labels alone."""
        self.check_state(state)
        part = Examples(x, np.full(len(x), -1))
        self._check_inputs(part.x)
        server = self._server()
        own = server["weights"] if state is None or not self.personal else self._written(server, _row(state["embedding"]))[0]
        mix = torch.zeros(len(self.suits)) if state is None else _row(state["mix"])[0]
        table = torch.cat([mix, (server["classifiers"] if state is None else _row(state["classifiers"])).flatten()])
        with torch.no_grad():
            codes = self._net.logits(own, torch.from_numpy(self._standard(part.x)), code=True)
            return self._mixture.logs(table[None], codes[None])[0].exp().numpy()


def _row(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array))[None]
