"""The requests about the whole, for both clients: models, jobs, measurements, status, keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sartor.serve import overview as out
from sartor.serve.asks import Ask, Id, _get, _part, _plain


def models() -> Ask[out.ModelsOut]:
    """All fitted models."""
    return _get("/v1/models", out.ModelsOut)


def fit(
    method: str, settings: Mapping[str, Any] | None = None, *, verb: str = "recommend", holdout: float = 0.1, min_gain: float = 0.0
) -> Ask[out.JobOut]:  # fmt: skip
    """Start a job that fits a model, measures it and switches to it when it is no worse."""
    body = {"method": method, "settings": dict(settings or {}), "verb": verb, "holdout": holdout, "min_gain": min_gain}
    return Ask("POST", "/v1/models", out.JobOut, json=body, repeat=False)


def activate(fingerprint: str, *, force: bool = False, verb: str = "recommend") -> Ask[out.JobOut]:
    """Start a job that switches to a fitted model."""
    return Ask("POST", f"/v1/models/{_part(fingerprint)}/activate", out.JobOut, json={"force": force, "verb": verb}, repeat=False)


def jobs() -> Ask[out.JobsOut]:
    """All jobs, newest first."""
    return _get("/v1/jobs", out.JobsOut)


def job(job: str) -> Ask[out.JobOut]:
    """One job."""
    return _get(f"/v1/jobs/{_part(job)}", out.JobOut)


def cancel_job(job: str) -> Ask[out.JobOut]:
    """Ask a job to stop."""
    return Ask("DELETE", f"/v1/jobs/{_part(job)}", out.JobOut)


def status() -> Ask[out.StatusOut]:
    """How the engine is doing."""
    return _get("/v1/status", out.StatusOut)


def evaluation() -> Ask[out.EvaluationOut]:
    """What personalising does, as measured when the active model was made."""
    return _get("/v1/evaluation", out.EvaluationOut)


def me() -> Ask[out.MeOut]:
    """Whose key this is and what it may do."""
    return _get("/v1/me", out.MeOut)


def keys() -> Ask[out.KeysOut]:
    """All keys of the tenant."""
    return _get("/v1/keys", out.KeysOut)


def create_key(
    label: str, scopes: Sequence[str], *, person: Id | None = None, expires: datetime | float | None = None, days: float | None = None
) -> Ask[out.NewKeyOut]:
    """Make a key; its secret is in this answer alone."""
    body = {"label": label, "scopes": sorted(scopes), "person": person, "expires": _plain(expires), "days": days}
    return Ask("POST", "/v1/keys", out.NewKeyOut, json={name: value for name, value in body.items() if value is not None}, repeat=False)


def revoke_key(key: str) -> Ask[None]:
    """End a key."""
    return Ask("DELETE", f"/v1/keys/{_part(key)}", type(None))
