"""Judges: what each says, both orders, certainty that is calibrated, and what they refuse."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sartor.errors import BadValue, ConfigError, EmptyData, NotFitted
from sartor.evaluate.judge import BothOrders, Case, Judge, LMJudge, PersonalizedJudge, ProbeJudge, RuleJudge, Verdict, judge_report

DRINKS = ("tea", "coffee", "milk", "juice")


def cases(n: int, seed: int = 0, silent: float = 0.5) -> tuple[list[Case], list[str]]:
    """Who likes which drink; of a share of the people nothing is known but a name."""
    rng = np.random.default_rng(seed)
    out, choices = [], []
    for _ in range(n):
        liked, other = rng.permutation(DRINKS)[:2].tolist()
        persona = {"name": f"n{rng.integers(5)}"} | ({"likes": liked} if rng.random() >= silent else {})
        first = bool(rng.random() < 0.5)
        a, b = (f"have some {drink} today" for drink in ((liked, other) if first else (other, liked)))
        out.append(Case(persona, "what now?", a, b))
        choices.append("A" if first else "B")
    return out, choices


class Told:
    """A backend that says what it is told to."""

    name = "told"

    def __init__(self, *replies: str) -> None:
        self.replies, self.prompts = list(replies), []  # type: ignore[var-annotated]

    def generate(self, batch: Sequence[Any], **settings: Any) -> list[Any]:
        from sartor.write.backends.backend import Generation

        self.prompts += [messages[0]["content"] for messages in batch]
        return [Generation(self.replies.pop(0), "stop", 10, 4) for _ in batch]

    def logprobs(self, contexts: Sequence[Any], continuations: Sequence[str]) -> list[np.ndarray]:
        return [np.log([0.8 if text == "A" else 0.2]) for text in continuations]


def by_length(case: Case, answer: str) -> float:
    return float(len(answer))


def test_rule_and_ties_without_asking() -> None:
    judge = RuleJudge(score=by_length, sharpness=1.0)
    long, short = Case("likes it long", "?", "a long one", "short"), Case("likes it long", "?", "short", "a long one")
    found = judge.judge([long, short, Case("x", "?", "same", "same"), Case("x", "?", "ab", "cd")])
    assert [one.choice for one in found] == ["A", "B", "tie", "tie"]
    assert [found[2].certainty, found[3].certainty] == [100, 1]
    with pytest.raises(BadValue, match="persona is empty"):
        judge.judge([Case({}, "?", "a", "b")])
    assert RuleJudge(score=by_length, no_persona=True).judge([Case("", "?", "ab", "b")])[0].choice == "A"
    with pytest.raises(BadValue, match="scores are"):
        RuleJudge(score=lambda case, answer: float("nan")).judge([long])


def test_a_probe_learns_what_goes_with_whom_and_when_it_does_not_know() -> None:
    train, test = cases(1500), cases(600, 1)
    probe = ProbeJudge(l2=3.0).fit(*train)
    verdicts = probe.judge(test[0])
    known = np.array(["likes" in case.persona for case in test[0]])
    right = np.array([one.choice == choice for one, choice in zip(verdicts, test[1], strict=True)])
    certainty = np.array([one.certainty for one in verdicts])
    assert right[known].mean() > 0.97
    assert right[~known].mean() == pytest.approx(0.5, abs=0.1)
    assert certainty[known].min() > certainty[~known].max()
    assert np.allclose(probe.probabilities([case.swapped() for case in test[0]]), 1 - probe.probabilities(test[0]))
    with pytest.raises(NotFitted):
        ProbeJudge().judge(test[0][:1])
    with pytest.raises(ConfigError, match="choices are"):
        ProbeJudge().fit(test[0][:2], ["A", "tie"])
    with pytest.raises(EmptyData):
        ProbeJudge().fit([], [])


def test_calibrated_certainty_abstains_where_it_must() -> None:
    train, held, test = cases(1500), cases(800, 2), cases(800, 3)
    judge = PersonalizedJudge(judge=ProbeJudge(l2=3.0).fit(*train), accuracy=0.9)
    with pytest.raises(NotFitted):
        judge.decide(test[0])
    judge.calibrate(*held)
    decided = judge.decide(test[0])
    spoken = [(choice, truth) for (choice, _), truth in zip(decided, test[1], strict=True) if choice is not None]
    assert 0.4 < len(spoken) / len(decided) < 0.7
    assert np.mean([choice == truth for choice, truth in spoken]) > 0.9
    report = judge_report(judge.verdicts(test[0]), test[1], probabilities=np.array([chance for _, chance in decided]))
    assert report.calibration_error < 0.05
    assert report.most_certain > 0.95 > report.accuracy > 0.7
    assert 0.5 < report.coverage < 1
    assert report.by_certainty[-1]["accuracy"] > report.by_certainty[0]["accuracy"]
    hopeless = PersonalizedJudge(judge=RuleJudge(score=by_length), accuracy=0.9).calibrate(*cases(100, 4))
    assert all(choice is None for choice, _ in hopeless.decide(test[0]))


class FirstWhenInDoubt(Judge):
    """Right where the persona says it, else for the first place."""

    def _judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [Verdict("B" if "likes" in case.persona and case.persona["likes"] in case.b else "A", 60.0) for case in cases]  # type: ignore[index]


def test_both_orders_take_the_place_out() -> None:
    test, choices = cases(600, 5)
    plain, both = FirstWhenInDoubt().judge(test), BothOrders(judge_=FirstWhenInDoubt()).judge(test)
    assert judge_report(plain, choices).first_place > 0.7
    report = judge_report(both, choices)
    assert report.first_place == pytest.approx(0.5, abs=0.07)
    assert report.accuracy == 1
    assert report.ties == sum("likes" not in case.persona for case in test)


def test_a_language_model_is_asked_again_and_counted() -> None:
    case = Case({"likes": "tea"}, "what now?", "tea", "milk")
    told = Told("I would say both", "[[A]] [[81]]")
    judge = LMJudge(backend=told)  # type: ignore[arg-type]
    assert judge.judge([case])[0] == Verdict("A", 81.0, "[[A]] [[81]]")
    assert "likes: tea" in told.prompts[0]
    assert "81-100" in told.prompts[0]
    silent = LMJudge(backend=Told(*["no idea"] * 4), writer="told")  # type: ignore[arg-type]
    verdicts = silent.judge([case])
    assert verdicts[0].choice is None
    assert silent.unread == 1
    report = judge_report(verdicts, ["A"], judge=silent)
    assert report.unread == 1
    assert report.judges_itself
    assert np.isnan(report.accuracy)


@pytest.mark.parametrize(
    ("text", "choice", "certainty"),
    [
        ("[[B]] [[55]]", "B", 55), ("the answer is [[ a ]], [[100]].", "A", 100), ("[[A]] [[B]] [[5]]", None, 0), ("[[A]]", None, 0),
        ("[[A]] [[0]]", None, 0), ("[[A]] [[101]]", None, 0), ("[[tie]] [[50]]", None, 0), ("", None, 0),
    ],
)  # fmt: skip
def test_reading_verdicts(text: str, choice: str | None, certainty: float) -> None:
    verdict = LMJudge(backend=Told()).read(text)  # type: ignore[arg-type]
    assert (verdict.choice, verdict.certainty) == (choice, certainty)


def test_probabilities_of_the_letters() -> None:
    judge = LMJudge(backend=Told(), mode="probabilities")  # type: ignore[arg-type]
    verdict = judge.judge([Case("likes tea", "?", "tea", "milk")])[0]
    assert verdict.choice == "A"
    assert verdict.certainty == pytest.approx(1 + 99 * 0.6)
    assert LMJudge(backend=Told(), ties=True, certainty=False).read("[[tie]]").choice == "tie"  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="mode"):
        LMJudge(backend=Told(), mode="guess")  # type: ignore[arg-type]
