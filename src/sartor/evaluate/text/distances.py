"""Distances between texts in [0, 1], by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sartor.errors import BadValue, UnknownId
from sartor.evaluate.text.meteor import meteor
from sartor.evaluate.text.overlap import bleu, rouge_l, rouge_su
from sartor.evaluate.text.variety import divergence

Distance = Callable[[Sequence[str], Sequence[str]], float]
"""Of two texts as words; the second one is the wanted one where it matters (BLEU, METEOR)."""

DISTANCES: Mapping[str, Distance] = {
    "jsd": divergence,
    "rouge-l": lambda a, b: 1 - rouge_l(a, b),
    "rouge-su4": lambda a, b: 1 - rouge_su(a, b),
    "bleu": lambda a, b: 1 - bleu(a, [b]),
    "meteor": lambda a, b: 1 - meteor(a, [b]),
}


def distance_matrix(a: Sequence[Sequence[str]], b: Sequence[Sequence[str]], distance: str | Distance) -> np.ndarray:
    """Float64 [a, b], the distance of every text of `a` from every text of `b`; an empty text has distance 1 from everything.

    Each pair of different texts is looked at once. Raises `UnknownId` for a name that is none, `BadValue` when a distance is outside [0, 1].
    """
    if isinstance(distance, str) and distance not in DISTANCES:
        raise UnknownId("there is no distance of this name", id=distance, fix=f"there are {', '.join(DISTANCES)}, or give a function")
    measure = DISTANCES[distance] if isinstance(distance, str) else distance
    known: dict[tuple[tuple[str, ...], tuple[str, ...]], float] = {}
    out = np.empty((len(a), len(b)))
    left, right = ([tuple(text) for text in side] for side in (a, b))
    for row, one in enumerate(left):
        for column, other in enumerate(right):
            if (one, other) not in known:
                value = float(measure(one, other)) if one and other else 1.0
                if not 0 <= value <= 1 + 1e-9:
                    name = distance if isinstance(distance, str) else getattr(distance, "__name__", repr(distance))
                    raise BadValue(f"the distance '{name}' gave {value}", fix="distances lie between 0 and 1")
                known[one, other] = min(value, 1.0)
            out[row, column] = known[one, other]
    return out
