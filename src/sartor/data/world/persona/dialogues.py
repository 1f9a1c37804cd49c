"""Conversations with an assistant: a statement, a request with a draft that she rewrites, and a question about herself."""

from __future__ import annotations

import numpy as np
import polars as pl

from sartor.data.world.draws import Draws, address
from sartor.data.world.persona.facts import answers, facts
from sartor.data.world.persona.requests import Requests
from sartor.data.world.persona.words import FACTS, NOTED, RATHER, THANKS

KINDS = ("statement", "acknowledgement", "request", "draft", "revision", "thanks", "question", "answer")
"""What the eight turns of a dialogue are; the person and the assistant take turns."""
PAUSE = 60
"""Seconds between two turns."""


def openings(draws: Draws, said: pl.DataFrame, dialogues: int) -> pl.DataFrame:
    """The statements that open a dialogue: `dialogues` of each person's, at random. `said` has the column `statement`, their number in her life."""
    key = draws.uniform("dialogue", address(said["person"].to_numpy(), said["statement"].to_numpy()))
    return said.with_columns(pl.Series("key", key)).filter(pl.col("key").rank("ordinal").over("person") <= dialogues).drop("key")


def conversations(
    draws: Draws, opened: pl.DataFrame, requests: Requests, drafts: pl.Series, replies: pl.Series, people: np.ndarray, changes: float, days: int
) -> pl.DataFrame:
    """All turns, ordered by dialogue: person, time, kind, text, prompt (what the turn answers), role, dialogue, turn.

    One request, draft and reply for each row of `opened`. The time of a turn is its statement's, and a minute more for each.
    """
    n = len(opened)
    person, start = opened["person"].to_numpy(), opened["time"].to_numpy()
    slot = (draws.uniform("dialogue:question", address(requests.person, requests.number)) * len(FACTS)).astype(np.int64)
    values, times = facts(draws, people, changes, days)
    _, answer = answers(values, times, np.searchsorted(people, person), slot, start + 6 * PAUSE)
    asked, question = requests.texts(), pl.Series([one.question for one in FACTS]).gather(slot)

    def same(text: str) -> pl.Series:
        return pl.repeat(text, n, dtype=pl.String, eager=True)

    turns = [opened["text"], same(NOTED), asked, drafts, pl.select(pl.lit(RATHER) + replies).to_series(), same(THANKS), question, answer]
    none = pl.repeat(None, n, dtype=pl.String, eager=True)
    prompts = [none, opened["text"], none, asked, asked, none, none, question]
    frames = [
        pl.DataFrame(
            {
                "person": person, "time": start + turn * PAUSE, "kind": same(kind), "text": text, "prompt": prompt,
                "role": same("assistant" if turn % 2 else "user"), "dialogue": opened["statement"], "turn": np.full(n, turn),
            }
        )
        for turn, (kind, text, prompt) in enumerate(zip(KINDS, turns, prompts, strict=True))
    ]  # fmt: skip
    return pl.concat(frames)
