"""Memory that each further client costs in a simulation, between 10 and 1,000 clients: tables of weights against a model and an optimizer each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

NAME, UNIT, PEER = "fed-memory-1000", "bytes per client", "torch"
COUNTS = (10, 100, 1000)


def ours() -> dict[str, Any]:
    return _growth("ours")


def peer() -> dict[str, Any]:
    return _growth("peer")


def _growth(side: str) -> dict[str, Any]:
    peaks = {count: _peak(side, count) for count in COUNTS}
    return {"value": (peaks[1000] - peaks[10]) / 990, "size": {"peak bytes of the process": {str(count): peak for count, peak in peaks.items()}}}


def _peak(side: str, count: int) -> int:
    done = subprocess.run([sys.executable, __file__, side, str(count)], capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    return int(done.stdout.strip().splitlines()[-1])


def _child(side: str, count: int) -> None:
    """Two rounds in which every client keeps a model of its own: local learning, the most that a device keeps."""
    import resource

    import torch

    import _fed

    torch.set_num_threads(1)
    clients = _fed.federation(count)
    if side == "ours":
        from sartor.federate.local import Local

        Local(rounds=2, epochs=1, batch=_fed.BATCH, lr=_fed.LR, momentum=_fed.MOMENTUM, keep_moments=True).fit(clients, progress=False)
    else:
        own = [_fed.network() for _ in clients]
        optimizers = [torch.optim.SGD(one.parameters(), lr=_fed.LR, momentum=_fed.MOMENTUM) for one in own]
        for _ in range(2):
            for module, optimizer, client in zip(own, optimizers, clients, strict=True):
                for start in range(0, len(client.train), _fed.BATCH):
                    x, y = (torch.from_numpy(one[start : start + _fed.BATCH]) for one in (client.train.x, client.train.y))
                    optimizer.zero_grad()
                    torch.nn.functional.cross_entropy(module(x), y).backward()
                    optimizer.step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


if __name__ == "__main__":
    _child(sys.argv[1], int(sys.argv[2]))
