"""PerSEval: do outputs for different people differ as these people's own ideals differ, and are they right?"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sartor.errors import ConfigError, EmptyData, UnknownId
from sartor.evaluate.text.distances import Distance, distance_matrix
from sartor.evaluate.text.words import content_words
from sartor.parts.statistics import bootstrap

EPSILON = 1e-5


@dataclass(frozen=True)
class Document:
    """One text, what each person would want made of it, and what each was given."""

    text: str
    gold: Mapping[Hashable, str]
    output: Mapping[Hashable, str]
    """Nothing for a person counts as an empty text, at distance 1 from everything; somebody without a gold is an `UnknownId`."""


@dataclass(frozen=True, eq=False)
class PerSEval:
    """What was found; all in [0, 1], and but for EGISES higher is better."""

    perseval: float
    interval: tuple[float, float]
    """95% bootstrap over documents."""
    degress: float
    """Responsiveness alone: how like the differences between outputs are to those between the golds."""
    egises: float
    """1 - degress."""
    edp: float
    """Mean discount for outputs far from the golds; 1 is none."""
    accuracy_distance: float
    """Mean distance of outputs from the golds."""
    per_document: np.ndarray
    """float64 [documents], PerSEval of each."""
    per_person: Mapping[Hashable, float]
    skipped: int
    """Documents with fewer than two people."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; people as text."""
        from sartor.evaluate.claim import plain

        found: dict[str, Any] = plain({f.name: getattr(self, f.name) for f in fields(self)})
        return found


def perseval(
    documents: Sequence[Document], *, distance: str | Distance = "jsd", share: float = 1.0, beta: float = 1.0,
    tokens: Callable[[str], Sequence[str]] = content_words, resamples: int = 1000, seed: int = 0,
) -> PerSEval:  # fmt: skip
    """Score one system's outputs.

    Parameters
    ----------
    distance: of two texts as words, in [0, 1]: a name in `text.DISTANCES`, or a function (an embedding's, a human's).
    share: of the pairs of people that are looked at, drawn at random: for its stability.
    beta: steepness of the discount, 1 to 2.
    tokens: how texts become words; by default lower case without stop words, and unlike in the paper no lemmas (give `content_words` a `lemma`).

    Raises `EmptyData` where no document has two people, `BadValue` for a distance outside [0, 1]. Costs people^2 distances per document.
    Source: Dasgupta et al., TMLR 2024; the responsiveness part is EGISES (Vansh et al., EMNLP Findings 2023).
    """
    if not 0 < share <= 1 or not 1 <= beta <= 2:
        raise ConfigError(f"share is {share}, beta is {beta}", fix="choose 0 < share <= 1 and 1 <= beta <= 2")
    rng = np.random.default_rng(seed)
    responsive, discounts, apart, who, skipped = [], [], [], [], 0
    for number, document in enumerate(documents):
        people = list(document.gold)
        if unknown := [person for person in document.output if person not in document.gold]:
            raise UnknownId("an output is for somebody without a gold text", id=unknown[0], fix="leave it out, or give the gold", document=number)
        if len(people) < 2:
            skipped += 1
            continue
        gold, output = ([tokens(side.get(person) or "") for person in people] for side in (document.gold, document.output))
        source = [tokens(document.text)]
        wanted = _weighted(distance_matrix(gold, gold, distance), distance_matrix(gold, source, distance)[:, 0])
        given = _weighted(distance_matrix(output, output, distance), distance_matrix(output, source, distance)[:, 0])
        proportion = (np.minimum(wanted, given) + EPSILON) / (np.maximum(wanted, given) + EPSILON)
        looked = ~np.eye(len(people), dtype=bool) & (rng.random(proportion.shape) < share)
        accuracy = np.array([distance_matrix([a], [b], distance)[0, 0] for a, b in zip(output, gold, strict=True)])
        with np.errstate(invalid="ignore"):
            responsive.append(np.where(looked, proportion, 0.0).sum(axis=1) / looked.sum(axis=1))
        discounts.append(_discount(accuracy, beta))
        apart.append(accuracy)
        who.append(people)
    if not who:
        raise EmptyData(f"none of {len(documents)} documents has two people", fix="differences between people need at least two")
    scores = [one * other for one, other in zip(responsive, discounts, strict=True)]
    per_document = np.array([_mean(one) for one in scores])
    by_person: dict[Hashable, list[float]] = {}
    for people, own in zip(who, scores, strict=True):
        for person, value in zip(people, own.tolist(), strict=True):
            by_person.setdefault(person, []).append(value)
    degress = _mean(np.array([_mean(one) for one in responsive]))
    low, high = bootstrap(per_document, resamples=resamples, seed=seed)
    return PerSEval(
        _mean(per_document), (float(low), float(high)), degress, 1 - degress, float(np.mean([one.mean() for one in discounts])),
        float(np.mean([one.mean() for one in apart])), per_document, {person: _mean(np.array(own)) for person, own in by_person.items()}, skipped,
    )  # fmt: skip


def stability(
    documents: Sequence[Document], *, shares: Sequence[float] = (1.0, 0.8, 0.6, 0.4, 0.2), draws: int = 10, seed: int = 0, **settings: Any
) -> dict[float, tuple[float, float]]:
    """Share of the pairs -> bias against all pairs, and variance, over random draws."""
    whole = perseval(documents, seed=seed, **settings).perseval
    found = {
        share: [perseval(documents, share=share, seed=seed + draw, resamples=200, **settings).perseval for draw in range(draws)] for share in shares
    }
    return {share: (float(np.mean(values) - whole), float(np.var(values))) for share, values in found.items()}


def _weighted(between: np.ndarray, source: np.ndarray) -> np.ndarray:
    """[people, people]: distances weighted by the softmax, over the others, of distance over the own text's distance from the document."""
    ratio = np.divide(between, source[:, None], out=np.zeros_like(between), where=source[:, None] > 0)
    np.fill_diagonal(ratio, -np.inf)
    weights = np.exp(ratio - ratio.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True) * np.where(np.eye(len(source), dtype=bool), 0.0, between)


def _discount(accuracy: np.ndarray, beta: float) -> np.ndarray:
    """[people]: near 1 for right outputs; less for a document's people all far from their golds, and for those further than the best."""
    least, mean = accuracy.min(), accuracy.mean()
    drop = sigmoid(least / (1 - least + EPSILON))
    uneven = sigmoid((accuracy - least) / (mean - least + EPSILON))
    return np.asarray(1 - sigmoid(drop + uneven, alpha=3, beta=beta) + EPSILON)


def sigmoid(x: Any, alpha: float = 4, beta: float = 1) -> Any:
    """1 / (1 + 10^alpha * exp(-10^beta * x))."""
    return 1 / (1 + 10**alpha * np.exp(-(10**beta) * x))


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
