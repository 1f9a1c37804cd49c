"""The published DocXPand archive, for those who have it: a JSON file of annotations, and a folder of pictures.

documents = read("DocXPand-25k.json", "images")
documents[0].template, documents[0].corners, documents[0].fields
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sartor.errors import BadValue, CorruptFile, EmptyData, FileProblem
from sartor.parts.photos import upright


@dataclass(frozen=True, eq=False)
class Document:
    """One annotated picture."""

    name: str
    file: Path
    template: str
    position: np.ndarray
    """float64 [4, 2], corners as they are written: shares of width and height, or pixels."""
    fields: dict[str, Any]
    """As they are written: field -> text, or what the archive says of it."""

    def picture(self) -> np.ndarray:
        """uint8 [h, w, 3]; raises `FileProblem` and `BadImage`."""
        return np.asarray(upright(self.file))

    @property
    def corners(self) -> np.ndarray:
        """float64 [4, 2], in pixels of the picture; the file is opened where the annotation has shares."""
        if self.position.max() > 1.5:
            return self.position
        out: np.ndarray = self.position * upright(self.file).size
        return out


def read(file: str | Path, images: str | Path) -> list[Document]:
    """All annotated documents of a file of the published layout: documents with a filename and annotations (template, position, fields).

    Raises `FileProblem`, `CorruptFile` for what is no JSON of this kind, `BadValue` with the path of what is missing, `EmptyData`.
    """
    path, folder = Path(file), Path(images)
    for one in (path, folder):
        if not one.exists():
            raise FileProblem("there is no such file or folder", fix="give the JSON file, and the folder of pictures", file=one)
    try:
        documents = json.loads(path.read_text(encoding="utf-8"))["documents"]
    except (ValueError, KeyError, TypeError) as cause:
        raise CorruptFile("this is no list of annotated documents", fix="give the archive's own JSON file", file=path) from cause
    out = [_document(entry, number, folder, path) for number, entry in enumerate(documents)]
    if not out:
        raise EmptyData("no document is annotated", fix="give the archive's own JSON file")
    return out


def _document(entry: dict[str, Any], number: int, folder: Path, path: Path) -> Document:
    where = f"documents.{number}"
    try:
        where += ".annotations.0"
        note = entry["annotations"][0]
        where += ".position"
        points = [[float(note["position"][corner][axis]) for axis in ("x", "y")] for corner in ("p1", "p2", "p3", "p4")]
        name, template = str(entry["filename"]), str(note["template"])
    except (KeyError, IndexError, TypeError, ValueError) as cause:
        raise BadValue(f"{where}: something is missing or no number ({cause})", fix="give the archive's own JSON file", file=path) from cause
    return Document(str(entry.get("_id", name)), folder / name, template, np.array(points), dict(note.get("fields") or {}))
