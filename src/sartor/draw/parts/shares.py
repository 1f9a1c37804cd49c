"""How often each category of several attributes is drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from sartor.errors import BadValue, ConfigError


def shares_of(name: str, kinds: Sequence[str], given: Mapping[str, float] | None) -> list[float]:
    """One for each category, equal ones by default; raises `BadValue` for a category that is not known, and `ConfigError` unless they sum to 1."""
    if given is None:
        return [1 / len(kinds)] * len(kinds)
    if strange := [one for one in given if one not in kinds]:
        raise BadValue(f"{name} has no category '{strange[0]}'", fix=f"it has {', '.join(kinds)}")
    total = sum(given.values())
    if min(given.values()) < 0 or abs(total - 1) > 1e-6:
        raise ConfigError(f"the shares of {name} sum to {total:g}", fix="give shares from 0 to 1 that sum to 1")
    return [float(given.get(one, 0.0)) for one in kinds]


def shared_out(shares: Sequence[Sequence[float]], count: int, seed: int) -> np.ndarray:
    """int64 [count, attributes]: combinations of categories in a random order, each as often as the product of its shares, up to one.

    Whole numbers first, then the largest remainders, ties at random.
    """
    combos = np.array([*itertools.product(*map(range, map(len, shares)))])
    wanted = count * np.array([math.prod(one[kind] for one, kind in zip(shares, combo, strict=True)) for combo in combos])
    rng = np.random.default_rng(seed)
    quota = np.floor(wanted + 1e-9).astype(np.int64)
    rest = np.where(wanted > 0, wanted - quota + rng.uniform(0, 1e-6, len(combos)), -1)
    quota[np.argsort(-rest)[: count - int(quota.sum())]] += 1
    chosen: np.ndarray = combos[rng.permutation(np.repeat(np.arange(len(combos)), quota))]
    return chosen
