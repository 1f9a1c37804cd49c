"""Expensive scorers of pairs as black boxes: asked in batches, counted, and checked.

A cross-encoder, a language model as judge, or a person's own opinion: whatever takes a query and an item and gives a number.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sartor.errors import BadValue, ConfigError
from sartor.progress import track


class PairScorer(Protocol):
    """What scores pairs."""

    def __call__(self, queries: Sequence[Any], items: Sequence[Any], /) -> np.ndarray:
        """float [n]: how well item i fits query i, higher is better. Two calls with the same pair should agree."""


class Nondeterministic(UserWarning):
    """A scorer gave the same pair different scores."""


@dataclass(frozen=True)
class Probe:
    """What asking the same pairs twice showed."""

    pairs: int
    variance: float
    """Of one score around its pair's mean: half the mean squared difference of the two answers."""
    spread: float
    """Variance of scores between pairs, to compare with."""


class CountedScorer:
    """A scorer that counts every pair it is asked, and lets no number through that is not finite.

    Parameters
    ----------
    scorer: the black box.
    batch_size: pairs per call of it.
    name: what it is, for files that depend on it; two different scorers must not share a name.
    """

    def __init__(self, scorer: PairScorer, *, batch_size: int = 1024, name: str = "") -> None:
        if batch_size < 1:
            raise ConfigError(f"batches of {batch_size} pairs", fix="use at least 1")
        self.scorer, self.batch_size, self.name = scorer, batch_size, name
        self.calls = 0
        """Pairs scored so far."""

    def pairs(self, queries: Sequence[Any], items: Sequence[Any], *, progress: bool = False) -> np.ndarray:
        """float32 [n], of query i with item i. Raises `BadValue` naming the pair for a score that is not finite."""
        if len(queries) != len(items):
            raise BadValue(f"{len(queries)} queries and {len(items)} items are no pairs", fix="give as many of one as of the other")
        out = np.empty(len(queries), np.float32)
        for start in track(range(0, len(queries), self.batch_size), "scoring pairs", enabled=progress, unit="batch"):
            stop = min(start + self.batch_size, len(queries))
            found = np.asarray(self.scorer(queries[start:stop], items[start:stop]), np.float64)
            self.calls += stop - start
            if found.shape != (stop - start,):
                raise BadValue(f"the scorer gave an array of shape {list(found.shape)} for {stop - start} pairs", fix="give one number per pair")
            with np.errstate(over="ignore"):
                out[start:stop] = found
            if (bad := np.flatnonzero(~np.isfinite(out[start:stop]))).size:
                at = start + int(bad[0])
                raise BadValue(
                    f"the scorer gave {found[bad[0]]}", fix="mend the scorer", query=_short(queries[at]), item=_short(items[at])
                )  # fmt: skip
        return out

    def matrix(self, queries: Sequence[Any], items: Sequence[Any], *, progress: bool = False) -> np.ndarray:
        """float32 [queries, items], every query with every item."""
        n = len(items)
        flat = self.pairs(_Repeated(queries, n), _Repeated(items, 1, times=len(queries)), progress=progress)
        return flat.reshape(len(queries), n)

    def probe(self, queries: Sequence[Any], items: Sequence[Any], *, pairs: int = 64, seed: int = 0) -> Probe:
        """Ask some random pairs twice, in another order the second time; these calls count.

        Warns (`Nondeterministic`) with the measured variance when answers differ by more than rounding: rows and columns of scores that were
        asked at different times then do not agree where they cross.
        """
        rng = np.random.default_rng(seed)
        asked, about = rng.integers(len(queries), size=pairs), rng.integers(len(items), size=pairs)
        order = rng.permutation(pairs)
        first = self.pairs([queries[at] for at in asked], [items[at] for at in about]).astype(np.float64)
        second = np.empty(pairs)
        second[order] = self.pairs([queries[at] for at in asked[order]], [items[at] for at in about[order]])
        variance, spread = float(np.mean((first - second) ** 2) / 2), float(np.var(first))
        rounding = 1e-4 * max(1.0, float(np.abs(first).max()))
        if np.abs(first - second).max() > rounding:
            warnings.warn(
                f"the same pair is scored differently from call to call: variance {variance:.3g}, against {spread:.3g} between pairs",
                Nondeterministic, stacklevel=2,
            )  # fmt: skip
        return Probe(pairs, variance, spread)


class _Repeated(Sequence[Any]):
    """Each of some things `each` times, and the whole `times` times, without holding them so often."""

    def __init__(self, things: Sequence[Any], each: int, *, times: int = 1) -> None:
        self.things, self.each, self.times = things, each, times

    def __len__(self) -> int:
        return len(self.things) * self.each * self.times

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        return self.things[at // self.each % len(self.things)]


def _short(thing: Any) -> str:
    text = repr(thing)
    return text if len(text) < 80 else f"{text[:77]}..."
