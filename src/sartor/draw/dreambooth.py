"""DreamBooth: the denoiser itself is tuned to "<v> class", held in place by what it used to draw of the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from sartor.draw._base import ConceptMethod, Shown
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tokens import Concept, at_norm, of_word
from sartor.draw.parts.tuning import LowRank, Whole, class_pictures, tune
from sartor.errors import ConfigError


@dataclass(kw_only=True, eq=False)
class DreamBooth(ConceptMethod):
    """Weights that know one thing by a rare identifier before its class word, and still know the class.

    Source: Ruiz et al., DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation, CVPR 2023. The class pictures are
    drawn by the frozen prior itself. The identifier is not learned: a free row of the length of the class word's, in a direction of its own.
    State: the row, and weights.<layer>.{A, B} (low rank) or weights.<parameter> (whole), in half precision.
    """

    tune: Literal["low-rank", "whole"] = "low-rank"
    steps: int = 150
    learning_rate: float = 2e-3
    """For low rank; whole weights take about a tenth."""
    rank: int = 4
    batch: int = 4
    """Pictures of the subject in a step; as many of the class."""
    class_weight: float = 1.0
    """Of the class pictures' error; 0 leaves them out."""
    class_images: int = 64

    says_class: ClassVar[bool] = True

    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if self.class_weight < 0:
            raise ConfigError(f"class_weight is {self.class_weight}", fix="use 0 or more")
        word = Concept(shown.name, identifier(prior, shown.class_word, seed))
        beside = class_pictures(prior, f"a {shown.class_word}", self.class_images) if self.class_weight else None
        with LowRank(prior, rank=self.rank, seed=seed) if self.tune == "low-rank" else Whole(prior) as weights:
            tuned = tune(
                prior, references, [word], self.captions(shown), steps=self.steps, weights=weights, weight_rate=self.learning_rate, beside=beside,
                beside_weight=self.class_weight, batch=self.batch, seed=seed, progress=progress,
            )  # fmt: skip
            learned = {f"weights.{name}": value for name, value in weights.arrays().items()}
        return {"rows": word.rows, **learned}, tuned.record


def identifier(prior: Prior, class_word: str, seed: int) -> Tensor:
    """float [1, d]: a word without a meaning, as long as the class word's row, in a direction drawn from the seed."""
    like = of_word(prior.text_encoder, prior.tokenizer, class_word)
    drawn = torch.randn(1, prior.dim, generator=torch.Generator().manual_seed(seed + 7)).to(like)
    return at_norm(drawn, like.norm(dim=-1).mean())
