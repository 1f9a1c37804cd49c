"""What the small reader of RPM is shown: which factors a request has, the past cases most like it, and both as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sartor.represent.encoder import TextEncoder
from sartor.write.rpm_answers import Reason
from sartor.write.rpm_features import Feature
from sartor.write.rpm_memory import Memory
from sartor.write.rpm_reader import EXAMPLE, FACTOR, Prompt

ALIKE = 0.6
"""Cosine from which a feature of a request is a factor's."""
CACHED = 50_000
"""Vectors of texts that are kept."""


@dataclass
class Reading:
    """Finds and composes, for any memory.

    Parameters
    ----------
    encoder: of phrases and requests.
    k: past cases shown.
    most: factors in the table.
    """

    encoder: TextEncoder
    k: int
    most: int
    _made: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [texts, dim]; phrases come again and again, so they are kept."""
        # Another thread may clear them at any time: what is needed is held here.
        held = {text: row for text in dict.fromkeys(texts) if (row := self._made.get(text)) is not None}
        if missing := [text for text in dict.fromkeys(texts) if text not in held]:
            held.update(zip(missing, self.encoder.encode(missing), strict=True))
            if len(self._made) + len(missing) > CACHED:
                self._made.clear()
            self._made.update((text, held[text]) for text in missing)
        return np.stack([held[text] for text in texts]) if texts else np.zeros((0, self.encoder.dim), np.float32)

    def clear(self) -> None:
        """Keep none of the vectors."""
        self._made.clear()

    def table(self, memory: Memory) -> np.ndarray:
        """int64, factors in the table, in its order."""
        return memory.factors.table(most=self.most)

    def cited(self, memory: Memory, found: Sequence[Feature], rows: np.ndarray, moved: np.ndarray, side: int, *, share: float) -> tuple[Reason, ...]:
        """Factors that an answer leans on most, in its own direction, from the table alone.

        `moved` float [factors of the table]: how much each moves the answer; cited are up to three of at least `share` of the largest.
        """
        lean = moved * side
        if not lean.size or lean.max() <= 0:
            return ()
        own, names = self.matched(memory, found), memory.factors.names
        order = [at for at in np.argsort(-lean, kind="stable")[:3] if lean[at] >= share * lean.max()]
        return tuple(Reason(own.get(int(rows[at]), ""), names[rows[at]], side) for at in order)

    def matched(self, memory: Memory, found: Sequence[Feature]) -> dict[int, str]:
        """Factors that a request has -> its phrase."""
        if not found or not memory.phrases:
            return {}
        cosines = self._cosines(memory, found)
        out: dict[int, str] = {}
        for (phrase, _), row in zip(found, cosines, strict=True):
            if row.max() >= ALIKE:
                out.setdefault(int(memory.factors.labels[int(row.argmax())]), phrase)
        return out

    def similar(self, memory: Memory, request: str, found: Sequence[Feature]) -> list[tuple[int, float]]:
        """The k cases most like a request, best first, with scores: mean over its features of the largest cosine with one of the case's.

        A request without features is compared by its text.
        """
        if found and memory.phrases:
            cosines = self._cosines(memory, found)
            best = np.full((len(memory.items), len(found)), -1.0, np.float32)
            np.maximum.at(best, memory.features[:, 0], cosines[:, memory.features[:, 1]].T)
            scores = best.mean(axis=1)
        else:
            scores = memory.texts.astype(np.float32) @ self.vectors([request])[0]
        order = np.argsort(-scores, kind="stable")[: self.k]
        return [(int(at), float(scores[at])) for at in order]

    def prompt(
        self, memory: Memory | None, found: Sequence[Feature], shown: Sequence[tuple[int, float]], *, table: bool = True, reasons: bool = True
    ) -> Prompt:
        """A request as numbers; nothing where nothing is known of the person.

        Parameters
        ----------
        found: features of the request.
        shown: past cases with scores.
        table: show the factor table.
        reasons: show the cases with their paths.
        """
        if memory is None:
            return Prompt(np.zeros((0, FACTOR), np.float32), np.zeros((0, EXAMPLE), np.float32), np.zeros(3, np.float32))
        matched, factors = self.matched(memory, found), memory.factors
        examples = np.zeros((len(shown), EXAMPLE), np.float32)
        for row, (at, score) in enumerate(shown):
            one = memory.items[at]
            path = one.path if reasons else None
            # A reason of then speaks now where the factor is there, or is not, as it was.
            then = set(factors.labels[memory.phrases_of(at)].tolist())
            holds = [sign for factor, sign in path or () if (factor in matched) == (factor in then)]
            examples[row] = (score, one.value, float(reasons), np.mean(holds) if holds else 0, len(path or ()) / 3, path is not None)
        rows = self.rows(memory, matched) if table else np.zeros((0, FACTOR), np.float32)
        return Prompt(rows, examples, np.array([factors.mean, np.log1p(factors.items) / 5, 1.0], np.float32))

    def rows(self, memory: Memory, matched: Mapping[int, str]) -> np.ndarray:
        """float32 [rows of the table, 8]: each factor's statistics, and what it says of a request that has these factors (last column)."""
        factors, rows = memory.factors, self.table(memory)
        there = np.array([int(at) in matched for at in rows], bool)
        present, absent, support = factors.present[rows], factors.absent[rows], factors.support[rows]
        speaks = np.where(there, present, absent) - factors.mean
        # The contrast in units of what chance would give.
        sure = (present - absent) * np.sqrt(support * (factors.items - support) / max(1, factors.items)) / 4
        parts = [there, np.log1p(support) / 5, present, absent, factors.influence[rows], speaks, sure, np.where(there, sure, -sure)]
        return np.stack(parts, axis=1).astype(np.float32)

    def _cosines(self, memory: Memory, found: Sequence[Feature]) -> np.ndarray:
        return self.vectors([phrase for phrase, _ in found]) @ memory.vectors.astype(np.float32).T
