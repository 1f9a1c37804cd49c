"""Any list, in one person's order."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field, FiniteFloat, StringConstraints, model_validator

from sartor.serve import mapping
from sartor.serve.auth import check_people
from sartor.serve.gate import Guarded, Here, needs
from sartor.serve.rerank import RerankOut
from sartor.serve.schemas import In, ItemId, K, PersonId

router = APIRouter(prefix="/v1", tags=["recommend"], route_class=Guarded)
Score = Annotated[FiniteFloat, Field(ge=-1e30, le=1e30)]


class Scored(In):
    item: ItemId
    score: Score


class RerankIn(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"person": "ana", "items": ["i7", "i30", "i35"], "strength": 0.5}]})

    person: PersonId | None = None
    """None is nobody: the list stays as it is."""
    items: Annotated[list[ItemId | Scored], Field(min_length=1, max_length=1_000)] | None = None
    """Best first, each once; all with scores, or none."""
    texts: Annotated[list[Annotated[str, StringConstraints(max_length=2_000)]], Field(min_length=1, max_length=200)] | None = None
    """Instead of items, for texts that are in no catalogue."""
    k: K | None = None
    """None is the whole list."""
    strength: Annotated[FiniteFloat, Field(ge=0, le=1)] = 1.0
    """How much the person counts: 0 is the list as it is."""
    personal: bool = True

    @model_validator(mode="after")
    def _one_list(self) -> RerankIn:
        if (self.items is None) is (self.texts is None):
            raise ValueError("give items or texts")
        if len({isinstance(one, Scored) for one in self.items or ()}) > 1:
            raise ValueError("give all items a score, or none")
        return self


@router.post("/rerank", response_model=RerankOut, **needs("read", cost=2, anybody=True))
def rerank(call: Here, asked: RerankIn) -> Response:
    """A list that came from anywhere, moved by a person's state; nothing is added to it or taken out.

    Items need the consent purpose `recommend`, texts `search` and a model that searches. Without a person, without consent and for somebody
    unknown the list stays as it is, which `fallback` and `note` say.
    """
    check_people(call.caller, [] if asked.person is None else [asked.person])
    items = None if asked.items is None else [one.item if isinstance(one, Scored) else one for one in asked.items]
    scores = [one.score for one in asked.items or () if isinstance(one, Scored)] or None
    with call.server.span("rerank"):
        answer = call.engine.rerank(
            asked.person, items, texts=asked.texts, scores=scores, k=asked.k, strength=asked.strength, personal=asked.personal
        )  # fmt: skip
    call.server.fallback(answer.fallback)
    return mapping.json_response(mapping.reranked(answer))
