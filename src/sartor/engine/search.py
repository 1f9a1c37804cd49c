"""Searching: the same words find what this person means. Consent, her state, the catalogue as it is now, and where everybody would find it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.engine.answers import Answered
from sartor.engine.catalogue import Shelf, Shelves
from sartor.engine.ids import ItemIds
from sartor.engine.own import Own, Owners, counted
from sartor.errors import ConfigError
from sartor.retrieve.bitmaps import Bitmap

if TYPE_CHECKING:
    import polars as pl

    from sartor.engine.ids import Id
    from sartor.engine.models import Loaded, Models
    from sartor.engine.serving import Serving
    from sartor.method import Recommender, State
    from sartor.profile.store import ProfileStore
    from sartor.recommend.personal_search import PersonalSearch

VERB = "search"
MOST = 1_000
"""Items of one answer."""
LONGEST = 1_000
"""Characters of a query."""
REASONS = 3
"""Of one item."""
MOST_EXPLAINED = 500
"""Distinct things of a history up to which reasons are given: each is taken out of it in turn."""


@dataclass(frozen=True)
class Reason:
    """One thing of the person's own history that moved a found item up."""

    item: Id
    title: str | None
    share: float
    """Of all that moved the item up, 0 to 1."""
    contribution: float
    """The item's score less its score had this thing never happened; in the method's own scale."""
    events: int


@dataclass(frozen=True)
class Found:
    """One item that was found."""

    item: Id
    score: float
    population_rank: int
    """Its place in everybody's answer to the same query, from 1."""
    title: str | None = None
    reasons: Sequence[Reason] = ()
    """What of her own moved it up, strongest first; empty in an answer that is not personal."""
    attributes: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class SearchAnswer(Answered):
    """What was found, best first, and what it was made from."""

    items: list[Found]
    query: str
    personal: bool = False
    """Whether a state of the person's own moved the order."""
    strength: float | None
    """As asked: 0 is everybody's order, None as much as was learned."""
    plan: str = ""
    """How the candidates were found."""


@dataclass(frozen=True, kw_only=True)
class SearchAsk:
    """One search, whoever it is for."""

    query: str
    k: int = 10
    where: str | None = None
    strength: float | None = None
    personal: bool = True
    explain: bool = True
    attributes: bool = False

    def check(self) -> None:
        """Raise `ConfigError` for what cannot be meant."""
        if not isinstance(self.query, str) or not self.query.strip() or len(self.query) > LONGEST:
            raise ConfigError(f"the query is empty, no text, or longer than {LONGEST:,} characters", fix="give a few words")
        if re.search("[\ud800-\udfff]", self.query):
            raise ConfigError("the query is not valid Unicode", fix="give text without lone surrogates")
        if isinstance(self.k, bool) or not isinstance(self.k, int | np.integer) or not 1 <= self.k <= MOST:
            raise ConfigError(f"k is {self.k!r}", fix=f"ask for 1 to {MOST} items")
        wrong = isinstance(self.strength, bool) or not isinstance(self.strength, int | float | np.number)
        if self.strength is not None and (wrong or not 0 <= self.strength <= 1):
            raise ConfigError(f"strength is {self.strength!r}", fix="use a number from 0 (everybody's order) to 1, or None for what was learned")


class SearchShelf(Shelf):
    """The items of one fitted search as a tenant's catalogue has them now, and the search over them."""

    def __init__(self, method: PersonalSearch, ids: ItemIds, catalogue: pl.DataFrame, hidden: frozenset[str]) -> None:
        super().__init__(ids, catalogue, hidden)
        self.method = method

    def allowed(self, where: str | None) -> Bitmap | None:
        """Item numbers that may be found; None is all."""
        if where is None and not self.hidden.size:
            return None
        mask = np.ones(len(self.ids), bool) if where is None else self.where(where)
        mask[self.hidden] = False
        return Bitmap.of(mask)


class SearchShelves(Shelves):
    """Shelves on which items that came or changed after the fit can be found too."""

    def _made(self, method: Recommender, catalogue: pl.DataFrame, hidden: frozenset[str]) -> SearchShelf:
        from sartor.recommend.live_search import over

        live: Any = over(method, catalogue)  # type: ignore[arg-type]
        shelf = SearchShelf(live, self.ids(method) if live is method else ItemIds(live.items_), catalogue, hidden)
        # Opened here, so that no request is the first.
        _ = live.hybrid
        return shelf


class Searching:
    """Answers searches. Holds nothing of any person."""

    def __init__(self, store: ProfileStore, models: Models, serving: Serving) -> None:
        self._models, self._serving = models, serving
        self.shelves = SearchShelves(store)
        self.owners = Owners(store, models, self.shelves, VERB)

    def search(self, tenant: str, person: str | None, ask: SearchAsk) -> SearchAnswer:
        """See `Engine.search`."""
        start = time.perf_counter()
        ask.check()
        loaded = self._models.active(tenant, VERB)
        if loaded is None:
            return SearchAnswer(
                items=[], person=person, query=ask.query, strength=ask.strength, model=None, fallback="no model",
                note="no search serves yet: fit one, or install one", seconds=time.perf_counter() - start,
            )  # fmt: skip
        own = self._own(tenant, person, loaded, ask)
        answer = self._answer(tenant, person, own, loaded, ask)
        return replace(answer, seconds=time.perf_counter() - start)

    def _own(self, tenant: str, person: str | None, loaded: Loaded, ask: SearchAsk) -> Own:
        if person is None or not ask.personal:
            return Own(note="everybody's order, as asked")
        if ask.strength == 0:
            return Own(note="strength 0: everybody's order")
        return self.owners.of(tenant, [person], loaded)[0]

    def _answer(self, tenant: str, person: str | None, own: Own, loaded: Loaded, ask: SearchAsk) -> SearchAnswer:
        from sartor.parts.threads import blas_alone, limit

        shelf = self.shelves.of(tenant, loaded.method)
        assert isinstance(shelf, SearchShelf)
        notes, items, plan = [own.note], list[Found](), "nothing to search"
        allowed = shelf.allowed(ask.where)
        if allowed is not None and not len(allowed):
            notes.append("the filter leaves no item" if ask.where is not None else "every item is hidden")
        else:
            self._serving.hold()
            with blas_alone(), limit(1):
                found = shelf.method.search([ask.query], [own.state], ask.k, strength=ask.strength, candidates=allowed)
                picked = found.indices[0] >= 0
                numbers = found.indices[0][picked]
                reasons = self._reasons(shelf, own.state, numbers, ask, notes)
            rows = [shelf.row(number) for number in numbers.tolist()] if ask.attributes else [None] * numbers.size
            columns = (shelf.ids.ids(numbers), numbers.tolist(), found.scores[0][picked].tolist(), found.population_ranks[0][picked].tolist())
            items = [
                Found(item, score, rank, shelf.titles[number], why, row)
                for item, number, score, rank, why, row in zip(*columns, reasons, rows, strict=True)
            ]
            plan = found.plan
            notes.append(found.notes[0])
            if len(items) < ask.k:
                notes.append(f"only {counted(len(items), 'item')} found")
        return SearchAnswer(
            items=items, person=person, query=ask.query, personal=own.state is not None, strength=ask.strength, plan=plan, model=loaded.fingerprint,
            note="; ".join(filter(None, notes)), **own.facts(),
        )  # fmt: skip

    def _reasons(self, shelf: SearchShelf, state: State | None, numbers: np.ndarray, ask: SearchAsk, notes: list[str]) -> list[list[Reason]]:
        if state is None or not ask.explain or not numbers.size:
            return [[] for _ in numbers]
        things = np.unique(state["items"]).size
        if things > MOST_EXPLAINED:
            notes.append(f"no reasons: they are given for histories of up to {MOST_EXPLAINED} different things, this one has {things:,}")
            return [[] for _ in numbers]
        # All that moved an item up, so that a reason's share is of the whole.
        every = shelf.method.reasons(state, shelf.ids.ids(numbers), max(1, things), strength=ask.strength)
        return [self._told(shelf, own) for own in every]

    def _told(self, shelf: SearchShelf, reasons: Sequence[Any]) -> list[Reason]:
        total = sum(one.contribution for one in reasons)
        hidden = shelf.hidden
        told = []
        for one in reasons[:REASONS]:
            number = shelf.ids.number(one.item)
            title = None if number in hidden else shelf.titles[number]
            told.append(Reason(shelf.ids.own(one.item), title, float(one.contribution / total), float(one.contribution), int(one.events)))
        return told
