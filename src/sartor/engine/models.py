"""Fitted models beside the store: immutable folders named by their content, loaded once per process, and which of them serves whom.

A folder `<models>/<fingerprint>` holds what `Method.save` wrote. It appears whole or not at all and is never changed; the store keeps one
card per tenant and verb that says what the model is for. Every change of a card touches one small file in the folder, and every look at the
active model compares that file's stamp (a microsecond): a switch made by one process is noticed by the next request of all others. The
store itself is asked when the stamp differs, and every two seconds in case it was changed by other means.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor import _storage
from sartor._storage import write_atomically
from sartor.errors import CorruptFile, FileProblem, NotFitted, SartorError, UnknownId

if TYPE_CHECKING:
    from sartor.method import Recommender
    from sartor.profile.records import ModelCard, ModelStatus
    from sartor.profile.store import ProfileStore

CHECK_EVERY = 2.0
"""Seconds for which an answer of the store about active models is believed while the stamp does not change."""
STAMP = ".changed"
"""The file that is touched with every change of a card."""
UNUSED_AGE = 7 * 86_400.0
"""Seconds for which a folder stays that nothing refers to: a model that was refused and may still be forced, what a crash left behind."""
PREPARING_SECONDS = 6 * 3_600.0
"""How long a model is believed to be in preparation: whoever prepared it may have been killed, and states for it would be made for ever."""
REFERENCE = ".reference"
"""Suffix of what `drift` remembers of a model's training evidence, beside the model's folder."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model in memory, and what the store says of it."""

    method: Recommender
    card: ModelCard

    @property
    def fingerprint(self) -> str:
        """Of the model."""
        return self.card.fingerprint


@dataclass(frozen=True)
class _Known:
    """What the store said of one tenant and verb."""

    checked: float
    stamp: int
    active: Loaded | None
    preparing: tuple[Loaded, ...]


class Models:
    """The models of a store. Safe to use from several threads; every process has its own.

    Parameters
    ----------
    store: where the cards are.
    folder: where the model folders are; processes on several machines must share it.
    """

    def __init__(self, store: ProfileStore, folder: Path) -> None:
        self.store, self.folder = store, Path(folder)
        self._stamp_file = str(self.folder / STAMP)
        self._known: dict[tuple[str, str], _Known] = {}
        self._methods: dict[str, Recommender] = {}
        self._lock = threading.Lock()
        store.on_forget.append(self._forgotten)

    # --- which model

    def active(self, tenant: str, verb: str = "recommend") -> Loaded | None:
        """The model that serves now, or None when there is none."""
        return self._look(tenant, verb).active

    def preparing(self, tenant: str, verb: str = "recommend") -> list[Loaded]:
        """Models that are about to serve: states of people are made for them too."""
        return list(self._look(tenant, verb).preparing)

    def refresh(self, tenant: str, verb: str = "recommend") -> Loaded | None:
        """Ask the store at once: for who has met a state of a model that is not the active one as far as this process knows."""
        return self._ask(tenant, verb, time.monotonic()).active

    def _look(self, tenant: str, verb: str) -> _Known:
        known, now = self._known.get((tenant, verb)), time.monotonic()
        if known is None:
            return self._ask(tenant, verb, now)
        if known.stamp == self._stamp() and now - known.checked < CHECK_EVERY:
            return known
        # While one thread asks (and perhaps loads), the others go on with what they know.
        return known if self._lock.locked() else self._ask(tenant, verb, now)

    def _ask(self, tenant: str, verb: str, now: float) -> _Known:
        with self._lock:
            known = self._known.get((tenant, verb))
            if known is not None and known.checked > now:
                return known
            # The stamp is read first: a change between the two is seen again, never missed.
            stamp, cards = self._stamp(), self.store.models(tenant, verb)
            active = next((Loaded(self._load(one.fingerprint), one) for one in cards if one.status == "active"), None)
            since = time.time() - PREPARING_SECONDS
            preparing = tuple(self._preparing(one) for one in cards if one.status == "preparing" and (one.switched or 0.0) > since)
            known = _Known(time.monotonic(), stamp, active, tuple(one for one in preparing if one is not None))
            self._known[tenant, verb] = known
            self._drop_unused()
            return known

    def _preparing(self, card: ModelCard) -> Loaded | None:
        """A model that cannot be read must not stop the one that serves; it will never become active."""
        try:
            return Loaded(self._load(card.fingerprint), card)
        except SartorError as problem:
            log.warning("a model that is being prepared cannot be read: %s", problem)
            return None

    def _stamp(self) -> int:
        try:
            return os.stat(self._stamp_file).st_mtime_ns
        except FileNotFoundError:
            return 0

    def load(self, tenant: str, fingerprint: str, verb: str | None = None) -> Loaded:
        """Any model of this tenant; raises `UnknownId`, and `CorruptFile` or `FileProblem` when its folder is damaged or gone."""
        card = next((one for one in self.store.models(tenant, verb) if one.fingerprint == fingerprint), None)
        if card is None:
            raise UnknownId("there is no such model", id=fingerprint, fix="see the list of models")
        with self._lock:
            return Loaded(self._load(fingerprint), card)

    def _load(self, fingerprint: str) -> Recommender:
        method = self._methods.get(fingerprint)
        if method is None:
            folder = self.path(fingerprint)
            if not folder.is_dir():
                raise FileProblem("the folder of this model is gone", fix="fit again, or bring the folder back from a backup", file=folder)
            found: Any = _storage.load(folder, mapped=True)
            _verify(found, fingerprint, folder)
            method = self._methods[fingerprint] = found
        return method

    def _drop_unused(self) -> None:
        """Methods that neither serve nor are about to leave the memory once the requests that use them have ended."""
        used = {one.fingerprint for known in self._known.values() for one in (known.active, *known.preparing) if one is not None}
        for fingerprint in self._methods.keys() - used:
            del self._methods[fingerprint]

    def path(self, fingerprint: str) -> Path:
        """The folder of a model."""
        return self.folder / fingerprint

    # --- adding and switching

    def add(
        self,
        tenant: str,
        verb: str,
        method: Recommender,
        *,
        report: Mapping[str, Any] | None = None,
        people: int = 0,
        position: int = 0,
        status: ModelStatus = "candidate",
    ) -> ModelCard:
        """Keep a fitted model: its folder first, then its card, so that a card never points to nothing.

        Parameters
        ----------
        report: what was measured, as plain data for JSON.
        people: how many were in training.
        position: of the newest evidence it was fitted on.
        status: "candidate", "preparing", "refused"; `switch` makes it "active".
        """
        from sartor.profile.records import ModelCard

        if not method.fingerprint_:
            raise NotFitted(f"{type(method).__name__} is not fitted", fix="call fit(population) first")
        self._write(method)
        card = ModelCard(
            fingerprint=method.fingerprint_, method=type(method).__name__, folder=method.fingerprint_, status=status, made=time.time(),
            switched=None, report=dict(report or {}), people=people, position=position,
        )  # fmt: skip
        self.note(tenant, verb, card)
        return card

    def note(self, tenant: str, verb: str, card: ModelCard) -> None:
        """Replace a model's card: another status, a longer report."""
        self.store.put_model(tenant, verb, card)
        self._touch()

    def switch(self, tenant: str, verb: str, fingerprint: str) -> Loaded:
        """Let a model serve from now on, in every process. It is loaded first: what cannot be read never becomes active."""
        self.load(tenant, fingerprint, verb)
        self.store.activate(tenant, verb, fingerprint)
        self._touch()
        active = self.refresh(tenant, verb)
        assert active is not None
        return active

    def _touch(self) -> None:
        """Tell all processes to look again."""
        write_atomically(Path(self._stamp_file), b"")

    def _write(self, method: Recommender) -> None:
        target = self.path(method.fingerprint_)
        if target.exists():
            os.utime(target)  # young again: `sweep` must not take it away before its card is there
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=self.folder, prefix=".new-"))
        try:
            _storage.save(method, fresh / "model")
            try:
                os.replace(fresh / "model", target)
            except OSError:
                # Another process was first; the same name is the same content.
                if not target.is_dir():
                    raise
            _sync(self.folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    # --- leaving

    def _forgotten(self, tenant: str, person: str) -> None:
        """Checkpoints of unfinished fits may hold numbers learned from whoever was just forgotten."""
        from sartor.engine.training import Work

        shutil.rmtree(Work.of_tenant(self.folder, tenant), ignore_errors=True)

    def sweep(self) -> list[str]:
        """Remove the folders that nothing refers to any more, with their cards and the notes on whom they were fitted on; return their names.

        A folder stays while a card of any tenant lets its model serve, prepare or wait, or a state of anybody was made by it: that state
        can still be restored.
        """
        if not self.folder.is_dir():
            return []
        # Folders are listed before the store is asked: one that appears meanwhile is not looked at.
        old = [path for path in sorted(self.folder.iterdir()) if time.time() - path.stat().st_mtime > UNUSED_AGE]
        needed = self.store.model_references()
        gone = []
        for path in old:
            if path.is_dir() and not path.name.startswith(".") and path.name not in needed:
                # First what points to the folder: a crash in between leaves a folder for the next time.
                self.store.drop_model(path.name)
                shutil.rmtree(path)
                gone.append(path.name)
            elif path.name.startswith(".new-") or (path.suffix == REFERENCE and path.stem not in needed):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return gone

    def close(self) -> None:
        """Leave all models; the files stay."""
        with suppress(ValueError):  # closed already
            self.store.on_forget.remove(self._forgotten)
        with self._lock:
            self._known.clear()
            self._methods.clear()


def _verify(method: Any, fingerprint: str, folder: Path) -> None:
    """The content must be what its name says, also of the methods inside."""
    for part in _storage.pack(method)[2].values():
        _verify(part, part.fingerprint_, folder)
    if method.fingerprint_ != fingerprint or _storage.fingerprint(method) != fingerprint:
        raise CorruptFile("the model is not what its name says: its files were changed or damaged", fix="bring it back from a backup", file=folder)


def _sync(folder: Path) -> None:
    """Make a rename durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
