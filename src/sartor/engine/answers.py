"""What the engine gives back: plain frozen data, ready to be shown, logged or sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sartor.engine.ids import Id
    from sartor.profile.records import Consent, StateCard

Fallback = Literal[
    "unknown person", "no consent", "no evidence the model knows", "attributes only", "not adapted yet", "state unreadable", "no model"
]
"""Why an answer is not made from a state of the person's own; the answer itself is then the population's, or of people with her attributes."""


@dataclass(frozen=True)
class Pick:
    """One item of an answer."""

    item: Id
    """In the model's own kind."""
    score: float | None
    """The method's own; scales differ between methods. None for a pinned item that the model does not know."""
    title: str | None = None
    attributes: Mapping[str, Any] | None = None
    """The catalogue's row, when it was asked for."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What every answer says of itself: whose it is, and what it was made from."""

    person: str | None
    """None for an answer that is nobody's."""
    model: str | None
    """Fingerprint of the fitted model."""
    state_version: int | None = None
    """Of the person's state that was used; None where none was."""
    position: int | None = None
    """Of the newest record that the state has seen."""
    lag: int = 0
    """The person's records that are not in the state yet; their items are left out of "unseen" answers all the same."""
    age: float | None = None
    """Seconds since the state was made."""
    fallback: Fallback | None = None
    note: str = ""
    """The same in a sentence: "3 events, 2 known to the model"."""
    seconds: float = 0.0
    """To make the answer (in a batch: the batch's, divided by its people)."""


@dataclass(frozen=True, kw_only=True)
class Answer(Answered):
    """Items, best first, and what they were made from."""

    items: list[Pick]


@dataclass(frozen=True)
class Profile:
    """What is known of a person, in words and numbers."""

    person: str
    records: int
    frames: Mapping[str, int]
    """Records per frame: events, texts, ..."""
    first: float | None
    """Time of the oldest record, seconds since 1970 UTC."""
    last: float | None
    kinds: Mapping[str, int]
    """Events per kind."""
    top_items: list[tuple[Id, str | None, int]]
    """(item, title, events), most events first."""
    top_categories: list[tuple[str, int]]
    attributes: Mapping[str, Any]
    state: StateCard | None
    """The one that answers now."""
    lag: int
    """Records that are not in the state yet."""
    consents: Mapping[str, Consent]
    models: list[str]
    """Fingerprints of the models that made states of her."""
    sentences: list[str]
    """All of it to be read."""


@dataclass(frozen=True)
class Adapting:
    """How the background worker of this process is doing since it started."""

    running: bool
    adapted: int = 0
    """States made."""
    failed: int = 0
    """People whose states could not be made; they are tried again later and later."""
    busy_seconds: float = 0.0
    last_error: str | None = None
    """Kind of the last failure; never content."""


@dataclass(frozen=True)
class Status:
    """How the engine is doing, for one tenant."""

    tenant: str
    people: int
    items: int
    position: int
    stale: int
    """People with evidence that their states have not seen."""
    oldest_seconds: float | None
    """How long the one who waits longest has been waiting."""
    failing: int
    """Among them, people whose last attempt failed."""
    adapting: Adapting
    models: Mapping[str, str | None]
    """Active model's fingerprint by verb."""
    counts: Mapping[str, int] = field(default_factory=dict)
