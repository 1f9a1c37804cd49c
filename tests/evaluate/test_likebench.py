"""LikeBench: exact scores of what is planted, nothing leaks, empty answers count, models behind a backend take part."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sartor.errors import BadValue, ConfigError, EmptyData, MissingColumn
from sartor.evaluate.likebench import (
    ASPECTS,
    BackendAssistant,
    LanguageUser,
    LikeBenchResult,
    Message,
    Oracle,
    ProfileBased,
    Remembering,
    RuleUser,
    Static,
    StyleLearner,
    likebench,
    personas,
    priors,
)
from sartor.evaluate.likebench.persona import FACETS, Persona
from sartor.evaluate.likebench.run import answers
from sartor.evaluate.likebench.user import Question, questions
from sartor.write.backends.backend import Generation

PEOPLE = personas(12, seed=100)


def run(make: Any, **more: Any) -> LikeBenchResult:
    return likebench(make, PEOPLE, sessions=3, turns=6, seed=100, **more)


def test_what_is_known_of_the_assistants_shows() -> None:
    oracle, memory = run(lambda number: Oracle(persona=PEOPLE[number])), run(lambda _: Remembering())
    style, static = run(lambda _: StyleLearner()), run(lambda _: Static())
    assert set(np.unique(oracle.scores[~np.isnan(oracle.scores)])) == {5.0}
    assert np.nanmin(oracle.memory_accuracy) == 1.0
    assert style.likability.mean() > 1.15 * memory.likability.mean() > 1.15 * static.likability.mean() / 1.1
    assert np.nanmean(memory.answered["explicit"]) == 1.0 > np.nanmean(style.answered["explicit"]) == 0.0
    assert (memory.aspects["reference"], memory.aspects["callback"], style.aspects["callback"]) == (5.0, 5.0, 2.0)
    assert style.facts.max() == 0 < memory.facts[:, -1].min()
    assert (np.diff(memory.bytes, axis=1) >= 0).all()
    # The bounded profile forgets, and noise misleads it.
    profile, noisy = (run(lambda _: ProfileBased(room=2), noise=share) for share in (0.0, 0.8))
    assert profile.facts.max() == 2
    assert noisy.likability.mean() < profile.likability.mean()
    table = style.table()
    assert table["aspect"].to_list() == [*ASPECTS, "all"]
    assert json.loads(json.dumps(style.to_dict()))["aspects"]["emotion"] == pytest.approx(style.aspects["emotion"])


def test_a_turn_without_a_chance_is_not_scored() -> None:
    persona = replace(PEOPLE[0], disclosure=1.0, curious=0.0, allusion=0.0)
    user = RuleUser(persona=persona, number=0, seed=1)
    prior = replace(priors(persona, 1, seed=0)[0], mood="joyful")
    user.start(0, prior)
    said = user.speak(0, ())
    plain = Message(text="Well.", **persona.wanted(said.emotion))
    values = user.score(plain).values
    assert values["knowledge"] is values["reference"] is values["callback"] is None
    assert values["formality"] == values["length"] == 5
    # One step, two, three off; a joke nobody asked for; a fact where it does not belong.
    steps = [user.score(replace(plain, formality=at)).values["formality"] for at in range(1, 6)]
    assert steps == [{0: 5, 1: 3, 2: 2}.get(abs(at - persona.formality), 1) for at in range(1, 6)]
    assert user.score(replace(plain, told=dict(said.told) or {"x": "y"})).values["callback"] == 2
    # Who alludes is understood, asked, or missed.
    user.persona = replace(persona, allusion=1.0)
    alluding = user.speak(1, (said, plain))
    assert alluding.alludes in user.told
    right = user.told[alluding.alludes][0].value
    for answer, score in (({alluding.alludes: right}, 5), ({alluding.alludes: "somebody"}, 1), ({}, 1)):
        assert user.score(replace(plain, told=answer)).values["reference"] == score
    assert user.score(replace(plain, asks_back=True)).values["reference"] == 3


def test_everybody_meets_the_same_people_and_nobody_sees_the_profile() -> None:
    heard: dict[str, list[Message]] = {}

    class Listening(Static):
        name = ""

        def reply(self, message: Message, dialogue: Sequence[Message]) -> Message:
            heard.setdefault(self.name, []).append(replace(message, complaints={}))
            made = super().reply(message, dialogue)
            return replace(made, formality=5) if self.name == "stiff" else made

    for name in ("plain", "stiff"):
        kind = type(name, (Listening,), {"name": name})
        run(lambda _, kind=kind: kind())
    assert heard["plain"] == heard["stiff"]
    assert {field for one in heard["plain"] for field in vars(one)} <= set(Message.__dataclass_fields__)
    # Only told facts are asked for, one explicit and one implicit question each, and nobody else's value passes for right.
    told = {PEOPLE[0].facts[0].key: (PEOPLE[0].facts[0], 0)}
    asked = questions(told, PEOPLE[0])
    assert [(one.key, bool(one.options)) for one in asked] == [(PEOPLE[0].facts[0].key, False), (PEOPLE[0].facts[0].key, True)]
    assert answers("It is Ada, I think.", Question("", "k", "t", "Ada"), ["Ada", "Leo"])
    assert not answers("Ada or Leo", Question("", "k", "t", "Ada"), ["Ada", "Leo"])


def test_personas_are_fine_grained_and_sessions_follow() -> None:
    assert sum(map(len, FACETS.values())) == 35 == len(PEOPLE[0].facets)
    many = personas(200, seed=3)
    assert {one.strategy for one in many} == {"social", "antisocial"}
    assert 0.3 < np.mean([one.predictable for one in many]) < 0.7
    assert all(len({fact.key for fact in one.facts}) == len(one.facts) for one in many)
    assert personas(3, seed=3) == many[:3]
    told = priors(many[0], 40, seed=1)
    assert all(before.topic != after.topic for before, after in pairwise(told))
    assert many[0].facts[0].value in many[0].text()
    facts = {name: getattr(many[0], name) for name in Persona.__dataclass_fields__}
    assert Persona.from_dict(facts | {"facts": [vars(one) for one in many[0].facts]}) == many[0]


class Model:
    """A language model that answers by what the prompt asks for."""

    name = "scripted"

    def __init__(self, reply: str = "Hello.", scores: Mapping[str, int | None] | None = None) -> None:
        self.reply, self.scores, self.seen = reply, scores, list[str]()

    def generate(self, batch: Sequence[Sequence[Mapping[str, Any]]], **_: Any) -> list[Generation]:
        out = []
        for messages in batch:
            prompt = "\n".join(str(one["content"]) for one in messages)
            self.seen.append(prompt)
            if "Score the answer" in prompt:
                text = json.dumps(self.scores) if self.scores else "no idea"
            elif '"asks_back"' in prompt and "as JSON" in prompt:
                text = self.reply
            elif "Rewrite the profile" in prompt:
                text = "likes short answers\nher dog is Leo"
            else:
                text = self.reply
            out.append(Generation(text, "stop", 0, 1))
        return out

    def stream(self, messages: Any, **_: Any) -> Iterator[str]:
        yield self.reply

    def logprobs(self, *_: Any) -> list[np.ndarray]:
        return []

    def count_tokens(self, text: str) -> int:
        return len(text.split())


def test_language_models_take_part() -> None:
    scores = dict.fromkeys(ASPECTS, 4) | {"callback": None}
    judge, helper = Model(f"My friend is {PEOPLE[0].facts[0].value}.", scores), Model("I see.")
    made = likebench(
        lambda _: BackendAssistant(backend=helper),
        PEOPLE[:1],
        sessions=2,
        turns=2,
        user=lambda persona, _: LanguageUser(persona=persona, backend=judge),
    )
    assert np.nanmax(made.scores) == np.nanmin(made.scores) == 4
    assert np.isnan(made.scores[..., ASPECTS.index("callback")]).all()
    assert made.facts.tolist() == [[2, 2]]
    assert made.answered["explicit"].tolist() == [0.0]
    # The profile stands before the person who speaks and scores, and never before the assistant.
    assert all(PEOPLE[0].text() in one for one in judge.seen)
    assert not any(PEOPLE[0].text() in one for one in helper.seen)
    unread = likebench(
        lambda _: Static(), PEOPLE[:1], sessions=2, turns=1, user=lambda persona, _: LanguageUser(persona=persona, backend=Model("Hm."))
    )
    assert np.isnan(unread.scores).all()
    assert all("no scores" in reason for *_, reason in unread.failures)
    # In the structured form a model meets the rule users, and is scored exactly.
    answer = {"text": "So.", "formality": 1, "length": 1, "humor": 1, "level": 1, "emotion": "", "told": {}, "asks_back": False}
    exact = run(lambda _: BackendAssistant(backend=Model(json.dumps(answer)), structured=True, keeps_profile=False))
    wanted = run(lambda _: type("Fixed", (Static,), {"_style": lambda *_: {"formality": 1, "length": 1, "humor": 1}})())
    at = ASPECTS.index("formality")
    np.testing.assert_array_equal(exact.scores[..., at], wanted.scores[..., at])


def test_what_it_refuses_and_what_it_survives() -> None:
    silent = run(lambda _: type("Silent", (Static,), {"reply": lambda *_: Message(text=" ")})())
    assert np.nanmax(silent.scores) == 1
    assert len(silent.failures) == 12 * 3 * 6
    assert silent.failures[0] == (0, 0, 0, "the answer is empty")
    broken = run(lambda _: BackendAssistant(backend=Model("no JSON"), structured=True, keeps_profile=False))
    assert np.nanmax(broken.scores) == 1
    model = Model()
    facts = {name: getattr(PEOPLE[0], name) for name in Persona.__dataclass_fields__}
    with pytest.raises(MissingColumn, match="formality"):
        Persona.from_dict({name: value for name, value in facts.items() if name != "formality"})
    with pytest.raises(BadValue, match="persona"):
        likebench(lambda _: BackendAssistant(backend=model), [facts])  # type: ignore[list-item]
    assert not model.seen
    for wrong, error in (
        ({"humor": 6}, BadValue), ({"humor": 2.5}, BadValue), ({"frankness": 2.0}, BadValue), ({"responses": {}}, BadValue),
        ({"facts": ()}, EmptyData), ({"facts": [{"key": "a"}]}, BadValue),
    ):  # fmt: skip
        with pytest.raises(error):
            Persona.from_dict(facts | wrong)
    for call in (
        lambda: likebench(lambda _: Static(), PEOPLE, sessions=1),
        lambda: likebench(lambda _: Static(), PEOPLE, noise=2.0),
        lambda: likebench(lambda _: Static(), PEOPLE, noise=0.1, user=lambda persona, at: RuleUser(persona=persona, number=at)),
        lambda: personas(0),
    ):
        with pytest.raises(ConfigError):
            call()
    with pytest.raises(EmptyData):
        likebench(lambda _: Static(), [])
