"""Dialogues without what tells who speaks: contacts, names and exact dates masked, ids hashed, people of few texts left out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from sartor.data.population import Population
from sartor.errors import ConfigError, MissingColumn

MASKS = {
    "[link]": r"(?i)\b(?:https?://|www\.)\S+",
    "[email]": r"(?i)[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    "[handle]": r"(?:^|\B)@\w{2,}",
    "[date]": r"\b(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})\b",
    "[phone]": r"(?:\+|\b)\d(?:[ ().-]{0,2}\d){6,14}\b",
}
"""What is put in place -> what is taken away, in this order; Rust's regular expressions."""
SHORTEST_KEY = 16


def masked(texts: pl.Series, names: Sequence[str] = ()) -> pl.Series:
    """Texts with contacts, dates of digits and the given names masked. A pattern finds what looks like one: it is no promise that nothing is left."""
    for place, pattern in MASKS.items():
        texts = texts.str.replace_all(pattern, place)
    if given := sorted({name for name in names if name.strip()}, key=len, reverse=True):
        texts = texts.str.replace_all(rf"(?i)\b(?:{'|'.join(re.escape(name) for name in given)})\b", "[name]")
    return texts


def anonymised(population: Population, *, key: bytes, least: int = 2, names: Sequence[str] = ()) -> Population:
    """A population of dialogues as it may be kept: the hygiene of PersonalDialog's collection (Zheng et al., 2019).

    Parameters
    ----------
    key: of the ids' hashes (BLAKE2b), at least 16 bytes; whoever has it can tell who somebody is, so that it is thrown away or kept elsewhere.
    least: people who said fewer texts are left out of every frame.
    names: to be masked in texts, e.g. those of the people's profiles.

    Columns of dates in `people` (birthdays) become decades. Raises `ConfigError`, `MissingColumn` where texts have no person, `EmptyData`.
    """
    if len(key) < SHORTEST_KEY or least < 1:
        raise ConfigError(f"a key of {len(key)} bytes, least {least}", fix=f"use at least {SHORTEST_KEY} bytes of secrets.token_bytes, and 1")
    texts = population.texts.collect()
    if "person" not in texts.columns:
        raise MissingColumn("the texts have no column person", fix=f"they have {texts.columns}", frame="texts", column="person")
    kept = texts.group_by("person").len().filter(pl.col("len") >= least)["person"]
    frames: dict[str, pl.DataFrame] = {}
    for name, lazy in population.frames.items():
        frame = lazy.collect()
        if "person" in frame.columns:
            frame = frame.filter(pl.col("person").is_in(kept.implode()))
            frame = frame.with_columns(_hashed(frame["person"], key))
        if name in ("texts", "preferences"):
            said = [column for column in ("text", "prompt", "chosen", "rejected") if column in frame.columns]
            frame = frame.with_columns(masked(frame[column], names) for column in said)
        if name == "people":
            dates = [column for column, kind in frame.schema.items() if kind == pl.Date or isinstance(kind, pl.Datetime)]
            frame = frame.with_columns((pl.col(dates).dt.year() // 10 * 10).cast(pl.String) + "s") if dates else frame
        frames[name] = frame
    return Population.from_frames(name=population.name, **frames)


def _hashed(ids: pl.Series, key: bytes) -> pl.Series:
    """16 hex digits of each id, null where there is none."""

    def one(value: Any) -> str | None:
        return None if value is None else hashlib.blake2b(str(value).encode(), key=key[:64], digest_size=8).hexdigest()

    known = {value: one(value) for value in ids.unique().to_list()}
    return pl.Series(ids.name, [known[value] for value in ids.to_list()], dtype=pl.String)
