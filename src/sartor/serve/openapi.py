"""The OpenAPI document, and what FastAPI cannot know of it: keys, problem details, bodies that a route reads itself."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from sartor.serve.answers import Problem
from sartor.serve.schemas import EventsIn

_TEMPLATE = "#/components/schemas/{model}"
_BESIDE: list[type[BaseModel]] = [Problem, EventsIn]


def install(app: FastAPI) -> None:
    """Make `app.openapi()` give the whole document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    out = get_openapi(title=app.title, version=app.version, summary=app.summary, description=_DESCRIPTION, routes=app.routes)
    components = out.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for model in _BESIDE:
        own = model.model_json_schema(ref_template=_TEMPLATE)
        schemas.update(own.pop("$defs", {}))
        schemas[model.__name__] = own
    # FastAPI's own shape of a 422 is not what this server answers.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key: sk_sartor_..."}}
    return out


_DESCRIPTION = """Every error is RFC 9457 problem details. Lists are {items, next}: ask for the next page with ?after=<next>
(?before=<next> for events). Times are ISO 8601 UTC. Ids of people are texts; ids of items keep the kind they have in the model."""
