"""What teaches a small language model to write from a summary and past pieces, and to write summaries: examples of one population."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sartor.write.parts.lm_training import Example
from sartor.write.parts.pieces import Piece, turns
from sartor.write.parts.tasks import Task
from sartor.write.parts.tokenizer import Tokenizer

FOLDS = 4
"""Parts of a person's past: pieces are learned beside a summary of the other parts, which does not know them."""


class Fold(NamedTuple):
    """Some of a person's pieces."""

    pieces: list[Piece]
    summary: str
    """Of the person's other pieces."""
    order: list[list[int]]
    """For each piece the numbers of all in the fold, best first."""


class Person(NamedTuple):
    """Somebody to learn from."""

    pieces: list[Piece]
    whole: str
    """Summary of all of them."""
    folds: list[Fold]


@dataclass(frozen=True, kw_only=True)
class SummaryLessons:
    """Makes examples.

    Parameters
    ----------
    rank: from requests and documents to the documents' numbers for each request, best first.
    asked: the tokens that ask for a summary of some pieces.
    longest: tokens of an example.
    summarised: with summaries at all.
    dropped: share of prompts without a summary; `summaries`: share of examples that are summaries.
    most: past pieces in a prompt; `part`: pieces that are summarised at once.
    """

    tokenizer: Tokenizer
    task: Task
    rank: Callable[[Sequence[str], Sequence[str]], list[list[int]]]
    asked: Callable[[Sequence[Piece]], list[int]]
    longest: int
    summarised: bool
    dropped: float
    summaries: float
    most: int
    part: int

    def person(self, pieces: list[Piece], summary: Callable[[Sequence[Piece]], str]) -> Person:
        """What is prepared of one person."""

        def of(own: Sequence[Piece]) -> str:
            return summary(own) if self.summarised else ""

        folds = []
        for part in range(min(FOLDS, len(pieces))):
            inside = pieces[part::FOLDS]
            order = self.rank([one.prompt for one in inside], [self.task.document(one) for one in inside])
            folds.append(Fold(inside, of([one for at, one in enumerate(pieces) if at % FOLDS != part]), order))
        return Person(pieces, of(pieces), folds)

    def example(self, people: Sequence[Person], rng: np.random.Generator) -> Example:
        """A summary of some pieces, or pieces behind a summary (or none) with the others that go with the last of them before it."""
        who = people[int(rng.integers(len(people)))]
        if self.summarised and who.whole and rng.random() < self.summaries:
            own = [who.pieces[at] for at in rng.permutation(len(who.pieces))[: int(rng.integers(1, self.part + 1))]]
            asked, answer = self.asked(own), [*self.tokenizer.encode(who.whole), self.tokenizer.end]
            return Example(np.array([*asked, *answer], np.int32), np.arange(len(asked) + len(answer)) >= len(asked))
        fold = who.folds[int(rng.integers(len(who.folds)))]
        target = int(rng.integers(len(fold.pieces)))
        chosen = [at for at in fold.order[target] if at != target][: int(rng.integers(0, self.most + 1))]
        front = self.tokenizer.message("system", fold.summary) if fold.summary and rng.random() >= self.dropped else []
        told = turns(self.tokenizer, [fold.pieces[at] for at in (*reversed(chosen), target)])
        while len(told) > 1 and len(front) + sum(one.ids.size for one in told) > self.longest:
            told = told[1:]
        ids = np.concatenate([np.array(front, np.int32), *(one.ids for one in told)])
        learn = np.concatenate([np.zeros(len(front), bool), *(one.own for one in told)])
        return Example(ids[: self.longest], learn[: self.longest])
