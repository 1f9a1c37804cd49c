"""One round of federated averaging with 100 small clients: all at once, against Flower's simulation and a plain loop over clients. CPU-seconds.

Flower pins an older web framework than ours, so it wants an environment of its own (`pip install -e '.[deep,flower]' scikit-learn`). Where it is
not installed, the plain loop is the peer; where it is, the loop's seconds stand in `size`, from the same run.
"""

from __future__ import annotations

import copy
import importlib.util
import os
from typing import Any

import numpy as np
import torch

import _fed

FLOWER = importlib.util.find_spec("flwr") is not None
NAME, UNIT, PEER = "fedavg-round", "CPU-seconds", "flwr" if FLOWER else "torch"
ROUNDS = 4 if FLOWER else 8
SIZE = {"clients": 100, "examples each": 40, "weights": 8970, "epochs": _fed.EPOCHS, "batch": _fed.BATCH}


def ours() -> dict[str, Any]:
    torch.set_num_threads(1)
    found = _fed.batched(_fed.federation(100), ROUNDS)
    more = {"plain loop": _fed.loop(_fed.federation(100), ROUNDS)["value"]} if FLOWER else {}
    return {**found, "size": SIZE | more}


def peer() -> dict[str, Any]:
    torch.set_num_threads(1)
    return {**(_flower() if FLOWER else _fed.loop(_fed.federation(100), ROUNDS)), "size": SIZE}


def _all_processes() -> float:
    """CPU-seconds of this process and of all that it started and that still live: Ray's workers do until the end."""
    import psutil  # type: ignore[import-untyped]

    def spent(process: psutil.Process) -> float:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return float(times.user + times.system)

    own = psutil.Process()
    return spent(own) + sum(spent(one) for one in own.children(recursive=True))


def _flower() -> dict[str, Any]:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray runs its workers 15 below our own priority: on a busy machine they would wait for ever for those who are not so polite.
    os.environ.setdefault("RAY_worker_niceness", "0")
    from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    client, server = ClientApp(), ServerApp()
    clients = _fed.federation(100)
    ends: list[float] = []
    module = _fed.network()

    @client.train()
    def train(message: Message, context: Context) -> Message:
        torch.set_num_threads(1)
        number = int(context.node_config["partition-id"])
        # Nothing that a worker can keep travels with a message.
        own = copy.deepcopy(_fed.empty())
        own.load_state_dict(message.content["arrays"].to_torch_state_dict())
        part = _fed.federation(100).clients[number].train
        _fed.learn(own, part, (0, int(message.content["config"]["server-round"]) - 1, number))
        content = RecordDict({"arrays": ArrayRecord(own.state_dict()), "metrics": MetricRecord({"num-examples": len(part)})})
        return Message(content=content, reply_to=message)

    def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
        ends.append(_all_processes())
        module.load_state_dict(arrays.to_torch_state_dict())
        return MetricRecord({"accuracy": _fed.score(module, clients)})

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = FedAvg(fraction_evaluate=0.0)
        strategy.start(grid=grid, initial_arrays=ArrayRecord(module.state_dict()), num_rounds=ROUNDS, evaluate_fn=evaluate)

    backend: dict[str, Any] = {"client_resources": {"num_cpus": 1}, "init_args": {"num_cpus": 1, "include_dashboard": False}}
    run_simulation(server_app=server, client_app=client, num_supernodes=100, backend_config=backend)
    # The first round starts Ray's worker.
    return {"value": float(np.median(np.diff(ends)[1:])), "quality": _fed.score(module, clients)}
