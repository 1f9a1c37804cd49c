"""Which entities of a page, and which others, matter to one person: found by their names, scored by what she has met."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from sartor.errors import EmptyData
from sartor.represent.mentions import Mentions
from sartor.retrieve.fusion import FusionRanker
from sartor.write.entity_store import DAY, PAGE, QUERY, EntityStore, Visit
from sartor.write.query_writers import Pattern
from sartor.write.suggestions import Context, Focus

UNTAUGHT = (1.0, 1.0, 0.5)
"""Weights where the population's queries teach none."""
EARLIER = 5
"""Queries that an example shows in full."""


class Entities:
    """What there is to be named.

    Parameters
    ----------
    names: of each entity, the first of which is written.
    kinds: one of each.
    vectors: float [entities, dim], of unit length.
    weights: float64 [3], of the terms of a score.
    most: familiar and related entities of a context, each.
    """

    def __init__(self, names: Sequence[Sequence[str]], kinds: Sequence[str], vectors: np.ndarray, weights: np.ndarray, most: int) -> None:
        self._mentions, self._kinds = Mentions(dict(enumerate(names))), kinds
        self._vectors, self._weights, self._most = vectors.astype(np.float32), weights, most

    def link(self, text: str) -> list[int]:
        """Numbers of the entities that a text names, each once, in order."""
        return self._mentions.keys(text)

    def cut(self, query: str) -> tuple[str, list[int]]:
        """A query with {0}, {1} in the places of its entities, and the entities."""
        found: list[int] = []
        out, end = "", 0
        for mention in self._mentions.find(query):
            if mention.key not in found:
                found.append(mention.key)
            out += query[end : mention.start].replace("{", "(").replace("}", ")") + f"{{{found.index(mention.key)}}}"
            end = mention.stop
        return out + query[end:].replace("{", "(").replace("}", ")"), found

    def pattern(self, query: str, focus: Focus) -> Pattern:
        """A query without its entities, as what it is to the person."""
        text, found = self.cut(query)
        return Pattern(text, tuple(self._kinds[one] for one in found), tuple(focus.role(one) for one in found))

    def focus(self, context: Context, store: EntityStore | None) -> Focus:
        """Which entities matter; without a store those of the page, in their order."""
        page = self.link(f"{context.page}\n{context.query}")
        if store is None:
            return Focus(page, [], [], {})
        page = [one for one in page if one not in store.blocked]
        if not page:
            return Focus(page, [], [], {})
        every, features = self.features(page, store, store.last_day if context.time is None else context.time // DAY)
        scores = dict(zip(every, (features @ self._weights).tolist(), strict=True))
        # Among equals what was seen last comes first.
        ranked = sorted((one for one in every if one in store.counts), key=lambda one: (-scores[one], -store.days[one], one))
        return Focus(page, [one for one in ranked if one in page][: self._most], [one for one in ranked if one not in page][: self._most], scores)

    def features(self, page: Sequence[int], store: EntityStore, day: int) -> tuple[list[int], np.ndarray]:
        """Entities on the page or met before, and the three terms of each, float64 [entities, 3]."""
        every = list(dict.fromkeys([*page, *(one for one in store.counts if one not in store.blocked)]))
        ties = store.ties(page)
        vectors = self._vectors[every]
        out = np.zeros((len(every), 3))
        out[: len(page), 0] = [np.log1p(store.count(one, day)) for one in page]
        out[:, 1] = [ties.get(one, 0.0) for one in every]
        out[:, 2] = (vectors @ vectors[: len(page)].T).max(1)
        return every, out

    def learned_weights(self, people: Sequence[Sequence[Sequence[Visit]]], decay: float) -> np.ndarray:
        """By which terms those entities that were asked about stood out, among the familiar ones and among the others that were met before."""
        features, wanted, lengths = [], [], []
        for own in people:
            store = EntityStore(decay)
            for visits in own:
                for page, query in itertools.pairwise(visits):
                    if (page.kind, query.kind) == (PAGE, QUERY) and (here := self.link(page.text)):
                        every, terms = self.features(here, store, query.time // DAY)
                        asked, met = set(self.link(query.text)), np.array([one in store.counts for one in every])
                        hits = np.array([one in asked for one in every])
                        for part in (met[: len(here)].nonzero()[0], len(here) + met[len(here) :].nonzero()[0]):
                            features.append(terms[part])
                            wanted.append(hits[part])
                            lengths.append(part.size)
                store.add(visits, self.link)
        try:
            found = FusionRanker().fit(np.concatenate([np.zeros((0, 3)), *features]), np.cumsum([0, *lengths]), np.concatenate([[], *wanted]) > 0)
        except EmptyData:
            # Nothing to learn from leaves the built-in weights.
            return self._weights
        return np.asarray(found.weights)

    def examples(self, own: Sequence[Sequence[Visit]], decay: float) -> Iterator[tuple[Context, Focus, str]]:
        """Every query that followed a page, with what was known of its person before that session."""
        store, asked = EntityStore(decay), list[str]()
        for visits in own:
            page, before = "", ""
            for visit in visits:
                if visit.kind == PAGE:
                    page, before = visit.text, ""
                    continue
                if page:
                    context = Context(page, before, visit.time, tuple(asked[-EARLIER:]))
                    yield context, self.focus(context, store), visit.text
                before = visit.text
                asked.append(visit.text)
            store.add(visits, self.link)
