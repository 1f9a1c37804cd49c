"""Training text encoders on pairs of texts that belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sartor.errors import BadValue, ConfigError
from sartor.parts.checkpoint import data_key
from sartor.parts.contrastive import InfoNCE, PairLoss, Views
from sartor.parts.pair_sampler import PairSampler
from sartor.parts.trainer import History, Trainer
from sartor.parts.transformer import Tokens
from sartor.represent.neural import NeuralEncoder

Side = Sequence[str] | Callable[[np.random.Generator, np.ndarray], Sequence[str]]
"""One text per pair; or what makes the texts of some pairs (rows int64 [b]) anew each time, for views that are drawn at random."""


class _Batch(NamedTuple):
    tokens: Tokens
    """All of side a, then all of side b."""
    rows: np.ndarray


@dataclass(kw_only=True)
class ContrastiveTrainer:
    """Fine-tunes an encoder in place, so that the two texts of a pair come to lie near each other and far from the others of their batch.

    Parameters
    ----------
    loss: of a batch of pairs, with whatever wraps it (`parts.nested`).
    sampler: which pairs stand together in a batch, and how many batches an epoch has.
    epochs, learning_rate, weight_decay, clip_norm, patience: of `parts.trainer.Trainer`.
    swap: how often the two sides of a pair change places, 0..0.5.
    seed: of batches, dropout and what the loss draws.
    """

    loss: PairLoss = field(default_factory=InfoNCE)
    sampler: PairSampler = field(default_factory=PairSampler)
    epochs: int = 1
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    patience: int = 0
    swap: float = 0.0
    seed: int = 0

    def fit(
        self,
        encoder: NeuralEncoder,
        a: Side,
        b: Side,
        *,
        pairs: int | None = None,
        ids: np.ndarray | None = None,
        grades: np.ndarray | None = None,
        experts: np.ndarray | None = None,
        parameters: Iterable[Any] | None = None,
        validate: Callable[[], float] | None = None,
        progress: bool = False,
        checkpoint: Path | None = None,
    ) -> History:
        """Train and return what happened; the encoder's fingerprint changes.

        Parameters
        ----------
        a, b: the texts, one per pair, or what makes them.
        pairs: how many there are, where neither side is a list.
        ids: int [pairs]; pairs with the same id are no negatives of each other.
        grades: float [pairs], for losses of graded pairs.
        experts: int [pairs], which expert serves both texts, for encoders that have experts.
        parameters: what to train; all that require gradients by default.
        validate: a score of the encoder as it is now, higher is better; the best epoch's weights are kept.
        checkpoint: a folder for resumable progress.

        Raises `BadValue` for an empty text, `ConfigError` where lengths differ, and what `Trainer` raises.
        """
        count = self._count(a, b, pairs, {"ids": ids, "grades": grades, "experts": experts})
        made = [side if callable(side) else _tokenized(encoder, side) for side in (a, b)]

        def side(which: int, rng: np.random.Generator, rows: np.ndarray) -> list[np.ndarray]:
            texts = made[which]
            return _tokenized(encoder, texts(rng, rows), rows) if callable(texts) else [texts[row] for row in rows]

        def batches(rng: np.random.Generator) -> Iterator[_Batch]:
            for rows in self.sampler.batches(rng, count):
                left, right = side(0, rng, rows), side(1, rng, rows)
                if self.swap:
                    turned = rng.random(rows.size) < self.swap
                    left, right = (
                        [y if turn else x for x, y, turn in zip(left, right, turned, strict=True)],
                        [x if turn else y for x, y, turn in zip(left, right, turned, strict=True)],
                    )
                routed = None if experts is None else np.concatenate([experts[rows], experts[rows]])
                yield _Batch(Tokens.of([*left, *right], routed, encoder.device), rows)

        def loss(batch: _Batch) -> torch.Tensor:
            half = batch.rows.size
            layers = encoder.pooled(batch.tokens)
            of = [None if one is None else torch.as_tensor(one[batch.rows]).to(encoder.device) for one in (ids, grades)]
            return self.loss(Views([layer[:half] for layer in layers], [layer[half:] for layer in layers], *of))

        trainer = Trainer(
            epochs=self.epochs, learning_rate=self.learning_rate, weight_decay=self.weight_decay, optimizer="adamw", clip_norm=self.clip_norm,
            patience=self.patience, seed=self.seed, device=encoder.device,
        )  # fmt: skip
        key = f"{self.loss}{self.sampler.batch_size}.{self.sampler.steps}" + data_key(
            *(np.concatenate([[text.size], text]) for one in made if not callable(one) for text in one), np.array([count])
        ) if checkpoint is not None else ""  # fmt: skip
        try:
            return trainer.fit(
                encoder.network, batches, loss, validate=validate, parameters=parameters, progress=progress, checkpoint=checkpoint, key=key,
                description=f"training {encoder.name}",
            )  # fmt: skip
        finally:
            encoder.changed()

    def _count(self, a: Side, b: Side, pairs: int | None, along: dict[str, np.ndarray | None]) -> int:
        sizes = {name: len(one) for name, one in {"a": a, "b": b, **along}.items() if one is not None and not callable(one)}
        sizes |= {"pairs": pairs} if pairs is not None else {}
        if len(set(sizes.values())) != 1:
            fix = "give one text, id, grade and expert per pair" if sizes else "say how many pairs there are"
            raise ConfigError(f"the sides differ in length: {sizes}", fix=fix)
        if not 0 <= self.swap <= 0.5:
            raise ConfigError(f"swap is {self.swap}", fix="use 0 to 0.5")
        return next(iter(sizes.values()))


def _tokenized(encoder: NeuralEncoder, texts: Sequence[str], rows: np.ndarray | None = None) -> list[np.ndarray]:
    made = encoder.tokenize(texts)
    empty = next((at for at, (tokens, text) in enumerate(zip(made, texts, strict=True)) if not tokens.size or not text.strip()), None)
    if empty is not None:
        raise BadValue("a text is empty", fix="leave its pair out", row=empty if rows is None else int(rows[empty]))
    return made
