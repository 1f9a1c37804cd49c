"""The same methods over a real network: a method as a Flower ServerApp and ClientApp.

    server = server_app(lambda context: FedAvg(rounds=20), classes=10, clients=12, done=lambda method: method.save("model"))
    client = client_app(lambda context: Device(FedAvg(rounds=20), my_examples, number=3, keep=my_store))

Each goes into its own file of a Flower app, and Flower's SuperLink and SuperNodes do the rest: transport, authentication, TLS, restarts. A device
runs the same `_local` as in the loop of one process and the server the same step on the replies; orders of examples come from the client's number,
so both give the same numbers up to rounding. What a device keeps between rounds lies in Flower's context on that device, and its personal state
goes to `keep` alone. A device that fails or is too late counts as dropped out, and goes back to what it had.

Source: Beutel et al., Flower: A Friendly Federated Learning Research Framework, 2020. SemiPFL needs the server's own labelled set for each state
and runs in one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sartor.errors import ConfigError, MissingExtra, TooLittleEvidence
from sartor.federate._base import Federated
from sartor.federate.federation import Examples
from sartor.federate.parts.rounds import Log, Round, asked_in, on_device, on_server
from sartor.federate.parts.shards import Shards
from sartor.federate.parts.wire import Message, size, stack
from sartor.federate.semipfl import SemiPFL
from sartor.method import State

if TYPE_CHECKING:
    from flwr.app import Context
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp


@dataclass(frozen=True)
class Device:
    """What a ClientApp runs."""

    method: Federated
    """With the same settings as the server's."""
    examples: Examples
    number: int
    """From 0, another for every client: it seeds the order of examples."""
    keep: Callable[[State], None] | None = None
    """Told the client's own state after the last round; the state never leaves the device otherwise."""


def client_app(device: Callable[[Context], Device]) -> ClientApp:
    """The app of one device. Raises `MissingExtra` without flwr.

    device: from Flower's context (`context.node_config` has what the SuperNode was started with) to what runs here.
    """
    flwr = _flower()
    app = flwr.clientapp.ClientApp()

    @app.query("sizes")
    def sizes(message: Any, context: Context) -> Any:
        mine = device(context)
        part = mine.examples
        facts = {"number": mine.number, "shape": list(part.x.shape[1:]), "labelled": part.labelled > 0, "graph": part.edges is not None}
        return flwr.app.Message(flwr.app.RecordDict({"facts": flwr.app.ConfigRecord(facts)}), reply_to=message)

    @app.train()
    def train(message: Any, context: Context) -> Any:
        mine, turn, shards, sent = _arrived(device(context), message)
        kept = _kept(mine.method, shards, context, int(message.content["facts"]["counted"]))
        reply, after = on_device(mine.method, shards, sent, kept, turn)
        context.state["before"], context.state["after"] = _records(kept), _records(after)
        context.state["turn"] = flwr.app.ConfigRecord({"turn": turn})
        return flwr.app.Message(flwr.app.RecordDict({"arrays": _records(reply)}), reply_to=message)

    @app.train("last")
    def last(message: Any, context: Context) -> Any:
        mine, turn, shards, sent = _arrived(device(context), message)
        kept = _kept(mine.method, shards, context, int(message.content["facts"]["counted"]))
        arrays = mine.method._personal(shards, sent, kept, turn, True)
        if mine.keep is not None:
            own = mine.method._compact({name: one[0].numpy().copy() for name, one in arrays.items()})
            fingerprint = str(message.content["facts"]["fingerprint"])
            mine.keep(State(own, type(mine.method).__name__, fingerprint, examples=mine.examples.labelled, notes={"tuned": True}))
        return flwr.app.Message(flwr.app.RecordDict(), reply_to=message)

    return app


def server_app(
    method: Callable[[Context], Federated],
    *,
    classes: int,
    clients: int,
    done: Callable[[Federated], None],
    wait: float = 600.0,
    patience: float = 3600.0,
) -> ServerApp:
    """The server's app. Raises `MissingExtra` without flwr.

    Parameters
    ----------
    method: from Flower's context to the unfitted method.
    classes: how many there are; devices are not asked for theirs.
    clients: how many devices take part; the first round waits for them.
    done: told the fitted method, whose `log` says who was lost, refused or shortened, by number.
    wait: seconds until that many devices must be there.
    patience: seconds until a device that has not replied counts as dropped out.
    """
    flwr = _flower()
    app = flwr.serverapp.ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        done(_Server(flwr, grid, method(context), classes, patience).run(_present(grid, clients, wait)))

    return app


class _Server:
    """One fit, with devices behind Flower's grid."""

    def __init__(self, flwr: Any, grid: Any, method: Federated, classes: int, patience: float) -> None:
        if isinstance(method, SemiPFL):
            raise ConfigError("SemiPFL makes each state from the server's labelled set", fix="fit it in one process")
        self.flwr, self.grid, self.method, self.classes, self.patience = flwr, grid, method, classes, patience

    def run(self, nodes: Sequence[int]) -> Federated:
        method, log = self.method, Log()
        facts = self._ask("query.sizes", {node: self.flwr.app.RecordDict() for node in nodes})
        known = {int(one["facts"]["number"]): (node, one["facts"]) for node, one in facts.items()}
        if len(known) < len(facts):
            raise ConfigError(f"{len(facts)} devices have {len(known)} numbers", fix="give each a number of its own")
        able = np.array(sorted(number for number, (_, one) in known.items() if one["labelled"]), np.int64)
        if not able.size:
            raise TooLittleEvidence("no device has a labelled example", fix="give labels to some")
        shapes = {tuple(one["shape"]) for _, one in known.values()}
        if len(shapes) > 1:
            raise ConfigError(f"devices have inputs {sorted(shapes)}", fix="let every client read the same kind of input")
        log.note({"has labels": torch.tensor([bool(one["labelled"]) for _, one in known.values()])[:, None]})
        method._open(shapes.pop(), self.classes, able.size, graphs=any(one["graph"] for _, one in known.values()))
        server, counted = method._begin(1 + max(known)), dict.fromkeys(known, -1)
        common = {"shape": list(method.shape_), "classes": self.classes, "able": int(able.size)}
        for turn in range(method.rounds):
            server, done = self._round(server, able, known, counted, common, turn, log)
            log.rounds.append(done)
        method._settle(server, log)
        method._seal()
        ends = {"fingerprint": method.fingerprint_, "turn": method.rounds, **common}
        self._ask("train.last", {known[number][0]: self._sent(server, number, ends | {"counted": counted[number]}) for number in able.tolist()})
        return method

    def _round(
        self, server: Message, able: np.ndarray, known: Mapping[int, Any], counted: dict[int, int], common: Mapping[str, Any], turn: int, log: Log
    ) -> tuple[Message, Round]:
        asked, lost = asked_in(self.method, able, turn)
        facts = {**common, "turn": turn}
        out = {number: self._sent(server, number, facts | {"counted": counted[number]}) for number in asked[~lost].tolist()}
        back = self._ask("train", {known[number][0]: one for number, one in out.items()})
        here = np.array([number for number in out if known[number][0] in back], np.int64)
        refused: list[int] = []
        shortened: list[int] = []
        down, up = size(self.method._send(server, asked[:1], turn)) * asked.size, 0
        rows = [_tables(back[known[number][0]]["arrays"]) for number in here.tolist()]
        if rows and rows[0]:
            replies = stack(rows, self.method.ragged)
            log.note(replies)
            up = size(replies) * len(rows)
            sent = self.method._send(server, here, turn).get("weights")
            server, good, refused, shortened = on_server(self.method, server, here, replies, sent, turn)
            here = here[good.numpy()]
        counted.update(dict.fromkeys(here.tolist(), turn))
        gone = sorted(set(asked.tolist()) - set(here.tolist()) - set(refused))
        return server, Round(int(asked.size), gone, refused, shortened, down, up, 0.0)

    def _sent(self, server: Message, number: int, facts: Mapping[str, Any]) -> Any:
        message = self.method._send(server, np.array([number]), int(facts["turn"]))
        return self.flwr.app.RecordDict({"arrays": _records(message), "facts": self.flwr.app.ConfigRecord(dict(facts))})

    def _ask(self, kind: str, contents: Mapping[int, Any]) -> dict[int, Any]:
        """Replies by node; nodes that failed or were too late are left out."""
        messages = [self.flwr.app.Message(content, node, kind) for node, content in contents.items()]
        replies = self.grid.send_and_receive(messages, timeout=self.patience) if messages else []
        return {one.metadata.src_node_id: one.content for one in replies if not one.has_error()}


def _present(grid: Any, clients: int, wait: float) -> list[int]:
    until = time.monotonic() + wait
    while len(nodes := sorted(grid.get_node_ids())) < clients:
        if time.monotonic() > until:
            raise TooLittleEvidence(f"{len(nodes)} of {clients} devices are here after {wait:g} seconds", fix="start more SuperNodes")
        time.sleep(0.2)
    return nodes[:clients]


def _arrived(mine: Device, message: Any) -> tuple[Device, int, Shards, Message]:
    """A device with its method opened for the sizes that all have, the round, its examples, and what the server sent."""
    facts = message.content["facts"]
    mine.method._open(list(facts["shape"]), int(facts["classes"]), int(facts["able"]), graphs=mine.examples.edges is not None)
    return mine, int(facts["turn"]), Shards([mine.examples], [mine.number]), _tables(message.content["arrays"])


def _kept(method: Federated, shards: Shards, context: Any, counted: int) -> Message:
    """What this device keeps: after its last phase if that counted, otherwise what it had before."""
    if "turn" not in context.state:
        return method._fresh(shards)
    return _tables(context.state["after" if int(context.state["turn"]["turn"]) == counted else "before"])


def _records(message: Message) -> Any:
    """One client's message as Flower's arrays."""
    flwr = _flower()
    return flwr.app.ArrayRecord({name: flwr.app.Array(np.asarray(one[0].numpy(), order="C")) for name, one in message.items()})


def _tables(record: Any) -> Message:
    """Flower's arrays as tables with one row."""
    return {name: torch.from_numpy(np.array(one.numpy()))[None] for name, one in record.items()}


def _flower() -> Any:
    try:
        import flwr
        import flwr.app
        import flwr.clientapp
        import flwr.serverapp
    except ImportError as missing:
        raise MissingExtra("flwr", "flower") from missing
    return flwr
