"""What people of a world leave behind for models to learn from: replies, statements, dialogues, choices, and a row about each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sartor.data.world.persona.dialogues import conversations, openings
from sartor.data.world.persona.pairs import choices

if TYPE_CHECKING:
    from sartor.data.world.persona.personas import Personas

IN_DIALOGUES = 1 << 20
"""Numbers of the requests inside dialogues begin here; those of histories and tests are below."""


def evidence(personas: Personas, people: np.ndarray) -> dict[str, pl.DataFrame]:
    """`texts`, `preferences` and `people`, as `Personas.population` has them."""
    world = personas.world
    people = np.unique(people)
    history = personas.history(people)
    said = personas.statements_of(people).with_columns(pl.int_range(pl.len()).over("person").alias("statement"))
    none = pl.lit(None, pl.String)
    reply = pl.DataFrame(
        {
            "person": history.person,
            "time": history.time,
            "kind": "reply",
            "text": personas.replies_of(history, history.person, None),
            "prompt": history.texts(),
        }
    )
    frames = [reply.with_columns(pl.lit("user").alias("role"))]
    opened = openings(world.draws, said, personas.dialogues)
    alone = said.join(opened, on=["person", "statement"], how="anti")
    frames.append(alone.select("person", "time", pl.lit("statement").alias("kind"), "text", none.alias("prompt"), pl.lit("user").alias("role")))
    if len(opened):
        number = opened["statement"].to_numpy() + IN_DIALOGUES
        asked = personas.requests_of(opened["person"].to_numpy(), number, time=opened["time"].to_numpy() + 120)
        drafts = personas.replies_of(asked, personas.strangers(asked), None)
        own = personas.replies_of(asked, asked.person, None)
        frames.append(conversations(world.draws, opened, asked, drafts, own, people, personas.changes, world.days))
    texts = pl.concat(frames, how="diagonal").sort("person", "time", maintain_order=True)
    people_frame = world.people_frame(world.tastes_of(people)).with_columns(pl.Series("new", personas.are_new(people)))
    return {"texts": texts, "preferences": choices(personas, people)[0], "people": people_frame}
