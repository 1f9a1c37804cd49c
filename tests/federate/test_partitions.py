"""Federations, partitions, the privacy account, the fairness report."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, SartorError, UnknownId, WrongType
from sartor.federate import datasets
from sartor.federate.fedavg import FedAvg
from sartor.federate.federation import Client, Examples, Federation
from sartor.federate.parts import partition
from sartor.federate.parts.privacy import delta_of, epsilon_of, noise_for
from sartor.federate.parts.report import fairness, rounds_to

X = np.arange(400, dtype=np.float32)[:, None] + np.zeros((1, 2), np.float32)
Y = np.arange(400) % 5


def rows(federation: Federation) -> list[int]:
    return [int(one) for client in federation for part in (client.train, client.test) for one in part.x[:, 0]]


@given(st.integers(1, 10), st.floats(0.3, 10), st.integers(0, 50))
def test_dirichlet_gives_every_client_its_size_and_no_example_twice(clients: int, alpha: float, seed: int) -> None:
    found = partition.dirichlet(X, Y, clients, alpha=alpha, train=8, test=4, seed=seed)
    assert [(len(one.train), len(one.test)) for one in found] == [(8, 4)] * clients
    assert len(set(rows(found))) == 12 * clients
    for client in found:
        for part in (client.train, client.test):
            np.testing.assert_array_equal(part.y, Y[part.x[:, 0].astype(int)])


def test_dirichlet_ends_when_classes_run_out() -> None:
    with pytest.raises(EmptyData, match="all need more of a class than is left"):
        partition.dirichlet(X, Y, 8, alpha=0.001, train=40, test=10, seed=1)
    lopsided = partition.dirichlet(X, Y, 4, alpha=0.01, train=40, test=20, seed=1)
    even = partition.dirichlet(X, Y, 4, alpha=100, train=40, test=20, seed=1)

    def top(federation: Federation) -> float:
        return float(np.mean([np.bincount(one.train.y, minlength=5).max() / 40 for one in federation]))

    assert top(lopsided) > 0.8 > 0.5 > top(even)


def test_groups_looks_and_relabelling() -> None:
    found = partition.label_groups(X, Y, [[0, 1], [2, 3, 4]], 4, train=12, test=6, seed=2)
    assert [set(one.train.y.tolist()) for one in found] == [{0, 1}, {2, 3, 4}] * 2
    assert len(set(rows(found))) == len(rows(found))
    moved = partition.relabelled(found, 2, classes=3, seed=2)
    for number, (before, after) in enumerate(zip(found, moved, strict=True)):
        pairs = set(zip(before.train.y.tolist() + before.test.y.tolist(), after.train.y.tolist() + after.test.y.tolist(), strict=True))
        assert len(pairs) == len({one for one, _ in pairs})
        assert number % 2 or all(one == other for one, other in pairs)
    everything = partition.relabelled(partition.label_groups(X, Y, [[0, 1, 2, 3, 4]], 2, train=20, test=5), 2, classes=5)
    assert (everything.clients[1].train.y != Y[everything.clients[1].train.x[:, 0].astype(int)]).all()
    seen = partition.looks(found, [lambda x: x, lambda x: -x])
    np.testing.assert_array_equal(seen.clients[1].test.x, -found.clients[1].test.x)


def test_real_people_are_judged_on_their_last_examples() -> None:
    people = np.repeat([7, 8, 9], [50, 300, 50])
    found = partition.by_person(X, Y, people, test=0.2, at_least=40, shuffle=False)
    assert [one.id for one in found] == [7, 8, 9]
    assert all(one.train.x[:, 0].max() < one.test.x[:, 0].min() for one in found)
    each = partition.by_person(X, Y, people, test=0.2, shuffle=False, each_class=True)
    assert all(np.bincount(one.test.y).tolist() == [len(one.test) // 5] * 5 for one in each)
    assert len(partition.by_person(X, Y, people, at_least=60, shuffle=True)) == 1


def test_subgraphs_lose_the_edges_between_owners() -> None:
    edges = np.array([[0, 1, 2, 4], [1, 2, 3, 5]])
    found = datasets.subgraphs(X[:6], edges, Y[:6], np.array([0, 0, 1, 1, 1, -1]), train=0.5, test=0.5)
    assert [one.train.edges.tolist() for one in found if one.train.edges is not None] == [[[0], [1]], [[0], [1]]]
    for client in found:
        assert not ((client.train.y >= 0) & (client.test.y >= 0)).any()
    whole = found.pooled().clients[0].train
    assert whole.edges is not None
    assert whole.edges.tolist() == [[0, 2], [1, 3]]


def test_held_out_clients_and_digests() -> None:
    found = partition.dirichlet(X, Y, 10, alpha=1, train=8, test=4)
    stay, late = found.hold_out(0.2, seed=1)
    assert len(stay) == 8
    assert {one.id for one in stay} | {one.id for one in late} == set(range(10))
    assert found.digest() == partition.dirichlet(X, Y, 10, alpha=1, train=8, test=4).digest() != stay.digest()
    assert len(found.pooled().clients[0].train) == 80
    with pytest.raises(UnknownId):
        stay[99]


@pytest.mark.parametrize("noise", [2.0, 20.0, 80.0])
def test_the_privacy_account_is_exact_and_below_the_renyi_bound(noise: float) -> None:
    delta, releases = 1e-5, 30
    epsilon = epsilon_of(noise, releases, delta)
    # Many releases are one with less noise; twice the clipping length apart, the two outputs are normal with means 0 and gap.
    gap = 2 * math.sqrt(releases) / noise
    assert epsilon == pytest.approx(epsilon_of(noise / math.sqrt(releases), 1, delta), rel=1e-6)
    grid = np.linspace(-40, 40 + gap, 400_001)
    difference = np.maximum(norm.pdf(grid - gap) - np.exp(epsilon) * norm.pdf(grid), 0)
    assert float(difference.sum() * (grid[1] - grid[0])) == pytest.approx(delta, rel=0.01)
    orders = np.linspace(1.01, 400, 20_000)
    bound = orders * gap**2 / 2 + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    assert epsilon <= bound.min() <= 1.5 * epsilon + 0.2
    assert noise_for(epsilon, releases, delta) == pytest.approx(noise, rel=1e-4)
    assert delta_of(epsilon, noise, releases) == pytest.approx(delta, rel=1e-5)
    assert epsilon_of(0, 1, delta) == math.inf


def test_fairness_and_rounds() -> None:
    found = fairness([*np.linspace(0.5, 0.9, 19), 0.1, math.nan])
    assert (found.clients, found.worst_decile) == (20, pytest.approx((0.1 + 0.5) / 2))
    assert rounds_to([0.1, 0.5, 0.4, 0.9], 0.5) == 2
    assert rounds_to([0.1], 0.5) is None
    with pytest.raises(EmptyData):
        fairness([math.nan])


def _clients(**second: Any) -> list[Client]:
    good = Examples(X[:4], Y[:4])
    other = {"id": "b", "train": good, "test": good} | second
    return [Client("a", good, good), Client(**other)]


UNLABELLED = Federation([Client(0, Examples(X[:2], np.array([-1, -1])), Examples(X[:2], Y[:2]))])
GRAPH = Examples(X[:4], Y[:4], np.zeros((2, 0), np.int64))
TABLE: dict[str, tuple[Callable[[], Any], type[SartorError], str]] = {
    "labels and inputs differ in number": (lambda: Examples(X[:4], Y[:3]), BadValue, "one label for each"),
    "text": (lambda: Examples(np.array([["a"]]), Y[:1]), WrongType, "numbers"),
    "NaN": (lambda: Examples(np.array([[1.0], [np.nan]]), Y[:2]), BadValue, "row 1"),
    "a label below -1": (lambda: Examples(X[:2], np.array([0, -2])), BadValue, "-2"),
    "an edge beyond the nodes": (lambda: Examples(X[:4], Y[:4], np.array([[0], [9]])), BadValue, "node 9 of 4"),
    "no clients": (lambda: Federation([]), EmptyData, "without clients"),
    "one id twice": (lambda: Federation(_clients(id="a")), BadValue, "same id"),
    "other inputs": (lambda: Federation(_clients(test=Examples(X[:4, :1], Y[:4]))), BadValue, "client b"),
    "graphs and none": (lambda: Federation(_clients(train=GRAPH, test=GRAPH)), BadValue, "client b"),
    "more labels than classes": (lambda: Federation(_clients(), 2), BadValue, "label 3"),
    "nothing labelled": (lambda: FedAvg().fit(UNLABELLED, progress=False), EmptyData, "no client"),
    "hold out everybody": (lambda: Federation(_clients()).hold_out(1.0), ConfigError, "share"),
    "too many clients": (lambda: partition.dirichlet(X, Y, 100, train=8, test=4), EmptyData, "1200"),
    "alpha of nothing": (lambda: partition.dirichlet(X, Y, 2, alpha=0, train=8, test=4), ConfigError, "alpha"),
    "a group of rare classes": (lambda: partition.label_groups(X, Y, [[0]], 4, train=30, test=10), EmptyData, "class 0"),
    "no such federation": (lambda: datasets.load("minst"), UnknownId, "mnist-t10k"),
    "graphs need a gcn": (lambda: FedAvg().fit(Federation([Client(0, GRAPH, GRAPH)]), progress=False), ConfigError, "gcn"),
    "participation of nobody": (lambda: FedAvg(participation=0.0).fit(Federation(_clients())), ConfigError, "participation"),
    "no such network": (lambda: FedAvg(network="vgg").fit(Federation(_clients()), progress=False), ConfigError, "linear, mlp"),
    "a negative noise": (lambda: epsilon_of(-1, 3, 1e-5), ConfigError, "noise"),
}


@pytest.mark.parametrize("what", TABLE)
def test_mistakes_have_names(what: str) -> None:
    work, error, words = TABLE[what]
    with pytest.raises(error, match=words):
        work()


def test_a_pickle_that_would_call_something_is_refused(tmp_path: Path) -> None:
    from sartor.data import planetoid

    class Calls:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "called",))

    for part in ("tx", "ty", "allx", "ally", "graph"):
        (tmp_path / f"ind.cora.{part}").write_bytes(pickle.dumps(Calls()))
    with pytest.raises(CorruptFile, match="it names"):
        planetoid.read(tmp_path, "cora")
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("name", list(datasets.SETS))
def test_real_federations(name: str) -> None:
    try:
        federation = datasets.load(name, seed=100)
    except (SartorError, ImportError) as missing:
        pytest.skip(f"needs the data set: {missing}")
    assert len(federation) >= 5
    assert all(one.train.labelled and one.test.labelled for one in federation)
