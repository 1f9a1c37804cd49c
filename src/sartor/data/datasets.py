"""Known public data sets: where they are on this machine, and how to get them from their publishers. Nothing is shipped with the package."""

from __future__ import annotations

import difflib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.data._known import KNOWN, Known
from sartor.errors import FileProblem, UnknownId

if TYPE_CHECKING:
    from sartor.data.population import Population

__all__ = ["KNOWN", "Known", "dataset", "find", "get", "known", "places"]

PLACES = ("data", "../shared/data")
"""Folders beside the working directory that may hold data sets, each in a folder of its own name."""


DONE = ".complete"
"""A file in every folder that was downloaded whole."""


def places() -> list[Path]:
    """Where data sets are looked for: $SARTOR_DATA (several, separated like PATH), the working directory's neighbours, the user's cache."""
    from sartor.data.loaders import cache_folder

    own = [Path(one).expanduser() for one in os.environ.get("SARTOR_DATA", "").split(os.pathsep) if one]
    return [*own, *(Path(one) for one in PLACES), cache_folder() / "data"]


def find(name: str) -> Path:
    """The folder (or zip) of a data set on this machine; raises `FileProblem` with what to do when it is not here."""
    for place in places():
        for candidate in (place / name, place / f"{name}.zip"):
            if candidate.exists():
                return candidate
    entry = KNOWN.get(name)
    if entry is None:
        close = difflib.get_close_matches(name, KNOWN, n=3)
        fix = f"did you mean {' or '.join(close)}?" if close else "set SARTOR_DATA to the folder that holds it"
    elif entry.urls:
        fix = f"run `sartor data get {name}`, or set SARTOR_DATA to the folder that holds it"
    else:
        fix = f"fetch it by hand from {entry.homepage}, and set SARTOR_DATA to the folder that holds it"
    raise FileProblem(f"the data set '{name}' is in none of {', '.join(str(place) for place in places())}", fix=fix)


def dataset(name: str, **options: Any) -> Population:
    """Read a data set by name: `dataset("ml-100k", split="u1")`; options as in `read`."""
    from sartor.data.loaders import read

    return read(find(name), **options)


def known(name: str) -> Known:
    """One entry of the registry; raises `UnknownId` with near misses."""
    if name not in KNOWN:
        close = difflib.get_close_matches(name, KNOWN, n=3)
        raise UnknownId("there is no such data set", id=name, fix=f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(KNOWN)}")
    return KNOWN[name]


def get(name: str, folder: str | Path | None = None, *, progress: bool = True) -> Path:
    """Download a data set from its publisher into `folder/name` (the user's cache by default) and return that folder.

    Archives are unpacked. What is already there is not fetched again, and a broken download goes on where it stopped. The terms are the
    publisher's: see `known(name).terms`.

    Raises `UnknownId`, `FileProblem` (no network, no public address, something else is there already), `CorruptFile`, `UnsafeArchive`.
    """
    from sartor.data._download import download
    from sartor.data.loaders import cache_folder, unpack

    entry = known(name)
    if not entry.urls:
        raise FileProblem(f"'{name}' has no public address", fix=f"fetch it by hand from {entry.homepage} ({entry.terms})")
    goal = Path(folder).expanduser() / name if folder is not None else cache_folder() / "data" / name
    if (goal / DONE).exists():
        return goal
    if goal.exists() and (not goal.is_dir() or any(goal.iterdir())):
        raise FileProblem("there is something here that was not downloaded by this command", fix="choose another folder, or move it away", file=goal)
    waiting = goal.parent / ".downloads" / name
    files = [
        download(url, waiting / url.rsplit("/", 1)[-1], md5=entry.md5 if number == 0 else None, progress=progress)
        for number, url in enumerate(entry.urls)
    ]  # fmt: skip
    whole = waiting / "whole"
    if files[0].suffix == ".zip":
        unpack(files[0], whole)
    else:
        whole.mkdir(exist_ok=True)
        for file in files:
            os.replace(file, whole / file.name)
    (whole / DONE).write_text("\n".join(entry.urls) + "\n")
    if goal.exists():
        goal.rmdir()
    os.replace(whole, goal)
    shutil.rmtree(waiting)
    return goal
