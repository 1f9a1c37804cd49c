"""From people to answers: consent, the newest consistent state, the method, the rules. Everything of a person lives as long as its request."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from sartor.data.population import Evidence
from sartor.engine.answers import Answer, Pick
from sartor.engine.catalogue import Shelf, Shelves
from sartor.engine.own import Own, Owners, counted
from sartor.errors import ConfigError, UnknownId

if TYPE_CHECKING:
    from sartor.engine.ids import Id
    from sartor.engine.models import Loaded, Models
    from sartor.engine.rules import Rules
    from sartor.method import Recommender, State
    from sartor.profile.store import ProfileStore

log = logging.getLogger(__name__)

VERB = "recommend"
MOST = 1_000
"""Items of one answer."""
MOST_PEOPLE = 10_000
"""Of one batch."""
_NO_MODEL = Answer(items=[], person=None, model=None, fallback="no model", note="no model serves yet: fit one, or install one")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request, whoever it is for."""

    k: int = 10
    candidates: Sequence[Id] | None = None
    exclude: Literal["seen"] | Sequence[Id] | None = "seen"
    where: str | None = None
    rules: Rules | None = None
    diversity: float = 0.0
    personal: bool = True
    attributes: bool = False

    def check(self) -> None:
        """Raise `ConfigError` for what cannot be meant."""
        if isinstance(self.k, bool) or not isinstance(self.k, int | np.integer) or not 1 <= self.k <= MOST:
            raise ConfigError(f"k is {self.k!r}", fix=f"ask for 1 to {MOST} items")
        for name, fits in (("candidates", None), ("exclude", "seen")):
            value = getattr(self, name)
            if value is not None and value != fits and (isinstance(value, str) or not isinstance(value, Sequence | np.ndarray)):
                raise ConfigError(f"{name} is {value!r}", fix=f"give a list of item ids{' or seen' if fits else ''}, or None")
        if self.diversity:
            from sartor.engine.rules import check_diversity

            check_diversity(self.diversity)

    @property
    def is_plain(self) -> bool:
        """Whether the method's own order is the answer."""
        return not self.diversity and (self.rules is None or not (self.rules.reorders or self.rules.pinned))


class Serving:
    """Answers requests. Holds nothing of any person: what it keeps between requests is models and catalogues."""

    def __init__(self, store: ProfileStore, models: Models) -> None:
        self._store, self._models = store, models
        self.shelves = Shelves(store)
        self.owners = Owners(store, models, self.shelves, VERB)
        self.busy = False
        """Whether BLAS stays in its callers' threads between requests too, until `rest`. Turned on by who will call that."""
        self._held: ExitStack | None = None
        self._asked = 0.0
        self._lock = threading.Lock()

    def recommend(self, tenant: str, people: Sequence[str], ask: Ask) -> list[Answer]:
        """One answer per person, in their order. All of them come from the model that was active when the request came."""
        start = time.perf_counter()
        ask.check()
        if len(people) > MOST_PEOPLE:
            raise ConfigError(f"{len(people)} people at once", fix=f"ask for at most {MOST_PEOPLE} at once")
        loaded = self._models.active(tenant, VERB)
        if loaded is None:
            return [replace(_NO_MODEL, person=one, seconds=time.perf_counter() - start) for one in people]
        if not people:
            return []
        owns = self.owners.of(tenant, people, loaded) if ask.personal else [Own(note="the population's answer, as asked")] * len(people)
        answers = self._answers(tenant, people, owns, loaded, ask)
        each = (time.perf_counter() - start) / len(people)
        return [replace(one, seconds=each) for one in answers]

    def answer(
        self, tenant: str, loaded: Loaded, state: State | None, ask: Ask, *, person: str | None = None, note: str = "", seen: Sequence[Id] = ()
    ) -> Answer:
        """The answer that a state would give, without looking at the store's evidence or states: for what-if. `seen` beside what it holds."""
        ask.check()
        start = time.perf_counter()
        found = self._answers(tenant, [person], [Own(state, seen=tuple(seen), note=note)], loaded, ask)[0]
        return replace(found, seconds=time.perf_counter() - start)

    def similar(self, tenant: str, item: Id, ask: Ask) -> Answer:
        """Items like one item: by the cosine of item vectors, else what a person who did nothing but this would get.

        Raises `UnknownId` for an item that the model does not know.
        """
        start = time.perf_counter()
        ask.check()
        loaded = self._models.active(tenant, VERB)
        if loaded is None:
            return replace(_NO_MODEL, seconds=time.perf_counter() - start)
        shelf = self.shelves.of(tenant, loaded.method)
        number = shelf.ids.number(item)
        if number < 0:
            raise UnknownId("the model does not know this item", id=repr(item), fix="fit again once it has events, or ask for another item")
        vectors = getattr(loaded.method, "item_vectors_", None)
        if not isinstance(vectors, np.ndarray) or not ask.is_plain:
            state = loaded.method.adapt(Evidence.from_items([shelf.ids.own(item)], times=[0]))
            found = self._answers(tenant, [None], [Own(state, note="what goes with this item alone")], loaded, replace(ask, exclude="seen"))[0]
            return replace(found, seconds=time.perf_counter() - start)
        from sartor.parts.topk import top_k

        allowed, left_out = self._allowed(shelf, ask)
        norms = np.maximum(np.linalg.norm(vectors, axis=1), np.float32(1e-12))
        scores = (vectors @ vectors[number]) / (norms * norms[number])
        indices, best = top_k(
            scores[None] if allowed is None else scores[None, allowed], ask.k, left_out=[np.append(left_out, np.int32(number))], columns=allowed,
            width=len(shelf.ids),
        )  # fmt: skip
        picks = self._picks(shelf, indices[0], best[0], ask)
        taken = time.perf_counter() - start
        return Answer(items=picks, person=None, model=loaded.fingerprint, note="by the cosine of item vectors", seconds=taken)

    def rest(self, after: float = 2.0) -> None:
        """Give BLAS its threads back when nobody has asked for so many seconds."""
        with self._lock:
            if self._held is not None and time.monotonic() - self._asked >= after:
                self._held.close()
                self._held = None

    def hold(self) -> None:
        """Keep BLAS in the threads that call it while requests come.

        Turning its threads off and on with every request would cost many times what they work, when requests come on several threads.
        """
        self._asked = time.monotonic()
        if self.busy and self._held is None:
            from sartor.parts.threads import blas_alone

            with self._lock:
                if self._held is None:
                    held = ExitStack()
                    held.enter_context(blas_alone())
                    self._held = held

    # --- from states to items

    def _answers(self, tenant: str, people: Sequence[str | None], owns: Sequence[Own], loaded: Loaded, ask: Ask) -> list[Answer]:
        from sartor.parts.threads import blas_alone, limit

        self.hold()
        out: list[Answer | None] = [None] * len(people)
        groups: dict[str, list[int]] = {}
        methods = {}
        for row, own in enumerate(owns):
            method = own.method or loaded.method
            methods[method.fingerprint_] = method
            groups.setdefault(method.fingerprint_, []).append(row)
        # Requests come on many threads: each keeps to its own processor.
        with blas_alone(), limit(1) if len(people) == 1 else nullcontext():
            for fingerprint, rows in groups.items():
                shelf = self.shelves.of(tenant, methods[fingerprint])
                allowed, left_out = self._allowed(shelf, ask)
                lists = self._lists(methods[fingerprint], [owns[row] for row in rows], shelf, allowed, left_out, ask)
                for row, picks in zip(rows, lists, strict=True):
                    out[row] = _told(people[row], owns[row], picks, fingerprint, ask)
        return [one for one in out if one is not None]

    def _lists(
        self, method: Recommender, owns: Sequence[Own], shelf: Shelf, allowed: np.ndarray | None, left_out: np.ndarray, ask: Ask
    ) -> list[list[Pick]]:
        from sartor.engine.rules import NO_RULES, arranged, best

        out = [self._left_out(own, shelf, left_out, ask) for own in owns]
        if ask.is_plain:
            indices, scores = best(method, [own.state for own in owns], ask.k, out, allowed)
            return [self._picks(shelf, indices[row], scores[row], ask) for row in range(len(owns))]
        rules = ask.rules or NO_RULES
        pinned = self._pinned(shelf, rules, ask)
        top = shelf.ids.numbers(pick.item for pick in pinned)
        lists = []
        for own, skip in zip(owns, out, strict=True):
            skip = np.concatenate([skip, top])
            numbers, scores = arranged(method, own.state, max(1, ask.k - len(pinned)), skip, allowed, shelf, rules, ask.diversity, top)
            lists.append((pinned + self._picks(shelf, numbers, scores, ask))[: ask.k])
        return lists

    def _allowed(self, shelf: Shelf, ask: Ask) -> tuple[np.ndarray | None, np.ndarray]:
        """Item numbers to choose from (sorted; None is all), and those to leave out for everybody."""
        hidden = shelf.hidden
        if ask.rules is not None and len(ask.rules.hidden):
            hidden = np.union1d(hidden, shelf.ids.numbers(ask.rules.hidden)).astype(np.int32)
        mask = None if ask.where is None else shelf.where(ask.where)
        if ask.candidates is not None:
            pool = np.unique(shelf.ids.numbers(ask.candidates))
            return pool if mask is None else pool[mask[pool]], hidden
        if mask is None:
            return None, hidden
        kept = np.flatnonzero(mask).astype(np.int32)
        # Copying most vectors of the catalogue costs more than scoring all and leaving some out.
        if 2 * kept.size <= mask.size:
            return kept, hidden
        dropped = ~mask
        dropped[hidden] = True
        return None, np.flatnonzero(dropped).astype(np.int32)

    def _left_out(self, own: Own, shelf: Shelf, left_out: np.ndarray, ask: Ask) -> np.ndarray:
        if ask.exclude is None:
            return left_out
        if ask.exclude != "seen":
            return np.concatenate([left_out, shelf.ids.numbers(ask.exclude)])
        held = own.state.arrays.get("items") if own.state is not None else None
        parts = [left_out, shelf.ids.numbers(own.seen), np.empty(0, np.int32) if held is None else held]
        return np.concatenate(parts).astype(np.int32)

    def _picks(self, shelf: Shelf, numbers: np.ndarray, scores: np.ndarray, ask: Ask) -> list[Pick]:
        real = (numbers >= 0) & np.isfinite(scores)
        kept = numbers[real]
        titles = shelf.titles
        rows = [shelf.row(number) for number in kept.tolist()] if ask.attributes else [None] * kept.size
        found = zip(shelf.ids.ids(kept), scores[real].tolist(), kept.tolist(), rows, strict=True)
        return [Pick(item, score, titles[number], row) for item, score, number, row in found]

    def _pinned(self, shelf: Shelf, rules: Rules, ask: Ask) -> list[Pick]:
        hidden = {str(one) for one in rules.hidden}
        gone = set(shelf.hidden.tolist())
        picks: dict[str, Pick] = {}
        for item in rules.pinned:
            number, row = shelf.ids.number(item), shelf.lookup(item)
            if number < 0 and row is None and not shelf.catalogue.filter(shelf.catalogue["item"] == str(item)).height:
                raise UnknownId("neither the model nor the catalogue knows the pinned item", id=repr(item), fix="put it into the catalogue first")
            if str(item) in hidden or number in gone or (number < 0 and row is None):
                continue
            title = shelf.titles[number] if number >= 0 else (row or {}).get("title")
            picks[str(item)] = Pick(shelf.ids.ids(np.array([number]))[0] if number >= 0 else item, None, title, row if ask.attributes else None)
        return list(picks.values())


def _told(person: str | None, own: Own, picks: list[Pick], fingerprint: str, ask: Ask) -> Answer:
    note = own.note
    if len(picks) < ask.k:
        note += f"{'; ' if note else ''}only {counted(len(picks), 'item')} left to give"
    return Answer(items=picks, person=person, model=fingerprint, note=note, **own.facts())
