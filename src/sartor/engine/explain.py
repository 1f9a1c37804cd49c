"""Why an item is recommended to a person: which of her own events moved it up, by how much, and what her list would be without them.

Nothing is read off a model's weights. The state is made again from shortened histories, so a reason is what really happens when the events
are removed, and the list without the strongest reasons is computed and shown.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.engine.evidence import counts, faded, known, newest, passed
from sartor.engine.ids import person_id
from sartor.engine.own import says_something
from sartor.engine.serving import VERB
from sartor.engine.states import one as adapted
from sartor.errors import ConfigError, NotFitted, UnknownId

if TYPE_CHECKING:
    from sartor.engine.catalogue import Shelf
    from sartor.engine.engine import Engine
    from sartor.engine.ids import Id
    from sartor.method import State
    from sartor.profile.records import Record
    from sartor.profile.retention import Rule
    from sartor.profile.store import ProfileStore
    from sartor.recommend._base import ItemRecommender

LISTED = 10
"""Items of the lists before and after."""


@dataclass(frozen=True)
class Reason:
    """One thing of the person's own history that moved the item up."""

    item: Id
    title: str | None
    contribution: float
    """Score of the explained item with the whole history less its score without this thing; in the method's own scale."""
    events: int
    ids: list[str]
    """Of the records that hold these events: what `correct` would remove."""
    last: float | None
    """Time of the newest of them."""
    rank_without: int | None
    """Place of the explained item when only this thing is left out."""


@dataclass(frozen=True)
class Without:
    """What becomes of the list when the reasons have never happened: computed from the shortened history."""

    removed: list[Id]
    events: int
    rank: int | None
    score: float
    items: list[tuple[Id, str | None]]
    """The list then, best first."""


@dataclass(frozen=True)
class Explanation:
    """An item of a person's list, its reasons, and the list without them."""

    person: str
    item: Id
    title: str | None
    model: str
    score: float
    rank: int | None
    """Place among all items that she has not seen; None when she has seen this one or it is hidden."""
    score_population: float
    rank_population: int | None
    """Place in everybody's answer, her own items left out of it."""
    reasons: list[Reason]
    items: list[tuple[Id, str | None]]
    """Her list now."""
    without: Without | None
    """None when there are no reasons."""
    verified: bool
    """Whether the item does fall, in place or in score, once the reasons are removed together."""
    note: str
    """All of it in a sentence."""
    seconds: float = 0.0


def explain(engine: Engine, person: Any, item: Any, top: int = 5) -> Explanation:
    """Why an item stands where it stands for a person; raises `UnknownId` for an item outside the model, `NotFitted` when no model serves."""
    started = time.perf_counter()
    if top < 1:
        raise ConfigError(f"top is {top}", fix="ask for at least 1 reason")
    loaded = engine._models.active(engine.tenant)
    if loaded is None:
        raise NotFitted("no model serves yet", fix="fit one, or install one")
    shelf, who = engine._serving.shelves.of(engine.tenant, loaded.method), person_id(person)
    number = shelf.ids.number(item)
    if number < 0:
        raise UnknownId("the model does not know this item", id=repr(item), fix="ask for an item of its lists, or fit again")
    records = newest(engine.store, engine.tenant, [who], VERB)[who]
    method: Any = loaded.method
    history = _History(method, shelf, who, records, half_lives(engine.store, engine.tenant))
    own, scores = history.scored([])
    seen = np.union1d(np.union1d(own["items"], shelf.ids.numbers(passed(records, shelf.ids))), shelf.hidden)
    nobody = method.score([None])[0].astype(np.float64)
    reasons = [_reason(history, one, number, seen) for one in _why(method, own, number, top)]
    without = _without(history, reasons, number, seen) if reasons else None
    rank = _rank(scores, number, seen)
    verified = without is not None and ((without.rank or 0) > (rank or 0) or without.score < float(scores[number]))
    title, events = shelf.titles[number], sum(record.frame == "events" for record in records)
    return Explanation(
        who, shelf.ids.ids(np.array([number]))[0], title, loaded.fingerprint, float(scores[number]), rank, float(nobody[number]),
        _rank(nobody, number, seen), reasons, history.best(scores, seen), without, verified,
        _sentence(title or str(item), events, rank, reasons, without, verified), time.perf_counter() - started,
    )  # fmt: skip


def half_lives(store: ProfileStore, tenant: str) -> list[Rule]:
    """Rules of a tenant by which old evidence counts less."""
    from sartor.profile import retention

    return [rule for rule in retention.rules(store, tenant) if rule.half_life is not None]


class _History:
    """A person's records, and the states and scores without some of them."""

    def __init__(self, method: ItemRecommender, shelf: Shelf, person: str, records: Sequence[Record], rules: Sequence[Rule]) -> None:
        self.method, self.shelf, self.person, self.records, self.rules = method, shelf, person, records, rules

    def scored(self, removed: Sequence[Id]) -> tuple[State, np.ndarray]:
        """The state and float64 [items] scores without the events of some items."""
        kept = [one for one in self.records if one.frame != "events" or self.shelf.ids.own(one.content.get("item")) not in removed]
        state = adapted(self.method, faded(kept, self.rules) if self.rules else kept, self.shelf.ids, self.person)
        # A state that holds nothing of her gives everybody's answer.
        says = says_something(state, known(kept, self.shelf.ids)[1])
        return state, self.method.score([state if says else None])[0].astype(np.float64)

    def of(self, item: Id) -> list[Record]:
        """The events with an item."""
        return [one for one in self.records if one.frame == "events" and counts(one) and self.shelf.ids.own(one.content.get("item")) == item]

    def best(self, scores: np.ndarray, seen: np.ndarray) -> list[tuple[Id, str | None]]:
        """The best items that she has not seen."""
        shown = scores.copy()
        shown[seen] = -np.inf
        order = [number for number in np.argsort(-shown, kind="stable")[:LISTED].tolist() if np.isfinite(shown[number])]
        return [(item, self.shelf.titles[number]) for number, item in zip(order, self.shelf.ids.ids(np.array(order, np.int64)), strict=True)]


def _why(method: ItemRecommender, state: State, number: int, top: int) -> list[Any]:
    from sartor.recommend.why import why

    return why(method, state, method.items_.array[number], top)


def _reason(history: _History, one: Any, number: int, seen: np.ndarray) -> Reason:
    records = history.of(one.item)
    times = [time for record in records if (time := record.time if record.time is not None else record.received) is not None]
    _, scores = history.scored([one.item])
    item = history.shelf.ids.own(one.item)
    title = history.shelf.titles[history.shelf.ids.number(item)]
    ids = [record.id for record in records]
    return Reason(item, title, one.contribution, one.events, ids, max(times, default=None), _rank(scores, number, seen))


def _without(history: _History, reasons: Sequence[Reason], number: int, seen: np.ndarray) -> Without:
    removed = [one.item for one in reasons]
    _, scores = history.scored(removed)
    # What she has seen stays left out: the list is to show what the reasons did to others.
    return Without(removed, sum(one.events for one in reasons), _rank(scores, number, seen), float(scores[number]), history.best(scores, seen))


def _rank(scores: np.ndarray, number: int, seen: np.ndarray) -> int | None:
    """Place of an item among those not seen, from 1; equal scores share the better place."""
    if number in seen:
        return None
    shown = scores.copy()
    shown[seen] = -np.inf
    return 1 + int((shown > scores[number]).sum())


def _sentence(name: str, events: int, rank: int | None, reasons: Sequence[Reason], without: Without | None, verified: bool) -> str:
    place = f"is number {rank:,} of her list" if rank is not None else "is among what she has seen, or hidden"
    if not events:
        return f"{name} {place}. Nothing she did is known that may be used, so this is everybody's answer."
    if without is None:
        return f"{name} {place}. None of her {events:,} events moves it up: it would stand there without her."
    named = ", ".join(str(one.title or one.item) for one in reasons)
    then = f"it would be number {without.rank:,}" if without.rank is not None else f"its score would be {without.score:.4g}"
    text = f"{name} {place} because of {named}. Without {'that' if len(reasons) == 1 else 'these'} ({without.events:,} of {events:,} events) {then}."
    return text if verified else f"{text} Removed together they do not lower it: other events stand in for them."
