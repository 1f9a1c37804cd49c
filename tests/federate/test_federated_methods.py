"""FedCAC, FedCluster, FED-PUB: each does what its paper says, on clients whose groups are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score
from typer.testing import CliRunner

import sartor
from sartor.cli import app
from sartor.errors import BadValue, ConfigError, CorruptFile, SartorError, StateMismatch, UnknownId, WrongType
from sartor.evaluate.federated import compare, measure, most_different
from sartor.federate import datasets
from sartor.federate.fedavg import FedAvg
from sartor.federate.fedcac import FedCAC, overlap
from sartor.federate.fedcluster import FedCluster
from sartor.federate.federation import Client, Examples, Federation
from sartor.federate.fedpub import FedPub
from sartor.federate.local import Local
from sartor.federate.parts.clustering import by_direction
from sartor.federate.parts.partition import label_groups
from sartor.method import State

SMALL: dict[str, Any] = {"hidden": (8,), "rounds": 14, "epochs": 3, "batch": 5, "lr": 0.2}


def two_groups(count: int = 8, *, size: int = 30, seed: int = 0) -> Federation:
    """Two classes by the first coordinate; clients of odd number mean the opposite by them."""
    rng = np.random.default_rng(seed)
    clients = []
    for number in range(count):
        x = rng.normal(size=(size + 20, 3)).astype(np.float32)
        y = ((x[:, 0] > 0) ^ bool(number % 2)).astype(np.int64)
        clients.append(Client(number, Examples(x[:size], y[:size]), Examples(x[size:], y[size:])))
    return Federation(clients, 2)


def graphs(owners: int = 4, *, seed: int = 0) -> Federation:
    rng = np.random.default_rng(seed)
    owner, y = np.repeat(np.arange(owners), 20), rng.integers(0, 2, 20 * owners)
    x = (rng.normal(size=(len(y), 6)) + 1.5 * y[:, None]).astype(np.float32)
    # Neighbours mostly share a class, or a convolution would only blur.
    edges = np.array(np.triu(rng.random((len(y), len(y))) < np.where(y[:, None] == y, 0.3, 0.03), 1).nonzero())
    return datasets.subgraphs(x, edges, y, owner, train=0.4, test=0.4)


# --- FedCAC


def test_masks_overlap_as_the_paper_counts() -> None:
    masks = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]]).bool()
    for i in range(3):
        for j in range(3):
            differ = (masks[i] ^ masks[j]).sum() / (2 * masks[i].sum())
            assert overlap(masks)[i, j] == pytest.approx(1 - differ)


def test_critical_parameters_are_the_most_sensitive_of_each_tensor() -> None:
    method = FedCAC(**SMALL, critical=0.25).fit(two_groups(), progress=False)
    net = method._net
    rng = torch.Generator().manual_seed(0)
    before, after = torch.randn(2, net.size, generator=rng), torch.randn(2, net.size, generator=rng)
    after[0, net.place("1.bias")] = before[0, net.place("1.bias")]
    mask = method._mask(before, after, np.arange(2))
    for row in range(2):
        for name, size in zip(net.names, net.sizes, strict=True):
            every = ((after - before) * after).abs()[row, net.place(name)]
            own = mask[row, net.place(name)]
            if (row, name) == (0, "1.bias"):
                # A tensor that has not moved has nothing critical.
                assert not own.any()
                continue
            assert own.sum() == max(1, int(0.25 * size))
            assert every[own].min() >= (every[~own].max() if (~own).any() else 0)
    with pytest.raises(BadValue, match="client 7"):
        method._mask(before, before, np.array([7, 8]))


def test_a_start_is_the_circles_mean_in_critical_parameters_and_everybodys_elsewhere() -> None:
    method = FedCAC(**SMALL, cautious=1000).fit(two_groups(), progress=False)
    server = method._participants().server
    masks = torch.from_numpy(np.unpackbits(method.server_["masks"], axis=1, count=method._net.size).astype(bool))
    circle = method.collaborators(masks, method.rounds - 1)
    assert 8 < circle.sum() < 64
    for row in range(8):
        mean = server["models"][circle[row]].mean(0)
        torch.testing.assert_close(server["starts"][row], torch.where(masks[row], mean, server["weights"]))
    # Whoever is the same group is whoever a client turns to.
    same = torch.arange(8)[:, None] % 2 == torch.arange(8) % 2
    assert circle[same].float().mean() > circle[~same].float().mean()
    assert torch.equal(method.collaborators(masks, 10_000), torch.eye(8, dtype=torch.bool))
    assert torch.equal(FedCAC(collaborate=False).collaborators(masks, 0), torch.eye(8, dtype=torch.bool))


def test_the_state_is_critical_values_and_a_bit_each() -> None:
    federation = two_groups()
    method = FedCAC(**SMALL).fit(federation, progress=False)
    state = State.from_bytes(method.states(tuned=False)[3].to_bytes())
    np.testing.assert_allclose(method.weights_of(state).numpy(), method._participants().server["starts"][3], rtol=1e-6)
    assert "starts" not in method.server_
    assert state.nbytes < 0.6 * 4 * method._net.size
    assert method.log.sent["mask"]["bytes"] == -(-method._net.size // 8)
    newcomer, before = two_groups(9).clients[8], method.predict(federation[3].test.x, state)
    method.without(3)
    assert not any(method.server_[name][3].any() for name in ("models", "masks", "seen"))
    np.testing.assert_array_equal(method.predict(federation[3].test.x, state), before)
    method.adapt(newcomer.train)
    with pytest.raises(UnknownId):
        method.without("nobody")


# --- FedCluster


def test_groups_are_found_and_alike_clients_stay_together() -> None:
    rng = np.random.default_rng(3)
    centres = np.eye(3, 20) * 5
    updates = np.concatenate([one + rng.normal(size=(5, 20)) * 0.3 for one in centres])
    found = by_direction(updates, silhouette=0.5)
    assert found.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert found.silhouette == pytest.approx(silhouette_score(updates, found.labels, metric="cosine"), abs=1e-6)
    odd = by_direction(np.concatenate([updates[:5], updates[14:]]), groups=2)
    one = np.array([0] * 5 + [1])
    assert odd.labels.tolist() == one.tolist()
    assert odd.silhouette == pytest.approx(silhouette_score(np.concatenate([updates[:5], updates[14:]]), one, metric="cosine"), abs=1e-6)
    noise = by_direction(rng.normal(size=(15, 200)), silhouette=0.5)
    assert noise.count == 1
    assert by_direction(updates[:1]).count == 1


def test_clients_that_mean_the_opposite_are_told_apart_and_newcomers_find_their_group() -> None:
    federation = two_groups(10, size=40)
    stay = Federation(federation.clients[:8], 2)
    method = FedCluster(**SMALL, warm_up=2, every=4).fit(stay, progress=False)
    leaves = method.leaf_of()
    groups = [{leaf for id, leaf in leaves.items() if id % 2 == side} for side in (0, 1)]
    assert not groups[0] & groups[1]
    before = method.states(tuned=False)
    own = [measure(method, stay).values[arm].mean() for arm in ("before", "shared", "swapped")]
    assert own[0] > 0.85 > 0.7 > own[1] > own[2]
    assert all(state.nbytes == 4 for state in before.values())
    for late in federation.clients[8:]:
        state = method.adapt(late.train)
        assert (method.predict(late.test.x, state).argmax(1) == late.test.y).mean() > 0.8
    alike = FedCluster(rounds=6).fit(label_groups(*datasets.digits_arrays(), [range(10)], 8, train=30, test=10), progress=False)
    assert len(set(alike.leaf_of().values())) == 1


def test_a_client_that_missed_the_split_finds_its_place() -> None:
    federation = two_groups(8, size=40)
    method = FedCluster(**SMALL, participation=0.75, warm_up=2, every=4).fit(federation, progress=False)
    sides = [{leaf for id, leaf in method.leaf_of().items() if id % 2 == side} for side in (0, 1)]
    assert 0 not in sides[0] | sides[1]
    assert not sides[0] & sides[1]


def test_an_update_without_a_direction_is_of_no_cluster_and_ends_no_round() -> None:
    """What the loop would refuse as an echo, and what is too short to have a length, splits nobody else's cluster and stays at the root."""
    method = FedCluster(**SMALL, warm_up=2, every=4)
    method.fit(two_groups(4), progress=False)
    server, numbers, turn = method._begin(5), np.arange(5), method.warm_up
    server["nodes"][0, 0] = 0.0
    ways = torch.tensor([1.0, -1.0, 1.0, -1.0, 0.0])[:, None] * torch.ones(method._net.size)
    replies = {"weights": server["nodes"][0] + ways}
    replies["weights"][4, 0] = 1e-40
    after = method._receive(server, numbers, replies, torch.full((5,), 0.2), turn)
    assert after["leaves"].tolist() == [1, 2, 1, 2, 0]
    again = method._receive(after, numbers[4:], {"weights": after["nodes"][:1].clone()}, torch.ones(1), turn + 1)
    assert again["leaves"].tolist() == [1, 2, 1, 2, 0]
    replies["weights"][4] = server["nodes"][0] - 1
    assert method._receive(again, numbers[4:], {"weights": replies["weights"][4:]}, torch.ones(1), turn + 1)["leaves"][4] == 2


# --- FED-PUB


def test_weights_come_from_owners_that_do_the_same_on_the_random_graph() -> None:
    method = FedPub(rounds=3, hidden=(5,)).fit(graphs(), progress=False)
    server = {name: torch.from_numpy(one) for name, one in method.server_.items()}
    h = server["embeddings"].numpy()
    cosine = h @ h.T / np.outer(np.linalg.norm(h, axis=1), np.linalg.norm(h, axis=1))
    alpha = np.exp(3 * cosine) / np.exp(3 * cosine).sum(1, keepdims=True)
    np.testing.assert_allclose(method.alphas(server, server["embeddings"]).numpy(), alpha, rtol=1e-4)
    sent = method._send(server, np.arange(4), 3)["weights"].numpy()
    np.testing.assert_allclose(sent, alpha @ method.server_["models"], atol=1e-5)
    x, adjacency = method._graph()
    assert x.shape == (500, 6)
    blocks = np.kron(np.eye(5), np.ones((100, 100))) > 0
    assert not adjacency.numpy()[~blocks].any()
    assert 0.08 < ((adjacency > 0).float().mean().item() * 5 - 0.01) < 0.12


def test_the_penalties_reach_the_gradient_and_masks_are_personal() -> None:
    federation = graphs()
    loose = FedPub(rounds=4, hidden=(5,)).fit(federation, progress=False)
    # With one step a phase every step starts from what was sent, where the distance has no slope.
    free, tight = (FedPub(rounds=4, hidden=(5,), epochs=4, near=near).fit(federation, progress=False) for near in (0.0, 50.0))
    sparse = FedPub(rounds=4, hidden=(5,), sparse=0.5).fit(federation, progress=False)
    assert "mask" not in loose.log.sent
    assert loose._part is not None
    assert sparse._part is not None
    assert sparse._part.kept["mask"].abs().mean() < loose._part.kept["mask"].abs().mean() - 0.01

    def spread(method: FedPub) -> float:
        return float(np.std(method.server_["models"], axis=0).mean())

    assert spread(tight) < 0.9 * spread(free)
    masked = loose._masked()
    assert masked.sum() == 6 * 5 + 5 * 5 + 5 * 2
    np.testing.assert_array_equal(loose._effective(torch.ones(1, masked.numel()), torch.full((1, 65), 2.0))[0].numpy(), np.where(masked, 2.0, 1.0))


def test_a_graphs_owner_is_served_and_can_join_later(tmp_path: Path) -> None:
    federation = graphs(5)
    stay = Federation(federation.clients[:4], 2)
    method = FedPub(rounds=30, hidden=(8,), lr=0.05).fit(stay, progress=False)
    state = State.from_bytes(method.states(tuned=False)[1].to_bytes())
    assert state["mask"].dtype == np.float16
    method.save(tmp_path / "m")
    loaded = sartor.load(tmp_path / "m")
    part = stay[1].test
    np.testing.assert_array_equal(loaded.predict(part.x, state, edges=part.edges), method.predict(part.x, state, edges=part.edges))
    found = measure(method, stay, Federation(federation.clients[4:], 2))
    assert found.values["before"].mean() > 0.7
    assert found.values["joined"][0] > 0.6


# --- comparing


def test_the_most_different_client_is_chosen_by_data() -> None:
    federation = two_groups(6)
    assert all((one % 2) != (other % 2) for one, other in enumerate(most_different(federation)))


def test_the_table_compares_on_equal_budgets(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app,
        ["federate", "digits", "-m", "local", "-m", "fedavg", "-m", "fedcluster", "--seed", "100", "--seed", "101", "--rounds", "3", "--clients", "6",
         "--out", str(tmp_path / "out.json"), "--json"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["methods"] == json.loads((tmp_path / "out.json").read_text())["methods"]
    local, averaged = found["methods"]["local"], found["methods"]["fedavg"]
    assert local["sent"] == {}
    assert averaged["up"] > averaged["down"] > 4 * 8970
    assert len(averaged["by_seed_after"]) == 2
    assert local["verdict"] in ("better", "worse", "not told apart at this scale")
    assert averaged["gain"] == pytest.approx(averaged["after"] - averaged["shared"])
    board = tmp_path / "board"
    again = compare("digits", ["local"], seeds=[100, 101], options={"clients": 6}, settings={"rounds": 3}, board=board, progress=False)
    assert len(list(board.iterdir())) == 2
    one = next(board.iterdir())
    read = compare("digits", ["local"], seeds=[100, 101], options={"clients": 6}, settings={"rounds": 3}, board=board, progress=False)
    assert {name: repr(value) for name, value in read.summary("local").items()} == {name: repr(v) for name, v in again.summary("local").items()}
    one.write_text("{}")
    with pytest.raises(CorruptFile, match="not a fit"):
        compare("digits", ["local"], seeds=[100, 101], options={"clients": 6}, settings={"rounds": 3}, board=board, progress=False)
    assert again.summary("local")["after"] == pytest.approx(local["after"])
    assert CliRunner().invoke(app, ["federate", "digits", "--seed", "100", "--rounds", "1", "--clients", "6", "-m", "local"]).exit_code == 0


MISTAKES: dict[str, tuple[Callable[[], Any], type[SartorError], str]] = {
    "one client cannot overlap": (lambda: FedCAC().fit(two_groups(1), progress=False), ConfigError, "at least two clients"),
    "tau of 0": (lambda: FedCAC(critical=0.0).fit(two_groups(), progress=False), ConfigError, "tau"),
    "tau above 1": (lambda: FedCAC(critical=1.5).fit(two_groups(), progress=False), ConfigError, "tau"),
    "more clusters than clients": (lambda: FedCluster(clusters=9).fit(two_groups(), progress=False), ConfigError, "9 clusters of 8"),
    "a zero update": (lambda: by_direction(np.array([[1.0, 2], [0, 0]])), BadValue, "client 1"),
    "FED-PUB without graphs": (lambda: FedPub().fit(two_groups(), progress=False), ConfigError, "graphs"),
    "FED-PUB with another network": (lambda: FedPub(network="mlp").fit(two_groups(), progress=False), ConfigError, "gcn"),
    "noise does not cover masks": (lambda: FedCAC(noise=1.0).fit(two_groups(), progress=False), ConfigError, "mask"),
    "a population": (lambda: FedAvg().fit(sartor.Population.from_frames(events={"person": [1], "item": [2]})), WrongType, "Federation"),  # type: ignore[arg-type]
    "other inputs than were learned": (lambda: Local(**SMALL).fit(two_groups(), progress=False).predict(np.zeros((1, 4))), StateMismatch, "reads"),
    "a label beyond the classes": (
        lambda: FedAvg(**SMALL).fit(two_groups(), progress=False).adapt(Examples(np.zeros((1, 3), np.float32), np.array([2]))), BadValue, "label 2",
    ),
    "no such method": (lambda: compare("digits", ["sasrec"]), ConfigError, "fedcac"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_of_methods_have_names(what: str) -> None:
    work, error, words = MISTAKES[what]
    with pytest.raises(error, match=words):
        work()
