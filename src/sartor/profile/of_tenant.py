"""What a store keeps of a tenant rather than of its people: models, the catalogue, API keys, jobs, the log."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sartor.profile.access import Access
from sartor.profile.audit import Audit
from sartor.profile.database import Database
from sartor.profile.items import GONE, Items
from sartor.profile.jobs import Jobs
from sartor.profile.keyring import Keyring
from sartor.profile.models import ModelTable
from sartor.profile.records import AuditLine, Job, KeyCard, ModelCard
from sartor.profile.schema import evidence, items, people, states

if TYPE_CHECKING:
    import polars as pl


class OfTenant:
    """One half of `ProfileStore`: every method takes the tenant first."""

    def __init__(self, db: Database, keys: Keyring) -> None:
        self.db, self.keyring = db, keys
        self._audit = Audit(db, keys)
        self._models = ModelTable(db, keys, self._audit)
        self._items = Items(db, self._audit)
        self._access = Access(db, keys, self._audit)
        self._jobs = Jobs(db, keys)

    def put_model(self, tenant: str, verb: str, model: ModelCard) -> None:
        """Add or replace a model's card; an active one retires the one before."""
        self._models.put(tenant, verb, model)

    def models(self, tenant: str, verb: str | None = None) -> list[ModelCard]:
        """Newest first."""
        return self._models.cards(tenant, verb)

    def active_model(self, tenant: str, verb: str) -> ModelCard | None:
        """The one that serves."""
        return self._models.active(tenant, verb)

    def activate(self, tenant: str, verb: str, fingerprint: str) -> ModelCard:
        """Let this model serve and retire the one before. Raises `UnknownId`."""
        return self._models.activate(tenant, verb, fingerprint)

    def models_version(self, tenant: str) -> int:
        """Changes whenever a model's card does."""
        return self._models.version(tenant)

    def note_members(self, tenant: str, model: str, people: Iterable[str]) -> int:
        """Keep whose evidence a model was fitted on; those who were forgotten meanwhile are left out. How many were kept."""
        return self._models.note_members(tenant, model, people)

    def members(self, tenant: str, model: str) -> list[str]:
        """Those whose evidence a model was fitted on."""
        return self._models.members(tenant, model)

    def models_of(self, tenant: str, person: str) -> list[str]:
        """Models that were fitted on a person's evidence."""
        return self._models.seen_by(tenant, self.keyring.subject(tenant, str(person)))

    def model_references(self) -> set[str]:
        """Fingerprints that any tenant's states refer to, and of models that are preparing, candidates or active."""
        return self._models.references()

    def drop_model(self, fingerprint: str) -> None:
        """Delete a model's cards, and whom it was fitted on, of all tenants: for a model whose files go, since nothing refers to it."""
        self._models.drop(fingerprint)

    def put_items(self, tenant: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Add or replace items: `item` (the id), `hidden`, and any attributes as JSON; how many."""
        return self._items.put(tenant, rows)

    def items(
        self, tenant: str, ids: Iterable[Any] | None = None, *, after: str = "", limit: int | None = None, query: str | None = None
    ) -> pl.DataFrame:
        """The catalogue in the order of the ids: `item` String, `hidden` Boolean, and a column per attribute.

        Parameters
        ----------
        ids: only these, those of them that there are.
        after, limit: a page: the first so many whose id comes after this one.
        query: only items whose id or title holds this text, in whatever case.
        """
        return self._items.get(tenant, ids) if ids is not None else self._items.page(tenant, after=after, limit=limit, query=query)

    def hide_items(self, tenant: str, ids: Iterable[Any], hidden: bool = True) -> int:
        """Hide or show items at once; how many there were."""
        return self._items.hide(tenant, ids, hidden)

    def hidden_items(self, tenant: str) -> frozenset[str]:
        """Ids of the items that are hidden or deleted: much quicker than the whole catalogue."""
        return self._items.hidden(tenant)

    def delete_items(self, tenant: str, ids: Iterable[Any]) -> int:
        """Delete items; how many there were. No model shows one again, however it was fitted, until the item is put again."""
        return self._items.delete(tenant, ids)

    def items_version(self, tenant: str) -> int:
        """Changes whenever the catalogue does."""
        return self._items.version(tenant)

    def create_key(
        self, tenant: str, *, label: str, scopes: Collection[str], person: str | None = None, expires: float | None = None
    ) -> tuple[KeyCard, str]:
        """A new API key and its secret, which is shown only here. With `person` it opens only that person's data."""
        return self._access.create(tenant, label=label, scopes=scopes, person=person, expires=expires)

    def check_key(self, secret: str) -> KeyCard:
        """Whose key this is. Raises `AccessDenied`."""
        return self._access.check(secret)

    def keys(self, tenant: str) -> list[KeyCard]:
        """Oldest first, revoked ones too."""
        return self._access.cards(tenant)

    def revoke_key(self, tenant: str, key: str) -> None:
        """From now on it opens nothing. Raises `UnknownId`."""
        self._access.revoke(tenant, key)

    def put_job(self, tenant: str, kind: str, args: Mapping[str, Any], *, person: str | None = None) -> Job:
        """Queue long work. `args` is JSON without personal content; `person` says whom it is about."""
        return self._jobs.put(tenant, kind, args, person)

    def job(self, tenant: str, job: str) -> Job:
        """One job. Raises `UnknownId`."""
        return self._jobs.get(tenant, job)

    def jobs(self, tenant: str, *, status: str | None = None, limit: int = 100) -> list[Job]:
        """Newest first."""
        return self._jobs.cards(tenant, status, limit)

    def claim_job(self, *, worker: str, kinds: Collection[str] | None = None, lease: float = 60.0, tenant: str | None = None) -> Job | None:
        """Take the oldest queued job, or one whose worker has died, for `lease` seconds; None when there is none."""
        return self._jobs.claim(worker=worker, kinds=kinds, lease=lease, tenant=tenant)

    def job_progress(
        self, tenant: str, job: str, *, worker: str, progress: float | None = None, message: str | None = None, lease: float = 60.0,
        log: str | None = None,
    ) -> bool:  # fmt: skip
        """Say how far it is (0 to 1) and keep the lease; False when somebody cancelled it. Raises `Conflict` when another worker has it."""
        return self._jobs.progress(tenant, job, worker=worker, progress=progress, message=message, lease=lease, log=log)

    def finish_job(
        self, tenant: str, job: str, *, worker: str, status: str = "done", result: Mapping[str, Any] | None = None, error: str | None = None
    ) -> Job:
        """End a job as `done`, `failed` or `cancelled`. Raises `Conflict` when another worker has it."""
        return self._jobs.finish(tenant, job, worker=worker, status=status, result=result, error=error)

    def cancel_job(self, tenant: str, job: str) -> Job:
        """A queued job ends at once, a running one at its next sign of progress."""
        return self._jobs.cancel(tenant, job)

    def counts(self, tenant: str) -> dict[str, int]:
        """How many people, records, items and states there are, and their bytes as stored."""
        count = sa.select(sa.func.count())
        size = sa.func.coalesce(sa.func.sum(sa.func.length(evidence.c.data)), 0)
        kept = sa.func.coalesce(sa.func.sum(states.c.nbytes), 0)
        with self.db.read(tenant, snapshot=True) as connection:
            found = {table.name: connection.execute(count.where(table.c.tenant == tenant)).scalar_one() for table in (people, items)}
            gone = connection.execute(count.where(items.c.tenant == tenant, items.c.attributes == GONE)).scalar_one()
            records, written = connection.execute(sa.select(sa.func.count(), size).where(evidence.c.tenant == tenant)).one()
            versions, made = connection.execute(sa.select(sa.func.count(), kept).where(states.c.tenant == tenant)).one()
        return {**found, "items": found["items"] - gone, "records": records, "states": versions, "bytes": int(written + made)}

    def audit(self, tenant: str, action: str, *, person: str | None = None, detail: Mapping[str, Any] | None = None) -> None:
        """Note what was done, never content. The newest 100,000 lines of a tenant are kept."""
        self._audit.add(tenant, action, person, detail or {})

    def audits(self, tenant: str, person: str | None = None, limit: int = 100) -> list[AuditLine]:
        """Newest first."""
        return self._audit.lines(tenant, person, limit)
