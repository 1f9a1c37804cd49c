"""Which directions of frozen vectors tell identities apart, learned from labelled ones in closed form."""

from __future__ import annotations

import numpy as np
from scipy import linalg

MOST = 256
"""Directions kept."""


def whitening(vectors: np.ndarray, people: np.ndarray, *, shrink: float = 0.3) -> dict[str, np.ndarray]:
    """`mean` [dim] and `matrix` [dim, kept]: first the main directions, then those within one identity scaled to the same size.

    The covariance within identities is drawn towards a multiple of the unit matrix by `shrink`, as there are often fewer pictures than dimensions.
    Source: Hatch, Kajarekar and Stolcke, Within-class covariance normalization, Interspeech 2006.
    """
    mean = vectors.mean(0)
    centred = (vectors - mean).astype(np.float64)
    kept = min(MOST, *centred.shape)
    _, _, directions = linalg.svd(centred, full_matrices=False)
    main = directions[:kept].T
    low = centred @ main
    _, number = np.unique(people, return_inverse=True)
    counts = np.bincount(number)
    means = np.zeros((counts.size, kept))
    np.add.at(means, number, low)
    inside = low - (means / counts[:, None])[number]
    covariance = inside.T @ inside / max(1, len(low) - counts.size)
    size = np.trace(covariance) / kept
    covariance = (1 - shrink) * covariance + shrink * max(size, 1e-12) * np.eye(kept)
    values, axes = linalg.eigh(covariance)
    return {"mean": mean.astype(np.float32), "matrix": (main @ (axes / np.sqrt(values))).astype(np.float32)}
