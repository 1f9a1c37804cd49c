"""Every request of the API as data: where it goes, what it carries, what comes back. Both clients send these."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from sartor.errors import ConfigError
from sartor.serve import answers as out
from sartor.serve import overview
from sartor.serve.decisions import DecisionsOut, LogOut
from sartor.serve.rerank import RerankOut
from sartor.serve.search import SearchOut

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")
Id = str | int
ARROW = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True)
class Ask(Generic[T]):
    """One request."""

    method: str
    path: str
    model: type[T]
    """What the answer is read as: a pydantic model, `bytes`, or NoneType."""
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    kind: str = "application/json"
    repeat: bool = True
    """Whether sending it twice does the same as once."""


def _get(path: str, model: type[T], **params: Any) -> Ask[T]:
    return Ask("GET", path, model, {name: _text(value) for name, value in params.items() if value is not None})


def _text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _part(one: Id) -> str:
    return quote(str(one), safe="")


def _person(person: Id, rest: str = "") -> str:
    return f"/v1/people/{_part(person)}{rest}"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return sorted(value) if isinstance(value, set | frozenset) else value


# --- evidence and items


def observe(events: Sequence[Mapping[str, Any]]) -> Ask[out.Accepted]:
    """Store events: {person, item, id?, time?, kind?, value?, weight?, context?, purposes?}. Those without an id get one."""
    rows = [{"id": uuid.uuid4().hex} | {name: _plain(value) for name, value in event.items() if value is not None} for event in events]
    return Ask("POST", "/v1/events", out.Accepted, json={"events": rows})


def observe_frame(events: pl.DataFrame) -> Ask[out.Accepted]:
    """Store a data frame of events with the same columns, as an Arrow stream."""
    import io

    import polars as pl

    if "id" not in events.columns:
        events = events.with_columns(pl.Series("id", [uuid.uuid4().hex for _ in range(events.height)], dtype=pl.String))
    buffer = io.BytesIO()
    events.write_ipc_stream(buffer)
    return Ask("POST", "/v1/events", out.Accepted, content=buffer.getvalue(), kind=ARROW)


def put_items(items: Sequence[Mapping[str, Any]]) -> Ask[out.Catalogued]:
    """Add or replace rows of the catalogue: {item, title?, text?, categories?, ...}."""
    return Ask("PUT", "/v1/items", out.Catalogued, json={"items": [dict(one) for one in items]})


def items(*, query: str | None = None, limit: int = 100, after: str | None = None) -> Ask[out.ItemsOut]:
    """A page of the catalogue."""
    return _get("/v1/items", out.ItemsOut, query=query, limit=limit, after=after)


def item(item: Id) -> Ask[out.ItemOut]:
    """One row of the catalogue."""
    return _get(f"/v1/items/{_part(item)}", out.ItemOut)


def hide_item(item: Id, hidden: bool = True) -> Ask[out.ItemOut]:
    """Stop showing an item, at once; or show it again."""
    return Ask("PATCH", f"/v1/items/{_part(item)}", out.ItemOut, json={"hidden": hidden})


def delete_item(item: Id) -> Ask[None]:
    """Take an item out of the catalogue and out of every answer."""
    return Ask("DELETE", f"/v1/items/{_part(item)}", type(None))


# --- recommendations


def recommend(
    person: Id, k: int = 10, *, personal: bool = True, exclude: str = "seen", where: str | None = None, diversity: float = 0.0
) -> Ask[out.AnswerOut]:
    """The k best items for a person."""
    return _get(_person(person, "/recommendations"), out.AnswerOut, k=k, personal=personal, exclude=exclude, where=where, diversity=diversity or None)


def recommend_many(
    people: Sequence[Id],
    k: int = 10,
    *,
    candidates: Sequence[Id] | None = None,
    exclude: str = "seen",
    where: str | None = None,
    rules: Mapping[str, Any] | None = None,
    diversity: float = 0.0,
    personal: bool = True,
) -> Ask[out.AnswersOut]:
    """The same for many people, with candidates and business rules."""
    body = {
        "people": list(people), "k": k, "candidates": None if candidates is None else list(candidates), "exclude": exclude, "where": where,
        "rules": None if rules is None else dict(rules), "diversity": diversity, "personal": personal,
    }  # fmt: skip
    return Ask("POST", "/v1/recommendations", out.AnswersOut, json={name: value for name, value in body.items() if value is not None})


def similar(item: Id, k: int = 10) -> Ask[out.AnswerOut]:
    """The k items most like one."""
    return _get(f"/v1/items/{_part(item)}/similar", out.AnswerOut, k=k)


def search(
    person: Id | None, query: str, k: int = 10, *, where: str | None = None, strength: float | None = None, personal: bool = True,
    explain: bool = True, attributes: bool = False,
) -> Ask[SearchOut]:  # fmt: skip
    """The k best items for a few words, in this person's own order; None is everybody's."""
    body = {
        "person": None if person is None else str(person), "query": query, "k": k, "where": where, "strength": strength, "personal": personal,
        "explain": explain, "attributes": attributes,
    }  # fmt: skip
    return Ask("POST", "/v1/search", SearchOut, json={name: value for name, value in body.items() if value is not None})


def rerank(
    person: Id | None, items: Sequence[Id] | None = None, *, texts: Sequence[str] | None = None, scores: Sequence[float] | None = None,
    k: int | None = None, strength: float = 1.0, personal: bool = True,
) -> Ask[RerankOut]:  # fmt: skip
    """Any list of items or of texts, best first, in this person's order; None leaves it as it is."""
    given: list[Any] | None = None if items is None else list(items)
    if given is not None and scores is not None:
        if len(given) != len(scores):
            raise ConfigError(f"{len(scores)} scores for {len(given)} items", fix="give one for each, or none")
        given = [{"item": item, "score": score} for item, score in zip(given, scores, strict=True)]
    body = {
        "person": None if person is None else str(person), "items": given, "texts": None if texts is None else list(texts), "k": k,
        "strength": strength, "personal": personal,
    }  # fmt: skip
    return Ask("POST", "/v1/rerank", RerankOut, json={name: value for name, value in body.items() if value is not None})


def decide(
    people: Mapping[Id, Mapping[str, Any]] | Sequence[Id], *, budget: float | None = None, personal: bool = True, log: bool = True
) -> Ask[DecisionsOut]:
    """An action for each under a shared budget; a mapping says what is wanted for each: `{"ana": {"target": 0.7, "context": {"place": "home"}}}`."""
    given = people if isinstance(people, Mapping) else {person: {} for person in people}
    body = {"people": [{"person": str(person), **about} for person, about in given.items()], "budget": budget, "personal": personal, "log": log}
    return Ask("POST", "/v1/decisions", DecisionsOut, json={name: value for name, value in body.items() if value is not None}, repeat=not log)


def decisions(person: Id, *, limit: int = 100) -> Ask[LogOut]:
    """What was decided for a person, newest first."""
    return _get(_person(person, "/decisions"), LogOut, limit=limit)


def explain(person: Id, item: Id, *, top: int = 5) -> Ask[out.ExplanationOut]:
    """Which of her own events moved this item up, and by how much."""
    return _get(_person(person, f"/explanations/{_part(item)}"), out.ExplanationOut, top=top)


def what_if(person: Id, *, add: Sequence[Mapping[str, Any]] = (), remove: Sequence[str] = (), k: int = 10) -> Ask[out.WhatIfOut]:
    """How the list would change with other evidence; nothing is stored."""
    body = {"add": [dict(one) for one in add], "remove": list(remove), "k": k}
    return Ask("POST", _person(person, "/what-if"), out.WhatIfOut, json=body)


# --- people


def people(*, query: str | None = None, limit: int = 100, after: str | None = None) -> Ask[out.PeopleOut]:
    """A page of the people there are."""
    return _get("/v1/people", out.PeopleOut, query=query, limit=limit, after=after)


def profile(person: Id) -> Ask[out.ProfileOut]:
    """What is known of a person."""
    return _get(_person(person), out.ProfileOut)


def set_attributes(person: Id, attributes: Mapping[str, Any]) -> Ask[out.ProfileOut]:
    """Say what a person is; None takes an attribute back."""
    return Ask("PUT", _person(person, "/attributes"), out.ProfileOut, json=dict(attributes))


def events(person: Id, *, limit: int = 100, before: int | None = None) -> Ask[out.EventsOut]:
    """A page of a person's records, newest first."""
    return _get(_person(person, "/events"), out.EventsOut, limit=limit, before=before)


def delete_event(person: Id, event: str) -> Ask[out.Removed]:
    """Delete one record for good."""
    return Ask("DELETE", _person(person, f"/events/{_part(event)}"), out.Removed)


def states(person: Id) -> Ask[out.StatesOut]:
    """All kept versions of a person's state, newest first."""
    return _get(_person(person, "/states"), out.StatesOut)


def restore(person: Id, version: int) -> Ask[out.StateOut]:
    """Answer from an old version, until it is released."""
    return Ask("POST", _person(person, f"/states/{version}/restore"), out.StateOut, repeat=False)


def release(person: Id) -> Ask[out.StateOut]:
    """Answer from the newest version again."""
    return Ask("POST", _person(person, "/release"), out.StateOut)


def consents(person: Id) -> Ask[out.ConsentsOut]:
    """What a person allows."""
    return _get(_person(person, "/consents"), out.ConsentsOut)


def set_consents(person: Id, purposes: Mapping[str, bool], *, text: str = "", version: str = "", source: str = "api") -> Ask[out.ConsentsOut]:
    """Allow or refuse purposes."""
    return Ask(
        "PUT", _person(person, "/consents"), out.ConsentsOut, json={"purposes": dict(purposes), "text": text, "version": version, "source": source}
    )


def default_consents(purposes: Mapping[str, bool]) -> Ask[overview.DefaultsOut]:
    """Say what is assumed of everybody who has not said anything; purposes that are not named stay. {} only asks."""
    method, json = ("PUT", {"purposes": dict(purposes)}) if purposes else ("GET", None)
    return Ask(method, "/v1/consents", overview.DefaultsOut, json=json)


def kinds() -> Ask[out.KindsOut]:
    """What events of a kind count; those not named count 1."""
    return _get("/v1/kinds", out.KindsOut)


def set_kinds(weights: Mapping[str, float] | None) -> Ask[out.KindsOut]:
    """Replace what events of each kind count, from 0 (teaches nothing) on; None goes back to the default."""
    return Ask("PUT", "/v1/kinds", out.KindsOut, json={"weights": None if weights is None else dict(weights)})


def export(person: Id) -> Ask[bytes]:
    """Everything that is kept of a person: a zip file."""
    return _get(_person(person, "/export"), bytes)


def forget(person: Id) -> Ask[out.ErasureOut]:
    """Delete everything of a person, everywhere; the receipt says what was deleted."""
    return Ask("DELETE", _person(person), out.ErasureOut)


def read(ask: Ask[T], content: bytes) -> T:
    """An answer as what was promised."""
    if ask.model is bytes:
        return content  # type: ignore[return-value]
    if issubclass(ask.model, BaseModel):
        return ask.model.model_validate_json(content)
    return None  # type: ignore[return-value]
