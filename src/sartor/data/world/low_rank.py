"""A rating matrix of known low rank, for what recovers matrices rather than tastes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from sartor.data.population import Population
from sartor.errors import ConfigError


@dataclass(frozen=True, eq=False)
class LowRank:
    """The truth and what was seen of it."""

    left: np.ndarray
    """float64 [rows, rank]."""
    right: np.ndarray
    """float64 [columns, rank]; the matrix is left @ right.T, with entries of standard deviation about 1."""
    seen: tuple[np.ndarray, np.ndarray]
    """Row and column numbers of the observed entries, in the order of rows."""
    values: np.ndarray
    """float64, the observed entries with their noise."""

    def population(self) -> Population:
        """The observed entries as explicit ratings: rows are people, columns are items."""
        events = {"person": self.seen[0], "item": self.seen[1], "value": self.values}
        items = {"item": np.arange(self.right.shape[0])}
        return Population.from_frames(name="low-rank", events=pl.DataFrame(events), items=pl.DataFrame(items))


def low_rank(
    rows: int = 1500, columns: int = 1500, rank: int = 20, *, density: float = 0.25, noise: float = 0.0, spike: float = 1.0, seed: int = 0
) -> LowRank:
    """A random matrix whose entries are each observed with probability `density`.

    Parameters
    ----------
    noise: standard deviation of what is added to every observed entry.
    spike: how many times longer the first row's factor is than the others': 1 makes an incoherent matrix, 30 a coherent one.
    """
    if not 1 <= rank <= min(rows, columns):
        raise ConfigError(f"rank is {rank} for {rows} x {columns}", fix="choose 1 <= rank <= min(rows, columns)")
    if not 0 < density <= 1:
        raise ConfigError(f"density is {density}", fix="choose 0 < density <= 1")
    if noise < 0 or spike <= 0:
        raise ConfigError(f"noise is {noise}, spike is {spike}", fix="choose noise >= 0 and spike > 0")
    rng = np.random.default_rng([seed, rows, columns, rank])
    left = rng.standard_normal((rows, rank)) / np.sqrt(rank)
    left[0] *= spike
    right = rng.standard_normal((columns, rank))
    row, column = np.nonzero(rng.random((rows, columns)) < density)
    values = np.einsum("er,er->e", left[row], right[column])
    return LowRank(left, right, (row, column), values + noise * rng.standard_normal(values.size))
