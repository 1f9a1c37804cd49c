"""A small language model that was trained on talks in which assistants forget, unless they are reminded."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sartor.data.world import World
from sartor.write.backends.backend import Backend, Message
from sartor.write.backends.tiny import tiny_writer
from sartor.write.parts.causal_lm import CausalLM, LMConfig
from sartor.write.parts.language_model import LanguageModel
from sartor.write.parts.lm_training import Example, Lesson, teach
from sartor.write.parts.tokenizer import Tokenizer
from sartor.write.prefeval import REMINDER, Case, PrefEval
from sartor.write.prefeval_world import PrefEvalWorld

TURNS = (0, 2, 5, 10)
LONGEST = TURNS[-1]
"""Turns between preference and question, at most; about 130 tokens."""
WIDTH = 320
KINDS = ("statement", "acknowledgement", "question", "answer")
"""Turns of the persona storey's dialogues that are taken: the long ones would cost the most and teach nothing here."""


def remembers(turns: int) -> float:
    """How often an assistant of the training talks follows a preference of which it is not reminded, so many turns later."""
    return float(0.95 * 0.5 ** (turns / 2))


def dialogues(people: int, seed: int) -> list[list[Message]]:
    """What people of the persona storey tell of themselves and ask about it: facts that have nothing to do with the preferences."""
    personas = World(people=people, items=200, seed=seed).personas(replies_each=1, dialogues=2)
    rows = personas.population().texts.collect()
    rows = rows.filter(rows["kind"].is_in(KINDS)).sort("person", "dialogue", "turn")
    return [
        [{"role": role, "content": text} for role, text in zip(own["role"], own["text"], strict=True)]
        for own in rows.partition_by("person", "dialogue", maintain_order=True)
    ]


class Talks:
    """Draws training talks: a preference, other turns, a question, and an answer that has forgotten the preference or not."""

    def __init__(self, world: PrefEvalWorld, cases: Sequence[Case], pool: Sequence[Sequence[Message]], tokenizer: Tokenizer, longest: int) -> None:
        self.world, self.cases, self.tokenizer, self.longest = world, cases, tokenizer, longest
        self.turns = [list(talk[at : at + 2]) for talk in pool for at in range(0, len(talk), 2)]
        self._known: dict[tuple[str, str], list[int]] = {}

    def __call__(self, rng: np.random.Generator) -> Example:
        case = self.cases[int(rng.integers(len(self.cases)))]
        between = int(rng.integers(0, self.longest + 1))
        start = int(rng.integers(len(self.turns)))
        others = [one for at in range(between) for one in self.turns[(start + at) % len(self.turns)]]
        reminded = rng.random() < 0.5
        follows = reminded or rng.random() < remembers(between)
        thing = self.world.fitting(case)[0] if follows else self.world.natural[case.id]
        question = f"{REMINDER}\n\n{case.question}" if reminded else case.question
        last: list[Message] = [{"role": "user", "content": question}, {"role": "assistant", "content": f"I recommend {thing.name}."}]
        ids, learn = [], []
        # What lies between is only read.
        for part, own in ((case.reveal, True), (others, False), (last, True)):
            tokens = [token for one in part for token in self._message(one)]
            ids += tokens
            learn += [own] * len(tokens)
        return Example(np.array(ids[-WIDTH:], np.int32), np.array(learn[-WIDTH:]))

    def _message(self, one: Message) -> list[int]:
        key = str(one["role"]), str(one["content"])
        if key not in self._known:
            self._known[key] = self.tokenizer.message(*key)
        return self._known[key]


def measured(seed: int, *, cases: int = 200, tokens: int = 800_000) -> dict[str, list[float]]:
    """Accuracy by `TURNS` of a model trained for this seed, on cases and talks that it has not seen: as it is, reminded, and reminded where
    somebody else's preference stands in place of the person's.
    """
    world = PrefEvalWorld(cases=cases + 2_000, popular=True, seed=seed)
    pool = dialogues(300, seed)
    writer = trained(world, world.cases[cases:], pool[:-40], tokens=tokens, seed=seed)
    own = world.cases[:cases]
    others = [replace(one, reveal=_another(world, own, number).reveal) for number, one in enumerate(own)]
    curves = {}
    for name, given, strategy in (("zero-shot", own, "zero-shot"), ("reminder", own, "reminder"), ("reminder, another's", others, "reminder")):
        table = PrefEval(given, pool[-40:], seed=seed).run(writer, world.judge, strategies=(strategy,), turns=TURNS, max_tokens=10)  # type: ignore[arg-type]
        curves[name] = table["accuracy"].to_list()
    return curves


def _another(world: PrefEvalWorld, cases: Sequence[Case], number: int) -> Case:
    """The next case about the same kind of thing that wants something else, or the next one at all."""
    after = [*cases[number + 1 :], *cases[:number]]
    mine = world.truth[cases[number].id]
    return next((one for one in after if one.topic == cases[number].topic and world.truth[one.id] != mine), after[0])


def trained(world: PrefEvalWorld, cases: Sequence[Case], pool: Sequence[Sequence[Message]], *, tokens: int, seed: int) -> Backend:
    """A writer over a model that has learned from these cases and this pool, from nothing."""
    every = [str(one["content"]) for talk in pool for one in talk] + [str(one["content"]) for case in cases for one in case.reveal]
    every += [f"{REMINDER}\n\n{case.question}" for case in cases] + [f"I recommend {one.name}." for one in world.things for _ in range(2)]
    tokenizer = Tokenizer.learn(every, kind="word", vocabulary=1_200)
    network = CausalLM(LMConfig(vocabulary=len(tokenizer), max_tokens=WIDTH), seed=seed)
    lesson = Lesson(network, soft=tokenizer.soft, seed=seed)
    # What is liked is learned first, and only then to find it far back and to forget.
    for longest, share in ((0, 0.25), (LONGEST, 0.75)):
        talks = Talks(world, cases, pool, tokenizer, longest)
        teach(lesson, talks, tokens=round(share * tokens), width=WIDTH, rows=1, learning_rate=3e-3, final=0.2, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        return tiny_writer(LanguageModel(network.eval(), tokenizer).save(f"{folder}/lm"))
