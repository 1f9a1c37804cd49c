"""Graphs in other layouts: triples linked to items (kg.txt, item_index2entity_id.txt) and MATLAB files of a network and its groups."""

from __future__ import annotations

import numpy as np
import polars as pl

from sartor.data.loaders._format import Format, Loaded
from sartor.data.loaders._source import Source
from sartor.data.loaders._text import table
from sartor.errors import FileProblem, MissingColumn


def load_triples(source: Source) -> Loaded:
    """Edges head -> tail of kind relation; items with the `entity` that stands for each."""
    source.origin.update(edges=source.need("kg.txt"), items=source.need("item_index2entity_id.txt"))
    types = {"source": pl.Int64, "kind": pl.String, "target": pl.Int64}
    edges = table(source.origin["edges"], separator="\t", names=list(types), types=types, required=list(types), quote=None)
    linked = {"item": pl.Int64, "entity": pl.Int64}
    items = table(source.origin["items"], separator="\t", names=list(linked), types=linked, required=list(linked), quote=None)
    return {"edges": edges, "items": items}


def load_matlab(source: Source) -> Loaded:
    """Undirected edges (each once, source < target) and people with the list of their groups; nodes count from 0 (BlogCatalog and its like)."""
    from scipy.io import loadmat
    from scipy.sparse import coo_matrix, csr_matrix

    file = source.matching("*.mat")[0]
    source.origin.update(edges=file, people=file)
    try:
        content = loadmat(file)
    except (ValueError, TypeError, NotImplementedError, OSError, EOFError) as cause:
        raise FileProblem(f"this is not a whole MATLAB 5 file: {cause}", fix="download it again", file=file) from cause
    if "network" not in content:
        names = [name for name in content if not name.startswith("_")]
        raise MissingColumn("there is no matrix 'network'", fix=f"it has {', '.join(names)}", file=file, column="network")
    network = coo_matrix(content["network"])
    once = network.row < network.col
    edges = pl.DataFrame({"source": network.row[once].astype(np.int64), "target": network.col[once].astype(np.int64)}).sort("source", "target")
    frames: Loaded = {"edges": edges.lazy()}
    if "group" in content:
        groups = csr_matrix(content["group"])
        lists = [groups.indices[start:end].tolist() for start, end in zip(groups.indptr, groups.indptr[1:], strict=False)]
        people = pl.DataFrame({"person": np.arange(groups.shape[0], dtype=np.int64), "groups": pl.Series(lists, dtype=pl.List(pl.Int64))})
        frames["people"] = people.lazy()
    return frames


def _is_triples(source: Source) -> bool:
    return source.find("kg.txt") is not None and source.find("item_index2entity_id.txt") is not None


def _is_matlab(source: Source) -> bool:
    return len(source.files) <= 3 and len(source.matching("*.mat")) == 1


FORMATS = (
    Format("triples", "knowledge graph linked to items: kg.txt, item_index2entity_id.txt", _is_triples, load_triples),
    Format("matlab-graph", "a network and its groups as a MATLAB file (BlogCatalog)", _is_matlab, load_matlab),
)
