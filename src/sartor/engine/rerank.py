"""Re-ranking: any list, of whatever came from elsewhere, in one person's order. Consent and her newest consistent state, as for every verb."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.engine.answers import Answered
from sartor.engine.ids import Id, item_id
from sartor.engine.own import Own, Owners
from sartor.errors import ConfigError

if TYPE_CHECKING:
    from sartor.engine.models import Loaded, Models
    from sartor.engine.search import Searching
    from sartor.engine.serving import Serving
    from sartor.method import State
    from sartor.recommend.personal_search import PersonalSearch
    from sartor.retrieve.text_taste import TextTaste

MOST = 1_000
"""Items of one list."""
MOST_TEXTS, LONGEST = 200, 2_000
"""Texts of one list, and characters of one: each is encoded."""
LARGEST = 1e30
"""Size of a score."""


@dataclass(frozen=True, kw_only=True)
class RerankAsk:
    """One list, whoever it is for."""

    items: Sequence[Id] | None = None
    texts: Sequence[str] | None = None
    scores: Sequence[float] | None = None
    k: int | None = None
    strength: float = 1.0
    personal: bool = True

    def check(self) -> None:
        """Raise `ConfigError` for what cannot be meant, `BadValue` or `WrongType` for what is no id."""
        if (self.items is None) is (self.texts is None):
            raise ConfigError("a list is of items or of texts", fix="give one of the two")
        name, given, most = ("items", self.items, MOST) if self.texts is None else ("texts", self.texts, MOST_TEXTS)
        if isinstance(given, str) or not isinstance(given, Sequence) or not 1 <= len(given) <= most:
            raise ConfigError(f"{name} is no list, empty, or longer than {most:,}", fix="give a list, best first")
        for one in self.items or ():
            item_id(one)
        if len({str(one) for one in self.items or ()}) < len(self.items or ()):
            raise ConfigError("an item is in the list twice", fix="leave out the second")
        for one in self.texts or ():
            if not isinstance(one, str) or len(one) > LONGEST or re.search("[\ud800-\udfff]", one):
                raise ConfigError(f"a text is no text, longer than {LONGEST:,} characters, or not valid Unicode", fix="give its beginning")
        scores = self.scores if self.scores is not None else [0.0] * len(given)
        if len(scores) != len(given) or not all(_finite(score) and abs(score) <= LARGEST for score in scores):
            raise ConfigError(f"scores are not numbers up to {LARGEST:.0e}, one for each", fix="give all of them a score, or none")
        if self.k is not None and (isinstance(self.k, bool) or not isinstance(self.k, int | np.integer) or self.k < 1):
            raise ConfigError(f"k is {self.k!r}", fix="ask for at least 1, or None for the whole list")
        if not _finite(self.strength) or not 0 <= self.strength <= 1:
            raise ConfigError(f"strength is {self.strength!r}", fix="use a number from 0 (the list as it is) to 1")


@dataclass(frozen=True)
class Moved:
    """One thing of the list."""

    place: int
    """Where it stood in the list that was given, from 1."""
    score: float
    """The list's own; with a person her taste is added, each of the two brought to mean 0 and deviation 1."""
    item: Id | None = None
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reranked(Answered):
    """The list in the person's order, best first."""

    items: list[Moved]
    personal: bool
    """Whether a state of the person's own moved the order."""


class Reranking:
    """Re-ranks lists. Holds nothing of any person."""

    def __init__(self, models: Models, serving: Serving, searching: Searching) -> None:
        self._models, self._serving, self._searching = models, serving, searching

    def rerank(self, tenant: str, person: str | None, ask: RerankAsk) -> Reranked:
        """See `Engine.rerank`."""
        start = time.perf_counter()
        ask.check()
        verb, owners = ("recommend", self._serving.owners) if ask.texts is None else ("search", self._searching.owners)
        loaded = self._models.active(tenant, verb)
        own = self._own(tenant, person, loaded, owners, ask)
        moved = self._moved(ask, loaded, own)
        model = None if loaded is None else loaded.fingerprint
        taken = time.perf_counter() - start
        return Reranked(items=moved, person=person, personal=own.state is not None, model=model, note=own.note, seconds=taken, **own.facts())

    def _own(self, tenant: str, person: str | None, loaded: Loaded | None, owners: Owners, ask: RerankAsk) -> Own:
        if person is None or not ask.personal or not ask.strength:
            return Own(note="the list as it is, as asked")
        if loaded is None:
            needs = "recommend" if ask.texts is None else "search"
            return Own(fallback="no model", note=f"no model serves '{needs}' yet: the list as it is")
        own = owners.of(tenant, [person], loaded)[0]
        if own.state is None or own.method is not None or not own.state["items"].size:
            # What is known of her attributes alone says nothing of a list.
            return replace(own, state=None, method=None, note=f"{own.note.partition(':')[0]}: the list as it is")
        if not hasattr(loaded.method, "score"):
            return Own(note=f"{loaded.card.method} gives no scores: the list as it is")
        return own

    def _moved(self, ask: RerankAsk, loaded: Loaded | None, own: Own) -> list[Moved]:
        given: Sequence[Any] = ask.items if ask.items is not None else ask.texts or ()
        if ask.scores is None:
            # As the gains of places fall in NDCG.
            order, scores = np.arange(len(given)), 1 / np.log2(np.arange(2, len(given) + 2))
        else:
            # Equal scores stay as they stand.
            order = np.argsort(-np.asarray(ask.scores, np.float64), kind="stable")
            scores = np.asarray(ask.scores, np.float64)[order]
        if own.state is not None and loaded is not None:
            order, scores = self._by_taste(ask, loaded, own.state, [given[at] for at in order.tolist()], order, scores)
        kept = slice(None if ask.k is None else int(ask.k))
        named = "item" if ask.texts is None else "text"
        return [Moved(at + 1, score, **{named: given[at]}) for at, score in zip(order[kept].tolist(), scores[kept].tolist(), strict=True)]

    def _by_taste(
        self, ask: RerankAsk, loaded: Loaded, state: State, ids: list[Any], order: np.ndarray, scores: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The order and the scores once the person's taste has moved them."""
        from sartor.parts.threads import blas_alone, limit
        from sartor.retrieve.hits import Hits
        from sartor.retrieve.rerank import Reranker

        self._serving.hold()
        with blas_alone(), limit(1):
            taste: Any = loaded.method
            if ask.texts is not None:
                taste, ids = _texts_taste(ids, taste), list(range(len(ids)))
            results = Hits(np.arange(len(ids), dtype=np.int32)[None], scores[None].astype(np.float32), ids, "given")
            found = Reranker(taste).rerank(results, [state], strength=ask.strength)
        return order[found.places[0] - 1], found.scores[0]


def _texts_taste(texts: list[str], search: PersonalSearch) -> TextTaste:
    from sartor.represent.text import text_encoder
    from sartor.retrieve.text_taste import TextTaste

    return TextTaste(texts, text_encoder(search.encoder), search.vectors_, search.mean_vector, space=search.encoder_fingerprint_)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))
