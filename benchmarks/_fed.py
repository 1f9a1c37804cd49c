"""Small clients that the federated benchmarks share, and the plain loop over them: a model and an optimizer object per client."""

from __future__ import annotations

import copy
import functools
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from sartor.federate.datasets import digits_arrays
from sartor.federate.federation import Client, Examples, Federation

EPOCHS, BATCH, LR, MOMENTUM = 3, 10, 0.05, 0.9


@functools.cache
def federation(clients: int, examples: int = 40) -> Federation:
    """So many clients with as many digits each, of three classes; an image may belong to several clients. Made once in a process."""
    x, y = digits_arrays()
    rng = np.random.default_rng(5)
    out = []
    for number in range(clients):
        able = np.flatnonzero(np.isin(y, rng.choice(10, 3, replace=False)))
        rows = rng.choice(able, examples + 10, replace=False)
        out.append(Client(number, Examples(x[rows[:examples]], y[rows[:examples]]), Examples(x[rows[examples:]], y[rows[examples:]])))
    return Federation(out, 10)


@functools.cache
def empty() -> nn.Module:
    """64-64-64-10 with any weights."""
    from sartor.federate.parts.networks import make_network

    return make_network("mlp", (64,), 10, (64, 64))


def network() -> nn.Module:
    """The same start everywhere."""
    from sartor.federate.parts.networks import Flat

    module = copy.deepcopy(empty())
    flat = Flat.of(module)
    module.load_state_dict(flat.split(flat.initial(0)))
    return module


def learn(module: nn.Module, part: Examples, key: tuple[int, ...]) -> None:
    """A local phase as people write it."""
    x, y = torch.from_numpy(part.x), torch.from_numpy(part.y)
    optimizer = torch.optim.SGD(module.parameters(), lr=LR, momentum=MOMENTUM)
    for epoch in range(EPOCHS):
        order = np.random.default_rng([*key[:2], epoch, key[2]]).permutation(len(y))
        for start in range(0, len(y), BATCH):
            rows = torch.from_numpy(order[start : start + BATCH])
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
            optimizer.step()


def score(module: nn.Module, clients: Federation) -> float:
    """Mean accuracy of one model over clients."""
    with torch.no_grad():
        return float(np.mean([(module(torch.from_numpy(one.test.x)).argmax(1).numpy() == one.test.y).mean() for one in clients]))


def batched(clients: Federation, rounds: int) -> dict[str, Any]:
    """sartor's loop: CPU-seconds of each round after the first, which compiles and allocates."""
    from sartor.federate.fedavg import FedAvg

    ends: list[float] = []
    method = FedAvg(rounds=rounds, epochs=EPOCHS, batch=BATCH, lr=LR, momentum=MOMENTUM, longest=0.0)
    method.fit(clients, progress=False, watch=lambda done, current: ends.append(time.process_time()))
    module = network()
    module.load_state_dict(method._net.split(torch.from_numpy(method.server_["weights"])))
    return {"value": float(np.median(np.diff(ends))), "quality": score(module, clients)}


def loop(clients: Federation, rounds: int) -> dict[str, Any]:
    """A client after the other, each with its own copy of the model."""
    server = network()
    seconds = []
    for turn in range(rounds):
        start = time.process_time()
        total = {name: torch.zeros_like(one) for name, one in server.state_dict().items()}
        for number, client in enumerate(clients):
            own = copy.deepcopy(server)
            learn(own, client.train, (0, turn, number))
            for name, one in own.state_dict().items():
                total[name] += one / len(clients)
        server.load_state_dict(total)
        seconds.append(time.process_time() - start)
    return {"value": float(np.median(seconds[1:])), "quality": score(server, clients)}
