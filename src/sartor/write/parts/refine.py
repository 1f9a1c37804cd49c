"""Write, look at what was written, look for something better to write from, write again; and know when to stop.

Source: the self-refinement of Wang et al., UniMS-RAG, 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sartor.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Draft(Generic[T]):
    """One answer, and what it was written from."""

    response: str
    evidence: tuple[T, ...]
    relevance: tuple[float, ...]
    """Of each piece of evidence to the request, 0 to 1."""
    consistency: tuple[float, ...]
    """Of the answer with each piece of evidence, 0 to 1."""

    @property
    def score(self) -> float:
        """The least of relevance times consistency, since what is looked up by a wrong text is wrong; 1 where there is no evidence."""
        return min((a * b for a, b in zip(self.relevance, self.consistency, strict=True)), default=1.0)


@dataclass(frozen=True)
class Refined(Generic[T]):
    """What came of it."""

    best: Draft[T]
    drafts: tuple[Draft[T], ...]
    """All, in order."""
    stopped: str
    """"good": a draft was good enough; "rounds": they were used up; "nothing": there was nothing else to write from."""

    @property
    def revisions(self) -> int:
        """How often it was written again."""
        return len(self.drafts) - 1


def refine(
    first: tuple[T, ...], draft: Callable[[tuple[T, ...]], Draft[T]], other: Callable[[Draft[T]], tuple[T, ...] | None], *, rounds: int = 2,
    enough: float = 0.5,
) -> Refined[T]:  # fmt: skip
    """Refine one answer.

    Parameters
    ----------
    first: evidence of the first draft.
    draft: writes from evidence, and scores what was written.
    other: other evidence, given what came of the last draft; None, or evidence that was tried before, ends it.
    rounds: times it is written again, at most; 0 never does.
    enough: a draft's score from which it is good.

    The best draft by its score is kept, the earlier of equals: a second thought that is no better changes nothing.
    """
    if rounds < 0 or not 0 <= enough <= 1:
        raise ConfigError(f"rounds {rounds}, enough {enough}", fix="rounds >= 0, enough from 0 to 1")
    drafts = [draft(first)]
    tried: list[Any] = [first]
    stopped = "rounds"
    for _ in range(rounds):
        if drafts[-1].score >= enough:
            break
        found = other(drafts[-1])
        if found is None or found in tried:
            stopped = "nothing"
            break
        tried.append(found)
        drafts.append(draft(found))
    best = max(drafts, key=lambda one: one.score)
    return Refined(best, tuple(drafts), "good" if best.score >= enough else stopped)
