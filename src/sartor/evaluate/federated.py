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
from typing import TYPE_CHECKING, Any, cast

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
METHODS = ("local", "fedavg", "fedper", "pooled", "fedcac", "fedcluster", "fedpub", "pfedgate", "fedd2s", "semipfl")
"""Slugs that `compare` knows without an encoder; `semipfl` needs a server's set."""
PROMPTED = ("head", "local", "fedavg", "fedper", "pooled", "pfedpg")
"""With an encoder: a head alone, and what learns a prompt and a head; `pfedpg` is in no comparison without one."""


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
    """A fitted method on clients that it was fitted on, and on clients that join later; whoever else took part is not judged."""
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
    count = len(before)
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
    settings: Mapping[str, Any] | None = None, encoder: str | None = None, server: int = 0, labels: int | None = None, board: Path | None = None,
    progress: bool = True,
) -> Comparison:  # fmt: skip
    """Fit and measure methods on a federation of `sartor.federate.datasets`, seed by seed.

    Parameters
    ----------
    data: name of the federation; the seed also draws its partition.
    methods: slugs.
    held_out: share of clients that join only after the last round.
    options: of the federation (clients, alpha, ...).
    settings: of all methods alike (rounds, epochs, lr, ...), so that budgets are equal. SemiPFL keeps its own network and learning rate, which
        are of an autoencoder.
    encoder: a folder with a vision transformer, frozen; every method then learns a prompt and a head over it.
    server: so many clients with all labels are the server's. SemiPFL has their examples on the server, for every other method they are clients
        like all others; they are judged nowhere.
    labels: so many of each class for every other client, also for those that join later.
    board: a folder with a file for every fit that is done; fits that are there with the same settings are not run again.
    """
    from sartor.federate import datasets
    from sartor.federate.parts import partition
    from sartor.progress import bar

    _check_methods(methods, encoder, server)
    more = _beyond(encoder, server, labels)
    found = Comparison(data)
    with bar("federate", len(seeds) * len(methods), enabled=progress, unit="fit") as shown:
        for seed in seeds:
            federation: Federation | None = None
            for slug in methods:
                shown.advance(0, note=f"{slug}, seed {seed}")
                place = None if board is None else board / f"{slug}-{seed}-{_key(data, slug, seed, held_out, options, settings, *more)}.json"
                if place is not None and place.is_file():
                    found.rows.append(Row.read(place))
                    shown.advance()
                    continue
                if federation is None:
                    whole = datasets.load(data, seed=seed, **(options or {}))
                    people, whole = partition.apart(whole, server, seed=seed) if server else ([], whole)
                    whole = whole if labels is None else partition.few_labels(whole, labels, seed=seed)
                    federation, late = whole.hold_out(held_out, seed=seed)
                method = _fitted(slug, {**(settings or {}), "seed": seed}, encoder, federation, people)
                found.rows.append(measure(method, federation, late, slug=slug))
                if place is not None:
                    found.rows[-1].write(place)
                shown.advance()
    return found


def _check_methods(methods: Sequence[str], encoder: str | None, server: int) -> None:
    for name in methods:
        if name == "pfedpg" and encoder is None:
            raise ConfigError("pfedpg writes prompts for an encoder", fix="give one (--encoder FOLDER)")
        if encoder is not None and name not in PROMPTED:
            raise ConfigError(f"{name} does not learn prompts for an encoder", fix=f"with one there are {', '.join(PROMPTED)}")
        if encoder is None and name not in METHODS:
            raise ConfigError(f"{name} is no federated method", fix=f"there are {', '.join(METHODS)}; with an encoder {', '.join(PROMPTED)}")
        if name == "semipfl" and not server:
            raise ConfigError("semipfl learns from a labelled set of the server's", fix="say how many clients give theirs (--server N)")


def _beyond(encoder: str | None, server: int, labels: int | None) -> list[Any]:
    """What else a fit is about; nothing for a plain one, which keeps the name that it has on a board."""
    if encoder is None:
        return [server, labels] if server or labels is not None else []
    from sartor.federate.parts.prompted import digest

    return [server, labels, digest(encoder)]


def _fitted(slug: str, settings: Mapping[str, Any], encoder: str | None, federation: Federation, people: Sequence[Client]) -> Federated:
    """A method on the clients, and on the server's people in the way it can learn from them."""
    from sartor.federate.federation import Examples, Federation
    from sartor.federate.prompted import KINDS
    from sartor.systems import make

    if slug == "semipfl":
        parts = [one.train for one in people]
        together = Examples(np.concatenate([one.x for one in parts]), np.concatenate([one.y for one in parts]))
        own = make(slug, **{name: one for name, one in settings.items() if name not in ("lr", "network")})
        return cast("Federated", own.fit(federation, server=together, progress=False))
    if encoder is not None:
        settings = {**settings, "encoder": encoder, **({"tokens": 0} if slug == "head" else {})}
    method = KINDS[slug](**settings) if encoder is not None and slug in KINDS else make(slug, **settings)
    return cast("Federated", method.fit(Federation([*federation, *people], federation.classes, federation.name), progress=False))
