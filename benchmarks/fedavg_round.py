"""One round of federated averaging with 100 small clients: all at once, against a plain loop over clients. CPU-seconds."""

from __future__ import annotations

from typing import Any

import torch

import _fed

NAME, UNIT, PEER = "fedavg-round", "CPU-seconds", "torch"
ROUNDS = 8
SIZE = {"clients": 100, "examples each": 40, "weights": 8970, "epochs": _fed.EPOCHS, "batch": _fed.BATCH}


def ours() -> dict[str, Any]:
    torch.set_num_threads(1)
    return {**_fed.batched(_fed.federation(100), ROUNDS), "size": SIZE}


def peer() -> dict[str, Any]:
    torch.set_num_threads(1)
    return {**_fed.loop(_fed.federation(100), ROUNDS), "size": SIZE}
