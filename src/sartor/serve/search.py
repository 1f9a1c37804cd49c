"""What `POST /v1/search` is asked and answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, FiniteFloat, StringConstraints

from sartor.serve.answers import Out, StateRef
from sartor.serve.schemas import In, K, PersonId, Where


class SearchIn(In):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"person": "ana", "query": "quiet thriller", "k": 5, "where": "year >= 1990", "strength": 0.5}]}
    )

    person: PersonId | None = None
    """None is nobody: everybody's order."""
    query: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1_000)]
    k: K = 10
    where: Where | None = None
    strength: Annotated[FiniteFloat, Field(ge=0, le=1)] | None = None
    """How much the person counts: 0 is everybody's order, 1 or nothing as much as was learned."""
    personal: bool = True
    explain: bool = True
    """Whether to say what of her own moved each item up."""
    attributes: bool = False
    """Whether to give the items' attributes along."""


class SearchReason(Out):
    item: str | int
    title: str | None
    share: float
    """Of all that moved the item up."""
    contribution: float
    events: int


class HitOut(Out):
    item: str | int
    title: str | None
    score: float
    rank: int
    population_rank: int
    """Its place in everybody's order."""
    attributes: dict[str, Any] | None
    reasons: list[SearchReason]


class SearchOut(Out):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "person": "ana", "query": "quiet thriller", "personal": True, "strength": 0.5, "plan": "words: BM25 over 3000 documents",
                    "items": [
                        {
                            "item": "i35", "title": "The Night Office", "score": 9.31, "rank": 1, "population_rank": 7, "attributes": None,
                            "reasons": [{"item": "i30", "title": "Low Tide", "share": 0.62, "contribution": 0.41, "events": 2}],
                        }
                    ],
                    "model": "65347f91a244f265d3dbec8db1ff075b", "state": {"version": 3, "position": 41, "lag": 0, "age_seconds": 12.5},
                    "fallback": None, "note": "14 events, 14 known to the model", "seconds": 0.004,
                }
            ]
        }
    )  # fmt: skip

    person: str | None
    query: str
    items: list[HitOut]
    personal: bool
    """Whether a state of her own moved the order."""
    strength: float | None
    plan: str
    model: str | None
    state: StateRef | None
    fallback: str | None
    note: str
    seconds: float
