"""Arrays that belong to an index, in a file beside it that names the index's version: a crash between the two leaves the old pair whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sartor import _storage
from sartor.errors import CorruptFile, FileProblem
from sartor.retrieve.index import ItemIndex

INDEX = "index"


def save(index: ItemIndex, folder: Path, name: str, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Path:
    """Write arrays and facts, then the index, which makes them count, then drop the arrays of older versions."""
    pattern = f"{name}-*.safetensors"
    own = {file.name for file in folder.glob(pattern)} | {INDEX} if folder.is_dir() else set()
    if folder.exists() and (not folder.is_dir() or any(file.name not in own for file in folder.iterdir())):
        raise FileProblem("this holds something other than an index", fix="choose another folder", file=folder)
    file = _file(index, folder, name)
    _storage.write_atomically(file, _storage.to_bytes(dict(arrays), dict(facts)))
    index.save(folder / INDEX)
    for old in folder.glob(pattern):
        if old != file:
            old.unlink()
    return folder


def load(folder: Path, name: str, needs: tuple[str, ...], *, mmap: bool) -> tuple[ItemIndex, dict[str, np.ndarray], dict[str, Any]]:
    """The index, its arrays and facts; raises `CorruptFile`, `FileProblem`."""
    index = ItemIndex.load(folder / INDEX, mmap=mmap)
    file = _file(index, folder, name)
    if not file.is_file():
        raise CorruptFile("what belongs to this version of the index is not there", fix="build and save it again", file=file)
    arrays, facts = _storage.map_file(file, needs=needs) if mmap else _storage.from_bytes(file.read_bytes(), needs=needs)
    return index, arrays, {fact: facts[fact] for fact in needs}


def _file(index: ItemIndex, folder: Path, name: str) -> Path:
    return folder / f"{name}-{index.numbering}-{index.version}.safetensors"
