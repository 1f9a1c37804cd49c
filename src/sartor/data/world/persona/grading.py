"""Exact graders: which habits a text shows, and whether its answer is right. Any text can be graded; nothing raises."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import polars as pl

from sartor.data.world.persona.likes import Likes
from sartor.data.world.persona.requests import Requests
from sartor.data.world.persona.traits import Traits
from sartor.data.world.persona.words import (
    ACTS,
    ALWAYS,
    CHOOSE,
    GROUPED,
    JARGON,
    LONG_FROM,
    NAMES,
    NOISY,
    RECOMMEND,
    SHELF_OF,
    SHELVES,
    SUBJECTS,
)  # fmt: skip

_TOKEN = r"\.\.\.|\w+|[^\w\s]"
FEWEST = 5
"""Words that a text must have for its length to be called short: an empty one is no short reply."""

_SLOTS: dict[str, tuple[str, ...]] = {
    **{name: words for name, words in ALWAYS.items() if name != "length"}, **GROUPED, **NOISY, "verb": tuple(v for act in ACTS for v in act.verbs),
    "subject": SUBJECTS, "shelf": SHELVES, "name": NAMES,
}  # fmt: skip
_NAMES = tuple(_SLOTS)
_CODES = {word: (slot, option) for slot, name in enumerate(_NAMES) for option, word in enumerate(_SLOTS[name])}


def words_of(text: str) -> list[str]:
    """Lower-case words and marks, in order; three dots are one mark."""
    return re.findall(_TOKEN, text.lower().replace("…", "..."))


def shown(texts: Sequence[str | None] | pl.Series) -> tuple[dict[str, np.ndarray], pl.DataFrame]:
    """What texts show: slot -> int64 [n], number of the option, -1 where none or several different ones stand there; and the words.

    An opener counts only as the first word, a closer only among the last three. `length` is 0 for short, 1 for long, -1 for (nearly) nothing.
    The words are a frame (row, place, word, is_word).
    """
    series = pl.Series("text", texts, dtype=pl.String, strict=False).fill_null("")
    n = len(series)
    tokens = series.str.to_lowercase().str.replace_all("…", "...", literal=True).str.extract_all(_TOKEN)
    lengths = tokens.list.len().to_numpy().astype(np.int64)
    words = pl.DataFrame({"row": np.repeat(np.arange(n), lengths), "word": tokens.explode().drop_nulls()})
    words = words.with_columns(pl.col("word").str.contains(r"^\w").alias("is_word"))
    row, is_word = words["row"].to_numpy(), words["is_word"].to_numpy()
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    counted = np.concatenate([[0], np.cumsum(is_word)])
    place = counted[:-1] - counted[starts[row]] if row.size else np.empty(0, np.int64)
    total = np.bincount(row, is_word, n).astype(np.int64)
    code = (
        words["word"]
        .replace_strict(list(_CODES), [slot * 1000 + option for slot, option in _CODES.values()], default=-1, return_dtype=pl.Int64)
        .to_numpy()
    )
    slot, option = np.where(code < 0, -1, code // 1000), code % 1000
    opener, closer = _NAMES.index("opener"), _NAMES.index("closer")
    counts = (slot >= 0) & ((slot != opener) | (place == 0)) & ((slot != closer) | (place >= total[row] - 3))
    at = row[counts] * len(_NAMES) + slot[counts]
    low, high = np.full(n * len(_NAMES), 10_000), np.full(n * len(_NAMES), -1)
    np.minimum.at(low, at, option[counts])
    np.maximum.at(high, at, option[counts])
    table = np.where(low == high, low, -1).reshape(n, len(_NAMES))
    found = {name: table[:, number] for number, name in enumerate(_NAMES)}
    found["length"] = np.where(total < FEWEST, -1, (total >= LONG_FROM).astype(np.int64))
    return found, words


def grade(texts: Sequence[str | None] | pl.Series, requests: Requests, traits: Traits, likes: Likes, rows: np.ndarray) -> pl.DataFrame:
    """One row per text: for every habit whether it is the person's own, for the content whether it is right; null where it is not asked for.

    `rows` (int64 [n]) are the people's rows in `traits` and `likes`.
    """
    found, words = shown(texts)
    act, group = requests.act, requests.group
    known = act >= 0
    out: dict[str, np.ndarray] = {name: found[name] == own[rows] for name, own in {**traits.always, **traits.noisy}.items()}
    for name, own in traits.grouped.items():
        out[name] = found[name] == own[rows, group]
    out["verb"] = found["verb"] == act * 3 + traits.verbs[rows, act]
    for place in range(traits.jargon.shape[1]):
        wanted = traits.jargon[rows, place, group]
        out[f"word {place}"] = _contains(words, pl.Series(JARGON).gather(wanted), len(requests))
    subject = found["subject"]
    out["taste"] = (subject >= 0) & likes.holds(rows, subject)
    right = np.where(act == RECOMMEND, subject >= 0, (subject == requests.first) | ((act == CHOOSE) & (subject == requests.second)))
    out["taste"] &= right
    out["subject"] = right & (subject >= 0)
    out["shelf"] = (found["shelf"] >= 0) & (subject >= 0) & (found["shelf"] == np.array(SHELF_OF)[subject])
    out["name"] = (found["name"] >= 0) & (found["name"] == requests.name)
    hangs = {*traits.grouped, "verb", "subject", "shelf", "name", *(f"word {place}" for place in range(traits.jargon.shape[1]))}
    tasteful = (act == CHOOSE) | (act == RECOMMEND)
    asked = {name: tasteful if name == "taste" else known if name in hangs else np.ones(len(requests), bool) for name in out}
    return pl.DataFrame({name: pl.Series(name, marks).set(pl.Series(~asked[name]), None) for name, marks in out.items()})


def _contains(words: pl.DataFrame, wanted: pl.Series, n: int) -> np.ndarray:
    """bool [n]: whether the words of each row have the wanted one."""
    row = words["row"].to_numpy()
    hit = (words["word"] == wanted.gather(row)).to_numpy()
    return np.bincount(row[hit], minlength=n) > 0
