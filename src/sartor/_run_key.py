"""What a fit is about: its settings and its data, so that a checkpoint is never continued by another one."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import polars as pl

    from sartor.data.population import Population
    from sartor.method import Method, Run


def settings(method: Method, without: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """Name and value of each setting; of a method among them also which fitted one it is."""
    own = [(f.name, getattr(method, f.name)) for f in fields(method) if f.init and f.name not in without]
    return [(name, (value, getattr(value, "fingerprint_", ""))) for name, value in own]


def rows_key(frame: pl.LazyFrame) -> int:
    """Equal for equal rows in whatever order, within one version of polars."""
    return int(frame.collect().hash_rows(0).to_numpy().sum(dtype=np.uint64))


def keyed(method: Method, population: Population, run: Run) -> Run:
    """The run with the key of all settings and of all that people wrote and chose; nothing is hashed where no checkpoint is kept."""
    if run.checkpoint is None:
        return run
    known = [(name, rows_key(population.frame(name))) for name in ("texts", "preferences", "people", "items") if name in population]
    return replace(run, key=hashlib.blake2b(repr([settings(method), known]).encode(), digest_size=8).hexdigest())
