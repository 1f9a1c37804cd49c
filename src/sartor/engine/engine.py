"""The engine: durable evidence in, fresh answers out, for any number of tenants over one store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sartor.engine.adapting import Adapter
from sartor.engine.answering import Answering
from sartor.engine.answers import Answer, Status
from sartor.engine.counts import Counts
from sartor.engine.decide import Deciding
from sartor.engine.draw import Drawing, photo_bytes, photo_record
from sartor.engine.evidence import READS
from sartor.engine.ids import Id, person_id
from sartor.engine.memory_keeping import Memories
from sartor.engine.owning import Owning
from sartor.engine.recognize import Recognition, Recognizing
from sartor.engine.records import event_records, frame_records, other_record
from sartor.engine.rerank import Reranking
from sartor.engine.search import Searching
from sartor.engine.serving import VERB, Ask, Serving
from sartor.engine.write import Writing
from sartor.errors import BadValue, ConfigError

if TYPE_CHECKING:
    import polars as pl

    from sartor.data.population import Population
    from sartor.engine.catalogue import Shelf
    from sartor.engine.models import Loaded
    from sartor.engine.rollout import Rollout
    from sartor.method import Recommender, State
    from sartor.profile.records import ModelCard, Receipt, Record
    from sartor.profile.store import ProfileStore
    from sartor.write.backends import Backend


class Engine(Answering, Owning, Writing, Recognition):
    """Personalisation for one tenant of a store. Safe to use from many threads; several processes may share a store.

    >>> engine = Engine("sqlite:///people.db")
    >>> engine.observe("ana", ["Heat", "Ronin"])
    >>> engine.recommend("ana", k=5)

    Parameters
    ----------
    url: `sqlite:///people.db` or `postgresql://...`; see `ProfileStore.open`, which also says what `master_key` is.
    tenant: whose people; others are reached with `for_tenant`.
    models: folder of fitted models. Default: beside an SQLite file, `<file>.models`; PostgreSQL must be given one.
    background: adapt people in a thread of this process. Without, `catch_up` does it (in scripts and tests), or another process.
    store: an open store instead of `url`; it is left open by `close`.
    memory_encoder: name of the text encoder of memories (`represent.text.text_encoder`); None is SARTOR_MEMORY_ENCODER, else MiniLM where it is
        installed, else "hashed".
    writer: who writes: a `write.backends.Backend`, or its name such as "endpoint:URL#MODEL". None: `write` and `stream` need one to be set.
    """

    def __init__(
        self,
        url: str = "sqlite:///people.db",
        *,
        tenant: str = "default",
        master_key: bytes | str | Path | None = None,
        models: str | Path | None = None,
        background: bool = True,
        store: ProfileStore | None = None,
        memory_encoder: str | None = None,
        writer: Backend | str | None = None,
    ) -> None:
        from sartor.engine.models import Models
        from sartor.profile.store import ProfileStore

        self.tenant, self.writer = tenant, writer
        self._runs, self._owns = True, store is None
        self.store = store if store is not None else ProfileStore.open(url, master_key=master_key)
        try:
            self._models = Models(self.store, _models_folder(self.store, models))
            self._serving = Serving(self.store, self._models)
            self._searching = Searching(self.store, self._models, self._serving)
            self._reranking = Reranking(self._models, self._serving, self._searching)
            self._deciding = Deciding(self.store, self._models, self._serving.shelves)
            self._drawing = Drawing(self.store, self._models, self._serving.shelves)
            self._recognizing = Recognizing(self.store, self._models)
            self._counts = Counts(self.store)
            self._memories = Memories(self.store, memory_encoder)
            self._adapter = Adapter(self.store, self._models, self._serving.shelves, self._serving.rest)
            self._wake = self._adapter.wake
            if background:
                self._serving.busy = True
                self._adapter.start()
        except BaseException:
            if self._owns:
                self.store.close()
            raise

    def for_tenant(self, name: str) -> Engine:
        """The same engine (store, models, background work) for another tenant."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, tenant=name, _runs=False, _owns=False)
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the background work and close the store. Who is still stale stays marked for the next process.

        An engine from `for_tenant` closes nothing: the one it came from does.
        """
        if self._runs:
            self._adapter.close()
            self._serving.busy = False
            self._serving.rest(0)
            self._memories.shelves.close()
            self._models.close()
        if self._owns:
            self.store.close()

    # --- evidence in

    def observe(
        self,
        person: Id,
        events: Any = None,
        *,
        texts: Sequence[str | Mapping[str, Any]] = (),
        images: Sequence[str | Mapping[str, Any]] = (),
        attributes: Mapping[str, Any] | None = None,
        purposes: Sequence[str] | None = None,
        source: str = "python",
    ) -> Receipt:
        """Keep evidence of one person; durable before this returns. The person's state follows in the background.

        Parameters
        ----------
        events: item ids, dicts (`item`, and maybe `id`, `time`, `kind`, `value`, `weight`, `session`, context), or a table of such columns.
            An event whose `id` is known already is a duplicate and changes nothing.
        texts, images: texts and paths, or dicts of the columns of those frames. Of a path only the path is kept; see `show` for pictures themselves.
        attributes: what is known about the person; each replaces what was said of it before.
        purposes: what this evidence may be used for, within the person's consent; None is all of that.
        source: where it comes from.

        Raises `BadValue` or `WrongType` with the row, also for feedback outside the scale of the model that decides; then nothing is kept.
        """
        who = person_id(person)
        records: list[Record] = [] if events is None else list(event_records(who, events, purposes=purposes, source=source))
        for frame, key, given in (("texts", "text", texts), ("images", "path", images)):
            if isinstance(given, str):
                raise ConfigError(f"{frame} is a single text", fix="give a list")
            for one in given:
                row = one if isinstance(one, Mapping) else {key: one}
                if frame == "images" and "data" in row:
                    records.append(photo_record(who, row, purposes=purposes, source=source))
                    continue
                records.append(other_record(who, frame, row, purposes=purposes, source=source))  # type: ignore[arg-type]
        if attributes is not None:
            records.append(other_record(who, "people", attributes, purposes=purposes, source=source))
        return self._append(records)

    def show(
        self, person: Id, thing: str, images: Sequence[str | Path | bytes], *, class_word: str | None = None, purposes: Sequence[str] = ("draw",),
        source: str = "python",
    ) -> Receipt:  # fmt: skip
        """Keep photos of one of a person's things, by whose word prompts of `draw` will say it; her state learns it in the background.

        Parameters
        ----------
        thing: the word: "mug".
        images: files or their bytes; kept are the pixels that methods see (the middle square, at most 768 pixels), encrypted, without place and time.
        class_word: what it is, in a word that the model knows; the thing's own word by default.
        purposes: what they may be used for, within her consent.

        Raises `BadImage`, `FileProblem`, `BadValue`; then nothing is kept.
        """
        if isinstance(images, str | bytes | Path) or not images:
            raise BadValue("there are no pictures", fix="give a list of files or of their bytes")
        who = person_id(person)
        rows = [{"item": thing, "class_word": class_word, "data": photo_bytes(one)} for one in images]
        return self._append([photo_record(who, row, purposes=purposes, source=source) for row in rows])

    def observe_many(self, records: Sequence[Record] | pl.DataFrame, *, source: str = "python") -> Receipt:
        """Keep evidence of many people in one transaction: records, or a table of events with the columns `person` and `item`."""
        given = list(frame_records(records, source=source)) if hasattr(records, "columns") else list(records)  # type: ignore[arg-type]
        return self._append(given)

    def _append(self, records: Sequence[Record]) -> Receipt:
        if not records:
            raise BadValue("there is nothing to keep", fix="give events, texts, images or attributes")
        self._deciding.check(self.tenant, records)
        self._drawing.check(self.tenant, records)
        receipt = self.store.append(self.tenant, records)
        self._adapter.wake()
        return receipt

    # --- models and health

    def fit(self, method: Recommender | str, settings: Mapping[str, Any] | None = None, **how: Any) -> Rollout:
        """Fit on the evidence of who consents to "train", measure on people held out, switch or refuse; see `sartor.engine.rollout.fit`."""
        from sartor.engine.rollout import fit

        return fit(self, method, settings, **how)

    def install(self, method: Recommender, population: Population | None = None, *, verb: str = VERB) -> ModelCard:
        """Let an already fitted model serve a verb; with `population`, its items become the catalogue."""
        from sartor.engine.rollout import install

        return install(self, method, population, verb=verb)

    def switch(self, fingerprint: str, force: bool = False, *, verb: str = VERB) -> ModelCard:
        """Let another model serve a verb; raises `ModelRefused` for one that was refused, unless forced."""
        from sartor.engine.rollout import switch

        return switch(self, fingerprint, force, verb=verb)

    def models(self) -> list[ModelCard]:
        """All models of the tenant, newest first."""
        return self.store.models(self.tenant)

    def catch_up(self, timeout: float = 30.0) -> bool:
        """Wait until no state lags behind its evidence (but those that cannot be made: `status().failing`); False when time ran out."""
        return self._adapter.catch_up(self.tenant, timeout)

    def status(self) -> Status:
        """How the engine is doing for this tenant; of a large store the counts may be some seconds old (`counts.Counts`)."""
        stale, counts = self.store.stale(self.tenant), dict(self._counts.of(self.tenant))
        active = {verb: self._models.active(self.tenant, verb) for verb in (*READS, "cold")}
        return Status(
            self.tenant, counts.get("people", 0), counts.get("items", 0), self.store.position(self.tenant), stale.people,
            stale.oldest_seconds if stale.people else None, stale.failing, self._adapter.status,
            {verb: None if one is None else one.fingerprint for verb, one in active.items()}, counts,
        )  # fmt: skip

    # --- for the engine's other files

    def _shelf(self, loaded: Loaded) -> Shelf:
        """The model's items as this tenant's catalogue has them."""
        return self._serving.shelves.of(self.tenant, loaded.method)

    def _answers(self, loaded: Loaded, people: Sequence[str], states: Sequence[State | None], k: int) -> list[Answer]:
        """What given states would be answered, whatever the store holds."""
        return [
            self._serving.answer(self.tenant, loaded, state, Ask(k=k), person=person, note="from evidence as if")
            for person, state in zip(people, states, strict=True)
        ]


def _models_folder(store: ProfileStore, folder: str | Path | None) -> Path:
    if folder is not None:
        return Path(folder)
    if store.dialect != "sqlite":
        raise ConfigError("there is no folder for models", fix="give models=..., shared by all processes that use this database")
    return Path(f"{store.db.path}.models")
