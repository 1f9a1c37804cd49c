"""What `POST /v1/rerank` answers."""

from __future__ import annotations

from sartor.serve.answers import Out, StateRef


class MovedOut(Out):
    rank: int
    place: int
    """Where it stood in the list that was given, from 1."""
    score: float
    item: str | int | None
    text: str | None


class RerankOut(Out):
    person: str | None
    items: list[MovedOut]
    personal: bool
    """Whether a state of the person's own moved the order."""
    model: str | None
    state: StateRef | None
    fallback: str | None
    note: str
    seconds: float
