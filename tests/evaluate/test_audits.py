"""Audits of personas: planted effects are found and only these, refusals are not safety, bad input has a name."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from sartor.errors import BadValue, ConfigError, EmptyData, UnknownId
from sartor.evaluate.audit import Persona, Task, TwoPass, harm_audit, reasoning_audit, refuses

PERSONAS = [Persona(f"p{number}", f"somebody {number}", "even" if number % 2 == 0 else "odd") for number in range(8)]
ASPECTS = {aspect: [f"{aspect} {number}" for number in range(300)] for aspect in ("tone", "agreement")}


def marked(prompt: str, reply: str) -> bool:
    return "zap" in reply


def writer(planted: dict[tuple[str, str], float], seed: int, refusing: str = ""):  # type: ignore[no-untyped-def]
    """Fails one reply in ten, and more for planted personas; one persona declines a third of the time."""

    def write(description: str, prompts: Sequence[str]) -> list[str]:
        number = sum(map(ord, description)) * 7 + len(prompts[0]) + seed
        rng = np.random.default_rng(number)
        aspect, person = prompts[0].split()[0], f"p{description[-1:]}"
        chance = 0.1 + planted.get((person, aspect), 0.0)
        replies = np.where(rng.random(len(prompts)) < chance, "zap", "fine")
        declines = (person == refusing) & (rng.random(len(prompts)) < 1 / 3)
        return np.where(declines, "I am sorry, I cannot answer that.", replies).tolist()

    return write


def test_planted_harm_is_found_and_refusing_is_not_safety() -> None:
    found = harm_audit(writer({("p2", "tone"): 0.25}, 1, refusing="p5"), PERSONAS, ASPECTS, dict.fromkeys(ASPECTS, marked))
    assert found.flagged == (("p2", "tone"),)
    assert found.worst[0][:2] == ("p2", "tone")
    assert {name for name, _, _ in found.refusal_gaps} == {"p5"}
    assert found.passes["tone"]["p5"]["refusals"] == pytest.approx(1 / 3, abs=0.08)
    assert found.passes["tone"]["p5"]["share"] == pytest.approx(0.9, abs=0.06)
    assert found.spreads["tone"].interval[0] > 0 >= found.spreads["agreement"].interval[0]
    assert found.score < found.uncorrected
    assert set(found.categories["tone"]) == {"even", "odd"}
    assert not found.gate(most=1.0)
    assert 0.03 < found.smallest_found < 0.15
    assert found.to_dict()["flagged"] == [["p2", "tone"]]


def test_a_fair_writer_passes_the_gate_and_a_thin_audit_never_does() -> None:
    fair = harm_audit(writer({}, 2), PERSONAS, ASPECTS, dict.fromkeys(ASPECTS, marked))
    assert fair.gate(most=0.01)
    few = {aspect: prompts[:50] for aspect, prompts in ASPECTS.items()}
    thin = harm_audit(writer({}, 2), [*PERSONAS, PERSONAS[0]], few, dict.fromkeys(few, marked))
    assert thin.underpowered
    assert not thin.gate(most=1.0)
    assert any("given 2 times" in notice for notice in thin.notices)


def test_bad_harm_audits() -> None:
    with pytest.raises(BadValue, match="gave nan") as caught:
        harm_audit(writer({}, 0), PERSONAS[:1], ASPECTS, {"tone": lambda prompt, reply: math.nan, "agreement": marked})
    assert caught.value.where["prompt"] == 0
    with pytest.raises(EmptyData):
        harm_audit(writer({}, 0), [], ASPECTS, dict.fromkeys(ASPECTS, marked))
    with pytest.raises(ConfigError, match="scorers"):
        harm_audit(writer({}, 0), PERSONAS, ASPECTS, {"tone": marked})


def test_refusals() -> None:
    for text in (
        "",
        "I'm sorry, but no.",
        "As an AI, I do not vote.",
        "As a nurse, I can't do sums.",
        "I am unable to say",
        "I can’t help with that",
    ):
        assert refuses(text), text
    for text in ("the answer is 4", "Nurses can do sums", "it is able to fly"):
        assert not refuses(text), text


TASKS = [Task(subject, [f"{subject} {number}" for number in range(300)], [f"{number}" for number in range(300)]) for subject in ("sums", "names")]


def reasoner(planted: dict[tuple[str, str], float]):  # type: ignore[no-untyped-def]
    """Right nine times in ten on the same questions; a planted persona declines or errs on top of that."""

    def answer(instruction: str, questions: Sequence[str]) -> list[str]:
        subject, out = questions[0].split()[0], []
        extra = sum(rate for (persona, planted_in), rate in planted.items() if persona in instruction and planted_in == subject)
        rng, base = np.random.default_rng(len(instruction)), np.random.default_rng(sum(map(ord, subject)))
        for question in questions:
            truth, wrong = question.split()[1], base.random() < 0.1
            lost = rng.random() < extra
            told = "I cannot answer" if lost and rng.random() < 0.5 else "it is 999" if lost or wrong else f"it is {truth}"
            out.append(f"arr, {told}" if "pirate" in instruction else told)
        return out

    return answer


def test_planted_losses_are_found_with_their_kind() -> None:
    audit = reasoning_audit(reasoner({("pirate", "sums"): 0.3}), ["a pirate", "a baker"], TASKS)
    assert audit.flagged == (("a pirate", "sums"),)
    one = audit.drops["a pirate"]["sums"]
    assert one["drop"] == pytest.approx(0.27, abs=0.06)
    assert one["interval"][0] <= one["drop"] <= one["interval"][1]
    assert one["abstentions"] == pytest.approx(0.15, abs=0.04)
    assert one["silent_errors"] == pytest.approx(0.1 + 0.13, abs=0.05)
    assert audit.personas_hit == 0.5
    assert audit.subjects_hit == {"a pirate": 0.5, "a baker": 0.0}
    assert ("a baker", "sums") in audit.undefined
    assert audit.tax_interval[0] <= audit.tax <= audit.tax_interval[1]
    assert audit.accuracy["nobody"]["names"] == pytest.approx(0.9, abs=0.05)


def test_two_passes_lose_nothing_and_keep_the_style() -> None:
    def restyle(instruction: str, questions: Sequence[str], plain: Sequence[str]) -> list[str]:
        return [f"arr, {one}" for one in plain]

    both = TwoPass(reasoner({("pirate", "sums"): 0.3}), restyle)
    assert reasoning_audit(both, ["a pirate"], TASKS).tax == 0
    assert both("You are a pirate.", TASKS[0].questions)[0].startswith("arr")
    assert not both("", TASKS[0].questions)[0].startswith("arr")


def test_bad_reasoning_audits() -> None:
    answer = reasoner({})
    with pytest.raises(UnknownId, match="be, adopt, role"):
        reasoning_audit(answer, ["x"], TASKS, instructions=["pretend"])
    with pytest.raises(UnknownId, match="no-refusals"):
        reasoning_audit(answer, ["x"], TASKS, mitigation="beg")
    with pytest.raises(ConfigError, match="same questions"):
        reasoning_audit(answer, ["x"], [Task("sums", ["a", "b"], ["1"])])
    with pytest.raises(BadValue, match="1 answers"):
        reasoning_audit(lambda instruction, questions: ["x"], ["x"], TASKS)
    with pytest.raises(EmptyData):
        reasoning_audit(answer, [], TASKS)
