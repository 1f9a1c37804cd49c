"""2D Matryoshka sentence embeddings: one text encoder to be cut to any number of layers and any vector length after training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sartor.errors import ConfigError
from sartor.parts.contrastive import InfoNCE, PairLoss
from sartor.parts.nested import Compression, NestedDims, NestedLayers, SelfDistillation
from sartor.parts.pair_sampler import PairSampler
from sartor.parts.trainer import History
from sartor.parts.unit import unit
from sartor.represent.contrastive import ContrastiveTrainer, Side
from sartor.represent.neural import NeuralEncoder


@dataclass(kw_only=True)
class MSE2D:
    """Trains an encoder so that phones, laptops and servers can share one model: `encoder.cut(3)`, `encoder.truncate(64)`, or both.

    Every step draws one layer and one width: the base loss is taken of the last layer's and of the drawn layer's vectors, both pooled
    alike and cut to widths that are drawn with them, and the drawn layer's distribution over dimensions is pulled to the last one's,
    which gets no gradient from it.

    Widths are interchangeable: what is kept at full width is cut when it is used. Layers are not: an index made with six layers is no
    good for queries encoded with three, and their fingerprints differ.

    Source: Li et al., 2D Matryoshka Sentence Embeddings, 2024; `compression` is its later version, Espresso Sentence Embeddings.

    State: a person's vector at the full width, float16; cut to 64 dimensions it is 128 bytes.

    Parameters
    ----------
    dims: widths to be cut to; the encoder's own is always among them.
    loss: of the pairs at one depth and width; `CoSENT` for graded pairs.
    layers_per_step, dims_per_step: how many are drawn; 0 takes all.
    weighting: of earlier layers, "uniform" as first published, or "log", 1 / (1 + ln(1 + n)), as in the later version.
    temperature: of the self-distillation; 0 leaves it away.
    compression: instead of drawing widths, compress to so many dimensions (`parts.nested.Compression`); 0 draws.
    sampler, epochs, learning_rate, seed: of `ContrastiveTrainer`.
    """

    dims: Sequence[int] = (768, 512, 256, 128, 64)
    loss: PairLoss = field(default_factory=InfoNCE)
    layers_per_step: int = 1
    dims_per_step: int = 1
    weighting: Literal["uniform", "log"] = "uniform"
    last_weight: float = 1.0
    prior_weight: float = 1.0
    temperature: float = 0.3
    distillation_weight: float = 1.0
    compression: int = 0
    sampler: PairSampler = field(default_factory=PairSampler)
    epochs: int = 1
    learning_rate: float = 5e-5
    seed: int = 0

    def fit(
        self, encoder: NeuralEncoder, a: Side, b: Side, *, ids: np.ndarray | None = None, grades: np.ndarray | None = None, progress: bool = False,
        **more: Any,
    ) -> History:  # fmt: skip
        """Train in place; arguments as those of `ContrastiveTrainer.fit`. Raises `ConfigError` when a width is larger than the encoder's."""
        dims = self._dims(encoder.dim)
        trainer = ContrastiveTrainer(
            loss=self.joint(dims), sampler=self.sampler, epochs=self.epochs, learning_rate=self.learning_rate, seed=self.seed
        )  # fmt: skip
        history = trainer.fit(encoder, a, b, ids=ids, grades=grades, progress=progress, **more)
        encoder.nested_dims, encoder.nested_layers = dims, True
        return history

    def joint(self, dims: Sequence[int]) -> PairLoss:
        """The loss over layers and widths together."""
        narrow: PairLoss = Compression(loss=self.loss, dim=self.compression) if self.compression else NestedDims(self.loss, dims, self.dims_per_step)
        distillation = SelfDistillation(temperature=self.temperature, weight=self.distillation_weight) if self.temperature else None
        return NestedLayers(
            loss=narrow, per_step=self.layers_per_step, weighting=self.weighting, last_weight=self.last_weight, prior_weight=self.prior_weight,
            distillation=distillation,
        )  # fmt: skip

    def _dims(self, width: int) -> tuple[int, ...]:
        chosen = sorted({self.compression} if self.compression else set(self.dims))
        if not chosen or chosen[0] < 1 or chosen[-1] > width:
            raise ConfigError(f"widths {chosen} for vectors of {width} dimensions", fix=f"choose from 1 to {width}")
        return tuple(sorted({*chosen, width}))


def export(encoder: NeuralEncoder, folder: str | Path, *, layers: int, dim: int = 0) -> Path:
    """Write a cut-down encoder, which `text_encoder(folder)` reads at this depth and width, and transformers' `from_pretrained` at this depth.

    dim: 0 keeps the full width. Raises `ConfigError` when the encoder has fewer layers or dimensions.
    """
    if dim:
        # Checks, and warns when the width was not trained.
        encoder.truncate(dim)
    short = encoder.cut(layers)
    short.default_dim = dim
    return short.save(folder)


def spearman_grid(encoder: NeuralEncoder, a: Sequence[str], b: Sequence[str], grades: np.ndarray, dims: Sequence[int]) -> np.ndarray:
    """Rank correlation of cosines with grades, for every number of layers and every width: float [depth + 1, dims]; row n is after n layers."""
    from scipy.stats import spearmanr

    texts = list(dict.fromkeys([*a, *b]))
    row = {text: at for at, text in enumerate(texts)}
    left, right = np.array([row[text] for text in a]), np.array([row[text] for text in b])
    out = np.empty((encoder.depth + 1, len(dims)))
    for layer, vectors in enumerate(encoder.encode_layers(texts)):
        for at, dim in enumerate(dims):
            short = unit(vectors[:, :dim])
            out[layer, at] = spearmanr((short[left] * short[right]).sum(1), grades).statistic
    return out
