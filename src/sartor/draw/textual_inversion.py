"""Textual inversion: a new word whose rows alone are learned from the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sartor.draw._base import ConceptMethod
from sartor.draw._shown import Shown
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tokens import of_word
from sartor.draw.parts.word_learning import learn_word


@dataclass(kw_only=True, eq=False)
class TextualInversion(ConceptMethod):
    """The baseline of all word methods: the smallest state, nothing of the network changes.

    Source: Gal et al., An Image is Worth One Word, ICLR 2023. State: rows float32 [vectors, d].
    """

    steps: int = 200
    learning_rate: float = 6e-2
    """For the small prior that comes with the package; a Stable Diffusion takes about 5e-3."""
    batch: int = 8
    vectors: int = 1
    """Rows of the word; all start at the class word's."""

    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        start = of_word(prior.text_encoder, prior.tokenizer, shown.class_word)[:1].repeat(self.vectors, 1)
        word, record = learn_word(
            prior, references, shown.name, start, prompts=self.captions(shown), steps=self.steps, learning_rate=self.learning_rate, batch=self.batch,
            seed=seed, progress=progress,
        )  # fmt: skip
        return {"rows": word.rows}, record
