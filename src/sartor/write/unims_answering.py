"""From plans to answers for `unims_rag`: find source by source, write, and look again where an answer does not hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sartor.write.backends.backend import text_of
from sartor.write.parts.piece_search import ranked
from sartor.write.parts.refine import Draft, Refined, refine
from sartor.write.unims_minds import Conversation, Mind, Scored

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
Shelves = Mapping[str, Sequence[str]]
"""The texts of each source for one person."""


@dataclass(frozen=True)
class Reply:
    """An answer, and how it came about."""

    plan: tuple[str, ...]
    """Sources that were asked, in order; empty: none was needed."""
    evidence: tuple[Scored, ...]
    """What the answer was written from, with its relevance."""
    response: str
    revisions: int
    """How often it was written again."""
    stopped: str
    """Why not once more (`parts.refine.Refined.stopped`)."""
    notices: tuple[str, ...] = ()
    """What was cut."""


@dataclass(frozen=True, kw_only=True)
class Answering:
    """How conversations are answered; the numbers are those of `UniMSRAG`."""

    mind: Mind
    count: Callable[[str], int]
    """Tokens of a text."""
    slot: int
    top: int
    first: int
    rounds: int
    enough: float

    def planned(self, conversations: Sequence[Conversation], shelves: Sequence[Shelves]) -> list[Reply]:
        """Plan, find, write."""
        plans = self.mind.plans(conversations, [{name for name, texts in own.items() if texts} for own in shelves])
        return self._replies(conversations, shelves, plans, self._found(conversations, shelves, plans))

    def given(self, conversations: Sequence[Conversation], shelves: Sequence[Shelves], evidence: Sequence[Sequence[tuple[str, str]]]) -> list[Reply]:
        """Write from what another retriever found, graded first: (source, text) pairs in order."""
        plans = [tuple(dict.fromkeys(source for source, _ in own)) for own in evidence]
        return self._replies(conversations, shelves, plans, self._graded(conversations, evidence))

    def _replies(
        self, conversations: Sequence[Conversation], shelves: Sequence[Shelves], plans: Sequence[tuple[str, ...]],
        found: Sequence[tuple[Scored, ...]],
    ) -> list[Reply]:  # fmt: skip
        firsts = self._drafts(conversations, found)
        made = [self._refined(*one) for one in zip(conversations, shelves, plans, firsts, strict=True)]
        return [
            Reply(plan, one.best.evidence, one.best.response, one.revisions, one.stopped, self._notices(one.best.evidence, own))
            for plan, one, own in zip(plans, made, shelves, strict=True)
        ]

    def _found(
        self, conversations: Sequence[Conversation], shelves: Sequence[Mapping[str, Sequence[str]]], plans: Sequence[Sequence[str]],
        begun: Sequence[Sequence[Scored]] | None = None, tried: frozenset[tuple[str, str]] = frozenset(),
    ) -> list[tuple[Scored, ...]]:  # fmt: skip
        """The best texts of each planned source, source by source, since later ones are looked up by what was found before."""
        out = [list(one) for one in (begun or [()] * len(conversations))]
        for depth in range(max(map(len, plans), default=0)):
            rows = [at for at, plan in enumerate(plans) if len(plan) > depth and plan[depth] not in {one.source for one in out[at]}]
            asked: list[tuple[Conversation, Sequence[Scored], str, str]] = []
            owners: list[int] = []
            for at in rows:
                source = plans[at][depth]
                for text in self._candidates(conversations[at], out[at], [one for one in shelves[at][source] if (source, one) not in tried]):
                    asked.append((conversations[at], tuple(out[at]), source, self._cut(text)))
                    owners.append(at)
            scores = self.mind.relevance(asked)
            for at in rows:
                own = sorted((-float(scores[row]), row) for row, owner in enumerate(owners) if owner == at)[: self.top]
                out[at] += [Scored(asked[row][2], asked[row][3], -score) for score, row in own]
        return [tuple(one) for one in out]

    def _candidates(self, conversation: Conversation, found: Sequence[Scored], texts: Sequence[str]) -> list[str]:
        if len(texts) <= self.first:
            return list(texts)
        asked = " ".join([next((text_of(one) for one in reversed(conversation) if one["role"] == "user"), ""), *(one.text for one in found)])
        return [texts[at] for at in ranked("bm25", [asked], texts)[0][: self.first]]

    def _graded(self, conversations: Sequence[Conversation], evidence: Sequence[Sequence[tuple[str, str]]]) -> list[tuple[Scored, ...]]:
        out: list[list[Scored]] = [[] for _ in conversations]
        for depth in range(max(map(len, evidence), default=0)):
            rows = [at for at, own in enumerate(evidence) if len(own) > depth]
            asked = [(conversations[at], tuple(out[at]), evidence[at][depth][0], self._cut(evidence[at][depth][1])) for at in rows]
            for at, one, score in zip(rows, asked, self.mind.relevance(asked), strict=True):
                out[at].append(Scored(one[2], one[3], float(score)))
        return [tuple(one) for one in out]

    def _drafts(self, conversations: Sequence[Conversation], found: Sequence[tuple[Scored, ...]]) -> list[Draft[Scored]]:
        responses = self.mind.responses(list(zip(conversations, found, strict=True)))
        pairs = [(one.text, response) for own, response in zip(found, responses, strict=True) for one in own]
        grades = iter(self.mind.consistency(pairs).tolist())
        return [
            Draft(response, own, tuple(one.score for one in own), tuple(next(grades) for _ in own))
            for own, response in zip(found, responses, strict=True)
        ]

    def _refined(
        self, conversation: Conversation, shelves: Mapping[str, Sequence[str]], plan: Sequence[str], first: Draft[Scored]
    ) -> Refined[Scored]:  # fmt: skip
        tried: set[tuple[str, str]] = set()

        def draft(found: tuple[Scored, ...]) -> Draft[Scored]:
            return first if found is first.evidence else self._drafts([conversation], [found])[0]

        def other(last: Draft[Scored]) -> tuple[Scored, ...] | None:
            """Everything from the first text on that does not hold is looked for again, without what was tried."""
            marks = [a * b for a, b in zip(last.relevance, last.consistency, strict=True)]
            weak = next((at for at, mark in enumerate(marks) if mark < self.enough), None)
            if weak is None:
                return None
            source = last.evidence[weak].source
            tried.update((one.source, text) for one in last.evidence[weak:] if one.source == source for text in self._whole(one, shelves))
            kept = [one for one in last.evidence[:weak] if one.source != source]
            return self._found([conversation], [shelves], [plan], [kept], frozenset(tried))[0] or None

        return refine(first.evidence, draft, other, rounds=self.rounds, enough=self.enough)

    def _whole(self, one: Scored, shelves: Mapping[str, Sequence[str]]) -> list[str]:
        """The texts that a piece of evidence may have been cut from."""
        return [text for text in shelves[one.source] if self._cut(text) == one.text]

    def _cut(self, text: str) -> str:
        """A text that fits its slot: whole sentences, or, where the first alone is too long, whole words."""
        if self.count(text) <= self.slot:
            return text
        for parts in (_SENTENCE.split(text), text.split()):
            while parts and self.count(" ".join(parts)) > self.slot:
                parts.pop()
            if parts:
                return " ".join(parts)
        return ""

    def _notices(self, evidence: Sequence[Scored], shelves: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        known = {source: {*texts} for source, texts in shelves.items()}
        cut = [one for one in evidence if one.text not in known[one.source] and self._whole(one, shelves)]
        return tuple(f"a text of {one.source} was cut to {self.slot} tokens" for one in cut)
