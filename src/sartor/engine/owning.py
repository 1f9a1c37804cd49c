"""The half of `Engine` that is a person's own: to see, to correct, to go back, to agree, to take along, to be forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sartor.engine.answers import Profile
from sartor.engine.ids import Id, person_id
from sartor.engine.serving import VERB

if TYPE_CHECKING:
    from sartor.profile.forget import Erasure
    from sartor.profile.records import StateCard, StoredState
    from sartor.profile.store import ProfileStore


class Owning:
    """What people may ask of an engine about themselves."""

    tenant: str
    store: ProfileStore
    _wake: Callable[[], None]

    def profile(self, person: Id) -> Profile:
        """What is known of a person, in words and numbers; raises `UnknownId` when nothing is."""
        from sartor.engine.person import profile

        return profile(self, person_id(person))  # type: ignore[arg-type]

    def correct(self, person: Id, remove: Sequence[str]) -> int:
        """Really delete records by their ids; the state is made again without them. Returns how many there were."""
        removed = self.store.remove(self.tenant, person_id(person), list(remove))
        self._wake()
        return removed

    def take_back(self, person: Id, thing: str) -> int:
        """Delete all photos of one of a person's things (`Engine.show`) for good; the state is made again without it. Returns how many there were."""
        kept = self.store.evidence(self.tenant, person_id(person), frames=["images"])
        return self.correct(person, [one.id for one in kept if str(one.content.get("item") or "") == thing.strip("<>")])

    def history(self, person: Id) -> list[StateCard]:
        """All versions of the person's state, newest first."""
        return self.store.history(self.tenant, person_id(person), VERB)

    def restore(self, person: Id, version: int) -> StoredState:
        """Serve an older state until `release`; new evidence is kept and waits."""
        return self.store.restore(self.tenant, person_id(person), VERB, version, hold=True)

    def release(self, person: Id) -> None:
        """Serve the newest state again."""
        self.store.release(self.tenant, person_id(person), VERB)
        self._wake()

    def consent(self, person: Id, purpose: str, granted: bool, *, text: str = "", version: str = "", source: str = "python") -> None:
        """Note what the person says about a purpose. From the next request on it counts, without loss when it is granted again."""
        self.store.consent(self.tenant, person_id(person), purpose, granted, text=text, version=version, source=source)
        self._wake()

    def export(self, person: Id, path: str | Path) -> Path:
        """Everything about a person as one readable zip, written to `path`."""
        from sartor.profile.export import export

        export(self.store, self.tenant, person_id(person), path)
        return Path(path)

    def forget(self, person: Id) -> Erasure:
        """Remove everything of a person everywhere, and say what was removed where."""
        from sartor.profile.forget import forget

        return forget(self.store, self.tenant, person_id(person))
