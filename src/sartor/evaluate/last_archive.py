"""The folders of the published LaST archive, for those who have it: train, val and test with what the files' names tell.

archive = read("/data/last")
archive.train.person, archive.train.outfit         who, and in which outfit: the first and the last word of a name
archive.test.query, archive.test.gallery           an exam, see `last.LaST`
pictures(archive.files[archive.train.rows])        uint8 [n, 256, 128, 3]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sartor.errors import BadValue, EmptyData, FileProblem
from sartor.evaluate.last import LaST, Sightings, no_twice
from sartor.parts.photos import upright


@dataclass(frozen=True, eq=False)
class Archive:
    """The splits; `rows` of each are numbers of `files`. Nobody's camera is known, so that only rule "none" can be asked for."""

    files: np.ndarray
    """Paths, as texts [n]."""
    train: Sightings
    val: LaST
    test: LaST


def read(folder: str | Path) -> Archive:
    """The archive in a folder: train/<person>/*.jpg, and query/*.jpg and gallery/<person>/*.jpg of val and of test.

    Names begin with the person and, in train, end with the outfit: 000123_..._02.jpg. Raises `FileProblem` for a missing folder, `EmptyData` for
    an empty one, `BadValue` for a name that says nothing, `LeakError` for a name in two splits.
    """
    root = Path(folder)
    parts = {
        "train": ("train", "*/*.jpg"), "val query": ("val/query", "*.jpg"), "val gallery": ("val/gallery", "*/*.jpg"),
        "test query": ("test/query", "*.jpg"), "test gallery": ("test/gallery", "*/*.jpg"),
    }  # fmt: skip
    files: dict[str, list[Path]] = {}
    for name, (where, pattern) in parts.items():
        if not (root / where).is_dir():
            raise FileProblem(f"there is no folder {where}", fix="give the folder that has train, val and test in it", file=root / where)
        files[name] = sorted((root / where).glob(pattern))
        if not files[name]:
            raise EmptyData(f"there is no {pattern} in {where}", fix="unpack the archive again")
    no_twice({name: np.array([one.name for one in some]) for name, some in files.items()})
    starts = np.cumsum([0, *map(len, files.values())])
    made = {name: _sightings(some, int(start), outfits=name == "train") for (name, some), start in zip(files.items(), starts, strict=False)}
    return Archive(
        np.array([str(one) for some in files.values() for one in some]), made["train"], LaST(made["val query"], made["val gallery"]),
        LaST(made["test query"], made["test gallery"]),
    )  # fmt: skip


def pictures(files: np.ndarray, *, height: int = 256, width: int = 128) -> np.ndarray:
    """uint8 [n, height, width, 3]; raises `FileProblem` and `BadImage`."""
    return np.stack([np.asarray(upright(str(one)).resize((width, height))) for one in files])


def _sightings(files: list[Path], start: int, *, outfits: bool) -> Sightings:
    words = [one.stem.split("_") for one in files]
    for one, parts in zip(files, words, strict=True):
        if not parts[0].isdigit() or (outfits and len(parts) < 2):
            raise BadValue("this name does not say who is on the picture", fix="names are <person>_..._<outfit>.jpg", file=one)
    return Sightings(
        np.array([int(parts[0]) for parts in words]), np.arange(start, start + len(files)),
        outfit=np.array([f"{parts[0]}_{parts[-1]}" for parts in words]) if outfits else None, names=np.array([one.name for one in files]),
    )  # fmt: skip
