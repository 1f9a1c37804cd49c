"""A project's source files as a person's texts: one row a file, and a list of what was left out and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sartor.data.population import Population
from sartor.errors import ConfigError, EmptyData, FileProblem

LONGEST = 1_000_000
"""Bytes of a file, at most: longer ones are tables."""
WIDE, WIDEST = 200, 2_000
"""Characters of a minified file's mean line, and of its longest one: more than people write."""


@dataclass(frozen=True)
class Project:
    """The files of one project."""

    name: str
    files: Mapping[str, str]
    """Path inside the project -> text, in order of the paths."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Path -> why it was left out."""

    @property
    def nbytes(self) -> int:
        """Of all texts, in UTF-8."""
        return sum(len(text.encode()) for text in self.files.values())

    def only(self, paths: Iterable[str]) -> Project:
        """Some of the files; nothing else is kept."""
        return Project(self.name, {path: self.files[path] for path in sorted(paths)})


def read_project(folder: str | Path, *, name: str = "", suffixes: Sequence[str] = (".py",), without: Sequence[str] = ()) -> Project:
    """Read a folder's source files; binary, minified, huge and empty ones are skipped and listed, links are not followed.

    Parameters
    ----------
    folder: of the project.
    name: its name; the folder's by default.
    suffixes: which files are source.
    without: names of folders to leave out, such as "tests".

    Raises `FileProblem` when there is no folder, and `EmptyData` when it has no file to read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileProblem("there is no folder of a project", fix="name a folder with source files", file=folder)
    files, skipped = {}, {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix not in suffixes or path.is_symlink() or not path.is_file() or {*inside.parts[:-1]} & {*without}:
            continue
        text, why = _text(path)
        if why:
            skipped[inside.as_posix()] = why
        else:
            files[inside.as_posix()] = text
    if not files:
        raise EmptyData(f"no file of {', '.join(suffixes)} can be read ({len(skipped)} skipped)", fix="name other suffixes", file=folder)
    return Project(name or folder.name, files, skipped)


def _text(path: Path) -> tuple[str, str]:
    """A file's text, and why it is not to be used."""
    if path.stat().st_size > LONGEST:
        return "", "huge"
    raw = path.read_bytes()
    if b"\0" in raw:
        return "", "binary"
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return "", "binary"
    lines = text.splitlines()
    if not text.strip():
        return "", "empty"
    if max(map(len, lines)) > WIDEST or len(text) / len(lines) > WIDE:
        return "", "minified"
    return text, ""


def split_files(project: Project, *, shares: Sequence[float] = (0.9, 0.1), seed: int = 0) -> list[Project]:
    """Parts of a project by whole files, so that no line of one part has its neighbours in another.

    Parameters
    ----------
    shares: of the bytes; each part but the first gets files, in random order, until it has its share.

    Raises `ConfigError` when there are fewer files than parts.
    """
    if len(project.files) < len(shares) or min(shares) <= 0:
        raise ConfigError(
            f"{len(project.files)} files for {len(shares)} parts", fix="give as many files as parts, and shares above 0", project=project.name
        )
    paths = list(project.files)
    order = [paths[place] for place in np.random.default_rng(seed).permutation(len(paths))]
    wanted = np.array(shares) / sum(shares) * project.nbytes
    parts: list[list[str]] = [[] for _ in shares]
    for number in range(len(shares) - 1, 0, -1):
        size = 0
        # Every part still to come needs a file.
        while size < wanted[number] and len(order) > number:
            parts[number].append(path := order.pop())
            size += len(project.files[path].encode())
    parts[0] = order
    return [project.only(own) for own in parts]


def as_population(projects: Iterable[Project], *, name: str = "code") -> Population:
    """Projects as people: texts (person: the project, item: the path, text: the file)."""
    rows = [(one.name, path, text) for one in projects for path, text in one.files.items()]
    if not rows:
        raise EmptyData("there is no file", fix="give projects with files")
    people, items, texts = (list(column) for column in zip(*rows, strict=True))
    return Population.from_frames(texts={"person": people, "item": items, "text": texts}, name=name)
