"""A model's own decisions as words of its vocabulary: which sources to ask (acting), and how well a text fits (evaluation).

Both are special tokens, which no text can spell. Acting tokens are written one after another under a grammar; an evaluation is never sampled:
it is read as the expectation over its bins, so that it is a number between them.

Source: Wang et al., UniMS-RAG, 2024; names and the number of bins are our reading.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sartor.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

ACT, EOS, NULL, EVIDENCE, JUDGE = "<|act|>", "<|eos-act|>", "<|null|>", "<|evidence|>", "<|judge|>"
"""Sources follow; no more sources; no source; a text follows; its relevance follows."""
RESPOND, CHECK = "<|respond|>", "<|check|>"
"""The answer follows; how well the answer agrees with the text before it follows."""


@dataclass(frozen=True)
class ControlTokens:
    """The tokens of some sources.

    Parameters
    ----------
    sources: their names, in any order.
    depends: source -> the one that must be asked before it, because it is looked up given what was found there.
    bins: of evaluations, from 0 to 1.

    Raises `ConfigError` for names that are twice there or are none, and for dependencies that cannot be.
    """

    sources: tuple[str, ...]
    depends: Mapping[str, str] = field(default_factory=dict)
    bins: int = 11

    def __post_init__(self) -> None:
        if not self.sources or len({*self.sources}) < len(self.sources) or any(not one.isidentifier() for one in self.sources):
            raise ConfigError(f"sources are {list(self.sources)}", fix="name each once, in letters, like PERSONA")
        if self.bins < 2:
            raise ConfigError(f"{self.bins} bins", fix="use at least 2; 11 is 0.0, 0.1, ..., 1.0")
        for name, before in self.depends.items():
            if name not in self.sources or before not in self.sources or self.before(name).count(name):
                raise ConfigError(f"{name} depends on {before}", fix="let sources depend on other ones, in no circle")

    def before(self, source: str) -> list[str]:
        """What has to be asked before a source, the nearest first."""
        out: list[str] = []
        while (nearest := self.depends.get(out[-1] if out else source)) is not None and len(out) <= len(self.sources):
            out.append(nearest)
        return out

    @property
    def names(self) -> list[str]:
        """All tokens, for `Tokenizer.learn(more=...)` or any tokenizer's special tokens."""
        return [ACT, EOS, NULL, EVIDENCE, JUDGE, RESPOND, CHECK, *map(self.source, self.sources), *map(self.bin, range(self.bins))]

    @staticmethod
    def source(name: str) -> str:
        return f"<|{name}|>"

    def bin(self, number: int) -> str:
        return f"<|{number / (self.bins - 1):.3f}|>"

    @property
    def values(self) -> np.ndarray:
        """float32 [bins], what each bin stands for."""
        return np.linspace(0, 1, self.bins, dtype=np.float32)

    def soft(self, score: float) -> np.ndarray:
        """float32 [bins]: a score shared by its two neighbouring bins, so that their expectation is the score."""
        place = min(max(float(score), 0.0), 1.0) * (self.bins - 1)
        low = min(int(place), self.bins - 2)
        out = np.zeros(self.bins, np.float32)
        out[low], out[low + 1] = 1 - (place - low), place - low
        return out

    def nearest(self, score: float) -> int:
        """The bin of a score."""
        return round(min(max(float(score), 0.0), 1.0) * (self.bins - 1))

    def expected(self, logits: Tensor, numbers: Sequence[int]) -> np.ndarray:
        """float64 [B], from logits [B, vocabulary] where an evaluation is due; `numbers` are the bins' token numbers."""
        return np.asarray(logits[:, list(numbers)].double().softmax(-1).cpu().numpy() @ self.values.astype(np.float64))

    def next(self, written: Sequence[str], there: Collection[str]) -> list[str]:
        """Acting tokens that may come after some; `there` are the sources that have anything in them."""
        asked = [one for one in self.sources if self.source(one) in written]
        if EOS in written:
            return []
        if NULL in written:
            return [EOS]
        free = [one for one in self.sources if one not in asked and one in there and all(early in asked for early in self.before(one))]
        return [*map(self.source, free), EOS if asked else NULL]
