"""How well organs are outlined, and how alike two scans or maps of features are."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from sartor.errors import ConfigError

_DEVIATION, _REACH = 1.5, 5
_SMALL = (0.01**2, 0.03**2)


def dice(found: np.ndarray, truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64 [n, labels], Dice's overlap of label maps [n, *shape] with the true ones; nan where a label is in neither."""
    found, truth = np.asarray(found), np.asarray(truth)
    if found.shape != truth.shape:
        raise ConfigError(f"label maps {list(found.shape)} and {list(truth.shape)}", fix="give equally many of one size")
    rest = tuple(range(1, truth.ndim))
    out = np.full((len(truth), len(labels)), np.nan)
    for column, label in enumerate(np.asarray(labels)):
        a, b = found == label, truth == label
        total = a.sum(rest) + b.sum(rest)
        np.divide(2.0 * (a & b).sum(rest), total, out=out[:, column], where=total > 0)
    return out


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 [n], structural similarity of maps [n, c, *shape], mean over maps and places: 1 where they are equal up to brightness and contrast.

    Each of a pair is first brought to [0, 1] as a whole. Gaussian windows of 11 with standard deviation 1.5, those that lie inside.

    Source: Wang, Bovik, Sheikh and Simoncelli, Image quality assessment: from error visibility to structural similarity, IEEE TIP 2004.
    """
    if a.shape != b.shape or a.ndim < 4 or min(a.shape[2:]) <= 2 * _REACH:
        raise ConfigError(f"maps {list(a.shape)} and {list(b.shape)}", fix=f"give [n, c, ...] of both, each side above {2 * _REACH}")
    x, y = (_ranged(one.astype(np.float64)) for one in (a, b))
    mean_x, mean_y = _windows(x), _windows(y)
    square_x, square_y, both = (_windows(one) for one in (x * x, y * y, x * y))
    first, second = _SMALL
    top = (2 * mean_x * mean_y + first) * (2 * (both - mean_x * mean_y) + second)
    bottom = (mean_x**2 + mean_y**2 + first) * (square_x - mean_x**2 + square_y - mean_y**2 + second)
    return np.asarray((top / bottom).mean(tuple(range(1, a.ndim))))


def _ranged(maps: np.ndarray) -> np.ndarray:
    rest = tuple(range(1, maps.ndim))
    low = maps.min(rest, keepdims=True)
    return np.asarray((maps - low) / np.maximum(maps.max(rest, keepdims=True) - low, 1e-12))


def _windows(maps: np.ndarray) -> np.ndarray:
    """Weighted means over windows that lie inside."""
    width = [0.0, 0.0, *[_DEVIATION] * (maps.ndim - 2)]
    inside = (slice(None), slice(None), *[slice(_REACH, -_REACH)] * (maps.ndim - 2))
    return np.asarray(ndimage.gaussian_filter(maps, width, truncate=_REACH / _DEVIATION)[inside])
