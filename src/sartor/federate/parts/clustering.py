"""Groups of clients by the directions of their updates, as many as the data show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sartor.errors import BadValue, ConfigError


@dataclass(frozen=True, eq=False)
class Groups:
    """Which client is of which group."""

    labels: np.ndarray
    """int64 [clients], from 0 in the order of the first client of each."""
    silhouette: float
    """Mean silhouette by cosine distance, from -1 to 1; NaN for one group."""

    @property
    def count(self) -> int:
        return int(self.labels.max()) + 1


def by_direction(updates: np.ndarray, *, gap: float = 0.1, silhouette: float = 0.0, groups: int = 0) -> Groups:
    """Average linkage on cosine distance, cut at the largest gap between successive merges.

    Parameters
    ----------
    updates: float [clients, numbers]; only directions count.
    gap: one group is kept when the largest gap is below this share of the last merge's height, so that alike clients are not split.
    silhouette: one group is kept when the mean silhouette is below this.
    groups: so many groups whatever the gaps; 0 to find out.

    Raises `BadValue` that names a client with a zero update, `ConfigError` for more groups than clients.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    count = len(updates)
    lengths = np.linalg.norm(updates, axis=1)
    if (still := np.flatnonzero(~(lengths > 0))).size:
        raise BadValue("the update is zero or not finite", fix="leave this client out", client=int(still[0]))
    if groups > count:
        raise ConfigError(f"{groups} groups of {count} clients", fix="use at most as many groups as clients")
    one = Groups(np.zeros(count, np.int64), float("nan"))
    if count < 2 or groups == 1:
        return one
    units = updates / lengths[:, None]
    distances = np.maximum(1 - units @ units.T, 0)
    np.fill_diagonal(distances, 0)
    tree = linkage(distances[np.triu_indices(count, 1)], method="average")
    heights = tree[:, 2]
    if not groups:
        steps = np.diff(heights)
        if not steps.size or steps.max() < gap * heights[-1]:
            return one
        groups = count - 1 - int(steps.argmax())
    found = fcluster(tree, groups, criterion="maxclust")
    _, first, labels = np.unique(found, return_index=True, return_inverse=True)
    labels = np.argsort(np.argsort(first))[labels]
    quality = _silhouette(distances, labels)
    return Groups(labels.astype(np.int64), quality) if quality >= silhouette else Groups(one.labels, quality)


def _silhouette(distances: np.ndarray, labels: np.ndarray) -> float:
    """Mean silhouette; a client alone in its group counts 0. Source: Rousseeuw, 1987."""
    member = labels == np.arange(labels.max() + 1)[:, None]
    sizes = member.sum(1)
    total = distances @ member.T
    own = sizes[labels]
    within = total[np.arange(labels.size), labels] / np.maximum(own - 1, 1)
    other = np.where(member.T, np.inf, total / sizes).min(1)
    return float(np.where(own > 1, (other - within) / np.maximum(np.maximum(other, within), 1e-12), 0).mean())
