"""People of the persona storey who react to what an assistant writes for them: by their own habits and taste, with planted noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from sartor.data.world.draws import address
from sartor.data.world.persona import Personas, Requests
from sartor.errors import ConfigError

STARS = np.array([0.3, 0.5, 0.7, 0.9])
"""Hidden scores from which a text gets 2, 3, 4 and 5 stars."""


@dataclass(frozen=True, kw_only=True)
class SimulatedUsers:
    """Everybody of a world, as users: they rate, accept or rewrite, and choose between drafts.

    What a person thinks of a text is `Personas.score`; she never says it, and a writer under test must not look at it. All chance hangs on
    person, request and `seed`, so that two writers that write the same get the same reaction.
    """

    personas: Personas
    noise: float = 0.1
    """Share of reactions that have nothing to do with the text."""
    accepts: float = 0.8
    """Hidden score from which a text is accepted as it is; otherwise she writes it herself."""
    sharpness: float = 10.0
    """Of choices: P(first) = sigmoid(sharpness * (its score - the other's))."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 1 or not 0 <= self.accepts <= 1 or self.sharpness < 0:
            what = f"noise {self.noise}, accepts {self.accepts}, sharpness {self.sharpness}"
            raise ConfigError(what, fix="noise and accepts from 0 to 1, sharpness not negative")

    def react(self, texts: Sequence[str | None] | pl.Series, requests: Requests) -> pl.DataFrame:
        """One row per text: person, rating (1 to 5), accepted, answer (the text if she accepts it, else her own version), noisy.

        Noisy reactions have a random rating, and are accepted or not by a coin; an answer is always her own writing or the text.
        """
        score = self.personas.score(self.personas.grade(texts, requests))
        noisy = self._uniform("noisy", requests) < self.noise
        rating = np.where(noisy, 1 + (self._uniform("rating", requests) * 5).astype(np.int64), 1 + np.searchsorted(STARS, score, side="right"))
        accepted = np.where(noisy, self._uniform("accept", requests) < 0.5, score >= self.accepts)
        frame = pl.DataFrame({"person": requests.person, "rating": rating, "accepted": accepted, "noisy": noisy})
        given, own = pl.Series("text", texts, dtype=pl.String, strict=False), self.personas.replies(requests).alias("own")
        answer = pl.when("accepted").then("text").otherwise("own").alias("answer")
        return frame.with_columns(given, own).select("person", "rating", "accepted", answer, "noisy")

    def choose(self, first: Sequence[str | None] | pl.Series, second: Sequence[str | None] | pl.Series, requests: Requests) -> np.ndarray:
        """Bool per request: whether she takes the first text."""
        a, b = (self.personas.score(self.personas.grade(texts, requests)) for texts in (first, second))
        chance = 1 / (1 + np.exp(-self.sharpness * (a - b)))
        chance = np.where(self._uniform("noisy choice", requests) < self.noise, 0.5, chance)
        return self._uniform("choice", requests) < chance

    def _uniform(self, purpose: str, requests: Requests) -> np.ndarray:
        return self.personas.world.draws.uniform(f"user:{self.seed}:{purpose}", address(requests.person, requests.number))
