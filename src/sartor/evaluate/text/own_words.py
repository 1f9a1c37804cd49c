"""How much of a person's own vocabulary a text has."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sartor.errors import EmptyData


@dataclass(frozen=True)
class OwnWords:
    """Inverse document frequencies over people: a word that everybody uses says nothing about anybody.

    Source: persona coverage of Song et al., IJCAI 2019, as used for DHAP (Ma et al., SIGIR 2021); the F1 is our reading.
    """

    idf: Mapping[str, float]
    unseen: float
    """Of a word that nobody used."""

    @classmethod
    def of(cls, histories: Sequence[Sequence[Sequence[str]]]) -> OwnWords:
        """From the texts (as words) of each person; raises `EmptyData` without people."""
        if not histories:
            raise EmptyData("there is nobody whose words could be counted", fix="give the texts of several people")
        used = Counter(word for texts in histories for word in {word for text in texts for word in text})
        n = len(histories)
        return cls({word: math.log((1 + n) / (1 + count)) for word, count in used.items()}, math.log(1 + n))

    def coverage(self, text: Sequence[str], history: Sequence[Sequence[str]]) -> float:
        """P-Cover: over the person's texts, the largest mean IDF of the words that the text shares with one of them; 0 where it shares none."""
        own, best = set(text), 0.0
        for one in history:
            if shared := own & set(one):
                best = max(best, sum(self.weight(word) for word in shared) / len(shared))
        return best

    def f1(self, text: Sequence[str], history: Sequence[Sequence[str]], reference: Sequence[str]) -> float:
        """F1 of the person's rare words (IDF at least that of a word which a tenth of the people use): those of the text against the reference's."""
        rare = {word for one in history for word in one if self.weight(word) >= math.log(10)}
        a, b = set(text) & rare, set(reference) & rare
        return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0

    def weight(self, word: str) -> float:
        """The word's IDF."""
        return self.idf.get(word, self.unseen)
