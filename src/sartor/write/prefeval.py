"""PrefEval: is a preference that was stated, or only shown, still respected after many unrelated turns?

    cases = load("PrefEval/benchmark_dataset", form="explicit")
    table = PrefEval(cases, pool=inter_turns("PrefEval/benchmark_dataset")).run(writer, judge, strategies=("zero-shot", "reminder"), turns=(0, 10))

A conversation is the preference (stated; shown by a choice; or shown in a dialogue), then so many unrelated turns, then a question whose natural
answer goes against it. An answer counts when it makes none of four errors, from four yes/no judgements: does it violate the preference, does
it acknowledge one, is that one made up, is it helpful.

Source: Zhao et al., Do LLMs Recognize Your Preferences? Evaluating Personalized Preference Following in LLMs, ICLR 2025. The data (CC BY-NC 4.0) is
never part of this package: give the folder of a copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import polars as pl

from sartor.errors import BadValue, ConfigError, EmptyData
from sartor.parts.statistics import wilson
from sartor.write.backends.backend import Backend, Message
from sartor.write.memory.recall import Recall
from sartor.write.memory.records import Memory
from sartor.write.prefeval_data import TOPICS, Case, case, inter_turns, load

Strategy = Literal["zero-shot", "reminder", "chain-of-thought", "retrieval", "memory", "self-critic"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
ERRORS = ("unaware", "hallucinated", "inconsistent", "unhelpful")
REMINDER = "When you answer, keep in mind what I told you earlier that I like and dislike."
THOUGHT = "First recall, step by step, what I told you that I like and dislike, and what follows from it; then answer."
CRITIC = "Look at your answer again: does it go against anything that I told you I like or dislike? Then write a better answer, and only that."


@dataclass(frozen=True)
class Judgement:
    """Four yes/no answers about one answer."""

    violates: bool
    acknowledges: bool
    hallucinated: bool
    """The preference that it acknowledges is not the person's."""
    helpful: bool

    @property
    def error(self) -> str | None:
        """Which of the four errors it is; None when it is none."""
        if not self.helpful:
            return "unhelpful"
        if not self.violates:
            return None
        if not self.acknowledges:
            return "unaware"
        return "hallucinated" if self.hallucinated else "inconsistent"


Judge = Callable[[Case, str], Judgement]


@dataclass
class PrefEval:
    """The benchmark over some cases.

    Parameters
    ----------
    cases: as `load` gives them.
    pool: unrelated conversations, one after another as in the paper; turn n of a case starts at a place drawn from `seed`.
    recall: finds messages for the strategies "retrieval" (plain cosine) and "memory" (all parts of `write.memory.Recall`).
    k: messages that those two put before the question.
    seed: of the places in the pool.
    """

    cases: Sequence[Case]
    pool: Sequence[Sequence[Message]]
    recall: Recall | None = None
    k: int = 5
    seed: int = 0
    _turns: list[tuple[Message, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.cases:
            raise EmptyData("there are no cases", fix="load some")
        flat = [message for talk in self.pool for message in talk]
        # A turn is what the user says and what is answered.
        starts = [at for at, one in enumerate(flat) if one["role"] == "user"]
        self._turns = [tuple(flat[start:end]) for start, end in zip(starts, [*starts[1:], len(flat)], strict=True)]

    def conversation(self, number: int, turns: int) -> list[Message]:
        """Case `number` with so many unrelated turns, and the question at the end. Raises `ConfigError` for more turns than the pool has."""
        if not 0 <= turns <= len(self._turns):
            raise ConfigError(f"{turns} turns are wanted, the pool has {len(self._turns)}", fix="use fewer: none is said twice")
        one = self.cases[number]
        start = int(np.random.default_rng([self.seed, 29, number]).integers(len(self._turns))) if self._turns else 0
        between = [self._turns[(start + at) % len(self._turns)] for at in range(turns)]
        return [*one.reveal, *(message for turn in between for message in turn), {"role": "user", "content": one.question}]

    def asked(self, number: int, turns: int, strategy: Strategy) -> list[Message]:
        """The conversation as a strategy puts it to the writer."""
        talk = self.conversation(number, turns)
        question = str(talk[-1]["content"])
        added = {"reminder": REMINDER, "chain-of-thought": THOUGHT}.get(strategy)
        if strategy in ("retrieval", "memory"):
            said = self._recalled(talk[:-1], question, strategy)
            added = "Earlier in this conversation:\n" + "\n".join(f"- {one}" for one in said)
        return [*talk[:-1], {"role": "user", "content": f"{added}\n\n{question}" if added else question}]

    def run(
        self, writer: Backend, judge: Judge, *, strategies: Sequence[Strategy] = ("zero-shot",), turns: Sequence[int] = (0, 10), batch: int = 32,
        max_tokens: int = 256,
    ) -> pl.DataFrame:  # fmt: skip
        """One row per strategy and number of turns: accuracy with its interval, the share of each error, and tokens of an average prompt."""
        if unknown := [one for one in strategies if one not in STRATEGIES]:
            raise ConfigError(f"there is no strategy {unknown}", fix=f"use {', '.join(STRATEGIES)}")
        rows = []
        for strategy in strategies:
            for between in turns:
                asked = [self.asked(number, between, strategy) for number in range(len(self.cases))]
                answers = _written(writer, asked, batch, max_tokens)
                if strategy == "self-critic":
                    again = [
                        [*talk, {"role": "assistant", "content": answer}, {"role": "user", "content": CRITIC}]
                        for talk, answer in zip(asked, answers, strict=True)
                    ]
                    answers = _written(writer, again, batch, max_tokens)
                errors = [judge(one, answer).error for one, answer in zip(self.cases, answers, strict=True)]
                low, high = wilson(errors.count(None), len(errors))
                tokens = np.mean([sum(writer.count_tokens(str(one["content"])) for one in talk) for talk in asked])
                shares = {name: errors.count(name) / len(errors) for name in ERRORS}
                row = {"strategy": strategy, "turns": between, "accuracy": errors.count(None) / len(errors), "low": low, "high": high}
                rows.append(row | shares | {"tokens": float(tokens)})
        return pl.DataFrame(rows)

    def classify(self, writer: Backend, *, strategy: Strategy = "zero-shot", turns: int = 0, batch: int = 32) -> dict[str, float]:
        """The cheap version: pick one of four answers. Beside the accuracy stands that of the same writer without the preference, which the options
        alone may already give away: the gap is the score.
        """
        numbers = [number for number, one in enumerate(self.cases) if one.options]
        if not numbers:
            raise EmptyData("no case has options", fix="load the data with its mcq_options")
        own = [_choice(self.asked(number, turns, strategy), self.cases[number]) for number in numbers]
        blind = [_choice([{"role": "user", "content": self.cases[number].question}], self.cases[number]) for number in numbers]
        right = [self.cases[number].right for number in numbers]
        found = {name: _picked(_written(writer, asked, batch, 8)) for name, asked in (("accuracy", own), ("blind", blind))}
        shares = {name: float(np.mean([a == b for a, b in zip(picks, right, strict=True)])) for name, picks in found.items()}
        return shares | {"gap": shares["accuracy"] - shares["blind"], "unread": float(np.mean([one < 0 for one in found["accuracy"]]))}

    def _recalled(self, talk: Sequence[Message], question: str, strategy: Strategy) -> list[str]:
        if self.recall is None:
            raise ConfigError(f"the strategy {strategy} needs a recall", fix="give recall=Recall(encoder=text_encoder(...))")
        memories = as_memories([str(one["content"]) for one in talk], user=[one["role"] == "user" for one in talk])
        recall = self.recall if strategy == "memory" else Recall(encoder=self.recall.encoder, words=0, around=0, recency=0, statement=0, polarity=0)
        return [one.memory.text for one in recall.recall(question, memories, self.k, now=0.0)]


def as_memories(messages: Sequence[str], *, user: Sequence[bool] | None = None) -> list[Memory]:
    """Messages as they are kept whole: each with the sign of what the user states in it about herself."""
    from sartor.write.memory.extraction import stated_polarity
    from sartor.write.memory.records import LONGEST

    mine = user or [True] * len(messages)
    return [
        Memory(f"{at}", text[:LONGEST], kind="message", polarity=stated_polarity(text) if own else 0.0, source="conversation")
        for at, (text, own) in enumerate(zip(messages, mine, strict=True))
    ]


@dataclass
class ModelJudge:
    """A language model as the judge: four questions, each answered in XML; an answer that cannot be read is asked again once, then refused."""

    model: Backend
    max_tokens: int = 200
    _TAG = re.compile(r"<answer>\s*(yes|no)\s*</answer>", re.IGNORECASE)

    QUESTIONS = (
        ("violates", "Does the reply recommend or do anything that goes against the preference? A reply that recommends nothing does not."),
        ("acknowledges", "Does the reply say, in whatever words, that it takes a preference of the user into account?"),
        ("hallucinated", "Is the preference that the reply speaks of another one than the stated one? Answer no when it speaks of none."),
        ("helpful", "Does the reply answer the question with something that the user can act on?"),
    )

    def __call__(self, case: Case, answer: str) -> Judgement:
        """See `Judge`; raises `BadValue` when the model twice answers neither yes nor no."""
        return Judgement(**{name: self._ask(case, answer, question) for name, question in self.QUESTIONS})

    def _ask(self, case: Case, answer: str, question: str) -> bool:
        # What was written is data: it stands in tags of its own, and tags inside it are taken out.
        parts = {"preference": case.preference, "question": case.question, "reply": answer}
        shown = "\n".join(f"<{name}>{re.sub('[<>]', ' ', text)}</{name}>" for name, text in parts.items())
        asked = f"{shown}\n\n{question}\nExplain in one sentence inside <explanation> tags, then write <answer>yes</answer> or <answer>no</answer>."
        for seed in (0, 1):
            made = self.model.generate([[{"role": "user", "content": asked}]], max_tokens=self.max_tokens, seed=seed, temperature=float(seed))[0]
            if found := self._TAG.findall(made.text):
                return str(found[-1]).lower() == "yes"
        raise BadValue("the judge answers neither yes nor no", fix="use a more capable model as the judge", case=case.id)


def _written(writer: Backend, asked: Sequence[Sequence[Message]], batch: int, max_tokens: int) -> list[str]:
    parts = (asked[start : start + batch] for start in range(0, len(asked), batch))
    return [one.text for part in parts for one in writer.generate(part, max_tokens=max_tokens)]


def _choice(talk: Sequence[Message], case: Case) -> list[Message]:
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCD", case.options, strict=True))
    text = f"{talk[-1]['content']}\n\nWhich of these answers suits me best? Answer with its letter only.\n{listed}"
    return [*talk[:-1], {"role": "user", "content": text}]


def _picked(answers: Sequence[str]) -> list[int]:
    found = [re.search(r"\b([A-D])\b", answer) for answer in answers]
    return ["ABCD".index(one[1]) if one else -1 for one in found]


__all__ = ["STRATEGIES", "TOPICS", "Case", "Judgement", "ModelJudge", "PrefEval", "as_memories", "case", "inter_turns", "load"]
