"""What goes into the store and what comes out, as plain data. No database here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sartor.data.schema import FrameName
from sartor.method import State

PURPOSES = ("recommend", "search", "write", "draw", "recognize", "decide", "train", "share")
"""What evidence may be used for; `train` is fitting what everyone shares, `share` is use by another verb than the one it came from."""

GRANTED = frozenset(PURPOSES) - {"train", "share", "recognize"}
"""What a tenant's people are taken to agree to until they, or the tenant's own default, say otherwise."""

ModelStatus = Literal["preparing", "candidate", "active", "retired", "refused"]
JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Record:
    """One piece of evidence about one person, as given or as read back."""

    person: str
    frame: FrameName = "events"
    id: str = ""
    """The giver's own id: the same id again is a duplicate. Empty: the store makes one that sorts by time."""
    time: float | None = None
    """When it happened, in seconds since 1970 UTC; None where the giver does not know."""
    kind: str | None = None
    """click, buy, rate, ..."""
    content: Mapping[str, Any] = field(default_factory=dict)
    """Anything JSON: item, value, weight, text, context, attributes."""
    purposes: frozenset[str] | None = None
    """What this record may be used for, within what the person allows; None is all of that."""
    source: str = ""
    """Where it came from: `api:<label of the key>`, `import:<file>`, `python`, ..."""
    model: str = ""
    """Fingerprint of the model that derived it, if one did."""
    expires: float | None = None
    """From then on it is never read; seconds since 1970 UTC."""
    position: int = 0
    """Set by the store: its place in the order of everything the tenant received, strictly increasing."""
    received: float | None = None
    """Set by the store: when it arrived."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of the records of one `append`."""

    accepted: int
    duplicates: int
    position: int
    """Of the newest accepted record; the tenant's current one when all were duplicates."""


@dataclass(frozen=True, slots=True)
class StateCard:
    """One version of a person's state, without its arrays."""

    verb: str
    model: str
    """Fingerprint of the model that made it."""
    version: int
    """1, 2, ... per person and verb, over all models."""
    position: int
    """All evidence up to here was seen by it."""
    made: float
    nbytes: int
    """As stored, before encryption."""
    held: bool
    """This version is served until it is released, however many newer ones there are."""
    restored_from: int | None


@dataclass(frozen=True, slots=True)
class StoredState(StateCard):
    """A state as it was put."""

    state: State


@dataclass(frozen=True, slots=True)
class PersonCard:
    """A person in a list."""

    person: str
    records: int
    first: float | None
    """Time of the oldest record, received time where the giver did not know."""
    last: float | None
    bytes: int
    """Evidence and states as stored."""
    consents: Mapping[str, bool]
    """For every purpose whether it is allowed now."""


@dataclass(frozen=True, slots=True)
class Consent:
    """What a person says about one purpose, or what the tenant assumes until she does."""

    purpose: str
    granted: bool
    time: float | None = None
    """None for a tenant's default."""
    text: str = ""
    """The words that were agreed to."""
    version: str = ""
    source: str = ""
    default: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to adapt one person until the lease ends."""

    tenant: str
    person: str
    position: int
    """Evidence read after the claim holds everything up to here: give it to `put_state`."""
    attempts: int
    """1 on the first try."""
    since: float
    """Since when the state has been stale."""
    token: str = ""
    """Random per mark: after `forget` no old claim can write."""


@dataclass(frozen=True, slots=True)
class StaleCount:
    """People whose states lag behind their evidence."""

    people: int
    oldest_seconds: float
    """0 when nobody waits."""
    failing: int = 0
    """Of the people, those whose last try failed and who wait for the next."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A fitted model as the store knows it; its files are in `folder`."""

    fingerprint: str
    method: str
    folder: str
    status: ModelStatus = "candidate"
    made: float = 0.0
    switched: float | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    people: int = 0
    """Whose evidence it was fitted on."""
    position: int = 0
    verb: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class KeyCard:
    """An API key without its secret."""

    id: str
    tenant: str
    label: str
    scopes: frozenset[str]
    person: str | None = None
    """Only this person's data can be reached with it."""
    created: float = 0.0
    expires: float | None = None
    last_used: float | None = None
    """To the minute."""
    revoked: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """Long work that survives a restart. Its arguments and messages hold no personal content."""

    id: str
    tenant: str
    kind: str
    args: Mapping[str, Any]
    status: JobStatus
    progress: float = 0.0
    message: str = ""
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    result: Mapping[str, Any] | None = None
    error: str | None = None
    log: tuple[str, ...] = ()
    claimed_by: str = ""
    lease: float | None = None
    cancel: bool = False
    """Somebody asked it to stop; the worker ends it at its next sign of progress."""
    person: str | None = None


@dataclass(frozen=True, slots=True)
class AuditLine:
    """Something that was done, never what it was done with."""

    time: float
    action: str
    person: bool
    """Whether it was about one person; who that was is known only to somebody who asks about a person."""
    detail: Mapping[str, Any]
