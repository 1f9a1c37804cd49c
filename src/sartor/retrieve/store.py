"""An index as one file, written whole or not at all: arrays, ids, attributes and facts in safetensors."""

from __future__ import annotations

import io
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sartor import _storage
from sartor.data.ids import IdMap
from sartor.errors import ConfigError, CorruptFile, FileProblem
from sartor.retrieve.bitmaps import Bitmap
from sartor.retrieve.index import ItemIndex

FILE, FORMAT = "index.safetensors", 1
_FACTS = ("format", "kind", "settings", "space", "version", "numbering", "rows", "dim")


def save(index: ItemIndex, folder: Path) -> Path:
    """Write an index; a folder that holds something else is refused."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / FILE).exists())):
        raise FileProblem("this holds something other than an index", fix="choose another folder", file=folder)
    frame = index._attributes.frame
    table = io.BytesIO()
    frame.write_parquet(table)
    arrays = {f"own.{name}": array for name, array in index._arrays().items()}
    arrays |= {f"ids.{name}": array for name, array in IdMap(index.ids).to_arrays().items()}
    arrays |= {"alive": index._alive.words, "attributes": np.frombuffer(table.getvalue(), np.uint8)}
    facts = {
        "format": FORMAT, "kind": index.kind, "settings": {f.name: getattr(index, f.name) for f in fields(index) if f.init},
        "space": index.space, "version": index.version, "numbering": index.numbering, "rows": index.rows, "dim": index.dim,
    }  # fmt: skip
    _storage.write_atomically(folder / FILE, _storage.to_bytes(arrays, facts))
    return folder


def load(folder: Path, *, mmap: bool = True) -> ItemIndex:
    """The reverse of `save`."""
    file = folder / FILE
    if not file.is_file():
        raise FileProblem("there is no saved index here", fix="give the folder that save() wrote", file=folder)
    arrays, facts = _storage.map_file(file, needs=_FACTS) if mmap else _storage.from_bytes(file.read_bytes(), needs=_FACTS)
    if facts["format"] != FORMAT:
        raise CorruptFile(
            f"the index is of format {facts['format']}, this version of sartor reads {FORMAT}", fix="build and save it again", file=file
        )
    if not mmap:
        # Arrays of numpy's own lie in large pages, those inside the file's bytes do not: a walk through a graph is a tenth faster.
        arrays = {name: np.array(array) for name, array in arrays.items()}
    try:
        index = ItemIndex.make(facts["kind"], **facts["settings"])
        _fill(index, arrays, facts)
    except (KeyError, ValueError, TypeError, ConfigError, pl.exceptions.PolarsError) as cause:
        raise CorruptFile("the saved index does not hold what it should", fix="build and save it again", file=file) from cause
    return index


def _fill(index: ItemIndex, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    rows = int(facts["rows"])
    own = {name[4:]: array for name, array in arrays.items() if name.startswith("own.")}
    if len(own["vectors"]) != rows or own["vectors"].shape[1] < int(facts["dim"]):
        raise ValueError("the vectors are not as many as the facts say")
    index._restore(own)
    ids = IdMap.from_arrays({name[4:]: array for name, array in arrays.items() if name.startswith("ids.")}).ids
    index._ids, index._id_type = ids.to_list(), ids.dtype
    frame = pl.read_parquet(io.BytesIO(arrays["attributes"].tobytes()))
    if len(index._ids) != rows or (frame.width and frame.height != rows):
        raise ValueError("ids or attributes are not as many as the vectors")
    index._set_attributes(frame)
    index._alive = Bitmap(arrays["alive"], rows)
    alive = index._alive.mask()
    index._live = int(alive.sum())
    index._row = {name: row for row, (name, there) in enumerate(zip(index._ids, alive.tolist(), strict=True)) if there}
    index.space, index.version, index.numbering = str(facts["space"]), int(facts["version"]), str(facts["numbering"])
    index.dim = int(facts["dim"])
