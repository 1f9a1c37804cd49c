"""From the engine's and the store's dataclasses to the shapes of the API."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from starlette.responses import Response

from sartor.serve.answers import iso

if TYPE_CHECKING:
    from sartor.engine import Engine
    from sartor.engine.answers import Answer, Answered, Profile
    from sartor.engine.explain import Explanation
    from sartor.engine.rerank import Reranked
    from sartor.engine.search import SearchAnswer
    from sartor.engine.what_if import WhatIf
    from sartor.profile.records import Consent, Job, KeyCard, ModelCard, PersonCard, Record, StoredState
    from sartor.serve.logs import Seen


def json_response(body: Any, status: int = 200) -> Response:
    """JSON, written by pydantic's own writer: several times as fast as the standard library's."""
    return Response(to_json(body, inf_nan_mode="null", fallback=_plain), status, media_type="application/json")


def _plain(value: Any) -> Any:
    """numpy's scalars and arrays."""
    return value.tolist()


def answer(given: Answer) -> dict[str, Any]:
    """An answer of the engine."""
    return {
        "person": given.person,
        "items": [{"item": pick.item, "score": pick.score, "title": pick.title, "attributes": pick.attributes} for pick in given.items],
        "model": given.model,
        "state": state_of(given),
        "fallback": given.fallback,
        "note": given.note,
        "seconds": given.seconds,
    }


def state_of(given: Answered) -> dict[str, Any] | None:
    """Which state an answer was made from."""
    if given.state_version is None:
        return None
    return {"version": given.state_version, "position": given.position or 0, "lag": given.lag, "age_seconds": given.age or 0.0}


def search(given: SearchAnswer) -> dict[str, Any]:
    """What was found."""
    return {
        **_fields(given, "person", "query", "personal", "strength", "plan", "model", "fallback", "note", "seconds"),
        "items": [
            {
                **_fields(one, "item", "title", "score", "population_rank", "attributes"),
                "rank": rank,
                "reasons": [_fields(why, "item", "title", "share", "contribution", "events") for why in one.reasons],
            }
            for rank, one in enumerate(given.items, 1)
        ],
        "state": state_of(given),
    }


def reranked(given: Reranked) -> dict[str, Any]:
    """A list in a person's order."""
    return {
        **_fields(given, "person", "personal", "model", "fallback", "note", "seconds"),
        "items": [{"rank": rank, **_fields(one, "place", "score", "item", "text")} for rank, one in enumerate(given.items, 1)],
        "state": state_of(given),
    }


def page(items: Sequence[Any], after: str | None) -> Response:
    """One page of a list."""
    return json_response({"items": items, "next": after})


def named(items: Iterable[tuple[Any, str | None]]) -> list[dict[str, Any]]:
    """Items with their titles."""
    return [{"item": item, "title": title} for item, title in items]


def explanation(given: Explanation) -> dict[str, Any]:
    """Why an item stands where it stands."""
    without = given.without
    return {
        **_fields(given, "person", "item", "title", "score", "rank", "model", "score_population", "rank_population", "verified", "note", "seconds"),
        "reasons": [
            _fields(one, "item", "title", "contribution", "events", "ids", "rank_without") | {"last": iso(one.last)} for one in given.reasons
        ],
        "items": named(given.items),
        "without": without and _fields(without, "removed", "events", "rank", "score") | {"items": named(without.items)},
    }


def what_if(given: WhatIf) -> dict[str, Any]:
    """The list as it is and as it would be."""
    moved = [_fields(one, "item", "title", "before", "after") for one in given.moved]
    return {"person": given.person, "before": answer(given.before), "after": answer(given.after), "moved": moved}


def person(card: PersonCard) -> dict[str, Any]:
    """A person in a list."""
    return {**_fields(card, "person", "records", "bytes"), "first": iso(card.first), "last": iso(card.last), "consents": dict(card.consents)}


def consent(given: Consent) -> dict[str, Any]:
    """What is agreed on one purpose."""
    return {**_fields(given, "granted", "text", "version", "source", "default"), "since": iso(given.time)}


def consents(engine: Engine, who: str) -> dict[str, Any]:
    """What is agreed on every purpose."""
    return {"person": who, "purposes": {name: consent(one) for name, one in engine.store.consents(engine.tenant, who).items()}}


def profile(given: Profile, state: dict[str, Any] | None, *, stale: bool) -> dict[str, Any]:
    """What is known of a person."""
    return {
        **_fields(given, "person", "records", "frames", "kinds", "models", "sentences"),
        "first": iso(given.first),
        "last": iso(given.last),
        "top_items": [{"item": item, "title": title, "count": count} for item, title, count in given.top_items],
        "top_categories": [{"category": category, "count": count} for category, count in given.top_categories],
        "state": state,
        "stale": stale,
        "consents": {name: consent(one) for name, one in given.consents.items()},
        "attributes": dict(given.attributes) or None,
    }


def state(given: StoredState, *, current: bool, lag: int | None) -> dict[str, Any]:
    """One version of a state, in words."""
    inner = given.state
    arrays = [
        {"name": name, "dtype": str(array.dtype), "shape": list(array.shape), "bytes": int(array.nbytes)}
        for name, array in sorted(inner.arrays.items())
    ]
    return {
        **_fields(given, "version", "verb", "model", "position", "held", "restored_from"),
        "method": inner.method,
        "made": iso(given.made),
        "age_seconds": age(given.made),
        "lag": lag,
        "bytes": given.nbytes,
        "examples": inner.examples,
        "current": current,
        "arrays": arrays,
        "notes": dict(inner.notes),
    }


def key(card: KeyCard) -> dict[str, Any]:
    """A key without its secret."""
    times = {name: iso(getattr(card, name)) for name in ("created", "expires", "revoked", "last_used")}
    return {"id": card.id, "label": card.label, "scopes": sorted(card.scopes), "person": card.person, **times}


def request(seen: Seen) -> dict[str, Any]:
    """One request of the ring."""
    return {**_fields(seen, "method", "route", "status", "request_id"), "time": iso(seen.time), "ms": round(seen.seconds * 1000, 2)}


def model(card: ModelCard) -> dict[str, Any]:
    """A fitted model."""
    fields = _fields(card, "fingerprint", "method", "verb", "status", "people", "position")
    return {**fields, "made": iso(card.made), "switched": iso(card.switched), "report": dict(card.report)}


def job(given: Job) -> dict[str, Any]:
    """Long work."""
    times = {name: iso(getattr(given, name)) for name in ("created", "started", "finished")}
    result = None if given.result is None else dict(given.result)
    fields = _fields(given, "id", "kind", "status", "progress", "message", "error")
    return {**fields, **times, "args": dict(given.args), "result": result, "log": list(given.log)}


def _fields(given: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(given, name) for name in names}


def event(record: Record, titles: Mapping[str, str | None]) -> dict[str, Any]:
    """One record of a person's timeline."""
    # The vector of a memory tells nobody anything.
    content = {name: value for name, value in record.content.items() if record.kind != "memory" or name not in ("vector", "space")}
    item = content.get("item")
    return {
        "id": record.id,
        "frame": record.frame,
        "kind": record.kind,
        "item": item,
        "title": titles.get(str(item)),
        "value": content.get("value"),
        "weight": content.get("weight"),
        "content": content,
        "time": iso(record.time),
        "received": iso(record.received),
        "source": record.source,
        "model": record.model or None,
        "purposes": None if record.purposes is None else sorted(record.purposes),
        "expires": iso(record.expires),
        "position": record.position,
    }


def age(made: float) -> float:
    """Seconds since then."""
    return max(0.0, time.time() - made)
