"""A judge that is trained on choices: which words of a persona go with which words of an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from scipy import optimize, sparse

from sartor.errors import ConfigError, EmptyData, NotFitted
from sartor.evaluate.judge.base import Case, Judge, Verdict, from_probability
from sartor.evaluate.text.words import words
from sartor.parts.hashing import keys, mix


@dataclass(kw_only=True, eq=False)
class ProbeJudge(Judge):
    """Logistic regression on what the two answers differ in: their words, each word of the persona with each word of an answer, and which keys
    of the persona have a word that the answer repeats.

    It needs some thousand choices of other people and no language model. What it sees is the difference A - B, so it has no preference for a
    place. Certainty is its probability, which is calibrated only as far as `l2` fits.
    """

    l2: float = 30.0
    buckets: int = 1 << 18
    """Of hashed word pairs."""
    tokens: Callable[[str], list[str]] = words
    """How texts become words; a persona's values keep their key."""
    no_persona: bool = False
    weights_: np.ndarray | None = field(default=None, repr=False)

    def fit(self, cases: Sequence[Case], choices: Sequence[str]) -> ProbeJudge:
        """Learn from choices "A" or "B", one per case; raises `EmptyData` without any."""
        if len(cases) != len(choices):
            raise ConfigError(f"{len(choices)} choices for {len(cases)} cases", fix="give one per case")
        if not cases:
            raise EmptyData("there are no choices to learn from")
        if unknown := sorted(set(choices) - {"A", "B"}):
            raise ConfigError(f"choices are {unknown}", fix='leave out what is not "A" or "B"')
        features = self._features(cases)
        sign = np.where(np.asarray(choices) == "A", 1.0, -1.0)

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            margin = sign * (features @ weights)
            gradient = -(features.T @ (sign / (1 + np.exp(np.clip(margin, -500, 500))))) + self.l2 * weights
            return float(np.logaddexp(0, -margin).sum() + 0.5 * self.l2 * weights @ weights), gradient

        found = optimize.minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200})
        self.weights_ = found.x
        return self

    def probabilities(self, cases: Sequence[Case]) -> np.ndarray:
        """Float64 [cases], that A is preferred."""
        if self.weights_ is None:
            raise NotFitted("the probe judge is not fitted", fix="call fit(cases, choices)")
        return 1 / (1 + np.exp(-np.clip(self._features(cases) @ self.weights_, -500, 500)))

    def _judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [from_probability(float(p), f"{p:.4f}") for p in self.probabilities(cases)] if cases else []

    def _features(self, cases: Sequence[Case]) -> sparse.csr_array:
        """Float64 [cases, buckets]: what A has less what B has."""
        profiles = [self._profile(case) for case in cases]
        answers = [(self.tokens(case.a), self.tokens(case.b)) for case in cases]
        every = {token for profile in profiles for key, word in profile for token in (f"has {key}", f"{key} is {word}")}
        every |= {word for pair in answers for side in pair for word in side}
        names = sorted(every)
        hashed = dict(zip(names, keys(pl.Series(names, dtype=pl.String)).tolist(), strict=True))
        rows, columns, values = [], [], []
        for row, (profile, pair) in enumerate(zip(profiles, answers, strict=True)):
            traits = np.array([1, *(hashed[f"{key} is {word}"] for key, word in profile)], np.uint64)
            for side, sign in zip(pair, (1.0, -1.0), strict=True):
                own = set(side)
                crossed = mix(traits[:, None] * np.uint64(0x9E3779B97F4A7C15) ^ np.array([hashed[word] for word in sorted(own)], np.uint64)[None, :])
                repeats = np.array([hashed[f"has {key}"] for key, word in profile if word in own], np.uint64)
                column = (np.concatenate([crossed.ravel(), repeats]) % np.uint64(self.buckets)).astype(np.int64)
                columns.append(column)
                # A long text is no stronger evidence than a short one.
                values.append(sign * np.concatenate([np.full(crossed.size, max(1, len(own)) ** -0.5), np.ones(repeats.size)]))
                rows.append(np.full(column.size, row))
        shape = (len(cases), self.buckets)
        if not rows:
            return sparse.csr_array(shape)
        return sparse.csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)

    def _profile(self, case: Case) -> list[tuple[str, str]]:
        """Key and word of everything that is known; a text has one key for all."""
        given = {"": case.persona} if isinstance(case.persona, str) else case.persona
        return [(key, word) for key, value in given.items() for word in dict.fromkeys(self.tokens(value))]
