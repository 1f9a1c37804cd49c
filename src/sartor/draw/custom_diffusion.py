"""Custom Diffusion: the word and the keys and values of cross-attention are tuned together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from sartor.draw._base import ConceptMethod, Shown
from sartor.draw.dreambooth import identifier
from sartor.draw.parts.delta import KEYS_VALUES
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tokens import Concept
from sartor.draw.parts.tuning import LowRank, Term, Whole, class_pictures, tune


@dataclass(kw_only=True, eq=False)
class CustomDiffusion(ConceptMethod):
    """The base of several methods, which add a term to its loss.

    Source: Kumari et al., Multi-Concept Customization of Text-to-Image Diffusion, CVPR 2023. State: the word's row, and weights of to_k and to_v of
    every cross-attention layer, whole or at low rank.
    """

    tune: Literal["low-rank", "whole"] = "low-rank"
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
        beside = class_pictures(prior, f"a {shown.class_word}", self.class_images) if self.class_weight else None
        with (
            LowRank(prior, targets=KEYS_VALUES, rank=self.rank, seed=seed)
            if self.tune == "low-rank"
            else Whole(prior, targets=KEYS_VALUES + r"\.weight") as weights
        ):
            tuned = tune(
                prior, references, [start], self.captions(shown), steps=self.steps, word_rate=self.word_rate, weights=weights,
                weight_rate=self.learning_rate, beside=beside, beside_weight=self.class_weight, terms=self._terms(prior, shown), batch=self.batch,
                seed=seed, progress=progress,
            )  # fmt: skip
            learned = {f"weights.{name}": value for name, value in weights.arrays().items()}
        return {"rows": tuned.concepts[0].rows, **learned}, tuned.record
