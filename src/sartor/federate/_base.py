"""What federated methods share: `fit` on a federation through the round loop, `adapt` a new client, `predict` with a state or without.

    method.fit(federation)                 devices learn together; their examples stay where they are
    states = method.states()               every participant's personal state, after one last local phase on its own device
    state = method.adapt(Examples(x, y))   somebody who joins later
    method.predict(x, state)               probabilities; with None the shared model's answer

A method is its difference from federated averaging: it overrides what is sent, what a device does, or what the server makes of the replies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from sartor import _fields, _run_key
from sartor.errors import BadValue, ConfigError, EmptyData, NotFitted, TooLittleEvidence, WrongType
from sartor.federate._device import OnDevice
from sartor.federate.federation import Examples, Federation
from sartor.federate.parts import privacy
from sartor.federate.parts.rounds import Log, run
from sartor.federate.parts.shards import Shards, inputs_of
from sartor.federate.parts.wire import Message
from sartor.method import State, learned
from sartor.parts.checkpoint import Checkpoint


@dataclass(kw_only=True, eq=False)
class Federated(OnDevice):
    """A model that clients learn together, and a small part of it that is each client's own."""

    rounds: int = 40
    participation: float = 1.0
    """Share of clients that are asked in a round."""
    dropout: float = 0.0
    """Chance that a client drops out before it replies."""
    longest: float = 10.0
    """An update may be so many times as long as the round's median one; longer ones are shortened and reported. 0 for any."""
    noise: float = 0.0
    """Local differential privacy: standard deviation of the noise on an update, in clipping lengths; 0 for none."""
    update_length: float = 1.0
    """With noise: what updates are clipped to."""
    seeded_noise: bool = False
    """Noise from the seed, to repeat a simulation: whoever knows the seed can take it away again, so that `privacy` says infinity."""

    server_: dict[str, np.ndarray] = learned()
    """What the server knows at the end; `weights` is the shared model."""

    population_frames: ClassVar[tuple[str, ...]] = ()
    leaves: ClassVar[Mapping[str, str]] = {"weights": "the model after the local phase", "examples": "how many labelled examples there are"}
    """What each array that leaves a device is, in words."""
    ragged: ClassVar[tuple[str, ...]] = ()
    """Arrays of a reply with a row per sample, so that clients' differ in length."""
    keeps_clients: ClassVar[tuple[str, ...]] = ()
    """What the fitted model keeps with a row per participant, because others are served from it."""
    _part: Participants | None = field(init=False, repr=False, default=None)
    _log: Log | None = field(init=False, repr=False, default=None)

    # --- fit, adapt, predict

    def fit(  # type: ignore[override]  # data that may not be pooled are not a population's frames
        self, federation: Federation, *, progress: bool = True, checkpoint: str | Path | None = None,
        watch: Callable[[int, Self], None] | None = None, validation: None = None,
    ) -> Self:  # fmt: skip
        """All rounds.

        Parameters
        ----------
        federation: the clients.
        progress: show a bar with rate and time left.
        checkpoint: a folder for resumable progress; after Ctrl-C the same call goes on where it stopped, with the same result.
        watch: called with (rounds done, self) after every round; self answers as it would if that round had been the last.
        validation: not used: no client's examples are looked at to stop early.

        Raises `WrongType` for a population: people whose data lie together need no federation.
        """
        if not isinstance(federation, Federation):
            raise WrongType(f"this is a {type(federation).__name__}", fix="give a sartor.federate.federation.Federation, or use `sartor federate`")
        shards = self._shards([client.train for client in federation])
        self._open(federation.shape, federation.classes, int((shards.counts > 0).sum()), graphs=shards.graphs)
        place = None
        if checkpoint is not None:
            place = Checkpoint(
                Path(checkpoint), {"method": type(self).__name__, "settings": repr(_run_key.settings(self)), "data": federation.digest()}
            )

        def seen(done: int, server: Message, kept: Message) -> None:
            if watch is not None:
                self._end(federation, shards, server, kept, Log(), done)
                watch(done, self)

        server, kept, log = run(self, shards, checkpoint=place, progress=progress, watch=None if watch is None else seen)
        self._end(federation, shards, server, kept, log, self.rounds)
        self.fitted_on_ = federation.digest()
        self._seal()
        return self

    def _open(self, shape: Sequence[int], classes: int, able: int, *, graphs: bool = False) -> None:
        """Before the first round, here or on a server: sizes, and whether the settings make sense for so many clients with labels."""
        _fields.check(self)
        self._check()
        if not able:
            raise EmptyData("no client has a labelled example to learn from", fix="give labels to some")
        self.shape_, self.classes_ = list(shape), classes
        if graphs != (self.network == "gcn"):
            raise ConfigError(f"the network '{self.network}' with {'graphs' if graphs else 'examples that stand alone'}", fix="graphs need gcn")
        self._prepare(able)

    def _fit(self, population: Any, run: Any) -> None:
        raise NotImplementedError  # `fit` takes a federation

    def states(self, *, tuned: bool = True) -> dict[Any, State]:
        """The states of all participants that have labels, by client id.

        tuned: after one last local phase; False gives what the server's last message and the device's own part make, without it.
        These are not part of the saved model: keep them in a store (`State.to_bytes`), one per client.
        """
        part = self._participants()
        rows = np.flatnonzero(part.shards.counts > 0)
        shards, kept = part.shards.take(rows), {name: one[rows] for name, one in part.kept.items()}
        arrays = self._personal(shards, self._send(part.server, rows, part.turn), kept, part.turn, tuned)
        return {
            part.federation.clients[int(row)].id: self.make_state(
                self._compact({name: one[at].numpy().copy() for name, one in arrays.items()}),
                examples=int(part.shards.counts[row]),
                notes={"tuned": tuned},
            )
            for at, row in enumerate(rows)
        }

    def adapt(self, evidence: Examples, state: State | None = None) -> State:  # type: ignore[override]
        """A client that joins later, from its own examples; with a state, one more local phase from there.

        Nothing leaves the device, but where a method says otherwise (FedCAC and FED-PUB find its neighbours by one reply, FedCluster its cluster).
        Raises `TooLittleEvidence` without a labelled example: serve such a client with None.
        """
        self.check_state(state)
        self._check_inputs(evidence.x)
        if not evidence.labelled:
            raise TooLittleEvidence("there is no labelled example", fix="predict with state None until there is one")
        if evidence.y.max() >= self.classes_:
            raise BadValue(f"there is a label {evidence.y.max()} with {self.classes_} classes", fix=f"use labels 0 to {self.classes_ - 1}")
        shards, turn = self._shards([evidence]), self.rounds
        if state is not None:
            start = self._weights(state.arrays)[None]
            arrays = {"weights": self._phase(start, shards, self._moments(1, start.shape[1]), turn + state.version)[0]}
        else:
            server = self._server()
            arrays = self._personal(shards, self._welcome(server, shards), self._fresh(shards), turn, True)
        own = self._compact({name: one[0].numpy().copy() for name, one in arrays.items()})
        return self.make_state(own, before=state, examples=evidence.labelled, notes={"tuned": True})

    def predict(self, x: np.ndarray, state: State | None = None, *, edges: np.ndarray | None = None) -> np.ndarray:
        """Class probabilities float32 [n, classes] of inputs [n, ...], or of the nodes of a graph with `edges` [2, m]."""
        self.check_state(state)
        part = Examples(x, np.full(len(x), -1), np.empty((2, 0), np.int64) if edges is None and self.network == "gcn" else edges)
        self._check_inputs(part.x)
        if not len(part):
            return np.empty((0, self.classes_), np.float32)
        weights = self.weights_of(state)
        with torch.no_grad():
            return torch.softmax(self._net.logits(weights, *inputs_of(part)), dim=1).numpy()

    def weights_of(self, state: State | None) -> Tensor:
        """float32 [numbers]: the network's weights for a state, or the shared ones."""
        self.check_state(state)
        return self._server()["weights"] if state is None else self._weights(state.arrays)

    def without(self, id: Any) -> Self:
        """This model without what it keeps of one participant; that participant's update stays in the means it took part in.

        Needed by methods that keep clients' models to serve others (`keeps_clients` says so). States of the others stay valid.
        Raises `UnknownId`. Only in the process that fitted it: no client's id is saved.
        """
        part = self._participants()
        number = part.federation.number(id)
        for name in self.keeps_clients:
            for table in (part.server.get(name), torch.from_numpy(self.server_[name]) if name in self.server_ else None):
                if table is not None:
                    table[number] = 0
        return self

    def privacy(self, delta: float = 1e-5) -> float:
        """The epsilon that a participant has spent at most, at this delta: had it replied in every round. Infinite without noise."""
        return float("inf") if self.seeded_noise else privacy.epsilon_of(self.noise, self.rounds, delta)

    @property
    def log(self) -> Log:
        """What happened in the rounds of the last `fit`."""
        if self._log is None:
            raise NotFitted("no rounds have run here", fix="fit(federation)")
        return self._log

    # --- what a method may override: its difference from federated averaging

    def _shards(self, parts: Sequence[Examples]) -> Shards:
        """What devices learn from, ready to be visited."""
        return Shards(parts)

    def _prepare(self, able: int) -> None:
        """Look at sizes before the first round; so many clients have labels."""

    def _begin(self, count: int) -> Message:
        """What the server knows of so many clients before the first round."""
        return {"weights": self._net.initial(self.seed)}

    def _fresh(self, shards: Shards) -> Message:
        """What these devices keep before their first round."""
        return self._moments(len(shards), self._net.size)

    def _send(self, server: Message, numbers: np.ndarray, turn: int) -> Message:
        return {"weights": server["weights"].expand(len(numbers), -1)}

    def _local(self, shards: Shards, message: Message, kept: Message, turn: int) -> tuple[Message, Message]:
        own, kept = self._phase(message["weights"], shards, kept, turn)
        return {"weights": own}, kept

    def _receive(self, server: Message, numbers: np.ndarray, replies: Message, shares: Tensor, turn: int) -> Message:
        return {**server, "weights": shares @ replies["weights"]}

    def _lasting(self, server: Message) -> Message:
        """What of the server's knowledge is the fitted model's."""
        return server

    def _welcome(self, server: Message, shards: Shards) -> Message:
        """What a client that joins later is sent."""
        return {"weights": server["weights"][None]}

    def _personal(self, shards: Shards, message: Message, kept: Message, turn: int, tuned: bool) -> Message:
        """What is each client's own: arrays [k, ...], from the last message and what the device keeps; `tuned` by one last local phase."""
        return {"weights": self._phase(message["weights"], shards, kept, turn)[0]} if tuned else {}

    def _compact(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One client's arrays as its state keeps them."""
        return arrays

    def _weights(self, arrays: Mapping[str, np.ndarray]) -> Tensor:
        """A client's network out of its state's arrays."""
        return torch.from_numpy(np.array(arrays["weights"])) if "weights" in arrays else self._server()["weights"]

    # --- helpers

    def _server(self) -> Message:
        return {name: torch.from_numpy(one) for name, one in self.server_.items()}

    def _participants(self) -> Participants:
        if self._part is None:
            raise NotFitted("nobody has taken part in this model here", fix="fit(federation); a loaded model knows clients by their stored states")
        return self._part

    def _end(self, federation: Federation, shards: Shards, server: Message, kept: Message, log: Log, turn: int) -> None:
        self._settle(server, log)
        self.fingerprint_ = self.fingerprint_ or "unfinished"
        self._part = Participants(federation, shards, server, kept, turn)

    def _settle(self, server: Message, log: Log) -> None:
        self.server_ = {name: np.ascontiguousarray(one.numpy()) for name, one in self._lasting(server).items()}
        self._log = log

    def _check(self) -> None:
        self._check_local()
        for name, good, fix in (
            ("rounds", self.rounds >= 1, "use at least 1"),
            ("participation", 0 < self.participation <= 1, "use a share above 0, at most 1"),
            ("dropout", 0 <= self.dropout < 1, "use a share below 1"),
            ("longest", self.longest == 0 or self.longest > 1, "use 0, or a number above 1"),
            ("noise", self.noise >= 0, "use 0 or more"),
            ("update_length", self.update_length > 0, "use a number above 0"),
        ):
            if not good:
                raise ConfigError(f"{name} is {getattr(self, name)}", fix=fix)
        if self.noise and (more := sorted(set(self.leaves) - {"weights", "examples"})):
            raise ConfigError(f"{type(self).__name__} also sends {', '.join(more)}, which no noise covers", fix="use noise 0, or FedAvg or FedPer")


@dataclass(frozen=True, eq=False)
class Participants:
    """Who took part in a fit, with what their devices keep; it stays in this process."""

    federation: Federation
    shards: Shards
    server: Message
    kept: Message
    turn: int
