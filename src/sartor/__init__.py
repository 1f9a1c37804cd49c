"""sartor: one personalization engine for every kind of output.

import sartor
people = sartor.read("ratings.parquet")
model = sartor.make("ease").fit(people)
state = model.adapt(sartor.Evidence.from_items(["Heat", "Ronin"]))
model.recommend([state], k=10)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor import errors
from sartor.data.population import Evidence, Population
from sartor.method import Decider, Illustrator, Method, Ranking, Recognizer, Recommender, Searcher, State, Writer, load
from sartor.systems import make

if TYPE_CHECKING:
    from pathlib import Path

    from sartor.engine import Engine

__version__ = "0.1.0"

__all__ = [
    "Decider", "Engine", "Evidence", "Illustrator", "Method", "Population", "Ranking", "Recognizer", "Recommender", "Searcher", "State",
    "Writer", "__version__", "errors", "load", "make", "read",
]  # fmt: skip


def read(path: str | Path, **options: Any) -> Population:
    """Read a population from a file, folder or zip of any known format; see `sartor.data.read`."""
    from sartor.data import read as read_any

    return read_any(path, **options)


def __getattr__(name: str) -> Any:
    # The engine and its store are not everybody's: who only fits and recommends does not wait for them.
    if name == "Engine":
        from sartor.engine import Engine

        return Engine
    raise AttributeError(f"module 'sartor' has no attribute '{name}'")
