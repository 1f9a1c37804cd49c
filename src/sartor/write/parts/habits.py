"""What a person's past says about how she does one task, from counts: words she uses more than others, and words she uses for some requests only.

    habits = Habits.learn(everybody)
    habits.summary(pieces, limit=60, count=...)          # "long hello bye repair mend order book"

It needs no language model, and teaches a small one what a summary is.

Words are compared with what others write to the same requests, so that what a request asks for is nobody's habit: the score of a word is
(n - sum e) / sqrt(sum e (1 - e)), n the pieces that have it and e its share in everybody's answers to requests of the same words. Which words
of a request decide what follows is learned, too: those after which people repeat themselves more than they do on the whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from sartor import _storage
from sartor.errors import ConfigError, EmptyData
from sartor.write.parts.pieces import Piece

_WORD = re.compile(r"\.\.\.|\w+|[^\w\s,:]")
SURE, LIKELY = 3.0, 0.5
"""Least scores of a word, and of a word after another."""
LONGER = 2.0
"""Standard errors by which answers must be longer or shorter than others'."""
REPEATED = 0.1
"""How much likelier than on the whole people must repeat a word after a request's word, for the pair to say anything."""
OWN = 1.5
"""How much more frequent than on the whole the second word of a pair must be after the first."""
OFTEN = 5
"""People who must have met a pair twice before it is judged."""


def words_in(text: str) -> list[str]:
    """Its different words and marks, in order of appearance, without commas and colons."""
    return list(dict.fromkeys(_WORD.findall(text.lower())))


@dataclass(frozen=True, eq=False)
class Habits:
    """Counts of a population; `asked` are the words of requests, `said` those of answers."""

    asked: list[str]
    said: list[str]
    share: np.ndarray
    """float32 [said], of all answers that have the word."""
    after: np.ndarray
    """float32 [asked, said], of answers to requests with the word; -1 where it was asked too seldom to tell."""
    telling: np.ndarray
    """bool [asked, said]: after this word of a request, that word of the answer is people's own."""
    place: np.ndarray
    """float32 [said], where in an answer the word stands on average, 0 to 1."""
    length: tuple[float, float]
    """Mean and standard deviation of an answer's words."""

    @classmethod
    def learn(cls, everybody: Sequence[Sequence[Piece]], *, most: int = 1_000, least: int = 20) -> Self:
        """Count.

        Parameters
        ----------
        most: words of requests, and of answers, the most frequent; both tables have their product.
        least: answers that a word of a request must have had.

        Raises `EmptyData`.
        """
        if most < 1 or least < 1:
            raise ConfigError(f"most {most}, least {least}", fix="use at least 1")
        prompts, texts = ([[words_in(getattr(one, part)) for one in own] for own in everybody] for part in ("prompt", "text"))
        asked, said = (_frequent([words for own in side for words in own], most) for side in (prompts, texts))
        if not said:
            raise EmptyData("nobody has written a word", fix="give texts")
        shape = (len(asked), len(said))
        pairs, twice, repeated, met = (np.zeros(shape, np.float32) for _ in range(4))
        times, alone, again, total = np.zeros(shape[0], np.float32), np.zeros(shape[1]), np.zeros(shape[1]), 0
        for requests, answers in zip(prompts, texts, strict=True):
            r, w = _table(requests, asked), _table(answers, said)
            each, count, size = r.T @ w, w.sum(0), r.sum(0)
            pairs, times, alone, total = pairs + each, times + size, alone + count, total + len(answers)
            again += count * (count - 1) / max(1, len(answers) - 1)
            # Of two answers to requests with the word, of which one has the other word: how often the second has it as well.
            known = (size[:, None] > 1) & (each > 0)
            twice, met = twice + np.where(known, each, 0), met + known
            repeated += np.where(known, each * (each - 1) / np.maximum(size[:, None] - 1, 1), 0)
        share, overall = alone / total, again / np.maximum(alone, 1)
        after = np.where(times[:, None] >= least, pairs / np.maximum(times[:, None], 1), -1)
        lift = repeated / np.maximum(twice, 1) - np.maximum(overall, after)
        telling = (lift > REPEATED) & (met >= OFTEN) & (after > OWN * share)
        sums, counts = np.zeros(shape[1]), np.zeros(shape[1])
        number = {word: at for at, word in enumerate(said)}
        for words in (words for answers in texts for words in answers):
            at = [number[word] for word in words if word in number]
            sums[at] += [place / len(words) for place, word in enumerate(words) if word in number]
            counts[at] += 1
        sizes = np.array([len(one.text.split()) for own in everybody for one in own])
        length = float(sizes.mean()), float(sizes.std())
        return cls(asked, said, share.astype(np.float32), after.astype(np.float32), telling, (sums / counts).astype(np.float32), length)

    def summary(self, pieces: Sequence[Piece], *, limit: int, count: Callable[[str], int]) -> str:
        """ "short" or "long", habitual words in the order in which they stand in answers, then "asked answered" for each pair, by the alphabet.

        Parameters
        ----------
        limit: tokens, at most, by `count`; what is least certain is left out.

        A person without habits has an empty summary.
        """
        if not pieces:
            return ""
        r, w = _table([words_in(one.prompt) for one in pieces], self.asked), _table([words_in(one.text) for one in pieces], self.said)
        expected = np.maximum(self.share[None], np.stack([self.after[row > 0].max(0, initial=0) for row in r]))
        scores = (w.sum(0) - expected.sum(0)) / np.sqrt((expected * (1 - expected)).sum(0) + 0.5)
        chosen: list[int] = []
        for word in np.argsort(-scores, kind="stable")[: int((scores >= SURE).sum())]:
            # Words that always come together count once.
            if all((w[:, word] * w[:, one]).sum() < 0.9 * max(w[:, word].sum(), w[:, one].sum()) for one in chosen):
                chosen.append(int(word))
        general = set(chosen)
        paired: list[tuple[float, int, int]] = []
        for row in np.flatnonzero(self.telling.any(1) & (r.sum(0) > 0)):
            own = r[:, row] > 0
            n, usual = own.sum(), np.clip(self.after[row], 1e-3, 1 - 1e-3)
            score = np.where(self.telling[row], (w[own].sum(0) - n * usual) / np.sqrt(n * usual * (1 - usual)), -np.inf)
            best = int(score.argmax())
            if score[best] >= LIKELY and best not in general:
                paired.append((float(score[best]), int(row), best))
        # "choose this or that": of several words that lead to one answer, one is enough.
        best_of = {answer: (score, row, answer) for score, row, answer in sorted(paired)}
        parts = [(float("inf"), word, -1) for word in chosen] + sorted(best_of.values(), reverse=True)
        usual, spread = self.length
        longer = (np.mean([len(one.text.split()) for one in pieces]) - usual) * len(pieces) ** 0.5 / max(spread, 1e-6)
        size = "" if abs(longer) < LONGER else "long" if longer > 0 else "short"
        while count(text := self._text(size, parts)) > limit and (size or parts):
            parts, size = (parts[:-1], size) if parts else ([], "")
        return text

    def _text(self, size: str, parts: Sequence[tuple[float, int, int]]) -> str:
        general = sorted((word for _, word, answer in parts if answer < 0), key=lambda word: float(self.place[word]))
        pairs = sorted((self.asked[row], self.said[answer]) for _, row, answer in parts if answer >= 0)
        return " ".join([*([size] if size else []), *(self.said[word] for word in general), *(word for pair in pairs for word in pair)])

    def to_bytes(self) -> bytes:
        """As safetensors, for whoever saves it."""
        arrays = {"share": self.share, "after": self.after, "telling": self.telling, "place": self.place}
        return _storage.to_bytes(arrays, {"asked": self.asked, "said": self.said, "length": self.length})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The reverse of `to_bytes`; raises `CorruptFile`."""
        arrays, words = _storage.from_bytes(data, needs=("asked", "said", "length"))
        return cls(words["asked"], words["said"], arrays["share"], arrays["after"], arrays["telling"], arrays["place"], tuple(words["length"]))


def _frequent(texts: Sequence[Sequence[str]], most: int) -> list[str]:
    counts = Counter(word for words in texts for word in words)
    return sorted(sorted(counts, key=lambda word: (-counts[word], word))[:most])


def _table(texts: Sequence[Sequence[str]], known: Sequence[str]) -> np.ndarray:
    """Which of the known words each text has, float32 [texts, known] of zeros and ones."""
    number = {word: at for at, word in enumerate(known)}
    out = np.zeros((len(texts), len(known)), np.float32)
    for row, words in enumerate(texts):
        out[row, [number[word] for word in words if word in number]] = 1
    return out
