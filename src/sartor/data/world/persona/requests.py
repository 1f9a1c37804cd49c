"""What is asked: requests of some people, as numbers, with their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from sartor.data.world.persona.words import ACTS, CHOOSE, NAMES, RECOMMEND, SUBJECTS, request_text
from sartor.errors import ConfigError

GROUP_OF = np.array([act.group for act in ACTS] + [-1])
"""Group of every act; the last is for act -1, which no text of ours asks for."""


@dataclass(frozen=True, eq=False)
class Requests:
    """Requests of a batch, one row each."""

    person: np.ndarray
    """int64 [n], who asks."""
    number: np.ndarray
    """int64 [n], which request of hers: all that happens by chance in the reply hangs on person and number."""
    act: np.ndarray
    """int64 [n], number in `ACTS`; -1 where a text was not understood."""
    first: np.ndarray
    """int64 [n], the subject (number in `SUBJECTS`), or the first of two to choose from; -1 where there is none."""
    second: np.ndarray
    """int64 [n], the second of two to choose from, or -1."""
    name: np.ndarray
    """int64 [n], number in `NAMES`."""
    time: np.ndarray
    """int64 [n], seconds since 1970 UTC."""

    def __len__(self) -> int:
        return int(self.person.size)

    def __getitem__(self, rows: np.ndarray | slice) -> Requests:
        """Some of them."""
        return Requests(**{name: values[rows] for name, values in vars(self).items()})

    @property
    def group(self) -> np.ndarray:
        """int64 [n], number in `GROUPS`."""
        return GROUP_OF[self.act]

    def texts(self) -> pl.Series:
        """What is asked, in words."""
        plain = len(SUBJECTS)
        # All request texts there are, by act and subject; those with two subjects are put together.
        one = pl.Series([request_text(act.name, subject) for act in ACTS for subject in SUBJECTS])
        subject = pl.Series(SUBJECTS)
        row = np.where(self.act < 0, 0, self.act) * plain + np.maximum(self.first, 0)
        frame = pl.DataFrame(
            {
                "text": one.gather(row), "first": subject.gather(np.maximum(self.first, 0)), "second": subject.gather(np.maximum(self.second, 0)),
                "name": pl.Series(NAMES).gather(np.maximum(self.name, 0)), "two": self.act == CHOOSE,
            }
        )  # fmt: skip
        start = pl.concat_str(pl.lit("write to "), "name", pl.lit(": "))
        two = pl.concat_str(start, pl.lit("choose "), "first", pl.lit(" or "), "second", pl.lit("."))
        return frame.select(pl.when("two").then(two).otherwise(pl.col("text").str.replace("{name}", pl.col("name"), literal=True)).alias("text"))[
            "text"
        ]

    @classmethod
    def concat(cls, parts: Sequence[Requests]) -> Requests:
        """One after another."""
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})

    @classmethod
    def parse(cls, texts: Sequence[str | None] | pl.Series, people: Sequence[int] | np.ndarray) -> Requests:
        """The reverse of `texts()`; a text that is none of ours has act -1, and of its reply nothing about the request is graded."""
        series = pl.Series("text", texts, dtype=pl.String, strict=False)
        if len(series) != len(people):
            raise ConfigError(f"{len(series)} requests of {len(people)} people", fix="give the person of every request")
        pattern = r"^\s*write to (\w+): (\w+) (?:the )?(\w+)(?: or (\w+))?\.?\s*$"
        parts = series.fill_null("").str.to_lowercase().str.extract_groups(pattern).struct.unnest()

        def number(column: str, words: Sequence[str]) -> np.ndarray:
            found = parts[column].replace_strict(list(words), list(range(len(words))), default=-1, return_dtype=pl.Int64)
            return found.fill_null(-1).to_numpy().copy()

        act, first, second, name = number("2", [one.name for one in ACTS]), number("3", SUBJECTS), number("4", SUBJECTS), number("1", NAMES)
        whole = (name >= 0) & np.where(act == CHOOSE, (first >= 0) & (second >= 0), (act == RECOMMEND) | (first >= 0))
        act = np.where(whole, act, -1)
        where = np.arange(len(series))
        return cls(np.asarray(people, np.int64), where, act, first, second, name, np.zeros(len(series), np.int64))
