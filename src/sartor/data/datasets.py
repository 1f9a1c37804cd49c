"""Known public data sets: where they are on this machine, and where their publishers offer them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.errors import FileProblem, UnknownId

if TYPE_CHECKING:
    from sartor.data.population import Population

PLACES = ("data", "../shared/data")
"""Folders beside the working directory that may hold data sets, each in a folder of its own name."""


def places() -> list[Path]:
    """Where data sets are looked for: $SARTOR_DATA (several, separated like PATH), the working directory's neighbours, the user's cache."""
    from sartor.data.loaders._source import cache_folder

    own = [Path(one).expanduser() for one in os.environ.get("SARTOR_DATA", "").split(os.pathsep) if one]
    return [*own, *(Path(one) for one in PLACES), cache_folder() / "data"]


def find(name: str) -> Path:
    """The folder (or archive) of a data set on this machine; raises `FileProblem` with what to do when it is not here."""
    for place in places():
        for candidate in (place / name, place / f"{name}.zip"):
            if candidate.exists():
                return candidate
    fix = f"run `sartor data get {name}`" if name in KNOWN and KNOWN[name].urls else "put it into one of these folders"
    raise FileProblem(f"the data set '{name}' is in none of {', '.join(str(place) for place in places())}", fix=f"{fix}, or set SARTOR_DATA")


def dataset(name: str, **options: Any) -> Population:
    """Read a data set by name: `dataset("ml-100k", split="u1")`."""
    from sartor.data.loaders import read

    return read(find(name), **options)


@dataclass(frozen=True)
class Known:
    """A public data set."""

    name: str
    title: str
    terms: str
    homepage: str
    urls: tuple[str, ...] = ()
    """The publisher's own files; empty when they must be fetched by hand (a form, an account)."""
    md5: tuple[str, ...] = ()
    """As the publisher states them, one per URL, where it does."""
    frames: tuple[str, ...] = ("events",)


KNOWN: dict[str, Known] = {}


def known(name: str) -> Known:
    """One entry of the registry; raises `UnknownId` with near misses."""
    import difflib

    if name not in KNOWN:
        close = difflib.get_close_matches(name, KNOWN, n=3)
        raise UnknownId("there is no such data set", id=name, fix=f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(KNOWN)}")
    return KNOWN[name]
