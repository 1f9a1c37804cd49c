"""OpenAI's embeddings API: passed on to the upstream, or made in this process."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from sartor.serve.auth import check_people
from sartor.serve.gate import Guarded, call_of, needs
from sartor.serve.routes.chat import _upstream, as_json, until_gone
from sartor.serve.schemas import EmbeddingsIn

router = APIRouter(prefix="/v1", tags=["chat"], route_class=Guarded)


@router.post("/embeddings", response_model=dict[str, Any], **needs("read", anybody=True))
async def embeddings(request: Request, asked: EmbeddingsIn) -> Response:
    """Vectors of texts, as OpenAI's API has it. Nothing personal goes into them."""
    call, body = call_of(request), dict(await request.json())
    check_people(call.caller, [] if asked.user is None else [asked.user])
    if asked.user is not None:
        body["user"] = call.server.alias(call.caller.tenant, asked.user)
    return Response(as_json(await until_gone(request, _upstream(call).embeddings(body))), media_type="application/json")
