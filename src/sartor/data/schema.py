"""The frames a population may have, and what their columns mean.

Every frame may carry more columns than listed: they are kept as context (`genre`, `device`, `price`, ...). Ids are strings or integers,
the same kind everywhere in one population. Times are Int64 seconds since 1970-01-01 UTC; rows of equal time keep the order of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

FrameName = Literal["events", "items", "people", "texts", "preferences", "images", "edges"]
FRAMES: tuple[FrameName, ...] = get_args(FrameName)

Kind = Literal["id", "time", "number", "text", "texts"]


@dataclass(frozen=True)
class Column:
    """One column of a frame: what kind of value, whether it must be there, what it means."""

    kind: Kind
    required: bool
    meaning: str


def _frame(**columns: tuple[Kind, bool, str]) -> dict[str, Column]:
    return {name: Column(*spec) for name, spec in columns.items()}


SCHEMAS: dict[FrameName, dict[str, Column]] = {
    "events": _frame(
        person=("id", True, "who"),
        item=("id", True, "what"),
        time=("time", False, "when; without it the order of the rows is the order in time"),
        kind=("text", False, "click, view, buy, rate, ...; absent means one kind"),
        value=("number", False, "rating, dwell seconds, label, ...; absent means the event itself is the signal"),
        weight=("number", False, "how much the event counts; 1 when absent"),
        session=("id", False, "events that belong to one visit"),
    ),
    "items": _frame(
        item=("id", True, "what"),
        title=("text", False, "its name"),
        text=("text", False, "its description"),
        categories=("texts", False, "genres, tags, departments"),
    ),
    "people": _frame(person=("id", True, "who")),
    "texts": _frame(
        text=("text", True, "the words"),
        person=("id", False, "who wrote or said them"),
        item=("id", False, "what they are about"),
        time=("time", False, "when"),
        kind=("text", False, "review, message, answer, ..."),
        prompt=("text", False, "what was asked, or what the text answers"),
        role=("text", False, "who speaks: user or assistant; absent means the person"),
        dialogue=("id", False, "texts that belong to one conversation of the person"),
        turn=("number", False, "place in the conversation, from 0"),
    ),
    "preferences": _frame(
        person=("id", True, "who chose"),
        chosen=("text", True, "the item, answer or image preferred"),
        rejected=("text", True, "the one not preferred"),
        prompt=("text", False, "what was asked"),
        time=("time", False, "when"),
    ),
    "images": _frame(
        image=("id", True, "the image"),
        path=("text", True, "file, relative to the population's folder"),
        person=("id", False, "whose"),
        item=("id", False, "of what"),
    ),
    "edges": _frame(
        source=("id", True, "from"),
        target=("id", True, "to"),
        kind=("text", False, "follows, trusts, cites, ..."),
        weight=("number", False, "strength; 1 when absent"),
    ),
}

LATEST_TIME = 4_102_444_800
"""2100-01-01: a later time is a mistake of unit (milliseconds) or of parsing."""
