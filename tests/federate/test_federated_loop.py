"""The round loop and its parts: equal to plain loops, resumable, counted in real bytes, safe against bad updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sartor
from sartor.errors import ConfigError, StateMismatch, TooLittleEvidence
from sartor.federate.fedavg import FedAvg
from sartor.federate.federation import Client, Examples, Federation
from sartor.federate.fedper import FedPer
from sartor.federate.local import Local
from sartor.federate.parts import wire
from sartor.federate.parts.checks import check
from sartor.federate.parts.networks import Flat, make_network
from sartor.federate.parts.shards import Shards, inputs_of
from sartor.federate.parts.training import Optimizer, classify, train
from sartor.federate.pooled import Pooled
from sartor.method import State

SMALL: dict[str, Any] = {"hidden": (6,), "rounds": 4, "epochs": 2, "batch": 4, "lr": 0.2}


def blobs(sizes: tuple[int, ...] = (9, 12, 5, 7), *, classes: int = 3, seed: int = 0) -> Federation:
    """Clients with two of three classes each."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 4)) * 3
    clients = []
    for number, size in enumerate(sizes):
        y = rng.choice([number % classes, (number + 1) % classes], size + 6)
        x = (centres[y] + rng.normal(size=(size + 6, 4))).astype(np.float32)
        clients.append(Client(f"c{number}", Examples(x[:size], y[:size]), Examples(x[size:], y[size:])))
    return Federation(clients, classes)


def accuracy(method: Any, federation: Federation, states: dict[Any, State]) -> float:
    return float(np.mean([(method.predict(one.test.x, states.get(one.id)).argmax(1) == one.test.y).mean() for one in federation]))


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_all_clients_at_once_equal_a_loop_with_torchs_optimizers(kind: str, network: str) -> None:
    rng = np.random.default_rng(1)
    shape = (5,) if network == "mlp" else (1, 6, 6)
    parts = [Examples(rng.normal(size=(size, *shape)).astype(np.float32), rng.integers(0, 3, size)) for size in (7, 4, 10)]
    flat = Flat.of(make_network(network, shape, 3, (8,)))
    start = torch.stack([flat.initial(seed) for seed in range(3)])
    settings = {"lr": 0.05, "weight_decay": 0.01, **({"momentum": 0.9} if kind == "sgd" else {})}
    shards = Shards(parts)
    together = train(flat, start, shards, classify(flat), Optimizer(kind, **settings), epochs=3, batch=4, key=(5, 2))
    for number, part in enumerate(parts):
        module = make_network(network, shape, 3, (8,))
        module.load_state_dict(flat.split(start[number]))
        plain = torch.optim.SGD(module.parameters(), **settings) if kind == "sgd" else torch.optim.Adam(module.parameters(), **settings)
        for epoch in range(3):
            order = np.random.default_rng([5, 2, epoch, number]).permutation(len(part))
            for first in range(0, len(part), 4):
                rows = order[first : first + 4]
                plain.zero_grad()
                nn.functional.cross_entropy(module(torch.from_numpy(part.x[rows])), torch.from_numpy(part.y[rows])).backward()
                plain.step()
        alone = torch.cat([one.detach().reshape(-1) for one in module.parameters()])
        # Adam divides by a root of squares: where a gradient is near zero, the order of sums shows.
        torch.testing.assert_close(together[number], alone, rtol=1e-4, atol=1e-4 if kind == "adam" else 1e-5)


def test_a_graph_among_larger_ones_learns_as_it_does_alone() -> None:
    rng = np.random.default_rng(2)
    parts = [
        Examples(rng.normal(size=(n, 3)).astype(np.float32), np.where(rng.random(n) < 0.5, rng.integers(0, 2, n), -1), rng.integers(0, n, (2, 2 * n)))
        for n in (5, 9)
    ]
    flat = Flat.of(make_network("gcn", (3,), 2, (4,)))
    start = flat.initial(0).repeat(2, 1)
    for number, part in enumerate(parts):
        shards, alone = Shards(parts), Shards([part])
        batch, single = next(shards.batches(0, 1)), next(alone.batches(0, 1))
        loss = classify(flat)
        flat.train(False)
        torch.testing.assert_close(loss(start, batch)[number], loss(start[:1], single)[0])
        table = inputs_of(part)[1]
        assert part.edges is not None
        plain = np.eye(len(part))
        plain[part.edges[0], part.edges[1]] = plain[part.edges[1], part.edges[0]] = 1
        degree = plain.sum(1)
        np.testing.assert_allclose(table.numpy(), plain / np.sqrt(np.outer(degree, degree)), rtol=1e-6)


def test_a_round_is_the_mean_of_local_models_weighted_by_examples() -> None:
    federation = blobs()
    method = FedAvg(**SMALL | {"rounds": 1}).fit(federation, progress=False)
    net = Flat.of(make_network("mlp", (4,), 3, (6,)))
    start = FedAvg(**SMALL | {"rounds": 1, "lr": 1e-12}).fit(federation, progress=False).server_["weights"]
    shards = Shards([one.train for one in federation])
    ends = train(net, torch.from_numpy(start).repeat(4, 1), shards, classify(net), Optimizer(lr=0.2), epochs=2, batch=4, key=(0, 0))
    np.testing.assert_allclose(method.server_["weights"], np.average(ends.numpy(), axis=0, weights=shards.counts), atol=1e-5)


@pytest.mark.parametrize("kind", [FedAvg, Local, FedPer])
def test_a_stopped_fit_goes_on_to_the_same_result(kind: type[FedAvg], tmp_path: Path) -> None:
    federation, settings = blobs(), SMALL | {"participation": 0.75, "dropout": 0.3}
    whole = kind(**settings).fit(federation, progress=False)

    def stop(done: int, method: Any) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kind(**settings).fit(federation, progress=False, checkpoint=tmp_path, watch=stop)
    again = kind(**settings).fit(federation, progress=False, checkpoint=tmp_path)
    assert again.fingerprint_ == whole.fingerprint_
    for id, state in whole.states().items():
        for name, array in state.arrays.items():
            np.testing.assert_array_equal(array, again.states()[id][name])
    assert [one.lost for one in again.log.rounds] == [one.lost for one in whole.log.rounds]
    assert any(one.lost for one in whole.log.rounds)
    with pytest.raises(KeyboardInterrupt):
        kind(**settings).fit(federation, progress=False, checkpoint=tmp_path, watch=stop)
    with pytest.raises(ConfigError, match="other data"):
        kind(**settings).fit(blobs(seed=1), progress=False, checkpoint=tmp_path)


def test_bytes_are_those_of_real_messages() -> None:
    method = FedAvg(**SMALL).fit(blobs(), progress=False)
    weights = method.server_["weights"]
    one = method.log.rounds[0]
    assert one.down == 4 * len(wire.encode({"weights": weights}))
    assert one.up == 4 * len(wire.encode({"weights": weights, "examples": np.array(9)}))
    np.testing.assert_array_equal(wire.decode(wire.encode({"weights": weights}))["weights"], weights)
    assert method.log.sent["weights"]["times"] == 4 * SMALL["rounds"]
    assert Local(**SMALL).fit(blobs(), progress=False).log.sent == {}


class Broken(FedAvg):
    """Client 1 sends NaN, client 2 an update ten thousand times too long."""

    def _local(self, shards: Any, message: Any, kept: Any, turn: int) -> Any:
        reply, kept = super()._local(shards, message, kept, turn)
        for row, number in enumerate(shards.numbers):
            if number == 1:
                reply["weights"][row, 0] = float("nan")
            if number == 2:
                reply["weights"][row] += 1e4
        return reply, kept


def test_bad_updates_are_left_out_or_shortened_and_reported() -> None:
    federation = blobs()
    method = Broken(**SMALL).fit(federation, progress=False)
    assert all(one.refused == [1] and one.shortened == [2] for one in method.log.rounds)
    assert np.isfinite(method.server_["weights"]).all()
    assert np.abs(method.server_["weights"]).max() < 1e3
    everybody = Broken(**SMALL | {"longest": 0.0}).fit(federation, progress=False)
    assert np.abs(everybody.server_["weights"]).max() > 1e3


class Greedy(FedAvg):
    """Client 0 echoes what it was sent, client 1 says that it has learned from nothing, client 3 from everything."""

    def _receive(self, server: Any, numbers: Any, replies: Any, shares: Any, turn: int) -> Any:
        self.shares = shares
        return super()._receive(server, numbers, replies, shares, turn)

    def _local(self, shards: Any, message: Any, kept: Any, turn: int) -> Any:
        reply, kept = super()._local(shards, message, kept, turn)
        reply["weights"][0] = message["weights"][0]
        shards.counts = np.array([9, -1, 5, 10**12])
        return reply, kept


def test_a_client_that_echoes_or_lies_about_its_examples_is_refused_or_limited() -> None:
    method = Greedy(**SMALL | {"rounds": 1}).fit(blobs(), progress=False)
    (only,) = method.log.rounds
    assert (only.refused, only.shortened) == ([0, 1], [3])
    np.testing.assert_allclose(method.shares, [1 / 11, 10 / 11], rtol=1e-5)


class Other(FedAvg):
    """Client 3 runs a smaller network than it was sent."""

    def _local(self, shards: Any, message: Any, kept: Any, turn: int) -> Any:
        reply, kept = super()._local(shards, message, kept, turn)
        return {"weights": reply["weights"][:, :-3]}, kept


def test_a_mismatched_model_ends_the_round_and_a_lost_client_keeps_what_it_had() -> None:
    federation = blobs()
    with pytest.raises(StateMismatch, match="weights are"):
        Other(**SMALL).fit(federation, progress=False)
    method = Local(**SMALL | {"rounds": 1, "dropout": 0.5}).fit(federation, progress=False)
    (lost,) = (one.lost for one in method.log.rounds)
    assert 0 < len(lost) < 4
    start = method._net.initial(0)
    assert method._part is not None
    for number, own in enumerate(method._part.kept["own"]):
        assert torch.equal(own, start) == (number in lost)


def test_a_shortened_update_keeps_its_direction() -> None:
    sent = torch.zeros(4, 3)
    update = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [60, 80, 0]])
    done = check({"weights": update.clone()}, sent, longest=5.0)
    assert done.clipped.tolist() == [False, False, False, True]
    torch.testing.assert_close(done.replies["weights"][3], torch.tensor([3.0, 4, 0]))
    with pytest.raises(StateMismatch, match=r"\[2\], \[3\] were sent"):
        check({"weights": update[:, :2]}, sent, longest=5.0)


def test_clients_without_data_or_with_one_class() -> None:
    federation = blobs()
    nothing = Examples(np.empty((0, 4), np.float32), np.empty(0, np.int64))
    alike = Examples(federation.clients[0].train.x, np.zeros(9, np.int64))
    mixed = Federation([*federation, Client("empty", nothing, federation.clients[0].test), Client("alike", alike, alike)], 3)
    method = FedAvg(**SMALL).fit(mixed, progress=False)
    states = method.states()
    assert "empty" not in states
    assert (method.predict(alike.x, states["alike"]).argmax(1) == 0).all()
    assert method.log.rounds[0].asked == 5
    with pytest.raises(TooLittleEvidence, match="state None"):
        method.adapt(nothing)


def test_saved_models_answer_alike_and_refuse_others_states(tmp_path: Path) -> None:
    federation = blobs()
    for kind in (FedAvg, FedPer, Local):
        method = kind(**SMALL).fit(federation, progress=False)
        state = State.from_bytes(method.states(tuned=False)["c1"].to_bytes())
        method.save(tmp_path / kind.__name__)
        loaded = sartor.load(tmp_path / kind.__name__)
        x = federation["c1"].test.x
        for one in (None, state, method.states()["c1"]):
            np.testing.assert_array_equal(loaded.predict(x, one), method.predict(x, one))
        joined = loaded.adapt(federation["c2"].train)
        assert loaded.adapt(federation["c2"].train, joined).version == 2
        with pytest.raises(StateMismatch):
            kind(**SMALL | {"seed": 3}).fit(federation, progress=False).predict(x, state)


def test_every_baseline_learns_and_its_own_state_helps() -> None:
    federation = blobs((30, 30, 30, 30), seed=4)
    settings = SMALL | {"rounds": 15}
    for kind in (FedAvg, FedPer, Local, Pooled):
        method = kind(**settings).fit(federation, progress=False)
        assert accuracy(method, federation, method.states()) > 0.85, kind
        assert accuracy(method, federation, method.states()) >= accuracy(method, federation, {}) - 0.05


def test_noise_covers_what_is_sent() -> None:
    federation = blobs()
    quiet = FedAvg(**SMALL | {"rounds": 1}).fit(federation, progress=False)
    noisy = FedAvg(**SMALL | {"rounds": 1, "noise": 3.0, "seeded_noise": True}).fit(federation, progress=False)
    assert set(noisy.log.sent) == {"weights"}
    size = quiet.server_["weights"].size
    spread = (noisy.server_["weights"] - quiet.server_["weights"]).std()
    # Four clients' noise of deviation 3 in a mean of equal shares.
    assert abs(spread - 1.5) < 1.5 * 5 / np.sqrt(2 * size) + 0.1
    hidden = [FedAvg(**SMALL | {"rounds": 1, "noise": 3.0}).fit(federation, progress=False) for _ in range(2)]
    assert not np.allclose(hidden[0].server_["weights"], hidden[1].server_["weights"])
    assert 0 < hidden[0].privacy() < np.inf == quiet.privacy() == noisy.privacy()


class Normed(FedAvg):
    """A network of one's own."""

    def make_network(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(4, 6), nn.BatchNorm1d(6) if self.network == "linear" else nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, self.classes_)
        )


def test_own_networks() -> None:
    method = Normed(**SMALL).fit(blobs(), progress=False)
    assert method.predict(np.zeros((2, 4), np.float32)).shape == (2, 3)
    with pytest.raises(ConfigError, match="GroupNorm or LayerNorm"):
        Normed(**SMALL, network="linear").fit(blobs(), progress=False)
