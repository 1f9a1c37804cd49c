"""A method behind Flower's SuperLink and SuperNodes, each a process of its own, gives the numbers of the loop in one process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sartor
from sartor.errors import MissingExtra, StateMismatch
from sartor.federate.fedcac import FedCAC
from sartor.federate.federation import Client, Examples, Federation
from sartor.federate.parts.wire import stack
from sartor.method import State

try:
    import flwr  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    flwr = None

APP = """
import numpy as np
from pathlib import Path
from sartor.federate.fedcac import FedCAC
from sartor.federate.flower import Device, client_app, server_app
from test_flower import SETTINGS, clients

HERE = Path({place!r})


def device(context):
    number = int(context.node_config["partition-id"])
    keep = lambda state: (HERE / f"state{{number}}").write_bytes(state.to_bytes())
    return Device(FedCAC(**SETTINGS), clients()[number].train, number, keep)


client = client_app(device)
server = server_app(lambda context: FedCAC(**SETTINGS), classes=3, clients=3, done=lambda method: method.save(HERE / "model"), wait=120)
"""
PROJECT = """
[project]
name = "digits"
version = "1.0.0"
description = "three clients"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "sartor"

[tool.flwr.app.components]
serverapp = "digits_app:server"
clientapp = "digits_app:client"

[tool.flwr.app.config]
"""
SETTINGS: dict[str, Any] = {
    "hidden": (6,),
    "rounds": 3,
    "epochs": 2,
    "batch": 4,
    "lr": 0.2,
    "momentum": 0.9,
    "keep_moments": True,
    "participation": 0.7,
}


def clients() -> list[Client]:
    rng = np.random.default_rng(0)
    out = []
    for number, size in enumerate((9, 12, 7)):
        y = rng.integers(0, 3, size + 5)
        x = (rng.normal(size=(size + 5, 4)) + y[:, None]).astype(np.float32)
        out.append(Client(number, Examples(x[:size], y[:size]), Examples(x[size:], y[size:])))
    return out


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own group, which is gone afterwards, with all that it started."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.skipif(flwr is None, reason="needs Flower: pip install 'sartor[flower]' in an environment of its own, since it pins an older fastapi")
@pytest.mark.timeout(700)
def test_separate_processes_give_the_numbers_of_one(tmp_path: Path) -> None:
    app, home, port = tmp_path / "app", tmp_path / "home", free_port()
    app.mkdir()
    home.mkdir()
    (app / "pyproject.toml").write_text(PROJECT)
    (app / "digits_app.py").write_text(APP.format(place=str(tmp_path)))
    (home / "config.toml").write_text(f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n')
    tools = Path(sys.executable).parent
    env = {
        **os.environ, "FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1", "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": f"{Path(sartor.__file__).parents[1]}:{Path(__file__).parent}",
    }  # fmt: skip
    link = [str(tools / "flower-superlink"), "--insecure", "--port", str(port), "--disable-runtime-dependency-installation"]
    with running(link, env, tmp_path / "link.log"):
        nodes = [
            [str(tools / "flower-supernode"), "--insecure", "--superlink", f"127.0.0.1:{port}", "--port", str(free_port()), "--node-config",
             f"partition-id={number}"]
            for number in range(3)
        ]  # fmt: skip
        with running(nodes[0], env, tmp_path / "0.log"), running(nodes[1], env, tmp_path / "1.log"), running(nodes[2], env, tmp_path / "2.log"):
            until = time.monotonic() + 560
            while (done := subprocess.run([str(tools / "flwr"), "run", str(app), "here"], env=env, capture_output=True, check=False)).returncode:
                # The link may not listen yet.
                assert time.monotonic() < until - 400, done.stdout + done.stderr
                time.sleep(1)
            wanted = [tmp_path / "model" / "config.json", *(tmp_path / f"state{number}" for number in range(3))]
            while not all(one.exists() for one in wanted):
                assert time.monotonic() < until, "\n".join(one.read_text()[-3000:] for one in sorted(tmp_path.glob("*.log")))
                time.sleep(0.5)
    there = sartor.load(tmp_path / "model")
    here = FedCAC(**SETTINGS).fit(Federation(clients(), 3), progress=False)
    for name, array in here.server_.items():
        np.testing.assert_allclose(there.server_[name], array, atol=1e-5, err_msg=name)
    for number, state in here.states().items():
        own = State.from_bytes((tmp_path / f"state{number}").read_bytes())
        assert own.fingerprint == there.fingerprint_
        np.testing.assert_allclose(own["weights"], state["weights"], atol=1e-5)
        x = clients()[number].test.x
        np.testing.assert_allclose(there.predict(x, own), here.predict(x, state), atol=1e-5)


@pytest.mark.skipif(flwr is not None, reason="Flower is installed")
def test_without_flower_it_says_what_to_install() -> None:
    from sartor.federate.flower import Device, client_app

    with pytest.raises(MissingExtra, match=r"sartor\[flower\]"):
        client_app(lambda context: Device(FedCAC(), clients()[0].train, 0))


def test_replies_of_several_devices_become_tables() -> None:
    import torch

    out = stack([{"soft": torch.ones(1, 2, 3), "n": torch.tensor([4])}, {"soft": torch.ones(1, 4, 3), "n": torch.tensor([5])}], ["soft"])
    assert out["soft"].shape == (2, 4, 3)
    assert not out["soft"][0, 2:].any()
    assert out["n"].tolist() == [4, 5]
    with pytest.raises(StateMismatch, match="weights"):
        stack([{"weights": torch.ones(1, 3)}, {"weights": torch.ones(1, 4)}], ["soft"])
