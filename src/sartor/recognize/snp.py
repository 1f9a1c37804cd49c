"""The best small training set for one's own cameras, out of a large labelled pool: search the source, then prune it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sartor import _storage
from sartor.errors import BadValue, ConfigError, EmptyData
from sartor.recognize.parts.selection import Moments, balanced_kmeans, frechet, k_center, moments, union_frechet

Way = Literal["snp", "greedy", "random"]


@dataclass(frozen=True, eq=False)
class Pool:
    """Labelled pictures of several sources, as features; one row a picture."""

    features: np.ndarray
    """float32 [n, d], of a frozen encoder; the target's have to be of the same."""
    person: np.ndarray
    """[n], numbers or texts; the same name in two sources is two people."""
    source: np.ndarray
    """[n], numbers or texts."""
    names: Sequence[str] | None = None
    """Of the files, for errors."""
    junk: tuple[Any, ...] = ()
    """Names of nobody, left out: (-1, 0) in folders like Market-1501's."""

    def __post_init__(self) -> None:
        n = len(self.features)
        if n != len(self.person) or n != len(self.source) or (self.names is not None and n != len(self.names)):
            raise ConfigError(f"{n} features, {len(self.person)} people and {len(self.source)} sources", fix="give one of each for each picture")
        if bad := np.flatnonzero(~np.isfinite(np.asarray(self.features)).all(-1)).tolist():
            files = ", ".join(self.names[row] for row in bad[:3]) if self.names is not None else None
            raise BadValue(f"the features of {len(bad)} pictures are no numbers", fix="look at these pictures", row=bad[0], file=files)

    def people(self) -> np.ndarray:
        """int64 [n], numbers of (source, person) pairs from 0; -1 for junk."""
        who, where = (np.unique(one, return_inverse=True)[1].astype(np.int64) for one in (self.person, self.source))
        kept = ~np.isin(np.asarray(self.person), np.asarray(self.junk)) if self.junk else np.ones(len(who), bool)
        numbers = np.full(len(who), -1)
        numbers[kept] = np.unique((where * (int(who.max(initial=0)) + 1) + who)[kept], return_inverse=True)[1]
        return numbers


@dataclass(frozen=True, eq=False)
class Chosen:
    """A training set, and what is kept of the target: no picture of it."""

    rows: np.ndarray
    """int64 [pictures], of the pool, rising."""
    people: int
    frechet: float
    """Of the chosen pictures to the target, from equally many of both."""
    searched: int
    """People of the prefix that the search found, before pruning."""
    path: tuple[float, ...]
    """Frechet distance of the union after each cluster, in the order of the search; empty where nothing was searched."""
    sources: dict[str, int]
    """Chosen pictures by source."""
    target: Moments

    def to_bytes(self) -> bytes:
        """The manifest as safetensors."""
        arrays = {"rows": self.rows, "mean": self.target.mean.astype(np.float32), "covariance": self.target.covariance.astype(np.float32)}
        facts = {name: getattr(self, name) for name in ("people", "frechet", "searched", "path", "sources")}
        return _storage.to_bytes(arrays, {**facts, "count": self.target.count})

    @classmethod
    def from_bytes(cls, data: bytes) -> Chosen:
        """The reverse; raises `CorruptFile`."""
        arrays, facts = _storage.from_bytes(data, needs=("people", "frechet", "searched", "path", "sources", "count"))
        target = Moments(arrays["mean"].astype(np.float64), arrays["covariance"].astype(np.float64), facts.pop("count"))
        return cls(rows=arrays["rows"], target=target, **{**facts, "path": tuple(facts["path"])})

    def save(self, file: str | Path) -> Path:
        """Write the manifest, whole or not at all."""
        _storage.write_atomically(Path(file), self.to_bytes())
        return Path(file)


@dataclass(kw_only=True)
class SnP:
    """Search and prune: people of the pool in clusters of equal size, clusters in the order of their Frechet distance to the target, the prefix whose
    UNION is nearest; of its people a random budget; of their pictures those that cover most.

    For a site that has unlabelled pictures of its own cameras and a large pool of others' labelled ones. Where the pool has nothing like the target,
    or the budget is most of it, random people do as well. So they do where the encoder learns from anybody's pictures what it needs: on generated
    people, equal steps, mAP on the target is 0.47 of either, 0.48 of the people of the nearest clusters ("greedy") and 0.51 of the whole pool
    (claims/recognize/snp.py). With an encoder that learned half as much it was 0.26 against 0.21 of random people and 0.12 of the pool.

    Source: Yao, Gedeon and Zheng, Large-scale Training Data Search for Object Re-identification, CVPR 2023. Differs in: both sides of a distance have
    the same number of pictures (the published code draws a sub-sample of the target and then does not use it).

    Parameters
    ----------
    clusters: of people.
    budget: people at the most; None keeps all of the prefix.
    pictures: share of the chosen people's pictures that is kept; everybody keeps one.
    way: "snp"; or, to compare, "greedy" (people of the nearest clusters until the budget is full) or "random" people of the whole pool.
    """

    clusters: int = 50
    budget: int | None = None
    pictures: float = 1.0
    way: Way = "snp"
    seed: int = 0

    def search(self, target: np.ndarray, pool: Pool) -> Chosen:
        """The training set for a target.

        Parameters
        ----------
        target: float [m, d], features of unlabelled pictures; with less than 50 its covariance is shrunk, and a warning says so.

        Raises `ConfigError` for a budget above the pool's people, `BadValue` for features that are no numbers, `EmptyData`.
        """
        if self.way not in ("snp", "greedy", "random") or not 0 < self.pictures <= 1:
            raise ConfigError(f"way {self.way!r}, pictures {self.pictures}", fix="use snp, greedy or random, and a share above 0")
        features = np.asarray(pool.features, np.float64)
        wanted = moments(target, what="the target")
        if features.shape[1] != wanted.mean.size:
            raise ConfigError(f"{features.shape[1]} features of the pool, {wanted.mean.size} of the target", fix="use one encoder for both")
        number = pool.people()
        total = int(number.max(initial=-1)) + 1
        if not total:
            raise EmptyData("there is nobody in the pool", fix="look at its names and at `junk`")
        if self.budget is not None and not 1 <= self.budget <= total:
            raise ConfigError(f"a budget of {self.budget} of {total} people", fix=f"use 1 to {total}")
        rng = np.random.default_rng([self.seed, 43])
        path: tuple[float, ...] = ()
        if self.way == "random":
            found = np.arange(total)
        else:
            ordered = self._ordered(features, number, total, wanted)
            if self.way == "greedy":
                found = np.concatenate(ordered)[: self.budget]
            else:
                found, path = self._prefix(features, number, ordered, np.asarray(target, np.float64), rng)
        people = found if self.budget is None or self.budget >= found.size else rng.choice(found, self.budget, replace=False)
        rows = self._pruned(features, number, people)
        where, counts = np.unique(np.asarray(pool.source)[rows], return_counts=True)
        return Chosen(
            rows, int(people.size), union_frechet(features[rows], np.asarray(target, np.float64), rng), int(found.size), path,
            {str(name): int(count) for name, count in zip(where, counts, strict=True)}, wanted,
        )  # fmt: skip

    def _ordered(self, features: np.ndarray, number: np.ndarray, total: int, target: Moments) -> list[np.ndarray]:
        """People of each cluster, the cluster nearest to the target first."""
        kept = number >= 0
        means = np.zeros((total, features.shape[1]))
        np.add.at(means, number[kept], features[kept])
        means /= np.bincount(number[kept], minlength=total)[:, None]
        labels = balanced_kmeans(means, min(self.clusters, total), seed=self.seed)
        clusters = [np.flatnonzero(labels == k) for k in range(labels.max() + 1)]
        apart = [frechet(moments(features[np.isin(number, people)]), target) for people in clusters]
        return [clusters[k] for k in np.argsort(apart, kind="stable")]

    def _prefix(
        self, features: np.ndarray, number: np.ndarray, ordered: list[np.ndarray], target: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, tuple[float, ...]]:
        path = [union_frechet(features[np.isin(number, np.concatenate(ordered[: k + 1]))], target, rng) for k in range(len(ordered))]
        return np.concatenate(ordered[: int(np.argmin(path)) + 1]), tuple(path)

    def _pruned(self, features: np.ndarray, number: np.ndarray, people: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(np.isin(number, people))
        if self.pictures == 1:
            return rows
        first = np.unique(number[rows], return_index=True)[1]
        more = max(0, int(self.pictures * rows.size) - first.size)
        added, _ = k_center(features[rows], more, first)
        return np.sort(rows[np.r_[first, added]])


def named(files: Sequence[str | Path]) -> tuple[np.ndarray, np.ndarray]:
    """People and cameras, int64 [n] each, of files named like Market-1501's: 0002_c1s1_000451_03.jpg. Raises `BadValue` for another name."""
    found = []
    for file in files:
        match = re.match(r"(-?\d+)_c(\d+)", Path(file).name)
        if match is None:
            raise BadValue("this name does not say who is on the picture", fix="names begin like 0002_c1", file=file)
        found.append((int(match[1]), int(match[2])))
    made = np.array(found, np.int64).reshape(-1, 2)
    return made[:, 0], made[:, 1]
