"""Suggested queries: what they are made for, what they are, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sartor.write.entity_store import EntityStore

FAMILIAR, RELATED, NEW, OTHER = "familiar", "related", "page", "other"
"""What an entity is to a person and a page: on the page and met before; met before and not on the page; on the page only; none of these."""


@dataclass(frozen=True)
class Context:
    """What a person is looking at."""

    page: str = ""
    query: str = ""
    """What she asked last, if anything."""
    time: int | None = None
    """Seconds since 1970 UTC; None is the day of her last visit."""
    earlier: Sequence[str] = ()
    """Earlier queries in full, to stand in the prompt: the way to compare with; an entity store needs none."""


class Focus(NamedTuple):
    """The entities of a context for one person, by number, most important first."""

    page: Sequence[int]
    """On the page or in the query, in their order."""
    familiar: Sequence[int] = ()
    related: Sequence[int] = ()
    scores: Mapping[int, float] = {}

    def role(self, entity: int) -> str:
        """What the entity is here."""
        return FAMILIAR if entity in self.familiar else RELATED if entity in self.related else NEW if entity in self.page else OTHER

    def roles(self) -> dict[str, list[int]]:
        """The entities of each role."""
        return {FAMILIAR: [*self.familiar], RELATED: [*self.related], NEW: [one for one in self.page if one not in self.familiar]}


@dataclass(frozen=True)
class Suggestion:
    """A query that somebody might ask next."""

    text: str
    entities: Mapping[Any, str]
    """Ids of the entities that it names -> what they are to the person: familiar, related, page or other."""
    score: float


@dataclass(frozen=True)
class Suggestions(Sequence[Suggestion]):
    """Suggestions for one context, best first."""

    found: tuple[Suggestion, ...]
    note: str
    """Why they are not personal, or fewer than asked for; empty when there is nothing to say."""
    prompt_tokens: int
    """Of a language model's prompt; 0 without one."""

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, at: Any) -> Any:
        return self.found[at]


def note(store: EntityStore | None, focus: Focus, found: int, k: int) -> str:
    """Why suggestions are not personal, or fewer than asked for."""
    if not focus.page:
        why = "no known entity is on the page: suggestions come from the context alone"
    elif store is not None and not store.counts:
        why = "nothing is known of the person yet: suggestions are everybody's"
    else:
        why = ""
    fewer = "" if found == k else f"{found} of {k} suggestions were left by the filters"
    return "; ".join(part for part in (why, fewer) if part)
