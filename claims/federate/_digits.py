"""Federations of digits that the checks of this room share, and the comparison of methods on one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sartor.evaluate.federated import Row, measure
from sartor.federate._base import Federated
from sartor.federate.datasets import digits_arrays
from sartor.federate.federation import Federation
from sartor.federate.parts import partition


def grouped(seed: int, *, groups: int, each: int, clients: int, train: int, test: int) -> Federation:
    """Groups of clients with `each` classes drawn by the seed; a class belongs to as few groups as can be."""
    x, y = digits_arrays()
    rng = np.random.default_rng([seed, 21])
    while True:
        drawn = np.concatenate([rng.permutation(10) for _ in range(-(-groups * each // 10))])[: groups * each].reshape(groups, each)
        if all(len(set(one)) == each for one in drawn.tolist()):
            return partition.label_groups(x, y, drawn.tolist(), clients, train=train, test=test, seed=seed, name="digits by group")


def relabelled(seed: int, *, groups: int, classes: int, clients: int, train: int, test: int) -> Federation:
    """All classes everywhere, and some of them mean something else in every group."""
    x, y = digits_arrays()
    plain = partition.label_groups(x, y, [list(range(10))], clients, train=train, test=test, seed=seed)
    return partition.relabelled(plain, groups, classes=classes, seed=seed)


def fitted(arms: Mapping[str, Federated], federation: Federation) -> dict[str, Row]:
    """Every arm on one federation."""
    return {name: measure(method.fit(federation, progress=False), federation, slug=name) for name, method in arms.items()}


def table(rows: Sequence[Mapping[str, Row]]) -> dict[str, Any]:
    """Arm -> means over clients by seed, without a state, before and after the last local phase, of the most different client's state."""
    return {
        name: {arm: [round(one[name].mean(arm), 4) for one in rows] for arm in ("shared", "before", "after", "swapped")}
        | {"bytes up per client and round": rows[0][name].up, "CPU-seconds per client": float(np.mean([one[name].cpu for one in rows]))}
        for name in rows[0]
    }


def mean(rows: Sequence[Mapping[str, Row]], name: str, arm: str = "after") -> float:
    """Over seeds and clients."""
    return float(np.mean([one[name].mean(arm) for one in rows]))


def clients(rows: Sequence[Mapping[str, Row]], name: str, arm: str = "after") -> np.ndarray:
    """Of every client, seeds one after the other."""
    return np.concatenate([one[name].values[arm] for one in rows])
