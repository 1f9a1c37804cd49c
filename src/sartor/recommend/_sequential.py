"""What recommenders share that read a history in order: training on every next item, and one forward pass per new person.

A method says how its encoder is made and how its loss looks; the table of item vectors is learned here and tied to the output.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sartor.errors import ConfigError, EmptyData
from sartor.method import Run, learned
from sartor.parts.histories import Histories
from sartor.parts.trainer import Trainer, seeded
from sartor.recommend._base import PersonalArrays, VectorRecommender
from sartor.recommend._validation import validation

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Population


FEWEST_STEPS = 30
"""In an epoch: with the usual 128 people per batch, small data would see too few updates in as many epochs."""


class Batch(NamedTuple):
    """Training examples of some people, one after another."""

    inputs: Tensor
    """int64 [N], what happened."""
    targets: Tensor
    """int64 [N], what happened next."""
    lengths: Tensor
    """int64 [B], examples per person."""
    negatives: Tensor | None
    """int64, items drawn as negatives, if the loss wants some."""


class Tied(nn.Module):
    """An encoder and the item vectors that are both its input and, multiplied with its output, the scores."""

    def __init__(self, items: int, dim: int, encoder: nn.Module, *, std: float, bias: bool) -> None:
        super().__init__()
        self.items = nn.Embedding(items, dim)
        nn.init.normal_(self.items.weight, std=std)
        self.bias = nn.Parameter(torch.zeros(items)) if bias else None
        self.encoder = encoder


@dataclass(kw_only=True, eq=False)
class SequentialRecommender(VectorRecommender):
    """Encodes the newest `max_length` items of a person, oldest first, into a vector.

    State: `items` int32 [n] and `vector` float32 [dim]. A new person costs one forward pass. Somebody without any known item gets the
    population's vector, the mean of the fitted people's.
    """

    embedding_dim: int = 64
    max_length: int = 50
    """Only the newest so many items are read."""
    epochs: int = 50
    batch_size: int | None = None
    """People per batch; None takes 128, and fewer (16 at least) where that leaves an epoch fewer than 30 steps."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    patience: int = 10
    """Stop after so many validations without improvement (with validation data only)."""
    validate_every: int = 1
    device: str = "cpu"
    """Where to train and encode: "cpu", "cuda", ..."""

    network_: nn.Module = learned()
    """The encoder; it takes item vectors, not numbers."""

    # --- what a method says

    @abstractmethod
    def make_network(self) -> nn.Module:
        """The untrained encoder, with `ragged` and `last` as in `sartor.parts.sequence`."""

    @abstractmethod
    def _loss(self, network: Tied, batch: Batch) -> Tensor:
        """A scalar."""

    def _table(self, items: int, encoder: nn.Module) -> Tied:
        """The network that is trained."""
        return Tied(items, self.embedding_dim, encoder, std=0.02, bias=False)

    def _inputs(self, vectors: Tensor) -> Tensor:
        """Item vectors as the encoder wants them."""
        return vectors

    def _negatives(self, rng: np.random.Generator, targets: np.ndarray, people: np.ndarray) -> np.ndarray | None:
        """Negatives for one batch, if the loss wants some; drawn with the batches, so that a seed decides them."""
        return None

    def _optimizer(self) -> dict[str, Any]:
        """Settings of the trainer that differ from its defaults."""
        return {"optimizer": "adamw" if self.weight_decay else "adam"}

    # --- what all share

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        if self.max_length < 1 or (self.batch_size is not None and self.batch_size < 1) or self.embedding_dim < 1:
            raise ConfigError("max_length, batch_size and embedding_dim must be at least 1")
        histories = Histories(data.indptr, data.indices).newest(self.max_length + 1)
        if not (histories.lengths >= 2).any():
            raise EmptyData("nobody has two events, so that there is no next item to learn from", fix="give longer histories")
        self._prepare(data)
        with seeded(self.seed):
            network = self._table(len(data.items), self.make_network()).to(self.device)
        self.network_ = network.encoder
        check = validation(self, data, run)

        def score() -> float:
            self._take_over(network, histories=None)
            return check() if check is not None else 0.0

        trainer = Trainer(
            epochs=self.epochs, learning_rate=self.learning_rate, weight_decay=self.weight_decay, patience=self.patience,
            validate_every=self.validate_every, seed=self.seed, device=self.device, **self._optimizer(),
        )  # fmt: skip
        size = self.batch_size or min(128, max(16, int((histories.lengths >= 2).sum()) // FEWEST_STEPS))
        trainer.fit(
            network, lambda rng: self._batches(histories, rng, size), lambda batch: self._loss(network, batch),
            validate=score if check is not None else None, progress=run.progress, checkpoint=run.checkpoint,
            key=run.key, description=type(self).__name__,
        )  # fmt: skip
        self._take_over(network, histories)
        self.network_ = network.encoder.cpu()

    def _prepare(self, data: Interactions) -> None:
        """Whatever a method needs of the data before training."""

    def _batches(self, histories: Histories, rng: np.random.Generator, size: int) -> Iterator[Batch]:
        for rows in histories.batches(size, rng=rng, at_least=2):
            inputs, targets, lengths = histories.next_items(rows)
            negatives = self._negatives(rng, targets, np.repeat(rows, lengths))
            parts = (
                None if part is None else torch.from_numpy(part.astype(np.int64)).to(self.device) for part in (inputs, targets, lengths, negatives)
            )
            yield Batch(*parts)  # type: ignore[arg-type]

    def _take_over(self, network: Tied, histories: Histories | None) -> None:
        """The network as it is now as learned attributes; with the histories, the population's vector too."""
        vectors = network.items.weight.detach().cpu().numpy()
        self.item_vectors_ = vectors if network.bias is None else np.column_stack([vectors, network.bias.detach().cpu().numpy()])
        if histories is None:
            self.population_vector_ = np.zeros(self.item_vectors_.shape[1], np.float32)
        else:
            self.item_vectors_ = self.item_vectors_.copy()
            own = self._vectors(histories.newest(self.max_length))
            self.population_vector_ = own[histories.lengths > 0].mean(0).astype(np.float32)

    def _encode(self, histories: Interactions) -> PersonalArrays:
        own = self._vectors(Histories(histories.indptr, histories.indices).newest(self.max_length))
        own[histories.lengths == 0] = self.population_vector_
        return {"vector": own}

    @torch.no_grad()
    def _vectors(self, histories: Histories) -> np.ndarray:
        """float32 [people, dim]: the encoder's output at each newest item; zeros without items."""
        network = self.network_.eval()
        where = next(network.parameters()).device
        out = np.zeros((len(histories), self.item_vectors_.shape[1]), np.float32)
        # A constant last dimension meets the item biases.
        out[:, self.embedding_dim :] = 1.0
        table = torch.from_numpy(self.item_vectors_[:, : self.embedding_dim])
        for rows in histories.batches(256):
            items, lengths = histories.take(rows)
            x = self._inputs(table[torch.from_numpy(items.astype(np.int64))].to(where))
            out[rows, : self.embedding_dim] = network.last(x, torch.from_numpy(lengths).to(where)).cpu().numpy()  # type: ignore[operator]
        return out
