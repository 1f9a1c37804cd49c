"""Big states lie in files of their own, encrypted, named by the sha256 of what is in them."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from sartor._storage import write_atomically
from sartor.errors import StoreProblem, Unreadable

BIG = 2**20
"""Bytes from which a state goes to a file."""


class Blobs:
    """A folder of content-addressed files. A file without a row is garbage that `sweep` removes, never the other way round."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, sealed: bytes) -> str:
        """Write, on disk before the row that names it is."""
        name = hashlib.sha256(sealed).hexdigest()
        try:
            write_atomically(self._path(name), sealed)
        except OSError as cause:
            raise StoreProblem(f"a state's file cannot be written: {cause.strerror}", fix="make room and try again", file=self.folder) from cause
        return name

    def get(self, name: str) -> bytes:
        """Read and compare with the name; raises `Unreadable`."""
        try:
            sealed = self._path(name).read_bytes()
        except OSError as cause:
            raise Unreadable(f"a state's file cannot be read: {cause.strerror}", fix="restore the folder from a backup", file=self.folder) from cause
        if hashlib.sha256(sealed).hexdigest() != name:
            raise Unreadable("a state's file was changed", fix="restore the folder from a backup", file=self.folder)
        return sealed

    def delete(self, name: str) -> bool:
        """Overwrite and unlink; False when it was not there."""
        path = self._path(name)
        try:
            with path.open("r+b") as file:
                size = file.seek(0, 2)
                file.seek(0)
                file.write(bytes(size))
                file.flush()
            path.unlink()
        except FileNotFoundError:
            return False
        return True

    def names(self) -> list[str]:
        """Every file there is."""
        return sorted(path.name for path in self.folder.glob("??/*") if len(path.name) == 64)

    def age(self, name: str) -> float | None:
        """Seconds since a file was written; None when it is gone."""
        try:
            return time.time() - self._path(name).stat().st_mtime
        except FileNotFoundError:
            return None

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / name
