"""What goes out, as pydantic models: the shapes that the OpenAPI document promises."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class Out(BaseModel):
    """An answer."""


def iso(seconds: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601 UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- problems


class Problem(Out):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    fix: str | None = None
    where: dict[str, str] = {}
    request_id: str


# --- evidence


class Accepted(Out):
    accepted: int
    duplicates: int
    position: int


class EventOut(Out):
    id: str
    frame: str
    kind: str | None
    item: str | int | None
    title: str | None
    value: float | None
    weight: float | None
    content: dict[str, Any]
    time: str | None
    received: str
    source: str
    model: str | None
    purposes: list[str] | None
    expires: str | None
    position: int


class EventsOut(Out):
    items: list[EventOut]
    next: str | None


class Removed(Out):
    removed: int


# --- items


class Catalogued(Out):
    items: int
    version: int


class ItemOut(BaseModel):
    model_config = ConfigDict(extra="allow")

    item: str | int
    hidden: bool
    title: str | None = None


class ItemsOut(Out):
    items: list[ItemOut]
    next: str | None


# --- recommendations


class PickOut(Out):
    item: str | int
    score: float | None
    title: str | None = None
    attributes: dict[str, Any] | None = None


class StateRef(Out):
    version: int
    position: int
    lag: int
    age_seconds: float


class AnswerOut(Out):
    person: str | None
    items: list[PickOut]
    model: str | None
    state: StateRef | None
    fallback: str | None
    note: str
    seconds: float


class AnswersOut(Out):
    answers: list[AnswerOut]


class ReasonOut(Out):
    item: str | int
    title: str | None
    contribution: float
    events: int
    ids: list[str]
    last: str | None
    rank_without: int | None


class NamedItem(Out):
    item: str | int
    title: str | None


class WithoutOut(Out):
    removed: list[str | int]
    events: int
    rank: int | None
    score: float
    items: list[NamedItem]


class ExplanationOut(Out):
    person: str
    item: str | int
    title: str | None
    score: float
    rank: int | None
    model: str
    reasons: list[ReasonOut]
    score_population: float | None
    rank_population: int | None
    items: list[NamedItem]
    without: WithoutOut | None
    verified: bool
    note: str
    seconds: float


class MoveOut(Out):
    item: str | int
    title: str | None
    before: int | None
    after: int | None


class WhatIfOut(Out):
    person: str
    before: AnswerOut
    after: AnswerOut
    moved: list[MoveOut]


# --- people


class PersonOut(Out):
    person: str
    records: int
    first: str | None
    last: str | None
    bytes: int
    consents: dict[str, bool]


class PeopleOut(Out):
    items: list[PersonOut]
    next: str | None


class ArrayOut(Out):
    name: str
    dtype: str
    shape: list[int]
    bytes: int


class StateOut(Out):
    version: int
    verb: str
    model: str
    method: str
    made: str
    age_seconds: float
    position: int
    lag: int | None
    bytes: int
    examples: int
    held: bool
    restored_from: int | None
    current: bool
    arrays: list[ArrayOut]
    notes: dict[str, Any]


class StatesOut(Out):
    items: list[StateOut]
    next: str | None


class ConsentOut(Out):
    granted: bool
    since: str | None
    text: str
    version: str
    source: str
    default: bool


class ConsentsOut(Out):
    person: str
    purposes: dict[str, ConsentOut]


class TopItem(Out):
    item: str | int
    title: str | None
    count: int


class TopCategory(Out):
    category: str
    count: int


class ProfileOut(Out):
    person: str
    records: int
    frames: dict[str, int]
    first: str | None
    last: str | None
    kinds: dict[str, int]
    top_items: list[TopItem]
    top_categories: list[TopCategory]
    state: StateOut | None
    stale: bool
    consents: dict[str, ConsentOut]
    models: list[str]
    attributes: dict[str, Any] | None
    sentences: list[str]


class ErasureOut(BaseModel):
    """What was removed where, and whether a scan of everything stored found nothing left."""

    model_config = ConfigDict(extra="allow")

    person: str
    known: bool
    removed: dict[str, int]
    verified: bool
    seconds: float
    finished: str


class KindsOut(Out):
    weights: dict[str, float]
    default: bool
    """Whether these are the ones that hold until others are set."""


# --- models, jobs
