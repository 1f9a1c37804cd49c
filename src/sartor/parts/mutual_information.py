"""How much one field of a frame tells about another: the plug-in mutual information of all pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sartor.parts.fields import Codes, Field

BINS = 10
"""Numbers are cut into so many groups of equal size."""


def mutual_information(codes: Codes, fields: Sequence[Field]) -> np.ndarray:
    """float64 [fields, fields], in nats: sum over value pairs of P(a, b) log(P(a, b) / (P(a) P(b))); the diagonal is the entropy.

    Missing values are values too. Numbers are cut at their deciles. In multi-valued fields every row's weight is shared equally by its
    values, so that a row with three tags counts as much as one with a single tag.
    """
    spread = [_values(codes[field.name], field) for field in fields]
    out = np.zeros((len(fields), len(fields)))
    for i, (rows, values, weights) in enumerate(spread):
        for j, (others, second, shares) in enumerate(spread[: i + 1]):
            out[i, j] = out[j, i] = _entropy(values, weights) if i == j else _pair(rows, values, weights, others, second, shares)
    return out


def _values(codes: np.ndarray, field: Field) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers (ascending), values from 0 and weights (1 per row in sum), one entry per value of every row."""
    if field.kind == "number":
        cuts = np.unique(np.nanquantile(codes, np.linspace(0, 1, BINS + 1)[1:-1])) if np.isfinite(codes).any() else np.empty(0)
        binned = np.where(np.isnan(codes), 0, 1 + np.searchsorted(cuts, np.nan_to_num(codes), side="right"))
        return np.arange(codes.size), binned.astype(np.int64), np.ones(codes.size)
    if not field.is_bag:
        return np.arange(codes.size), codes.astype(np.int64), np.ones(codes.size)
    rows, columns = np.nonzero(codes != field.padding)
    return rows, codes[rows, columns].astype(np.int64), (1 / np.bincount(rows, minlength=len(codes)))[rows]


def _entropy(values: np.ndarray, weights: np.ndarray) -> float:
    share = np.bincount(values, weights)
    share = share[share > 0] / share.sum()
    return float(-(share * np.log(share)).sum())


def _pair(
    rows: np.ndarray, values: np.ndarray, weights: np.ndarray, others: np.ndarray, second: np.ndarray, shares: np.ndarray
) -> float:  # fmt: skip
    # Every value of a row meets every value of the same row.
    count = np.bincount(others, minlength=int(rows[-1]) + 1)
    repeats, starts = count[rows], (np.cumsum(count) - count)[rows]
    ends = np.cumsum(repeats)
    right = np.arange(ends[-1]) + np.repeat(starts - (ends - repeats), repeats)
    left = np.repeat(np.arange(rows.size), repeats)
    width = int(second.max()) + 1
    pairs, inverse = np.unique(values[left] * width + second[right], return_inverse=True)
    joint: np.ndarray = np.bincount(inverse, weights[left] * shares[right])
    joint = joint / joint.sum()
    first, last = np.divmod(pairs, width)
    expected = np.bincount(first, joint)[first] * np.bincount(last, joint)[last]
    return max(0.0, float((joint * np.log(joint / expected)).sum()))
