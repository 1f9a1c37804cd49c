"""Queries of which it is known what was wanted: from a search log where there is one, else made from what people chose afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl

from sartor.data.ids import IdMap
from sartor.errors import ConfigError, EmptyData
from sartor.retrieve.words import tokens

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Population

QUERY = "query"
"""Kind of the rows of a `texts` frame that are a search log: person, text (what was asked), item (what was taken then)."""
MadeFrom = Literal["categories", "words"]
LEAST_LETTERS = 4
"""Of a word that a query is made from."""


@dataclass(frozen=True, eq=False)
class Queries:
    """Who asked what, and what they wanted."""

    texts: list[str]
    people: np.ndarray
    """Person id of each query."""
    indptr: np.ndarray
    """int64 [queries + 1]."""
    wanted: np.ndarray
    """int32, item numbers, sorted inside each query."""

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def of(cls, rows: Sequence[tuple[Any, str, np.ndarray]]) -> Self:
        """From (person, text, item numbers)."""
        if not rows:
            raise EmptyData("there is no query of which it is known what was wanted", fix="give held-out events of items with texts or categories")
        sizes = [one[2].size for one in rows]
        people = np.array([one[0] for one in rows], dtype=object)
        wanted = np.concatenate([np.unique(one[2]) for one in rows]).astype(np.int32)
        return cls([one[1] for one in rows], people, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), wanted)

    @classmethod
    def logged(cls, texts: pl.DataFrame, items: IdMap) -> Self:
        """From a search log: the rows of kind "query" with a person and an item; all that one person took for one text counts together."""
        log = (
            texts.filter(pl.col("kind") == QUERY).drop_nulls(["person", "item", "text"]) if {"kind", "person", "item"} <= set(texts.columns) else None
        )
        if log is None or log.is_empty():
            raise EmptyData("there is no search log", fix="give a texts frame with person, item, text and kind 'query'")
        log = log.with_columns(number=items.numbers(log["item"])).filter(pl.col("number") >= 0, pl.col("text").str.strip_chars() != "")
        grouped = log.group_by("person", "text", maintain_order=True).agg(pl.col("number").unique().sort())
        return cls.of([(person, text, np.array(own, np.int32)) for person, text, own in grouped.iter_rows()])

    @classmethod
    def made(
        cls, population: Population, items: IdMap, catalogue: pl.DataFrame, *, made_from: MadeFrom, fields: Sequence[str], each: int = 1,
        people: int | None = None, seed: int = 0,
    ) -> Self:  # fmt: skip
        """Queries that people might have asked before they took what they took.

        For each query one of the person's items is drawn; the query is one or two of its categories, or two words of its text, rare ones more
        often. Wanted are all of the person's items in this population that hold every word of the query, so that a query asks for a kind of
        thing and not for the one item it was made from.

        Parameters
        ----------
        population: the held-out events.
        catalogue: one row per item, in the order of `items` (`Population.item_frame`).
        fields: columns whose words decide what holds a word of the query.
        each: queries per person.
        people: at most so many people, drawn at random.
        """
        if made_from not in ("categories", "words"):
            raise ConfigError(f"queries cannot be made from '{made_from}'", fix="use categories or words")
        rng = np.random.default_rng([seed, 17])
        data = population.interactions(items=items)
        lists = [tokens(_text(catalogue[name])).to_list() for name in fields]
        words = [set().union(*own) for own in zip(*lists, strict=True)]
        chosen = rng.permutation(np.flatnonzero(data.lengths))[: people if people is not None else None]
        rarity = _rarity(words) if made_from == "words" else {}
        categories = catalogue["categories"].to_list() if made_from == "categories" and "categories" in catalogue.columns else []
        asked: list[tuple[int, str]] = []
        for person in np.sort(chosen).tolist():
            own = np.unique(data.history(person))
            for item in rng.choice(own, min(each, own.size), replace=False).tolist():
                if made_from == "categories":
                    asked.append((person, _of_categories(categories[item] if categories else None, rng)))
                else:
                    asked.append((person, _of_words(words[item], rarity, rng)))
        rows: list[tuple[Any, str, np.ndarray]] = []
        for (person, text), needed in zip(asked, map(set, tokens([text for _, text in asked]).to_list()), strict=True):
            if needed and (hits := [one for one in np.unique(data.history(person)).tolist() if needed <= words[one]]):
                rows.append((data.people.array[person], text, np.array(hits, np.int32)))
        return cls.of(rows)

    @classmethod
    def joined(cls, parts: Sequence[Queries]) -> Self:
        """Several sets of queries as one."""
        return cls.of([row for part in parts for row in part.rows()])

    def rows(self) -> list[tuple[Any, str, np.ndarray]]:
        """(person, text, item numbers) of each query."""
        return [(self.people[row], text, self.wanted[self.indptr[row] : self.indptr[row + 1]]) for row, text in enumerate(self.texts)]

    def among(self, data: Interactions) -> Queries:
        """Only what the same person also took in these events, and the queries of which something is left."""
        people = data.people.numbers(self.people.tolist())
        kept = []
        for number, (person, text, wanted) in zip(people.tolist(), self.rows(), strict=True):
            if number >= 0 and (left := np.intersect1d(wanted, data.history(number))).size:
                kept.append((person, text, left))
        return Queries.of(kept)

    def take(self, rows: np.ndarray) -> Queries:
        """Some queries only, in the given order."""
        every = self.rows()
        return Queries.of([every[row] for row in rows.tolist()])


def _text(column: pl.Series) -> pl.Series:
    return column.cast(pl.List(pl.String)).list.join(" ") if column.dtype == pl.List else column.cast(pl.String)


def _rarity(words: Sequence[set[str]]) -> dict[str, float]:
    """log(items / items with the word) of words that are in several items, and in less than a tenth; numbers and short words are left out."""
    counts: dict[str, int] = {}
    for own in words:
        for word in own:
            counts[word] = counts.get(word, 0) + 1
    n = len(words)
    return {word: float(np.log(n / one)) for word, one in counts.items() if 5 <= one <= n / 10 and len(word) >= LEAST_LETTERS and word.isalpha()}


def _of_categories(own: list[str] | None, rng: np.random.Generator) -> str:
    known = [one for one in own or [] if one]
    if not known:
        return ""
    return " ".join(known[at] for at in sorted(rng.choice(len(known), min(len(known), 1 + int(rng.random() < 0.5)), replace=False).tolist()))


def _of_words(own: set[str], rarity: dict[str, float], rng: np.random.Generator) -> str:
    known = sorted(own & rarity.keys())
    if len(known) < 2:
        return ""
    chance = np.array([rarity[word] for word in known])
    return " ".join(known[at] for at in sorted(rng.choice(len(known), 2, replace=False, p=chance / chance.sum()).tolist()))
