"""What a user points at (a folder, a zip, one file) as a set of named files; archives are unpacked safely, once."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from sartor.data.loaders._text import PACKED
from sartor.errors import FileProblem, UnsafeArchive

MAX_FILES = 100_000
MAX_RATIO = 200
"""An archive may not unpack to more than this times its own size (text packs to about a tenth) ..."""
SMALL = 64 * 2**20
"""... unless the whole is smaller than this many bytes."""


@dataclass(frozen=True)
class Source:
    """Named files to read from."""

    path: Path
    """What the user gave."""
    root: Path
    """The folder that holds the files: `path` itself, or where the archive was unpacked."""
    files: dict[str, Path]
    """Path relative to the root -> file."""
    origin: dict[str, Path] = field(default_factory=dict)
    """Which file a frame came from, for error messages; loaders fill it in."""

    @property
    def name(self) -> str:
        """What to call the data set."""
        return self.path.name.split(".")[0] if self.path.is_file() else self.path.name

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.files.values())

    def find(self, *names: str) -> Path | None:
        """The first file with one of these names (in any case, packed or not), the one nearest to the root."""
        for name in names:
            found = self.matching(name) or [one for ending in PACKED for one in self.matching(name + ending)]
            if found:
                return found[0]
        return None

    def need(self, *names: str) -> Path:
        """The same, but raises `FileProblem` when there is none."""
        found = self.find(*names)
        if found is None:
            raise FileProblem(f"there is no {' or '.join(names)}", fix=f"it has {', '.join(sorted(self.files)[:8])}", file=self.path)
        return found

    def matching(self, pattern: str) -> list[Path]:
        """Files whose own name fits a pattern, nearest to the root first, then by name."""
        fits = [name for name in self.files if fnmatch(PurePosixPath(name).name.lower(), pattern.lower())]
        return [self.files[name] for name in sorted(fits, key=lambda name: (name.count("/"), name))]


def open_source(path: str | Path) -> Source:
    """Look at a folder, a zip or tar archive, or one file; raises `FileProblem` or `UnsafeArchive`."""
    path = Path(path).expanduser()
    if not path.exists():
        raise FileProblem("there is no such file or folder", fix="check the path; `sartor data get NAME` downloads a known set", file=path)
    if path.is_dir():
        root = path
    elif zipfile.is_zipfile(path) or (path.name.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2")) and tarfile.is_tarfile(path)):
        root = _unpacked(path)
    elif path.suffix.lower() == ".zip":
        raise FileProblem("this is not a whole zip archive", fix="download it again", file=path)
    else:
        return Source(path, path.parent, {path.name: path})
    files = {file.relative_to(root).as_posix(): file for file in sorted(root.rglob("*")) if file.is_file() and not _hidden(file.relative_to(root))}
    if not files:
        raise FileProblem("there are no files in it", fix="point to the folder with the data", file=path)
    return Source(path, root, files)


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)


def cache_folder() -> Path:
    """Where downloads and unpacked archives are kept: $SARTOR_CACHE, or sartor in the user's cache folder."""
    if own := os.environ.get("SARTOR_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sartor"


def _unpacked(path: Path) -> Path:
    """The folder an archive is unpacked in, kept for the next time."""
    facts = path.stat()
    key = hashlib.blake2b(f"{path.resolve()}|{facts.st_size}|{facts.st_mtime_ns}".encode(), digest_size=8).hexdigest()
    target = cache_folder() / "unpacked" / f"{path.stem}-{key}"
    if not target.exists():
        unpack(path, target)
    return target


def unpack(path: Path, target: Path) -> None:
    """Unpack a zip or tar into a new folder, whole or not at all; a folder that is there already is left as it is.

    Raises `UnsafeArchive` on absolute or climbing paths, links and devices, and on archives that grow beyond reason, before anything
    of them is written; `FileProblem` when the archive is damaged.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=".unpacking."))
    try:
        if zipfile.is_zipfile(path):
            _unzip(path, fresh)
        else:
            _untar(path, fresh)
        if not target.exists():
            os.replace(fresh, target)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, RuntimeError) as cause:
        raise FileProblem(f"the archive cannot be read: {cause}", fix="download it again", file=path) from cause
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _check(path: Path, names: list[str], total: int) -> None:
    if len(names) > MAX_FILES:
        raise UnsafeArchive(f"holds {len(names)} files", fix="unpack it yourself if you trust it, and give the folder", file=path)
    for name in names:
        inside = PurePosixPath(name.replace("\\", "/"))
        if inside.is_absolute() or ".." in inside.parts or (inside.parts and ":" in inside.parts[0]):
            raise UnsafeArchive("holds a path outside its own folder", fix="do not use this archive", file=path, entry=name)
    packed = path.stat().st_size
    if total > max(SMALL, MAX_RATIO * packed):
        fix = "unpack it yourself if you trust it, and give the folder"
        raise UnsafeArchive(f"{packed:,} bytes would unpack to {total:,}", fix=fix, file=path)


def _unzip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        _check(path, [entry.filename for entry in entries], sum(entry.file_size for entry in entries))
        for entry in entries:
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise UnsafeArchive("holds a link", fix="do not use this archive", file=path, entry=entry.filename)
        for entry in entries:
            if not entry.is_dir():
                goal = folder / entry.filename.replace("\\", "/")
                goal.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as packed, goal.open("wb") as out:
                    _copy(packed, out, entry.file_size, path, entry.filename)


def _untar(path: Path, folder: Path) -> None:
    with tarfile.open(path) as archive:
        entries = archive.getmembers()
        _check(path, [entry.name for entry in entries], sum(entry.size for entry in entries))
        for entry in entries:
            if not (entry.isfile() or entry.isdir()):
                raise UnsafeArchive("holds a link or a device", fix="do not use this archive", file=path, entry=entry.name)
        for entry in entries:
            packed = archive.extractfile(entry) if entry.isfile() else None
            if packed is not None:
                goal = folder / entry.name
                goal.parent.mkdir(parents=True, exist_ok=True)
                with packed, goal.open("wb") as out:
                    _copy(packed, out, entry.size, path, entry.name)


def _copy(packed, out, promised: int, path: Path, name: str) -> None:  # type: ignore[no-untyped-def]
    """Copy no more than the directory of the archive promised: sizes there can lie."""
    left = promised
    while block := packed.read(min(2**20, left + 1)):
        left -= len(block)
        if left < 0:
            raise UnsafeArchive("an entry is larger than the archive says", fix="do not use this archive", file=path, entry=name)
        out.write(block)
