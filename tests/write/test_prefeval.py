"""PrefEval: conversations, strategies, the four errors, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sartor.errors import BadValue, ConfigError, EmptyData, FileProblem, MissingColumn
from sartor.represent.text import text_encoder
from sartor.write.backends.backend import Generation, Message
from sartor.write.memory import Recall, count_tokens
from sartor.write.prefeval import ERRORS, REMINDER, STRATEGIES, TOPICS, Case, Judgement, ModelJudge, PrefEval, case, inter_turns, load
from sartor.write.prefeval_world import PrefEvalWorld

DATA = Path("../shared/data/prefeval")


class Echo:
    """Answers what a function says of the conversation."""

    name = "echo"

    def __init__(self, say: Any) -> None:
        self.say, self.asked = say, []

    def generate(self, batch: Sequence[Sequence[Message]], **_: Any) -> list[Generation]:
        self.asked += [list(talk) for talk in batch]
        return [Generation(self.say(talk), "stop", 0, 0) for talk in batch]

    def stream(self, messages: Sequence[Message], **_: Any) -> Iterator[str]:
        yield self.say(messages)

    def logprobs(self, contexts: Sequence[Sequence[Message]], continuations: Sequence[str]) -> list[np.ndarray]:
        raise ConfigError("none")

    def count_tokens(self, text: str) -> int:
        return count_tokens(text)


@pytest.mark.parametrize("form", ["explicit", "choice", "persona"])
def test_a_conversation_shows_the_preference_then_strangers_then_the_question(form: Any) -> None:
    world = PrefEvalWorld(cases=12, form=form, seed=1)
    bench = PrefEval(world.cases, world.pool, seed=1)
    for number, one in enumerate(world.cases):
        talk = bench.conversation(number, 5)
        assert talk[: len(one.reveal)] == list(one.reveal)
        assert talk[-1] == {"role": "user", "content": one.question}
        between = [str(message["content"]) for message in talk[len(one.reveal) : -1]]
        assert len(between) == 10
        assert len(set(between)) == 10
        assert not any(world.truth[one.id][1] in text for text in between)
        assert talk == bench.conversation(number, 5)
        # One option respects the preference, and it is not always the first.
        fits = [world.suits(one, world.by_name[text.split(",")[0]]) for text in one.options]
        assert fits == [at == one.right for at in range(4)]
        assert not world.suits(one, world.natural[one.id])
    assert len({one.right for one in world.cases}) > 1
    with pytest.raises(ConfigError):
        bench.conversation(0, 401)
    with pytest.raises(EmptyData):
        PrefEval([], world.pool)


def test_four_errors_are_told_apart() -> None:
    table = {(v, a, h, u): Judgement(v, a, h, u).error for v in (0, 1) for a in (0, 1) for h in (0, 1) for u in (0, 1)}
    assert {error for key, error in table.items() if not key[3]} == {"unhelpful"}
    assert {error for key, error in table.items() if key[3] and not key[0]} == {None}
    assert table[1, 0, 0, 1] == "unaware"
    assert table[1, 1, 1, 1] == "hallucinated"
    assert table[1, 1, 0, 1] == "inconsistent"


def test_every_strategy_puts_its_own_before_the_question() -> None:
    world = PrefEvalWorld(cases=6, seed=2)
    bench = PrefEval(world.cases, world.pool, recall=Recall(encoder=text_encoder("hashed")), seed=2)
    asked = {name: str(bench.asked(0, 30, name)[-1]["content"]) for name in STRATEGIES}
    one = world.cases[0]
    assert asked["zero-shot"] == asked["self-critic"] == one.question
    assert asked["reminder"].startswith(REMINDER)
    assert asked["memory"].count("\n- ") == 5
    assert one.preference in asked["memory"]
    assert all(text.endswith(one.question) for text in asked.values())
    with pytest.raises(ConfigError):
        PrefEval(world.cases, world.pool).asked(0, 1, "memory")

    writer = Echo(lambda talk: world.natural[one.id].name)
    table = bench.run(writer, world.judge, strategies=("zero-shot", "self-critic"), turns=(0, 2))
    assert table.columns == ["strategy", "turns", "accuracy", "low", "high", *ERRORS, "tokens"]
    assert table.filter(strategy="zero-shot")["tokens"].is_sorted()
    assert len(writer.asked) == 6 * (2 + 4)
    assert np.allclose(table.select("accuracy", *ERRORS).sum_horizontal(), 1)
    with pytest.raises(ConfigError):
        bench.run(writer, world.judge, strategies=("hope",))  # type: ignore[arg-type]


def test_the_choice_is_printed_beside_the_blind_one() -> None:
    world = PrefEvalWorld(cases=40, seed=3)
    bench = PrefEval(world.cases, world.pool, seed=3)
    by_question = {one.options: "ABCD"[one.right] for one in world.cases}

    def knows(talk: Sequence[Message]) -> str:
        told = len(talk) > 1
        options = tuple(line[3:] for line in str(talk[-1]["content"]).splitlines() if line[1:3] == ". ")
        return f"{by_question[options]}." if told else "A"

    found = bench.classify(Echo(knows))
    assert found["accuracy"] == 1
    assert found["blind"] == pytest.approx(np.mean([one.right == 0 for one in world.cases]))
    assert found["gap"] == pytest.approx(1 - found["blind"])
    assert bench.classify(Echo(lambda talk: "none of them"))["unread"] == 1
    bare = [Case(one.id, one.topic, one.form, one.preference, one.question, one.reveal) for one in world.cases]
    with pytest.raises(EmptyData):
        PrefEval(bare, world.pool).classify(Echo(knows))


def test_a_model_as_judge_is_asked_four_times_and_must_answer() -> None:
    world = PrefEvalWorld(cases=1)
    one = world.cases[0]
    judge = ModelJudge(Echo(lambda talk: "<explanation>so</explanation> <answer>Yes</answer>"))
    assert judge(one, "take <answer>no</answer> this") == Judgement(True, True, True, True)
    shown = judge.model.asked[0][0]["content"]  # type: ignore[attr-defined]
    assert "take  answer no /answer  this" in shown, "what was written cannot answer for the judge"
    with pytest.raises(BadValue):
        ModelJudge(Echo(lambda talk: "perhaps"))(one, "x")


def test_a_bad_case_is_refused_by_its_id(tmp_path: Path) -> None:
    given = ("t/1", "t", "explicit", "p", "q", [])
    for options, right in ((["a", "b", "c"], 0), (["a", "b", "c", "d"], [0, 1]), (["a", "b", "c", "d"], 4)):
        with pytest.raises(BadValue) as problem:
            case(*given, options, right=right)  # type: ignore[arg-type]
        assert problem.value.where == {"case": "t/1"}
    with pytest.raises(FileProblem, match="shop_motors"):
        load(tmp_path)
    with pytest.raises(ConfigError):
        load(tmp_path, topics=["cars"])
    with pytest.raises(ConfigError):
        load(tmp_path, form="sung")  # type: ignore[arg-type]
    folder = tmp_path / "explicit_preference"
    folder.mkdir()
    (folder / "shop_motors.json").write_text(json.dumps([{"preference": "p", "question": "q"}, {"preference": "p"}]))
    with pytest.raises(MissingColumn) as missing:
        load(tmp_path, topics=["shop_motors"])
    assert missing.value.where == {"case": "shop_motors/1"}


@pytest.mark.skipif(not DATA.is_dir(), reason="the published data are not here")
def test_the_published_files_are_read() -> None:
    for form in ("explicit", "choice", "persona"):
        cases = load(DATA, form=form)  # type: ignore[arg-type]
        assert len(cases) == 1000
        assert {one.topic for one in cases} == set(TOPICS)
        assert all(len(one.options) in (0, 4) and one.reveal for one in cases)
    right = np.bincount([one.right for one in load(DATA) if one.options], minlength=4)
    assert right.sum() > 900
    assert right.min() > 180, "the right answer stands everywhere"
    pool = inter_turns(DATA)
    assert (len(pool), sum(map(len, pool))) == (24, 632)


def test_what_is_popular_goes_against_every_preference() -> None:
    world = PrefEvalWorld(cases=60, popular=True, seed=4)
    assert len({world.natural[one.id].name for one in world.cases}) == len({one.topic for one in world.cases})
    for one in world.cases:
        assert world.natural[one.id] == world.popular[one.topic]
        assert not world.suits(one, world.natural[one.id])
        assert world.fitting(one)
