"""Federated methods side by side: what learning together, and being personal, is worth to each client, and what it costs.

For every method: the shared model (no state), each client's state before and after the last local phase, the state of the most different client,
and clients that join later. Always after the last round, never the best one. A verdict against fine-tuned averaging stands in every row.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor import _storage
from sartor.errors import ConfigError, CorruptFile
from sartor.parts.statistics import bootstrap

if TYPE_CHECKING:
    from sartor.federate._base import Federated
    from sartor.federate.federation import Client, Federation
    from sartor.method import State

ARMS = ("shared", "before", "after", "swapped", "joined_shared", "joined")
"""No state; own state without and with the last local phase; the most different client's; late clients without and with a state."""
COSTS = ("down", "up", "cpu", "state_bytes", "tuned_bytes", "adapt_seconds")
METHODS = ("local", "fedavg", "fedper", "pooled", "fedcac", "fedcluster", "fedpub", "pfedgate", "fedd2s")
"""Slugs that `compare` knows."""


@dataclass
class Row:
    """One method on one federation, one seed."""

    method: str
    seed: int
    values: Mapping[str, np.ndarray]
    """Arm -> accuracy of each client; NaN where it has nothing to be judged by."""
    down: float
    """Bytes to one client in one round."""
    up: float
    """Bytes from one client in one round."""
    cpu: float
    """CPU-seconds of one client over all rounds."""
    state_bytes: float
    """Of the state before the last local phase: what is each client's own beside the server's model."""
    tuned_bytes: float
    adapt_seconds: float
    sent: Mapping[str, Any]
    """What left the devices."""

    def write(self, file: Path) -> None:
        """As JSON, whole or not at all."""
        facts = {**vars(self), "values": {name: one.tolist() for name, one in self.values.items()}}
        _storage.write_atomically(file, json.dumps(facts).encode())

    @classmethod
    def read(cls, file: Path) -> Row:
        """The reverse of `write`; raises `CorruptFile`."""
        try:
            facts = json.loads(file.read_text())
            return cls(**{**facts, "values": {name: np.array(one, np.float64) for name, one in facts["values"].items()}})
        except (ValueError, TypeError, KeyError, AttributeError) as cause:
            raise CorruptFile("this is not a fit of this board", fix="remove it; it will be run again", file=file) from cause

    def mean(self, arm: str) -> float:
        """Over clients."""
        known = self.values[arm][~np.isnan(self.values[arm])]
        return float(known.mean()) if known.size else float("nan")


def _key(*facts: Any) -> str:
    return hashlib.blake2b(json.dumps(facts, sort_keys=True, default=str).encode(), digest_size=6).hexdigest()


def accuracy(method: Federated, client: Client, state: State | None) -> float:
    """Share of a client's labelled test examples that are answered right; NaN when there are none."""
    known = client.test.y >= 0
    if not known.any():
        return float("nan")
    answers = method.predict(client.test.x, state, edges=client.test.edges).argmax(1)
    return float((answers == client.test.y)[known].mean())


def most_different(federation: Federation) -> np.ndarray:
    """int64 [clients]: for each client the one whose labelled training examples are least like its own.

    Examples are compared as joint distributions of input and class, by the distance of their mean embeddings: each class's share, and that share
    times its mean input. No method's answers are looked at, so that none chooses its own opponent.
    """
    table = []
    for client in federation:
        x, y = client.train.x.reshape(len(client.train), -1), client.train.y
        parts = []
        for label in range(federation.classes):
            of = y == label
            share = of.sum() / max(1, client.train.labelled)
            parts.append(np.concatenate([[share], share * (x[of].mean(0) if of.any() else np.zeros(x.shape[1]))]))
        table.append(np.concatenate(parts))
    vectors = np.stack(table)
    squares = (vectors**2).sum(1)
    distances = squares[:, None] + squares - 2 * vectors @ vectors.T
    np.fill_diagonal(distances, -np.inf)
    # Nobody can be given the state of a client that has none.
    distances[:, [client.train.labelled == 0 for client in federation]] = -np.inf
    return distances.argmax(1)


def measure(method: Federated, federation: Federation, late: Federation | None = None, *, slug: str = "") -> Row:
    """A fitted method on the federation it was fitted on, and on clients that join later."""
    before, after = method.states(tuned=False), method.states()
    ids = [client.id for client in federation]
    farthest = most_different(federation) if len(ids) > 1 else np.zeros(1, np.int64)
    values = {
        "shared": [accuracy(method, one, None) for one in federation],
        "before": [accuracy(method, one, before.get(one.id)) for one in federation],
        "after": [accuracy(method, one, after.get(one.id)) for one in federation],
        "swapped": [accuracy(method, one, after.get(ids[other])) for one, other in zip(federation, farthest, strict=True)],
        "joined_shared": [accuracy(method, one, None) for one in late or ()],
    }
    joined, seconds = [], []
    for one in late or ():
        start = time.perf_counter()
        state = method.adapt(one.train) if one.train.labelled else None
        seconds.append(time.perf_counter() - start)
        joined.append(accuracy(method, one, state))
    rounds = method.log.rounds
    asked = sum(one.asked for one in rounds)
    replied = asked - sum(len(one.lost) for one in rounds)
    count = max(1, sum(one.train.labelled > 0 for one in federation))
    return Row(
        slug or type(method).__name__.lower(), method.seed, {name: np.array(one, np.float64) for name, one in {**values, "joined": joined}.items()},
        down=sum(one.down for one in rounds) / max(1, asked), up=sum(one.up for one in rounds) / max(1, replied),
        cpu=sum(one.cpu for one in rounds) / count, state_bytes=float(np.mean([one.nbytes for one in before.values()])),
        tuned_bytes=float(np.mean([one.nbytes for one in after.values()])), adapt_seconds=float(np.mean(seconds)) if seconds else float("nan"),
        sent=method.log.sent,
    )  # fmt: skip


@dataclass
class Comparison:
    """All methods, all seeds."""

    data: str
    rows: list[Row] = field(default_factory=list)

    def values(self, method: str, arm: str) -> np.ndarray:
        """Per client, seeds one after the other."""
        return np.concatenate([row.values[arm] for row in self.rows if row.method == method])

    def means(self, method: str, arm: str) -> np.ndarray:
        """One mean per seed."""
        return np.array([row.mean(arm) for row in self.rows if row.method == method])

    def summary(self, method: str, *, reference: str = "fedavg") -> dict[str, Any]:
        """One method's line: means over clients and seeds, evenness, gain, swap gap, cost, and a verdict against fine-tuned averaging."""
        from sartor.federate.parts.report import fairness

        rows = [row for row in self.rows if row.method == method]
        arm = {name: float(np.nanmean(self.means(method, name))) if np.isfinite(self.means(method, name)).any() else None for name in ARMS}
        own = self.values(method, "after")
        gain, swap = own - self.values(method, "shared"), own - self.values(method, "swapped")
        out: dict[str, Any] = {
            **arm, "by_seed_after": self.means(method, "after").tolist(), "worst_decile": fairness(own).worst_decile,
            "deviation": fairness(own).deviation, "gain": float(np.nanmean(gain)), "gain_interval": bootstrap(gain).tolist(),
            "swap_gap": float(np.nanmean(swap)), "swap_gap_interval": bootstrap(swap).tolist(),
            **{name: float(np.mean([getattr(row, name) for row in rows])) for name in COSTS},
            "sent": rows[0].sent,
        }  # fmt: skip
        if method != reference and any(row.method == reference for row in self.rows):
            over = own - self.values(reference, "after")
            low, high = bootstrap(over)
            out |= {"over_fedavg": float(np.nanmean(over)), "over_fedavg_interval": [float(low), float(high)]}
            out["verdict"] = "better" if low > 0 else "worse" if high < 0 else "not told apart at this scale"
        return out

    def as_dict(self) -> dict[str, Any]:
        """All methods' lines, as plain data."""
        return {"data": self.data, "methods": {name: self.summary(name) for name in dict.fromkeys(row.method for row in self.rows)}}


def compare(
    data: str, methods: Sequence[str], *, seeds: Sequence[int] = (0, 1, 2), held_out: float = 0.2, options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None, board: Path | None = None, progress: bool = True,
) -> Comparison:  # fmt: skip
    """Fit and measure methods on a federation of `sartor.federate.datasets`, seed by seed.

    Parameters
    ----------
    data: name of the federation; the seed also draws its partition.
    methods: slugs.
    held_out: share of clients that join only after the last round.
    options: of the federation (clients, alpha, ...).
    settings: of all methods alike (rounds, epochs, lr, ...), so that budgets are equal.
    board: a folder with a file for every fit that is done; fits that are there with the same settings are not run again.
    """
    from sartor.federate import datasets
    from sartor.progress import bar
    from sartor.systems import make

    if unknown := [name for name in methods if name not in METHODS]:
        raise ConfigError(f"{unknown[0]} is no federated method", fix=f"there are {', '.join(METHODS)}")
    found = Comparison(data)
    with bar("federate", len(seeds) * len(methods), enabled=progress, unit="fit") as shown:
        for seed in seeds:
            federation: Federation | None = None
            for slug in methods:
                shown.advance(0, note=f"{slug}, seed {seed}")
                place = None if board is None else board / f"{slug}-{seed}-{_key(data, slug, seed, held_out, options, settings)}.json"
                if place is not None and place.is_file():
                    found.rows.append(Row.read(place))
                    shown.advance()
                    continue
                if federation is None:
                    federation, late = datasets.load(data, seed=seed, **(options or {})).hold_out(held_out, seed=seed)
                method = make(slug, **{**(settings or {}), "seed": seed})
                method.fit(federation, progress=False)
                found.rows.append(measure(method, federation, late, slug=slug))
                if place is not None:
                    found.rows[-1].write(place)
                shown.advance()
    return found
