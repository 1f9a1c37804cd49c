"""The round loop: the server sends, devices learn and reply, the server takes a step; with sampling, drop-outs, checks, noise and byte counts.

    for each round:  ask some clients -> send -> local phase -> (clip, noise) -> reply -> check -> server step

A method says what is sent, what a device does, and what the server makes of the replies; all three see only what they would see with real
devices: `_local` the message and what the device has kept, `_receive` the replies. So the same method runs here, with all clients at once in one
process, and over a network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sartor.federate.parts import privacy, wire
from sartor.federate.parts.checks import check
from sartor.federate.parts.shards import Shards
from sartor.federate.parts.wire import Message
from sartor.parts.checkpoint import Checkpoint
from sartor.progress import bar

AT_ONCE = 64
"""Clients whose local phases run together: fewer take longer, more of them hardly less long and more memory."""


class Steps(Protocol):
    """What a method adds to the loop; tables have one row per client."""

    rounds: int
    participation: float
    dropout: float
    longest: float
    noise: float
    update_length: float
    seeded_noise: bool
    seed: int

    def _begin(self, count: int) -> Message:
        """What the server knows of so many clients before the first round (any shapes)."""

    def _fresh(self, shards: Shards) -> Message:
        """What each device keeps before its first round ([clients, ...])."""

    def _send(self, server: Message, numbers: np.ndarray, turn: int) -> Message:
        """What the server sends to some clients, by number."""

    def _local(self, shards: Shards, message: Message, kept: Message, turn: int) -> tuple[Message, Message]:
        """The reply of some clients, and what they keep."""

    def _receive(self, server: Message, numbers: np.ndarray, replies: Message, shares: Tensor, turn: int) -> Message:
        """What the server knows after a round. shares: [k], of each reply in a mean, adding up to 1."""


@dataclass(frozen=True)
class Round:
    """What happened in one round; clients by number."""

    asked: int
    lost: list[int]
    """Learned, but dropped out before they replied: they keep what they had before."""
    refused: list[int]
    """Their replies held a value that is not finite, or a number of examples below 1, or were what had been sent."""
    shortened: list[int]
    """Their updates were far longer than the others'."""
    down: int
    """Bytes to all asked."""
    up: int
    """Bytes from all that replied."""
    cpu: float
    """CPU-seconds of all local phases."""


@dataclass
class Log:
    """All rounds, and what left the devices."""

    rounds: list[Round] = field(default_factory=list)
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of each array that a device sends: dtype, shape, bytes of one, how often all devices together sent it."""

    def note(self, replies: Message) -> None:
        """Count what some clients send."""
        for name, one in replies.items():
            known = self.sent.setdefault(name, {"dtype": str(one.dtype).removeprefix("torch."), "shape": list(one.shape[1:]), "bytes": 0, "times": 0})
            known["bytes"] = int(one[0].numel() * one.element_size())
            known["times"] += len(one)


def run(
    steps: Steps,
    shards: Shards,
    *,
    checkpoint: Checkpoint | Path | None = None,
    progress: bool = False,
    watch: Callable[[int, Message, Message], None] | None = None,
) -> tuple[Message, Message, Log]:
    """All rounds: what the server knows at the end, what each device has kept, and the log.

    watch: told (rounds done, server, kept) after every round.
    """
    server, kept = steps._begin(len(shards)), steps._fresh(shards)
    log, first = Log(), 0
    place = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint, {})
    if (left := place.resume()) is not None:
        arrays, facts = left
        server = {name[7:]: torch.from_numpy(one) for name, one in arrays.items() if name.startswith("server.")}
        kept = {name[5:]: torch.from_numpy(one) for name, one in arrays.items() if name.startswith("kept.")}
        log, first = Log([Round(**one) for one in facts["rounds"]], facts["sent"]), len(facts["rounds"])
    able = np.flatnonzero(shards.counts > 0)
    with bar("rounds", steps.rounds, enabled=progress, unit="round") as shown:
        shown.advance(first)
        for turn in range(first, steps.rounds):
            server, done = _round(steps, shards, server, kept, able, turn, log)
            log.rounds.append(done)
            if place.file is not None:
                arrays = {f"server.{name}": one.numpy() for name, one in server.items()} | {f"kept.{name}": one.numpy() for name, one in kept.items()}
                place.leave(arrays, rounds=[asdict(one) for one in log.rounds], sent=log.sent)
            if watch is not None:
                # A round writes into what devices keep; who looks may look later.
                watch(turn + 1, server, {name: one.clone() for name, one in kept.items()})
            shown.advance(note=f"{done.asked - len(done.lost)} of {done.asked} replied")
    place.done()
    return server, kept, log


def _round(steps: Steps, shards: Shards, server: Message, kept: Message, able: np.ndarray, turn: int, log: Log) -> tuple[Message, Round]:
    """What the server knows after a round; `kept` is changed in place."""
    asked, lost = asked_in(steps, able, turn)
    start = time.process_time()
    # A device that drops out has its work undone: it does not know whether its reply arrived.
    here = torch.from_numpy(~lost)
    down, pieces = 0, []
    for first in range(0, asked.size, AT_ONCE):
        numbers = asked[first : first + AT_ONCE]
        message = steps._send(server, numbers, turn)
        down += wire.size(message) * len(numbers)
        reply, after = on_device(steps, shards.take(numbers), message, {name: one[numbers] for name, one in kept.items()}, turn)
        if reply:
            pieces.append((numbers, message, reply, after))
        else:
            # The server has nothing to refuse.
            _keep(kept, numbers, after, here[first : first + AT_ONCE])
    seconds = time.process_time() - start
    up = 0
    refused: list[int] = []
    shortened: list[int] = []
    keeps = here.clone()
    if pieces and bool(here.any()):
        sent = torch.cat([message["weights"] for _, message, _, _ in pieces])[here] if "weights" in pieces[0][1] else None
        replies = {name: torch.cat([reply[name] for _, _, reply, _ in pieces])[here] for name in pieces[0][2]}
        log.note(replies)
        up = wire.size(replies) * int(here.sum())
        server, good, refused, shortened = on_server(steps, server, asked[here.numpy()], replies, sent, turn)
        keeps[here] = good
    for (numbers, _, _, after), counts in zip(pieces, keeps.split(AT_ONCE), strict=False):
        _keep(kept, numbers, after, counts)
    return server, Round(int(asked.size), asked[lost].tolist(), refused, shortened, down, up, seconds)


def _keep(kept: Message, numbers: np.ndarray, after: Message, counts: Tensor) -> None:
    """Write what some clients keep after a local phase, where that counts and is finite."""
    for name, one in after.items():
        rows = counts & torch.isfinite(one).flatten(1).all(1) if one.is_floating_point() else counts
        kept[name][torch.from_numpy(numbers)[rows]] = one[rows]


def on_device(steps: Steps, shards: Shards, message: Message, kept: Message, turn: int) -> tuple[Message, Message]:
    """What some devices reply to a message, clipped and with noise where that is asked for, and what they keep."""
    reply, after = steps._local(shards, message, kept, turn)
    reply = _private(steps, reply, message, shards.numbers, turn)
    if reply and not steps.noise:
        reply["examples"] = torch.from_numpy(shards.counts)
    return reply, after


def on_server(
    steps: Steps, server: Message, numbers: np.ndarray, replies: Message, sent: Tensor | None, turn: int
) -> tuple[Message, Tensor, list[int], list[int]]:
    """What the server knows after these clients' replies; bool [k], whose replies counted; who was refused, and whose update was shortened."""
    checked = check(replies, sent, longest=steps.longest)
    refused, shortened = numbers[~checked.kept.numpy()].tolist(), numbers[checked.clipped.numpy()].tolist()
    if bool(checked.kept.any()):
        shares = checked.replies.pop("examples", torch.ones(int(checked.kept.sum()))).double()
        server = steps._receive(server, numbers[checked.kept.numpy()], checked.replies, (shares / shares.sum()).float(), turn)
    return server, checked.kept, refused, shortened


def asked_in(steps: Steps, able: np.ndarray, turn: int) -> tuple[np.ndarray, np.ndarray]:
    """int64, the clients that are asked in a round, of those that are able; and bool, who of them drops out before it replies."""
    rng = np.random.default_rng([steps.seed, 7, turn])
    asked = np.sort(rng.permutation(able)[: max(1, round(steps.participation * able.size))])
    return asked, rng.random(asked.size) < steps.dropout


def _private(steps: Steps, reply: Message, message: Message, numbers: np.ndarray, turn: int) -> Message:
    if not steps.noise or "weights" not in reply:
        return reply
    noisy = []
    for row, number in enumerate(numbers):
        generator = privacy.source([steps.seed, 11, turn, int(number)] if steps.seeded_noise else None)
        update = (reply["weights"][row] - message["weights"][row])[None]
        noisy.append(message["weights"][row] + privacy.privatise(update, clip=steps.update_length, noise=steps.noise, generator=generator)[0])
    return {**reply, "weights": torch.stack(noisy)}
