"""Communities of a bipartite graph: people and items that belong together, found on both sides at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sartor.errors import ConfigError, EmptyData, MissingExtra

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, eq=False)
class Communities:
    """One label for every row and column that has an edge."""

    rows: np.ndarray
    """int64 [rows], 0..communities-1; -1 where a row has no edge."""
    columns: np.ndarray
    """int64 [columns], the same labels."""
    modularity: float
    resolution: float

    def used(self, side: np.ndarray) -> int:
        """How many communities have a member on one side."""
        return int(np.unique(side[side >= 0]).size)


def louvain(edges: csr_matrix, *, resolution: float = 1.0, seed: int = 0) -> Communities:
    """Communities of high modularity, with people and items clustered together.

    The higher the resolution, the more and smaller the communities. Source: Blondel et al., Fast unfolding of communities in large
    networks, 2008; Barber, Modularity and community detection in bipartite networks, 2007; by scikit-network (the extra `graph`).

    Raises `ConfigError` for a resolution that is not positive or gives a single community, `EmptyData` for a graph without edges.
    """
    if resolution <= 0:
        raise ConfigError(f"the resolution is {resolution:g}", fix="use a positive number; 1 is usual, 100 gives many small communities")
    if not edges.nnz:
        raise EmptyData("the graph has no edge", fix="give people with events")
    try:
        from sknetwork.clustering import Louvain, get_modularity
    except ImportError as missing:
        raise MissingExtra("scikit-network", "graph") from missing
    found = Louvain(resolution=resolution, random_state=seed)
    found.fit(edges, force_bipartite=True)
    rows, columns = found.labels_row_.astype(np.int64), found.labels_col_.astype(np.int64)
    modularity = float(get_modularity(edges, rows, columns, resolution=resolution))
    rows[np.diff(edges.indptr) == 0] = -1
    columns[np.bincount(edges.indices, minlength=edges.shape[1]) == 0] = -1
    labels = np.unique(np.concatenate([rows[rows >= 0], columns[columns >= 0]]))
    if labels.size < 2:
        raise ConfigError(f"at resolution {resolution:g} the graph is one community (modularity {modularity:.3f})", fix="use a higher resolution")
    renumber = np.full(int(labels.max()) + 2, -1, np.int64)
    renumber[labels] = np.arange(labels.size)
    return Communities(renumber[rows], renumber[columns], modularity, resolution)


def louvain_of_size(
    edges: csr_matrix, wanted: int, *, side: Literal["rows", "columns"], exact: bool = False, seed: int = 0, tries: int = 24
) -> Communities:
    """The clustering with the most communities on one side, but not more than wanted, found by bisecting the resolution.

    exact: raise `ConfigError`, with the nearest counts that there are, unless it has just so many.
    """
    fits: tuple[int, Communities] | None = None
    above: tuple[int, Communities] | None = None
    low = high = 0.0
    resolution = 1.0
    for _ in range(tries):
        try:
            found = louvain(edges, resolution=resolution, seed=seed)
            count = found.used(found.rows if side == "rows" else found.columns)
        except ConfigError:
            # A single community: as if too few.
            count, low = 1, resolution
        else:
            if count <= wanted:
                fits, low = max(fits or (0, found), (count, found), key=_count), resolution
            else:
                above, high = min(above or (count, found), (count, found), key=_count), resolution
        if count == wanted or (low and high and high < 1.005 * low):
            break
        resolution = 4 * resolution if not high else resolution / 4 if not low else (low * high) ** 0.5
    if fits is not None and (fits[0] == wanted or not exact):
        return fits[1]
    near = " or ".join(f"{count:,} (resolution {found.resolution:.3g})" for count, found in filter(None, (fits, above)))
    raise ConfigError(
        f"asked for {wanted:,} communities of {edges.shape[side == 'columns']:,}; the nearest resolutions give {near or 'one'}",
        fix="ask for one of these" + (", or at most that many (buckets='<=')" if fits else ""),
    )


def _count(one: tuple[int, Communities]) -> int:
    return one[0]
