"""LikeBench itself: sessions of every persona with an assistant, seven scores a turn, and whether the assistant learns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sartor.errors import BadValue, ConfigError, EmptyData
from sartor.evaluate.likebench.assistants import Assistant, size_of
from sartor.evaluate.likebench.persona import Persona, priors
from sartor.evaluate.likebench.user import ASPECTS, Message, Question, RuleUser, SimulatedUser, questions
from sartor.progress import bar


@dataclass(frozen=True)
class Adaptability:
    """How the score of an aspect changes from session to session."""

    slope: float
    """Points per session: mean of the personas' own slopes."""
    p: float
    """That it is 0: t-test over personas, two-sided."""
    r2: float
    """Of the line through the sessions' means over personas."""
    late_minus_early: float
    """Mean of the last third of sessions less that of the first third."""


@dataclass(frozen=True, eq=False)
class LikeBenchResult:
    """What one assistant got. There is no one number for likability without its aspects beside it."""

    scores: np.ndarray
    """float32 [personas, sessions, turns, 7], in the order of `ASPECTS`; NaN where the turn gave no chance."""
    answered: Mapping[str, np.ndarray]
    """"explicit" and "implicit" -> float64 [personas], share of questions about told facts that were answered right; NaN without any."""
    facts: np.ndarray
    """int64 [personas, sessions], single facts stored after each session."""
    bytes: np.ndarray
    """int64 [personas, sessions], of all that is stored."""
    failures: tuple[tuple[int, int, int, str], ...]
    """Persona, session, turn and reason of answers that could not be scored as such."""

    @property
    def turns(self) -> np.ndarray:
        """float64 [personas, sessions, turns]: mean over the aspects that had a chance."""
        return np.asarray(_mean(self.scores, 3))

    @property
    def likability(self) -> np.ndarray:
        """float64 [personas]: mean over turns."""
        return np.asarray(_mean(self.turns, (1, 2)))

    @property
    def aspects(self) -> dict[str, float]:
        """Aspect -> mean over personas of their means."""
        return dict(zip(ASPECTS, _mean(_mean(self.scores, (1, 2)), 0).tolist(), strict=True))

    @property
    def memory_accuracy(self) -> np.ndarray:
        """float64 [personas]: over explicit and implicit questions."""
        return np.asarray(_mean(np.stack(list(self.answered.values())), 0))

    def adaptability(self) -> dict[str, Adaptability]:
        """Per aspect, and "all": of each persona's mean slope over aspects, so that which aspects had a chance when does not matter."""
        sessions = _mean(self.scores, 2)
        out = {name: _adaptability(sessions[..., at]) for at, name in enumerate(ASPECTS)}
        # Of the sessions' values the same: each aspect less its own mean, then averaged.
        centred = _mean(sessions - _mean(sessions, 1)[:, None], 2)
        return out | {"all": _adaptability(centred, self.slopes())}

    def slopes(self) -> np.ndarray:
        """float64 [personas]: each one's slope over sessions, mean over the aspects that had a chance in two sessions or more."""
        sessions = _mean(self.scores, 2)
        return np.asarray(_mean(np.stack([_slopes(sessions[..., at]) for at in range(len(ASPECTS))], axis=1), 1))

    def table(self) -> pl.DataFrame:
        """One row per aspect, one for all: mean score, slope, p, r2, late_minus_early, and the share of turns that had a chance."""
        means: dict[str, float] = {**self.aspects, "all": float(_mean(self.likability, 0))}
        chance = dict(zip(ASPECTS, (~np.isnan(self.scores)).mean(axis=(0, 1, 2)).tolist(), strict=True)) | {"all": 1.0}
        rows = [{"aspect": name, "score": means[name], **vars(one), "chance": chance[name]} for name, one in self.adaptability().items()]
        return pl.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything but single turns, as plain data for JSON."""
        from sartor.evaluate.claim import plain

        memory = {name: float(_mean(values, 0)) for name, values in self.answered.items()}
        found: dict[str, Any] = plain(
            {
                "likability": float(_mean(self.likability, 0)), "aspects": self.aspects, "memory": memory,
                "memory_accuracy": float(_mean(self.memory_accuracy, 0)), "facts": float(self.facts[:, -1].mean()),
                "bytes": float(self.bytes[:, -1].mean()), "adaptability": {name: vars(one) for name, one in self.adaptability().items()},
                "failures": len(self.failures),
            }
        )  # fmt: skip
        return found


def likebench(
    make: Callable[[int], Assistant], people: Sequence[Persona], *, sessions: int = 6, turns: int = 8, noise: float = 0.0, seed: int = 0,
    user: Callable[[Persona, int], SimulatedUser] | None = None, progress: bool = False,
) -> LikeBenchResult:  # fmt: skip
    """Let an assistant meet every persona.

    Parameters
    ----------
    make: number of the persona -> a new assistant, which sees nothing of her but messages.
    people: as `personas` makes them, or `Persona.from_dict`.
    sessions, turns: of each persona; adaptability needs two sessions.
    noise: share of turns that say something off or wrong (of `RuleUser`).
    seed: of what users say; the same for every assistant that is to be compared.
    user: who speaks and scores; by default `RuleUser`, over the structured format, whose scores are exact.

    An answer without text gets the lowest scores, with the reason in `failures`. Raises `ConfigError` for fewer than two sessions,
    `EmptyData` without personas, `BadValue` for what is no `Persona`, all before anything is asked.
    """
    if sessions < 2 or turns < 1:
        raise ConfigError(f"{sessions} sessions of {turns} turns", fix="give at least two sessions: adaptability is a slope over them")
    if not people:
        raise EmptyData("there are no personas", fix="make some with personas(60)")
    if wrong := [at for at, one in enumerate(people) if not isinstance(one, Persona)]:
        raise BadValue("this is no persona", fix="make it with Persona.from_dict, which says what is missing", persona=wrong[0])
    if user is not None and noise:
        raise ConfigError("noise is of the rule users", fix="leave noise at 0, or leave user away")
    scores = np.full((len(people), sessions, turns, len(ASPECTS)), np.nan, np.float32)
    stored = np.zeros((2, len(people), sessions), np.int64)
    answered = {kind: np.full(len(people), np.nan) for kind in ("explicit", "implicit")}
    failures = []
    with bar("likebench", len(people), enabled=progress, unit="persona") as shown:
        for number, persona in enumerate(people):
            her = user(persona, number) if user else RuleUser(persona=persona, number=number, noise=noise, seed=seed)
            assistant = make(number)
            for session, prior in enumerate(priors(persona, sessions, seed=[seed, 47, number])):
                her.start(session, prior)
                dialogue: list[Message] = []
                for turn in range(turns):
                    said = her.speak(turn, tuple(dialogue))
                    answer = assistant.reply(said, tuple(dialogue))
                    found = her.score(answer)
                    scores[number, session, turn] = [np.nan if (one := found.values[name]) is None else one for name in ASPECTS]
                    if found.reason:
                        failures.append((number, session, turn, found.reason))
                    dialogue += [said, answer]
                assistant.end_session()
                stored[:, number, session] = size_of(assistant.stored())
            asked = questions(her.told, persona, [seed, 53, number])
            values = [fact.value for fact in persona.facts]
            right = [(bool(one.options), answers(assistant.answer(one), one, values)) for one in asked]
            for kind, implicit in (("explicit", False), ("implicit", True)):
                if own := [good for is_implicit, good in right if is_implicit == implicit]:
                    answered[kind][number] = float(np.mean(own))
            shown.advance()
    return LikeBenchResult(scores, answered, stored[0], stored[1], tuple(failures))


def answers(text: str, question: Question, values: Sequence[str]) -> bool:
    """Whether a text names the right value, and none of the others that are true of her or were offered."""
    words = set(re.findall(r"\w+", text.lower()))
    others = {one.lower() for one in (*values, *question.options)} - {question.answer.lower()}
    return question.answer.lower() in words and not others & words


def _adaptability(values: np.ndarray, slopes: np.ndarray | None = None) -> Adaptability:
    """Of float [personas, sessions] with gaps."""
    from scipy import stats

    own = _slopes(values) if slopes is None else slopes
    own = own[~np.isnan(own)]
    means = _mean(values, 0)
    there = np.flatnonzero(~np.isnan(means))
    # What rounding leaves of equal numbers is no slope.
    own = np.where(np.abs(own) < 1e-12, 0.0, own)
    varied = own.size > 1 and np.ptp(own) > 0
    p = float(stats.ttest_1samp(own, 0.0).pvalue) if varied else 1.0 if own.size and not own.any() else float("nan")
    flat = there.size < 2 or np.ptp(means[there]) == 0
    r2 = 0.0 if flat else float(np.corrcoef(there, means[there])[0, 1] ** 2)
    third = max(1, values.shape[1] // 3)
    late = float(_mean(means[-third:], 0) - _mean(means[:third], 0))
    return Adaptability(float(own.mean()) if own.size else float("nan"), p, r2, late)


def _slopes(values: np.ndarray) -> np.ndarray:
    """Least-squares slope of each row over its known columns; NaN for fewer than two."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    index = np.where(known, np.arange(values.shape[1]), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        x = np.where(known, index - (index.sum(axis=1) / count)[:, None], 0.0)
        return np.asarray(np.where(count > 1, (x * np.where(known, values, 0.0)).sum(axis=1) / (x**2).sum(axis=1), np.nan))


def _mean(values: np.ndarray, axis: int | tuple[int, ...]) -> Any:
    """Mean without NaN; NaN where there is nothing else."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=axis, dtype=np.float64) / known.sum(axis=axis)
