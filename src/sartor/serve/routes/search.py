"""What a person means by a few words."""

from __future__ import annotations

from fastapi import APIRouter, Response

from sartor.serve import mapping
from sartor.serve.auth import check_people
from sartor.serve.gate import Guarded, Here, needs
from sartor.serve.search import SearchIn, SearchOut

router = APIRouter(prefix="/v1", tags=["search"], route_class=Guarded)


@router.post("/search", response_model=SearchOut, **needs("read", anybody=True))
def search(call: Here, asked: SearchIn) -> Response:
    """The k best items for a query in this person's own order, each with its place in everybody's and what of her own moved it up.

    Without a person, without consent to `search`, and for somebody unknown the order is everybody's, which `fallback` and `note` say.
    """
    # A key of one person also gets everybody's order.
    check_people(call.caller, [] if asked.person is None else [asked.person])
    with call.server.span("search"):
        answer = call.engine.search(**asked.model_dump())
    call.server.fallback(answer.fallback)
    return mapping.json_response(mapping.search(answer))
