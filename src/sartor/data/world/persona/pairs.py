"""Choices between two answers: what people write themselves against something worse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sartor.data.world.behaviour import DAY, START
from sartor.data.world.draws import address
from sartor.data.world.persona.words import CHOOSE, RECOMMEND

if TYPE_CHECKING:
    from sartor.data.world.persona.personas import Personas

WHY = ("style", "content", "taste")
"""What is wrong with a rejected answer: somebody else's habits; the answer; what she does not like."""
STYLE = 0.6
"""Share of pairs where it is the habits."""
IN_PAIRS = 1 << 21
"""Numbers of the requests in preference pairs begin here."""


def choices(personas: Personas, people: np.ndarray) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`personas.pairs` choices of each person (person, prompt, chosen, rejected, time), and row by row their truth (person, why, mistake)."""
    people, draws, days = np.unique(people), personas.world.draws, personas.world.days
    person, number = np.repeat(people, personas.pairs), np.tile(np.arange(personas.pairs), people.size) + IN_PAIRS
    where = address(person, number)
    time = START + (draws.uniform("pairs:time", where) * days * DAY).astype(np.int64)
    asked = personas.requests_of(person, number, time=time)
    tasteful = (asked.act == CHOOSE) | (asked.act == RECOMMEND)
    why = np.where(draws.uniform("pairs:why", where) < STYLE, 0, np.where(tasteful, 2, 1))
    own = personas.replies_of(asked, person, None)
    worse = personas.replies_of(asked, np.where(why == 0, personas.strangers(asked), person), why > 0)
    mistake = draws.uniform("pairs:mistake", where) < personas.mistakes
    frame = pl.DataFrame({"person": person, "prompt": asked.texts(), "own": own, "worse": worse, "time": time, "mistake": mistake})
    chosen = pl.when("mistake").then("worse").otherwise("own").alias("chosen")
    rejected = pl.when("mistake").then("own").otherwise("worse").alias("rejected")
    truth = pl.DataFrame({"person": person, "why": pl.Series(WHY, dtype=pl.String).gather(why), "mistake": mistake})
    return frame.select("person", "prompt", chosen, rejected, "time"), truth
