"""Generated documents of 30 topics: 6 branches of 5 leaves, with words of the leaf, of its branch, of other leaves and of everybody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BRANCHES, LEAVES, WORDS = 6, 5, 3_000
OF_BRANCH, OF_LEAF = 150, 60
"""Words that a branch and a leaf prefer; drawn from all, so that some belong to several."""
SHARES = (0.3, 0.2, 0.15, 0.35)
"""Of a document's words: its leaf's, its branch's, those of another leaf, everybody's; every document has its own, about these."""


@dataclass(frozen=True, eq=False)
class Topics:
    """Documents, and what they are about."""

    documents: list[list[str]]
    leaf: np.ndarray
    """int64 [documents]; leaf // LEAVES is the branch."""
    core: list[np.ndarray]
    """The words each leaf prefers, most preferred first."""


def _zipf(count: int) -> np.ndarray:
    weights = 1 / np.arange(2, count + 2)
    return weights / weights.sum()


def topics(documents: int, rng: np.random.Generator, *, length: tuple[int, int] = (30, 90), shares: tuple[float, ...] = SHARES) -> Topics:
    """Documents of `length` words, topics and words all drawn by `rng`."""
    names = np.array([f"w{number}" for number in range(WORDS)])
    everybody = rng.permutation(WORDS)
    branches = [rng.choice(WORDS, OF_BRANCH, replace=False) for _ in range(BRANCHES)]
    leaves = [rng.choice(WORDS, OF_LEAF, replace=False) for _ in range(BRANCHES * LEAVES)]
    leaf = rng.integers(0, BRANCHES * LEAVES, documents)
    made = []
    for own in leaf:
        size = rng.integers(length[0], length[1] + 1)
        other = int(rng.integers(0, BRANCHES * LEAVES))
        source = rng.choice(4, size, p=rng.dirichlet(10 * np.array(shares)))
        pools = (leaves[own], branches[own // LEAVES], leaves[other], everybody)
        drawn = np.empty(size, np.int64)
        for kind, pool in enumerate(pools):
            here = source == kind
            drawn[here] = rng.choice(pool, here.sum(), p=_zipf(pool.size))
        made.append(names[drawn].tolist())
    return Topics(made, leaf, [names[words] for words in leaves])
