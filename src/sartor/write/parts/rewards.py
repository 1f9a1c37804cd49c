"""What a text is worth: measures that `write.vas` can steer towards. Any function from (prompts, texts) to numbers will do.

Reward: prompts and texts, one of each per row -> float [n], higher is more of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from sartor.errors import BadValue

Reward = Callable[[Sequence[str], Sequence[str]], np.ndarray]
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Brevity:
    """Fewer words are more of it: minus their number."""

    enough: int = 0
    """Nothing is gained by fewer words than these: without it the best text of all is an empty one."""

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        """float64 [n]."""
        return -np.array([max(self.enough, len(_WORD.findall(text))) for text in texts], np.float64)


@dataclass(frozen=True)
class Words:
    """How many words of one kind a text has, less those of another: a formal tone, a topic, words to avoid."""

    liked: Collection[str]
    disliked: Collection[str] = ()
    most: int = 1_000
    """More of either kind count no more."""

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        """float64 [n]."""
        liked, disliked = ({one.lower() for one in kind} for kind in (self.liked, self.disliked))
        found = [_WORD.findall(text.lower()) for text in texts]
        counts = [(sum(one in liked for one in words), sum(one in disliked for one in words)) for words in found]
        return np.array([min(more, self.most) - min(less, self.most) for more, less in counts], np.float64)


def scored(name: str, reward: Reward, prompts: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """What a reward says of texts, float64 [n]; raises `BadValue` when it is not one finite number for each."""
    found = np.asarray(reward(prompts, texts), np.float64)
    if found.shape != (len(texts),) or not np.isfinite(found).all():
        raise BadValue(f"the reward '{name}' gives no finite number for each of {len(texts)} texts", fix="return float [n]")
    return found
