"""Custom Diffusion: the word and the keys and values of cross-attention are tuned together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from sartor.draw._base import ConceptMethod
from sartor.draw._shown import Shown
from sartor.draw.dreambooth import identifier
from sartor.draw.parts.delta import KEYS_VALUES
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tokens import Concept
from sartor.draw.parts.tuning import Say, Term, Tuned, class_pictures, tune
from sartor.draw.parts.weights import Kind, learning


@dataclass(kw_only=True, eq=False)
class CustomDiffusion(ConceptMethod):
    """The base of several methods, which add a term to its loss.

    Source: Kumari et al., Multi-Concept Customization of Text-to-Image Diffusion, CVPR 2023. State: the word's row, and weights of to_k and to_v of
    every cross-attention layer, whole or at low rank.
    """

    tune: Kind = "low-rank"
    steps: int = 150
    learning_rate: float = 2e-3
    word_rate: float = 5e-3
    rank: int = 4
    batch: int = 8
    class_weight: float = 0.0
    """Of pictures that the frozen prior draws of the class; 0 leaves them out."""
    class_images: int = 64

    says_class: ClassVar[bool] = True

    def _terms(self, prior: Prior, shown: Shown) -> Sequence[Term]:
        """What a method adds to the loss."""
        return ()

    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        start = Concept(shown.name, identifier(prior, shown.class_word, seed, shown.name))
        tuned, learned = self._tuned(
            prior, references, [start], self.captions(shown), f"a {shown.class_word}", terms=self._terms(prior, shown), seed=seed, progress=progress
        )
        return {"rows": tuned.concepts[0].rows, **{f"weights.{name}": value for name, value in learned.items()}}, tuned.record

    def _tuned(
        self, prior: Prior, references: References, words: Sequence[Concept], prompts: Sequence[str] | Say, of_class: str, *, seed: int, **more: Any
    ) -> tuple[Tuned, dict[str, Tensor]]:
        """The words, and what is added to keys and values; `of_class` is the prompt of the class pictures, `more` is for `tuning.tune`."""
        beside = class_pictures(prior, of_class, self.class_images) if self.class_weight else None
        with learning(prior, self.tune, targets=KEYS_VALUES, rank=self.rank, seed=seed) as weights:
            tuned = tune(
                prior, references, words, prompts, steps=self.steps, word_rate=self.word_rate, weights=weights, weight_rate=self.learning_rate,
                beside=beside, beside_weight=self.class_weight, batch=self.batch, seed=seed, **more,
            )  # fmt: skip
            return tuned, weights.arrays()
