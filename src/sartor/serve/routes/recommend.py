"""What a person will want next."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from sartor.serve import mapping
from sartor.serve.answers import AnswerOut, AnswersOut
from sartor.serve.auth import check_people
from sartor.serve.gate import Call, Guarded, Here, call_of, needs
from sartor.serve.problems import invalid
from sartor.serve.schemas import ItemPath, K, PersonPath, RecommendIn, RecommendQuery
from sartor.serve.server import Ask

router = APIRouter(prefix="/v1", tags=["recommend"], route_class=Guarded)


@lru_cache(maxsize=1024)
def _asked(query: bytes) -> RecommendQuery:
    """The same few questions come again and again: a checked query string costs a look-up, not FastAPI's 0.1 ms."""
    try:
        return RecommendQuery.model_validate(dict(parse_qsl(query.decode(), keep_blank_values=True)))
    except ValidationError as error:
        raise invalid("query", error) from None


async def answered(call: Call, query: bytes, person: str) -> Response:
    """One person's recommendations, however the request came here."""
    asked = _asked(query)
    ask = Ask(call.caller.tenant, asked.k, asked.personal, asked.exclude, asked.where, asked.diversity)
    with call.server.span("recommend"):
        answer = await call.server.batcher.ask(ask, person)
    call.server.fallback(answer.fallback)
    return mapping.json_response(mapping.answer(answer))


@router.get("/people/{person}/recommendations", response_model=AnswerOut, **needs("read", query=RecommendQuery))
async def recommend(request: Request, person: PersonPath) -> Response:
    """The k best items for a person, and what they were made from. Somebody unknown gets the population's answer, which says so."""
    return await answered(call_of(request), request.scope["query_string"], person)


@router.post("/recommendations", response_model=AnswersOut, **needs("read", cost=5, anybody=True))
def recommend_many(call: Here, asked: RecommendIn) -> Response:
    """The same for many people at once, with candidates and business rules."""
    # Here, because a server that is never asked by rules needs not load them.
    from sartor.engine.rules import Rules

    check_people(call.caller, asked.people)
    answers = call.engine.recommend_many(
        asked.people, asked.k, candidates=asked.candidates, exclude=None if asked.exclude == "none" else "seen", where=asked.where,
        rules=asked.rules and Rules(**asked.rules.model_dump()), diversity=asked.diversity, personal=asked.personal,
    )  # fmt: skip
    for answer in answers:
        call.server.fallback(answer.fallback)
    return mapping.json_response({"answers": [mapping.answer(answer) for answer in answers]})


@router.get("/items/{item}/similar", response_model=AnswerOut, **needs("read"))
def similar(call: Here, item: ItemPath, k: Annotated[K, Query()] = 10) -> Response:
    """The k items most like one, as the model sees them."""
    return mapping.json_response(mapping.answer(call.engine.similar(item, k)))
