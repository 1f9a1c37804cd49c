"""Replies that are each labelled for one habit: what methods with dials, one learned apart from the other, are fitted on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from sartor.data.population import Population
from sartor.data.world.persona.grading import shown
from sartor.data.world.persona.words import ALWAYS
from sartor.errors import ConfigError, EmptyData


def labelled(population: Population, habits: Sequence[str] = tuple(ALWAYS)) -> Population:
    """The replies of `Personas.population`, with `attribute` (a habit) and `aspect` (which option of it the reply shows).

    Reply i is labelled for habit i modulo their number, and left out where it does not show any one option of that.
    Raises `ConfigError` for habits that are none of those that every reply has, and `EmptyData` without replies.
    """
    if not habits or (strange := {*habits} - {*ALWAYS}):
        raise ConfigError(f"there are no habits {sorted(strange) if habits else 'at all'}", fix=f"use some of {', '.join(ALWAYS)}")
    frame = population.texts.collect().filter((pl.col("kind") == "reply") & pl.col("text").is_not_null())
    if not frame.height:
        raise EmptyData("nobody has replied to anything", fix="give texts of the kind reply", frame="texts")
    found, _ = shown(frame["text"])
    which = np.arange(frame.height) % len(habits)
    option = np.choose(which, [found[habit] for habit in habits])
    aspects = [ALWAYS[habits[habit]][number] if number >= 0 else None for habit, number in zip(which.tolist(), option.tolist(), strict=True)]
    labels = {"attribute": pl.Series(habits).gather(which), "aspect": pl.Series(aspects, dtype=pl.String)}
    return population.replace(texts=frame.with_columns(**labels).filter(pl.col("aspect").is_not_null()))
