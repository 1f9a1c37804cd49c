"""Replies with labels, for methods that are fitted on such: which habit a reply shows, and what it could have been written from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from sartor.data.population import Population
from sartor.data.world.persona.grading import shown, words_of
from sartor.data.world.persona.words import ALWAYS
from sartor.errors import ConfigError, EmptyData

ALONE = 4
"""One in so many annotated replies is written from nothing."""


def labelled(population: Population, habits: Sequence[str] = tuple(ALWAYS)) -> Population:
    """The replies of `Personas.population`, with `attribute` (a habit) and `aspect` (which option of it the reply shows).

    Reply i is labelled for habit i modulo their number, and left out where it does not show any one option of that.
    Raises `ConfigError` for habits that are none of those that every reply has, and `EmptyData` without replies.
    """
    if not habits or (strange := {*habits} - {*ALWAYS}):
        raise ConfigError(f"there are no habits {sorted(strange) if habits else 'at all'}", fix=f"use some of {', '.join(ALWAYS)}")
    frame = _replies(population)
    found, _ = shown(frame["text"])
    which = np.arange(frame.height) % len(habits)
    option = np.choose(which, [found[habit] for habit in habits])
    aspects = [ALWAYS[habits[habit]][number] if number >= 0 else None for habit, number in zip(which.tolist(), option.tolist(), strict=True)]
    labels = {"attribute": pl.Series(habits).gather(which), "aspect": pl.Series(aspects, dtype=pl.String)}
    return population.replace(texts=frame.with_columns(**labels).filter(pl.col("aspect").is_not_null()))


def annotated_replies(population: Population, source: str = "PERSONA") -> Population:
    """The replies as dialogues whose answers were written from the person's own reply to the most similar other request.

    `texts` has the replies themselves (kind "reply"), and two turns of each (kind "turn", role, dialogue, turn; sources and evidence at the
    answer), as `UniMSRAG` reads them. Similar are requests that share words; of equal ones it is the earliest. Who replied once is left out.
    Every fourth answer names no source: how people answer of whom nothing is known is learned from these.
    """
    frame = _replies(population)
    rows: list[tuple[Any, ...]] = []
    for (person,), own in frame.partition_by("person", as_dict=True, maintain_order=True).items():
        prompts, texts = own["prompt"].to_list(), own["text"].to_list()
        words = [set(words_of(prompt)) for prompt in prompts]
        for at, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
            rows.append((person, "reply", text, None, None, None, None, None))
            if len(texts) < 2:
                continue
            near = max((one for one in range(len(texts)) if one != at), key=lambda one: (len(words[one] & words[at]), -one))
            rows.append((person, "turn", prompt, "user", at, 0, None, None))
            alone = at % ALONE == ALONE - 1
            rows.append((person, "turn", text, "assistant", at, 1, [] if alone else [source], [] if alone else [texts[near]]))
    names = ("kind", "text", "role", "dialogue", "turn", "sources", "evidence")
    kinds = (pl.String, pl.String, pl.String, pl.Int64, pl.Int64, pl.List(pl.String), pl.List(pl.String))
    schema: dict[str, Any] = {"person": frame["person"].dtype} | dict(zip(names, kinds, strict=True))
    return Population({"texts": pl.DataFrame(rows, schema=schema, orient="row")}, name=population.name)


def _replies(population: Population) -> pl.DataFrame:
    frame = population.texts.collect().filter((pl.col("kind") == "reply") & pl.col("text").is_not_null() & pl.col("prompt").is_not_null())
    if not frame.height:
        raise EmptyData("nobody has replied to anything", fix="give texts of the kind reply", frame="texts")
    return frame
