"""FedD2S: messages are features, labels and soft labels; the cut moves up to down; the head can be entered at every cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sartor
from sartor.errors import ConfigError, StateMismatch
from sartor.evaluate.federated import measure
from sartor.federate.fedd2s import FedD2S
from sartor.federate.federation import Client, Examples, Federation
from sartor.federate.parts.shards import Batch, Shards
from sartor.method import State

SMALL: dict[str, Any] = {"hidden": (8, 7, 6), "cuts": (3, 2, 1), "rounds": 8, "batch": 5}


def skewed(sizes: tuple[int, ...] = (20, 12, 20, 16), *, seed: int = 0) -> Federation:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(3).normal(size=(3, 5)) * 2
    clients = []
    for number, size in enumerate(sizes):
        y = np.where(rng.random(size + 20) < 0.6, number % 3, rng.integers(0, 3, size + 20))
        x = (centres[y] + rng.normal(size=(size + 20, 5))).astype(np.float32)
        clients.append(Client(number, Examples(x[:size], y[:size]), Examples(x[size:], y[size:])))
    return Federation(clients, 3)


@pytest.fixture(scope="module")
def fitted() -> FedD2S:
    return FedD2S(**SMALL).fit(skewed((20,) * 4), progress=False)


def test_the_cut_moves_from_deep_to_shallow(fitted: FedD2S) -> None:
    assert [fitted.cut(turn) for turn in range(8)] == [3, 3, 2, 2, 1, 1, 1, 1]
    assert FedD2S(cuts=(2,), every=1).cut(30) == 2


def test_what_travels_is_per_sample_and_the_head(fitted: FedD2S) -> None:
    # Features and soft labels up, soft labels down: n (w + 2c) numbers, and with them the labels and the head.
    for turn, width in ((0, 6), (2, 7), (4, 8)):
        server = {**fitted._begin(4), "soft": torch.zeros(4, 20, 3)}
        shards = Shards([one.train for one in skewed((20,) * 4)])
        message = fitted._send(server, np.arange(4), turn)
        reply, _ = fitted._local(shards, message, fitted._fresh(shards), turn)
        numbers = reply["features"][0].numel() + reply["soft"][0].numel() + message["soft"][0].numel()
        assert numbers == 20 * (width + 2 * 3)
        assert message["head"].shape[1] == fitted._net.size - fitted._above(fitted.cut(turn))
    assert set(fitted.log.sent) == {"features", "labels", "soft", "examples"}


def test_a_client_is_moved_through_the_head_below_the_cut_alone(fitted: FedD2S) -> None:
    shards = Shards([one.train for one in skewed((20,) * 4)])
    kept = fitted._fresh(shards)
    batch = shards.whole()
    taught = torch.softmax(torch.randn(4, 20, 3, generator=torch.Generator().manual_seed(0)), 2)
    seen: dict[str, torch.Tensor] = {}

    def gradient(method: FedD2S) -> torch.Tensor:
        def keep(start: Any, shards: Any, kept: Any, turn: int, *, loss: Any) -> Any:
            own = start.clone().requires_grad_()
            seen["gradient"] = torch.autograd.grad(loss(own, Batch(None, (batch.inputs[0], taught), batch.y, batch.weight)).sum(), own)[0]
            return start, kept

        method._phase = keep  # type: ignore[method-assign]
        try:
            method._learn(shards, {**method._send(fitted._begin(4), np.arange(4), 2), "soft": taught}, kept, 2)
        finally:
            del method._phase
        return seen["gradient"]

    above = fitted._above(2)
    fitted.weight = 0.0
    plain = gradient(fitted)
    fitted.weight, fitted.teaches = 1.0, "shared"
    shared = gradient(fitted)
    fitted.teaches = "network"
    whole = gradient(fitted)
    torch.testing.assert_close(shared[:, above:], plain[:, above:])
    assert not torch.allclose(shared[:, :above], plain[:, :above])
    assert not torch.allclose(whole[:, above:], plain[:, above:])


def test_the_server_learns_from_features_and_answers_each_sample(fitted: FedD2S) -> None:
    shards = Shards([one.train for one in skewed()])
    server, kept = fitted._begin(4), fitted._fresh(shards)
    reply, _ = fitted._local(shards, fitted._send(server, np.arange(4), 2), kept, 2)
    assert (reply["labels"] > 0).sum(1).tolist() == [20, 12, 20, 16]
    assert not reply["features"][1, 12:].any()
    after = fitted._receive(server, np.array([0, 1, 3]), {name: one[[0, 1, 3]] for name, one in reply.items()}, torch.full((3,), 1 / 3), 2)
    above = fitted._above(2)
    torch.testing.assert_close(after["weights"][:above], server["weights"][:above])
    assert not torch.allclose(after["weights"][above:], server["weights"][above:])
    z = reply["features"][3, :16]
    expected = torch.softmax(fitted._net.logits(after["weights"], z, start=2) / 3, 1)
    torch.testing.assert_close(after["soft"][3, :16], expected)
    assert not after["soft"][2].any()
    assert after["made"].tolist() == [2, 2, -1, 2]
    with pytest.raises(StateMismatch, match=r"\[9\], the head reads \[7\]"):
        fitted._check_replies({**reply, "features": torch.zeros(4, 20, 9)}, 2)
    with pytest.raises(StateMismatch, match="classes"):
        fitted._check_replies({**reply, "soft": torch.zeros(4, 20, 4)}, 2)


def test_clients_learn_and_states_are_their_networks(fitted: FedD2S, tmp_path: Path) -> None:
    federation = skewed((40,) * 5)
    stay, late = Federation(federation.clients[:4], 3), Federation(federation.clients[4:], 3)
    method = FedD2S(**SMALL | {"rounds": 16, "participation": 0.75}).fit(stay, progress=False)
    found = measure(method, stay, late)
    assert found.mean("after") > 0.75
    assert found.mean("joined") > 0.6
    assert max(method.ages().values()) < 16
    assert set(method.server_) == {"weights"}
    method.save(tmp_path / "m")
    state = State.from_bytes(method.states()[2].to_bytes())
    x = stay[2].test.x
    np.testing.assert_array_equal(sartor.load(tmp_path / "m").predict(x, state), method.predict(x, state))


class Strange(FedD2S):
    """Client 1 sends features that are no numbers."""

    def _local(self, shards: Any, message: Any, kept: Any, turn: int) -> Any:
        reply, kept = super()._local(shards, message, kept, turn)
        reply["features"][1] = torch.nan
        return reply, kept


def test_features_that_are_no_numbers_are_skipped_and_blurred_ones_are_short() -> None:
    federation = skewed((20,) * 4)
    method = Strange(**SMALL | {"rounds": 2}).fit(federation, progress=False)
    assert [one.refused for one in method.log.rounds] == [[1], [1]]
    assert np.isfinite(method.server_["weights"]).all()
    short = FedD2S(**SMALL, feature_length=0.5).fit(federation, progress=False)
    shards = Shards([one.train for one in federation])
    reply, _ = short._local(shards, short._send(short._begin(4), np.arange(4), 0), short._fresh(shards), 0)
    assert reply["features"].norm(dim=2).max() <= 0.5 + 1e-5
    noisy = FedD2S(**SMALL, feature_length=0.5, feature_noise=1.0, seeded_noise=True).fit(federation, progress=False)
    blurred, _ = noisy._local(shards, noisy._send(noisy._begin(4), np.arange(4), 0), noisy._fresh(shards), 0)
    assert 0.3 < float((blurred["features"] - reply["features"]).std()) < 0.7


def test_layers_of_images_and_bad_cuts() -> None:
    rng = np.random.default_rng(0)
    parts = [Examples(rng.normal(size=(8, 1, 8, 8)).astype(np.float32), rng.integers(0, 2, 8)) for _ in range(2)]
    images = Federation([Client(number, one, one) for number, one in enumerate(parts)], 2)
    method = FedD2S(network="cnn", hidden=(4, 4, 8, 8), rounds=5).fit(images, progress=False)
    assert method.log.sent["features"]["shape"][0] == 8
    for settings, words in (
        ({"cuts": (1, 2)}, "strictly"), ({"cuts": (2, 2)}, "strictly"), ({"cuts": (3, 0)}, "raw inputs"), ({"cuts": (4, 1)}, "below the last"),
        ({"feature_noise": 1.0}, "feature_length"), ({"noise": 1.0}, "features"), ({"temperature": 0.0}, "temperature"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            FedD2S(**SMALL | settings).fit(skewed(), progress=False)
