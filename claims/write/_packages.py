"""Installed Python packages as projects: their source files, read where they lie and kept nowhere."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sartor.data.source_code import Project, read_project
from sartor.errors import FileProblem

WITHOUT = ("tests", "test", "testing", "_vendor", "vendor", "locale", "__pycache__")


def package(name: str, *, most: int, seed: int, longest: int | None = None) -> Project:
    """Files of an installed package, or of a part of one, in random order until `most` bytes are reached; none longer than `longest`, by
    default half of that."""
    parts = name.split(".")
    found = importlib.util.find_spec(parts[0])
    if found is None or not found.submodule_search_locations:
        raise FileProblem(f"the package '{parts[0]}' is not installed", fix="install sartor with its extra 'dev'")
    whole = read_project(Path(found.submodule_search_locations[0]).joinpath(*parts[1:]), name=name, without=WITHOUT)
    sizes = {path: len(text.encode()) for path, text in whole.files.items()}
    # Files of a few lines are imports and nothing else.
    usable = [path for path, size in sizes.items() if 400 < size <= (longest or most // 2)]
    chosen: list[str] = []
    for place in np.random.default_rng(seed).permutation(len(usable)):
        if sum(sizes[path] for path in chosen) < most:
            chosen.append(usable[place])
    return whole.only(chosen)


def versions(names: Sequence[str]) -> dict[str, str]:
    """Package -> installed version."""
    owners = importlib.metadata.packages_distributions()
    return {top: importlib.metadata.version(owners[top][0]) for top in sorted({name.partition(".")[0] for name in names})}


def digest(projects: Sequence[Project]) -> str:
    """16 hex digits over names, paths and texts."""
    out = hashlib.blake2b(digest_size=8)
    for one in projects:
        for path, text in one.files.items():
            out.update(f"{one.name}\0{path}\0{text}\0".encode())
    return out.hexdigest()
