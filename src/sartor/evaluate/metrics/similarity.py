"""Nine ways to say how alike two vectors are, all with the same sign (higher is more alike), and how well each knows true pairs.

| name            | definition |
|-----------------|------------|
| cosine          | angle's cosine; 0 where a vector is zero |
| adjusted_cosine | cosine after taking each dimension's mean away: with item vectors of ratings a dimension is a user, and NaN is "not rated" |
| pearson         | cosine after taking each vector's own mean away |
| spearman        | Pearson of the ranks, ties with mean ranks |
| jaccard         | a.b / (a.a + b.b - a.b): intersection over union for 0/1 vectors, and defined for others (Tanimoto) |
| hamming         | 1 / (1 + share of dimensions where one is positive and the other is not) |
| euclidean       | 1 / (1 + distance) |
| manhattan       | 1 / (1 + sum of absolute differences) |
| chebyshev       | 1 / (1 + largest absolute difference) |

The last four are distances at heart. Used as they come, they rank pairs backwards: an AUC below one half in published results is the sign of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sartor.errors import ConfigError
from sartor.evaluate.metrics.clicks import auc

DISTANCES = ("hamming", "euclidean", "manhattan", "chebyshev")


def similarity(name: str, a: np.ndarray, b: np.ndarray, *, centre: np.ndarray | None = None) -> np.ndarray:
    """Similarity of row pairs.

    Parameters
    ----------
    name: one of `SIMILARITIES`.
    a, b: float [pairs, dimensions].
    centre: float [dimensions], for adjusted cosine: each dimension's mean over all items, not only over these pairs.

    Returns
    -------
    float64 [pairs], higher is more alike.
    """
    if name not in SIMILARITIES:
        raise ConfigError(f"there is no similarity '{name}'", fix=f"there are {', '.join(SIMILARITIES)}")
    a, b = np.atleast_2d(np.asarray(a, np.float64)), np.atleast_2d(np.asarray(b, np.float64))
    if a.shape != b.shape:
        raise ConfigError(f"vectors {a.shape} against {b.shape}", fix="give pairs of rows")
    if name == "adjusted_cosine":
        if centre is None:
            raise ConfigError("adjusted cosine needs each dimension's mean", fix="pass centre=np.nanmean(all_vectors, axis=0)")
        # What was not rated says nothing: it sits at the user's mean.
        return _cosine(np.nan_to_num(a - centre), np.nan_to_num(b - centre))
    if name in DISTANCES:
        return 1 / (1 + distance(name, a, b))
    return SIMILARITIES[name](a, b)


def distance(name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The four distances as they are: float64 [pairs], higher is less alike."""
    if name not in DISTANCES:
        raise ConfigError(f"there is no distance '{name}'", fix=f"there are {', '.join(DISTANCES)}")
    return SIMILARITIES[name](np.atleast_2d(np.asarray(a, np.float64)), np.atleast_2d(np.asarray(b, np.float64)))


def pair_auc(
    vectors: np.ndarray, pairs: np.ndarray, others: np.ndarray, *, names: tuple[str, ...] | None = None, signed: bool = True
) -> dict[str, float]:
    """How well each similarity tells true pairs from others: name -> AUC.

    Parameters
    ----------
    vectors: float [items, dimensions].
    pairs, others: int [n, 2], rows of `vectors`.
    signed: False uses the distances as if they were similarities, to show what that does.
    """
    centre = np.nanmean(vectors, axis=0)
    both = np.concatenate([pairs, others])
    labels = np.concatenate([np.ones(len(pairs), np.int8), np.zeros(len(others), np.int8)])
    a, b = vectors[both[:, 0]], vectors[both[:, 1]]
    out = {}
    for name in names or tuple(SIMILARITIES):
        out[name] = auc(labels, distance(name, a, b) if name in DISTANCES and not signed else similarity(name, a, b, centre=centre))
    return out


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide(np.einsum("ij,ij->i", a, b), lengths, out=np.zeros(len(a)), where=lengths > 0)


def _pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _cosine(a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True))


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return _pearson(rankdata(a, axis=1), rankdata(b, axis=1))


def _jaccard(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    both = np.einsum("ij,ij->i", a, b)
    union = np.einsum("ij,ij->i", a, a) + np.einsum("ij,ij->i", b, b) - both
    return np.divide(both, union, out=np.zeros(len(a)), where=union > 0)


SIMILARITIES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": _cosine,
    "adjusted_cosine": _cosine,
    "pearson": _pearson,
    "spearman": _spearman,
    "jaccard": _jaccard,
    "hamming": lambda a, b: ((a > 0) != (b > 0)).mean(1),
    "euclidean": lambda a, b: np.linalg.norm(a - b, axis=1),
    "manhattan": lambda a, b: np.abs(a - b).sum(1),
    "chebyshev": lambda a, b: np.abs(a - b).max(1),
}
"""Name -> function of [pairs, dimensions] twice; the four distances are turned round by `similarity`."""
