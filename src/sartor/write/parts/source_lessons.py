"""Annotated dialogues as examples: plan, evidence with evaluations, and answer in one sequence; and pairs for checking answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import polars as pl

from sartor.errors import BadValue, MissingColumn
from sartor.write.parts.control_tokens import ACT, RESPOND, ControlTokens
from sartor.write.parts.lm_training import Example, copying
from sartor.write.parts.pieces import FACTS

if TYPE_CHECKING:
    from sartor.data.population import Population

CHECKED, GRADED, LAST = 0.2, 0.55, 0.7
"""Shares of examples that teach to check answers, and to grade several texts of one source; and of those, the last source of the plan."""
COPIED = 0.05
"""Share of examples that teach nothing but to read what stands before."""
ALONE = 0.5
"""Share of those of a source that is looked up by another one's text that show this text and no conversation: to compare two texts is learned
where little else stands between them."""
BESIDE = 2
"""Wrong texts that are graded beside the right one, at most."""


class Annotated(NamedTuple):
    """An assistant's turn, and what it was written from."""

    facts: list[str]
    """Of the person."""
    context: list[dict[str, str]]
    """The turns before it."""
    sources: tuple[str, ...]
    evidence: tuple[str, ...]
    """One text of each source."""
    response: str
    candidates: list[str]
    """Texts of the other sources that were at hand; empty: those of the fit."""

    @property
    def question(self) -> str:
        """The last turn before it."""
        return self.context[-1]["content"]

    def texts(self) -> list[str]:
        """Everything that was said."""
        return [*self.facts, *(one["content"] for one in self.context), *self.evidence, self.response, *self.candidates]


def annotated(population: Population, control: ControlTokens, kinds: Sequence[str] = FACTS) -> list[Annotated]:
    """The assistant's turns that say which sources they needed, in the order of the frame; `kinds` are those of a person's own facts.

    Raises `MissingColumn`, and `BadValue` for a source that is none, lists of different lengths, or a turn that answers nothing.
    """
    frame = population.texts.collect()
    for name in ("role", "dialogue", "sources", "evidence"):
        if name not in frame.columns:
            raise MissingColumn(f"the texts have no column {name}", fix=f"they have {frame.columns}", frame="texts", column=name)
    people = frame["person"] if "person" in frame.columns else pl.Series("person", [""] * frame.height)
    facts: dict[object, list[str]] = {}
    if "kind" in frame.columns:
        for person, kind, text in zip(people.to_list(), frame["kind"].to_list(), frame["text"].to_list(), strict=True):
            if kind in kinds and text:
                facts.setdefault(person, []).append(text)
    said = frame.with_columns(people.alias("person")).filter(pl.col("dialogue").is_not_null() & pl.col("text").is_not_null())
    if "turn" in frame.columns:
        said = said.sort("turn", maintain_order=True)
    out = []
    for part in said.partition_by("person", "dialogue", maintain_order=True):
        before: list[dict[str, str]] = []
        for row in part.iter_rows(named=True):
            if row["role"] == "assistant" and row["sources"] is not None:
                sources, evidence = tuple(row["sources"]), tuple(row["evidence"] or ())
                place = {"dialogue": repr(row["dialogue"]), "person": repr(row["person"])}
                if strange := {*sources} - {*control.sources}:
                    raise BadValue(f"a turn names the source {sorted(strange)[0]!r}", fix=f"there are {', '.join(control.sources)}", **place)
                if len(sources) != len(evidence) or not before:
                    what = f"a turn has {len(sources)} sources, {len(evidence)} texts, and {len(before)} turns before it"
                    raise BadValue(what, fix="name one text for each source, and what was asked", **place)
                out.append(Annotated(facts.get(row["person"], []), list(before), sources, evidence, row["text"], row.get("candidates") or []))
            before.append({"role": row["role"] or "user", "content": row["text"]})
    return out


class Sequences(Protocol):
    """How decisions stand in a sequence (`unims_minds.Layout`)."""

    @property
    def control(self) -> ControlTokens: ...
    @property
    def bins(self) -> list[int]: ...
    def context(self, messages: Sequence[Mapping[str, str]], most: int) -> list[int]: ...
    def plan(self, sources: Sequence[str]) -> list[str]: ...
    def judged(self, source: str, text: str) -> list[int]: ...
    def checked(self, text: str, answer: str) -> list[int]: ...
    def numbers(self, names: Sequence[str]) -> list[int]: ...
    def encode(self, text: str) -> list[int]: ...


class Prepared(NamedTuple):
    """A turn as tokens."""

    begun: list[int]
    """Context, and the token after which sources follow."""
    plan: list[int]
    right: list[list[int]]
    """For each source the right text, up to where its evaluation is due."""
    wrong: list[list[tuple[list[int], float]]]
    """For each source other texts, with their soft relevance, the highest first."""
    response: list[int]
    agrees: list[tuple[list[int], float]]
    """The answer behind texts that it agrees with (1) and that it does not (0), up to where this is due."""


@dataclass(frozen=True, kw_only=True)
class SourceLessons:
    """Makes examples of turns.

    Parameters
    ----------
    end: the token that ends an answer.
    room: tokens of a conversation.
    longest: tokens of an example.
    words: numbers of tokens, from the first to behind the last, that teach copying; None where the model can do that.
    """

    layout: Sequences
    end: int
    room: int
    longest: int
    words: tuple[int, int] | None = None

    def prepared(self, turn: Annotated, wrong: Sequence[Sequence[tuple[str, float]]]) -> Prepared:
        """A turn with other texts of each of its sources."""
        layout = self.layout
        judged = [[(layout.judged(source, text), label) for text, label in own] for source, own in zip(turn.sources, wrong, strict=True)]
        agrees = [(layout.checked(text, turn.response), 1.0) for text in turn.evidence]
        agrees += [(layout.checked(text, turn.response), 0.0) for own in wrong for text, _ in own]
        begun = [*layout.context(turn.context, self.room), *layout.numbers([ACT])]
        right = [layout.judged(source, text) for source, text in zip(turn.sources, turn.evidence, strict=True)]
        return Prepared(begun, layout.numbers(layout.plan(turn.sources)), right, judged, [*layout.encode(turn.response), self.end], agrees)

    def example(self, turns: Sequence[Prepared], rng: np.random.Generator) -> Example:
        """One turn as a sequence, one turn with several texts of a source to be graded in place of the answer, or one check of an answer."""
        if self.words is not None and rng.random() < COPIED:
            return copying(self.words[1], self.words[0], rng)
        turn, drawn = turns[int(rng.integers(len(turns)))], rng.random()
        # Grading is the hardest to learn, the more so the more was found before: turns count by their sources.
        most = max((len(one.right) for one in turns), default=0)
        while drawn < CHECKED + GRADED and most and rng.random() * most >= len(turn.right):
            turn = turns[int(rng.integers(len(turns)))]
        if drawn < CHECKED and turn.agrees:
            good = rng.random() < 0.5
            chosen = [one for one in turn.agrees if (one[1] > 0) == good] or turn.agrees
            asked, label = chosen[int(rng.integers(len(chosen)))]
            return self._joined([(asked, False), ([self._bin(label, rng)], True)])
        parts: list[tuple[list[int], bool]] = [(turn.begun, False), (turn.plan, True)]
        graded = drawn < CHECKED + GRADED and bool(turn.right)
        last = len(turn.right) - (0 if not graded else 1 if rng.random() < LAST else int(rng.integers(1, len(turn.right) + 1)))
        if graded and last and rng.random() < ALONE:
            parts = []
        for right in turn.right[:last]:
            parts += [(right, False), ([self._bin(1.0, rng)], True)]
        if graded:
            wrong = turn.wrong[last]
            texts = [(turn.right[last], 1.0), *(wrong[at] for at in rng.permutation(len(wrong))[: int(rng.integers(1, BESIDE + 1))])]
            for at in rng.permutation(len(texts)):
                parts += [(texts[at][0], False), ([self._bin(texts[at][1], rng)], True)]
            return self._joined(parts)
        parts += [(self.layout.numbers([RESPOND]), False), (turn.response, True)]
        return self._joined(parts)

    def _bin(self, label: float, rng: np.random.Generator) -> int:
        """One of the two bins beside a label, drawn by their shares: in the mean the cross-entropy with the soft distribution."""
        shares = self.layout.control.soft(label)
        return self.layout.bins[int(np.searchsorted(np.cumsum(shares), rng.random() * 0.999_999))]

    def _joined(self, parts: Sequence[tuple[list[int], bool]]) -> Example:
        ids = np.concatenate([np.array(part, np.int32) for part, _ in parts])[: self.longest]
        return Example(ids, np.concatenate([np.full(len(part), learn) for part, learn in parts])[: self.longest])
