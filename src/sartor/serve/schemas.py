"""What comes in, as pydantic models: the only place where requests are checked for shape."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    StrictBool,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import to_json

from sartor.data.schema import LATEST_TIME

ID_LENGTH = 512
LARGEST_FACTS = 20_000
"""Bytes, as JSON, of the context of one event or of what is said about one person or item: a person's newest 2,000 records are read at once."""
MOST_PICKS = 200_000
"""Of one answer to `POST /v1/recommendations`: some 20 MB of JSON."""
_ID_PATTERN = r"^[^\u0000-\u001f\u007f]+$"

Text = Annotated[str, StringConstraints(max_length=100_000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$")]
_IdText = Annotated[str, StringConstraints(min_length=1, max_length=ID_LENGTH, pattern=_ID_PATTERN, strict=True)]
_IdNumber = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
ItemId = _IdText | _IdNumber
"""Items keep the kind they have in the model: 7 and "7" are told apart."""


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63 else value


_PERSON_SCHEMA = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": ID_LENGTH, "pattern": _ID_PATTERN}, {"type": "integer"}]}
PersonId = Annotated[_IdText, BeforeValidator(_as_text), WithJsonSchema(_PERSON_SCHEMA, mode="validation")]
"""People are texts: 7 and "7" are the same person."""

PersonPath = Annotated[str, Path(min_length=1, max_length=ID_LENGTH)]
ItemPath = Annotated[str, Path(min_length=1, max_length=ID_LENGTH)]
EventPath = Annotated[str, Path(min_length=1, max_length=ID_LENGTH)]
ThingPath = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[^<>\s]+$")]
JobPath = Annotated[str, Path(min_length=1, max_length=128)]
KeyPath = Annotated[str, Path(min_length=1, max_length=128)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Search = Annotated[str | None, Query(max_length=200)]


def _seconds(value: Any) -> Any:
    """A time as seconds since 1970: given as a number, or as ISO 8601 (UTC when it names no zone)."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            # Python's own words repeat what was sent.
            raise ValueError("a time is a number of seconds since 1970 or an ISO 8601 text") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool):
        raise ValueError("a time is a number of seconds since 1970 or an ISO 8601 text")
    return value


_TIME_SCHEMA = {"anyOf": [{"type": "number", "minimum": 0, "maximum": LATEST_TIME}, {"type": "string", "format": "date-time"}]}
Time = Annotated[FiniteFloat, Field(ge=0, le=LATEST_TIME), BeforeValidator(_seconds), WithJsonSchema(_TIME_SCHEMA, mode="validation")]


def _finite(value: Any) -> Any:
    """1e999 is valid JSON and becomes infinity: refused, since nothing could write it back."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(inner)
    return value


def _small(facts: dict[str, Any]) -> dict[str, Any]:
    if len(to_json(facts)) > LARGEST_FACTS:
        raise ValueError(f"this has more than {LARGEST_FACTS} bytes as JSON")
    return facts


Facts = Annotated[
    dict[Annotated[str, StringConstraints(min_length=1, max_length=128)], JsonValue],
    BeforeValidator(_finite),
    Field(max_length=200),
    AfterValidator(_small),
]
Verb = Literal["recommend", "search", "decide", "draw"]
Purpose = Literal["recommend", "search", "write", "draw", "recognize", "decide", "train", "share"]
Scope = Literal["read", "write", "profile", "erase", "models", "admin"]


Attribute = StrictBool | _IdNumber | FiniteFloat | Text | list[Text] | None
"""What an item or a person may have beside its id: flat values, so that filters can look at them."""


class In(BaseModel):
    """A request: unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class EventIn(In):
    person: PersonId
    item: ItemId
    id: Annotated[str, StringConstraints(min_length=1, max_length=ID_LENGTH, pattern=_ID_PATTERN)] | None = None
    time: Time | None = None
    kind: Name | None = None
    value: FiniteFloat | None = None
    weight: Annotated[FiniteFloat, Field(ge=0)] | None = None
    context: Facts | None = None
    purposes: frozenset[Purpose] | None = None


class EventsIn(In):
    events: list[EventIn]


class ItemIn(BaseModel):
    """One row of the catalogue; whatever else is known of the item may be given beside its title, text and categories."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Attribute]

    item: ItemId
    title: Text | None = None
    text: Text | None = None
    categories: Annotated[list[Annotated[str, StringConstraints(max_length=256)]], Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _few(self) -> ItemIn:
        _check_names(self.__pydantic_extra__)
        return self


class AttributesIn(BaseModel):
    """Whatever a tenant knows of its people."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Attribute]

    @model_validator(mode="after")
    def _few(self) -> AttributesIn:
        _check_names(self.__pydantic_extra__)
        _small(self.__pydantic_extra__)
        return self


def _check_names(attributes: dict[str, Any]) -> None:
    if len(attributes) > 200 or any(not 0 < len(name) <= 128 for name in attributes):
        raise ValueError("there are at most 200 attributes, with names of 1 to 128 characters")


class ItemsIn(In):
    items: list[ItemIn]


class ItemPatch(In):
    hidden: bool


Where = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
K = Annotated[int, Field(ge=1, le=1000)]
Diversity = Annotated[FiniteFloat, Field(ge=0, le=1)]


class RecommendQuery(In):
    k: K = 10
    personal: bool = True
    exclude: Literal["seen", "none"] = "seen"
    where: Where | None = None
    diversity: Diversity = 0.0


class RulesIn(In):
    """Business rules; conditions are over the items' attributes, like `where`."""

    pinned: Annotated[list[ItemId], Field(max_length=1000)] = []
    """Shown first, in this order."""
    boosted: Annotated[dict[Where, Annotated[FiniteFloat, Field(ge=-100, le=100)]], Field(max_length=50)] = {}
    """By how many standard deviations of this person's scores items of a condition go up, or down when negative."""
    buried: Where | None = None
    """Items that come only when nothing else is left."""
    hidden: Annotated[list[ItemId], Field(max_length=50_000)] = []
    """Never shown."""
    max_per_category: Annotated[int, Field(ge=1)] | None = None


class RecommendIn(RecommendQuery):
    people: Annotated[list[PersonId], Field(min_length=1, max_length=10_000)]
    candidates: Annotated[list[ItemId], Field(min_length=1, max_length=50_000)] | None = None
    rules: RulesIn | None = None

    @model_validator(mode="after")
    def _bounded(self) -> RecommendIn:
        if len(self.people) * self.k > MOST_PICKS:
            raise ValueError(f"people times k is more than {MOST_PICKS}")
        return self


class AddIn(In):
    item: ItemId
    kind: Name | None = None
    value: FiniteFloat | None = None
    weight: Annotated[FiniteFloat, Field(ge=0)] | None = None
    time: Time | None = None


class WhatIfIn(In):
    add: Annotated[list[AddIn], Field(max_length=1000)] = []
    remove: Annotated[list[Annotated[str, StringConstraints(max_length=ID_LENGTH)]], Field(max_length=10_000)] = []
    k: K = 10


class ConsentsIn(In):
    purposes: Annotated[dict[Purpose, bool], Field(min_length=1)]
    text: Annotated[str, StringConstraints(max_length=10_000)] = ""
    version: Annotated[str, StringConstraints(max_length=64)] = ""
    source: Annotated[str, StringConstraints(max_length=64)] = "api"


class DefaultsIn(In):
    purposes: Annotated[dict[Purpose, bool], Field(min_length=1)]


class FitIn(In):
    method: Name
    verb: Verb = "recommend"
    """What it is to serve; a method that searches is measured on queries."""
    settings: Facts = {}
    holdout: Annotated[FiniteFloat, Field(gt=0, lt=1)] = 0.1
    min_gain: FiniteFloat = 0.0


class ActivateIn(In):
    force: bool = False
    verb: Verb = "recommend"


class KeyIn(In):
    label: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    person: PersonId | None = None
    expires: Time | None = None
    """When: seconds since 1970 or ISO 8601."""
    days: Annotated[FiniteFloat, Field(gt=0, le=3660)] | None = None
    """Or after how many days."""

    @model_validator(mode="after")
    def _one_end(self) -> KeyIn:
        if self.expires is not None and self.days is not None:
            raise ValueError("give expires or days, not both")
        return self


class Passing(BaseModel):
    """A request that goes on to an upstream: fields that are not known here are left to it."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    model: Annotated[str, StringConstraints(max_length=500)] | None = None
    """The upstream's; "sartor" or nothing leaves the choice to this server."""
    user: PersonId | None = None
    """The person. Keys of one person need not say it."""


class ChatOptions(In):
    """What a client may say to this server beside what it says to the model."""

    personal: StrictBool = True
    """False: everybody's answer; nothing of the person is looked at."""
    k: Annotated[int, Field(ge=0, le=100)] | None = None
    """Memories at most."""
    budget: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Tokens that they may have."""
    remember: StrictBool | None = None
    """Keep what the last message says of the person, as far as she allows; needs the scope `write`. None: as the server is set."""
    confirm: Literal["never", "inferred", "always"] | None = None
    """Which of what is kept waits for her word before it is used. None: as the server is set."""
    explain: StrictBool = False
    """Say in the first event of a stream, too, what was used and why."""


class MessageIn(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    role: Annotated[str, StringConstraints(min_length=1, max_length=32)]
    content: str | list[dict[str, JsonValue]] | None = None


class ChatIn(Passing):
    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=10_000)]
    stream: StrictBool | None = None
    sartor: ChatOptions = ChatOptions()


class EmbeddingsIn(Passing):
    input: Annotated[str, StringConstraints(min_length=1)] | Annotated[list[JsonValue], Field(min_length=1, max_length=100_000)]
