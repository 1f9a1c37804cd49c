"""What goes out about the whole: models, jobs, measurements, status, keys."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sartor.serve.answers import Out


class ModelOut(Out):
    fingerprint: str
    method: str
    verb: str
    status: str
    made: str
    switched: str | None
    people: int
    position: int
    report: dict[str, Any]


class ModelsOut(Out):
    items: list[ModelOut]
    next: str | None
    object: Literal["list"] = "list"
    data: list[dict[str, Any]] = []
    """Models that answer chats, as OpenAI's clients read them."""


class JobOut(Out):
    id: str
    kind: str
    args: dict[str, Any]
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float
    message: str
    created: str
    started: str | None
    finished: str | None
    result: dict[str, Any] | None
    error: str | None
    log: list[str]


class JobsOut(Out):
    items: list[JobOut]
    next: str | None


# --- files


class PreviewRow(Out):
    row: int
    cells: list[Any]


class PreviewOut(Out):
    columns: list[str]
    rows: list[PreviewRow]
    count: int | None
    fields: list[str]
    guess: dict[str, str]


# --- what the studio shows of the whole


class HistogramOut(Out):
    edges: list[float]
    counts: list[int]


class ScaleOut(Out):
    mean: float
    low: float | None
    high: float | None
    histogram: HistogramOut | None


class SliceOut(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str
    people: int
    gain: float | None = None


class EvaluationOut(Out):
    model: str | None
    metric: str | None
    people: int
    gain: ScaleOut | None
    swap_gap: ScaleOut | None
    hurt: float | None
    slices: list[SliceOut]
    note: str


class QueueOut(Out):
    people: int
    oldest_seconds: float | None
    failing: int


class StatusOut(Out):
    version: str
    started: str
    uptime_seconds: float
    tenant: str
    model: str | None
    queue: QueueOut
    adapting: dict[str, Any]
    drift: dict[str, Any] | None
    counts: dict[str, int]
    models: int
    fallbacks: dict[str, int]


class SystemOut(Out):
    slug: str
    title: str
    authors: str
    year: int
    venue: str
    room: str
    kind: str
    implemented: bool
    claim: dict[str, Any] | None


class SystemsOut(Out):
    items: list[SystemOut]
    next: str | None


class RequestOut(Out):
    time: str
    method: str
    route: str
    status: int
    ms: float
    request_id: str


class RequestsOut(Out):
    items: list[RequestOut]
    next: str | None


class MeOut(Out):
    tenant: str
    label: str
    scopes: list[str]
    person: str | None
    dev: bool
    version: str


class KeyOut(Out):
    id: str
    label: str
    scopes: list[str]
    person: str | None
    created: str
    expires: str | None
    revoked: str | None
    last_used: str | None


class DefaultsOut(Out):
    purposes: dict[str, bool]


class RuleOut(Out):
    frame: str
    kind: str
    seconds: float | None
    half_life: float | None


class RulesOut(Out):
    items: list[RuleOut]
    next: str | None
    would_delete: int | None
    """Records that the next purge deletes; only where it was asked."""


class KindOut(Out):
    frame: str
    kind: str | None
    records: int
    people: int | None
    first: str | None
    last: str | None
    untimed: int


class AttributeOut(Out):
    name: str
    kind: str
    items: int


class DataOut(Out):
    counts: dict[str, int]
    hidden: int
    first: str | None
    last: str | None
    kinds: list[KindOut]
    attributes: list[AttributeOut]


class LimitsOut(Out):
    server: dict[str, Any]
    store: dict[str, Any]


class AuditOut(Out):
    time: str
    action: str
    about: bool
    detail: dict[str, Any]


class AuditsOut(Out):
    items: list[AuditOut]
    next: str | None


class KeysOut(Out):
    items: list[KeyOut]
    next: str | None


class NewKeyOut(Out):
    key: KeyOut
    secret: str


class HealthOut(Out):
    ok: bool
    version: str


class ReadyOut(Out):
    ready: bool
    model: bool
