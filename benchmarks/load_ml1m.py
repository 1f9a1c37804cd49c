"""Reading MovieLens 1M from its official form (`ratings.dat`, 1,000,209 lines `user::movie::rating::time`), against pandas.

The end of both is the same: ratings grouped by person and ordered in time, ids as numbers 0..n-1, as flat arrays. The file is generated
once outside the repository, of the official shape (6,040 people, 3,706 films, 20 to 2,314 ratings each, 24.6 MB), since the original
may not be shipped. pandas reads it in its fastest way: the C parser at a one-character separator, only the four columns, integer types
given (the documented `sep="::"` needs the Python parser and takes ten times as long).
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

NAME = "load-ml1m"
UNIT = "seconds"
PEER = "pandas"

RATINGS, PEOPLE, FILMS = 1_000_209, 6_040, 3_706


def folder() -> Path:
    """Where the generated `ratings.dat` is."""
    where = Path(tempfile.gettempdir()) / "sartor-bench" / "ml-1m-shape"
    file = where / "ratings.dat"
    if not file.exists():
        where.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        fresh.write_text(_lines())
        fresh.rename(file)
    return where


def _lines() -> str:
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(4.6, 1.0, PEOPLE).astype(int), 20, 2_314)
    while (missing := RATINGS - lengths.sum()) != 0:
        some = rng.choice(PEOPLE, min(abs(missing), PEOPLE), replace=False)
        lengths[some] = np.clip(lengths[some] + np.sign(missing), 20, 2_314)
    films = np.sort(rng.choice(np.arange(1, 3_953), FILMS, replace=False))
    shares = np.log(1 / np.arange(1, FILMS + 1) ** 0.8)[rng.permutation(FILMS)]
    lines = []
    for person, length in enumerate(lengths, 1):
        # Gumbel noise draws without replacement in proportion to popularity.
        taste = shares + rng.gumbel(size=FILMS)
        own = films[np.argpartition(-taste, length - 1)[:length]]
        times = rng.integers(956_703_932, 1_046_454_590) + rng.integers(0, 40_000, length)
        rows = zip(own.tolist(), rng.integers(1, 6, length).tolist(), times.tolist(), strict=True)
        lines.extend(f"{person}::{film}::{rating}::{when}\n" for film, rating, when in rows)
    return "".join(lines)


def ours() -> dict[str, Any]:
    from sartor.data import read

    where = folder()
    start = time.perf_counter()
    data = read(where).interactions()
    seconds = time.perf_counter() - start
    return {"value": seconds, "quality": float(len(data)), "size": _size(where, *data.shape)}


def peer() -> dict[str, Any]:
    import pandas as pd

    where = folder()
    start = time.perf_counter()
    types = {0: np.int32, 2: np.int32, 4: np.float32, 6: np.int64}
    frame = pd.read_csv(where / "ratings.dat", sep=":", header=None, usecols=list(types), dtype=types, engine="c")
    people, persons = pd.factorize(frame[0], sort=True)
    items, films = pd.factorize(frame[2], sort=True)
    order = np.lexsort((frame[6], people))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(people))])
    indices, values, times = items[order].astype(np.int32), frame[4].to_numpy()[order], frame[6].to_numpy()[order]
    seconds = time.perf_counter() - start
    assert indptr[-1] == indices.size == values.size == times.size
    return {"value": seconds, "quality": float(len(frame)), "size": _size(where, len(persons), len(films))}


def _size(where: Path, people: int, items: int) -> dict[str, int]:
    return {"ratings": RATINGS, "people": people, "items": items, "bytes": (where / "ratings.dat").stat().st_size}
