"""How much of a wanted text a written one has, in how few pieces: METEOR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from sartor.errors import ConfigError

Words = Sequence[str]


def meteor(
    candidate: Words, references: Sequence[Words], *, stem: Callable[[str], str] | None = None, alpha: float = 0.9, beta: float = 3.0,
    gamma: float = 0.5,
) -> float:  # fmt: skip
    """METEOR of one text, in [0, 1): the best over its references.

    Words are matched one to one, first those that are equal, then those of equal stem. With m matches of which c runs are in the same order and
    without a gap on both sides: P = m / words of the candidate, R = m / words of the reference, F = P R / (alpha P + (1 - alpha) R), and the score is
    F (1 - gamma (c / m)^beta).

    Parameters
    ----------
    stem: from a word to its stem; without it only equal words match. Synonyms, which take a dictionary, do not match.

    Source: Banerjee and Lavie, ACL workshop 2005, with the parameters of Lavie and Agarwal, WMT 2007. Differs from it in: a word that is there
    several times goes to its last free place, as in NLTK; not every alignment is tried for the fewest crossings.
    """
    if not references:
        raise ConfigError("a text has no reference", fix="give at least one")
    if not 0 < alpha < 1 or not 0 <= gamma <= 1 or not beta >= 0:
        raise ConfigError(f"alpha {alpha}, beta {beta}, gamma {gamma}", fix="alpha between 0 and 1, beta at least 0, gamma from 0 to 1")
    return max(_one(candidate, wanted, stem, alpha, beta, gamma) for wanted in references)


def _one(candidate: Words, wanted: Words, stem: Callable[[str], str] | None, alpha: float, beta: float, gamma: float) -> float:
    pairs = _aligned(candidate, wanted, stem)
    if not pairs:
        return 0.0
    # A run goes on where both sides do.
    runs = 1 + sum(after != (a + 1, b + 1) for (a, b), after in pairwise(pairs))
    precision, recall = len(pairs) / len(candidate), len(pairs) / len(wanted)
    score = precision * recall / (alpha * precision + (1 - alpha) * recall)
    return score * (1 - gamma * (runs / len(pairs)) ** beta)


def _aligned(candidate: Words, wanted: Words, stem: Callable[[str], str] | None) -> list[tuple[int, int]]:
    """Places of words that match, in the candidate's order."""
    left, right = dict(enumerate(candidate)), dict(enumerate(wanted))
    pairs: list[tuple[int, int]] = []
    for key in (str, stem):
        if key is None:
            continue
        free: dict[str, list[int]] = {}
        for place, word in right.items():
            free.setdefault(key(word), []).append(place)
        for place, word in reversed(list(left.items())):
            if places := free.get(key(word)):
                pairs.append((place, places.pop()))
        for one, other in pairs:
            left.pop(one, None)
            right.pop(other, None)
    return sorted(pairs)
