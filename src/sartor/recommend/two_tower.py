"""Two networks, one for people and one for items, that meet in one space: retrieval from attributes and history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sartor.method import Run, learned
from sartor.parts.field_embedding import FieldEmbedding, tensors
from sartor.parts.fields import Codes, take
from sartor.parts.histories import spans
from sartor.parts.losses import in_batch_softmax
from sartor.parts.samplers import order
from sartor.parts.trainer import Trainer, seeded
from sartor.recommend._base import PersonalArrays, VectorRecommender
from sartor.recommend._features import FieldRecommender, about_arrays, check_settings, describe
from sartor.recommend._validation import validation

if TYPE_CHECKING:
    import polars as pl

    from sartor.data.interactions import Interactions
    from sartor.data.population import Population


@dataclass(kw_only=True, eq=False)
class TwoTower(FieldRecommender, VectorRecommender):
    """A person is a network over the mean of what their last items are and over their own fields; an item is a network over its fields.

    For large catalogues with attributes: people and items the model has never seen get vectors in one forward pass, and retrieval is an
    inner product. Trained to find each event's item among the items of its batch; the popularity of items in batches is corrected for.

    Source: Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, RecSys 2019. Differs from the paper
    in: item frequencies are counted in the log instead of estimated from a stream; the query is a person's history and fields, not a
    seed video.

    State: `vector` float32 [embedding_dim], length 1; 4 bytes x (dimensions + events).
    """

    embedding_dim: int = 64
    """Width of the space where people and items meet."""
    field_dim: int = 16
    """Width of every field's embedding."""
    id_dim: int = 32
    """Width of the item id's embedding."""
    hidden: Sequence[int] = (128,)
    """Hidden layers of both towers."""
    temperature: float = 0.1
    """Of the softmax over cosines. Published: tuned, 0.05 to 0.1 are usual."""
    correct_popularity: bool = True
    """Subtract the log of how often an item is in a batch from its logit (logQ)."""
    history: int = 50
    """How many of a person's newest items are read."""
    forget_history: float = 0.05
    """Share of examples trained without their history, so that the model has an answer for somebody unknown."""
    hide_ids: float = 0.1
    """Share of items trained without their id in each step, so that the unknown id of a new item means something."""
    epochs: int = 20
    """Most passes over the events."""
    batch_size: int = 512
    """Events per step; also the number of negatives."""
    learning_rate: float = 1e-3
    """Of Adam."""
    weight_decay: float = 1e-6
    """L2, of Adam."""
    patience: int = 3
    """Stop after so many epochs without a better validation score; only with validation data."""
    device: str = "cpu"
    """Where `fit` trains; serving is on the CPU."""

    network_: Towers = learned()
    """Both towers."""
    item_inputs_: np.ndarray = learned()
    """float32 [items, width]: the items' embedded fields, of which a history is the mean."""

    def make_network(self) -> Towers:
        codec, people = self.item_codec, self.person_codec
        widths = {one.name: self.id_dim if one.name == "item" else self.field_dim for one in codec.fields}
        return Towers(
            FieldEmbedding(codec.fields, widths),
            FieldEmbedding(people.fields, self.field_dim) if people.fields else None,
            tuple(self.hidden),
            self.embedding_dim,
        )

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        check_settings(
            self, at_least_1=("embedding_dim", "field_dim", "id_dim", "history", "batch_size"), positive=("temperature",),
            shares=("forget_history", "hide_ids"),
        )  # fmt: skip
        codes, frame = self._read_items(population, self._vocabulary(data))
        about = self._read_people(population, data.people)
        data = describe(data, about)
        with seeded(self.seed):
            self.network_ = self.make_network().to(self.device)
        self._prepare(codes, data)
        counts = torch.from_numpy(np.maximum(data.counts(), 1)).to(self.device)
        log_q = torch.log(counts / counts.sum()) if self.correct_popularity else None
        on_device, people = tensors(codes, self.device), tensors(about, self.device)

        def loss(batch: Batch) -> Tensor:
            return self._loss(batch, on_device, people, log_q)

        judge = validation(self, data, run)

        def validate() -> float:
            self._set_items(codes, frame)
            return judge() if judge is not None else 0.0

        trainer = Trainer(
            epochs=self.epochs, learning_rate=self.learning_rate, weight_decay=self.weight_decay, patience=self.patience,
            seed=self.seed, device=self.device,
        )  # fmt: skip
        trainer.fit(
            self.network_, lambda rng: self._steps(rng, data), loss, validate=None if judge is None else validate,
            progress=run.progress, checkpoint=run.checkpoint, key=run.key, description=type(self).__name__,
        )  # fmt: skip
        self.network_.cpu()
        self._set_items(codes, frame)
        # Somebody unknown is asked of the network itself: it was trained to answer without a history.
        nothing = np.zeros((1, self.item_inputs_.shape[1]), np.float32)
        self.population_vector_ = self._query(nothing, np.ones(1, bool), self._about(None))[0]

    def _vocabulary(self, data: Interactions) -> np.ndarray | None:
        """Whose fields' values are learned: bool [items], those with events, since only they are trained."""
        return data.counts() > 0

    def _prepare(self, codes: Codes, data: Interactions) -> None:
        """What a subclass must know of the catalogue before training."""

    def _steps(self, rng: np.random.Generator, data: Interactions) -> Iterator[Batch]:
        rows = data.rows
        weights = None if (data.weights == 1).all() else torch.from_numpy(data.weights)
        for events in order(rng, len(data), self.batch_size):
            people = rows[events]
            starts = np.maximum(data.indptr[people], events - self.history)
            starts = np.where(rng.random(events.size) < self.forget_history, events, starts)
            lengths = events - starts
            before = data.indices[spans(starts, lengths)]
            items, places = np.unique(np.concatenate([data.indices[events], before]), return_inverse=True)
            yield Batch(
                torch.from_numpy(items).long(),
                torch.from_numpy(places[: events.size]),
                torch.from_numpy(places[events.size :]),
                torch.from_numpy(lengths),
                torch.from_numpy(people).long(),
                None if weights is None else weights[torch.from_numpy(events)],
                rng,
            ).to(self.device)

    def _loss(self, batch: Batch, codes: Mapping[str, Tensor], people: Mapping[str, Tensor], log_q: Tensor | None) -> Tensor:
        network = self.network_
        inputs = network.fields(take(codes, batch.items), hidden=self._hidden(batch))
        queries = network.query(_means(inputs, batch), batch.lengths == 0, take(people, batch.people))
        targets = batch.items[batch.targets]
        losses = in_batch_softmax(
            queries, network.item(self._target_inputs(inputs, batch)), temperature=self.temperature,
            log_q=None if log_q is None else log_q[targets], ids=targets, reduction="none",
        )  # fmt: skip
        return losses.mean() if batch.weights is None else (losses * batch.weights).sum() / batch.weights.sum()

    def _hidden(self, batch: Batch) -> Tensor:
        """bool [U, fields]: the item ids that are hidden in this step."""
        names = self.item_codec.names
        hidden = torch.zeros(batch.items.numel(), len(names), dtype=torch.bool)
        if "item" in names:
            hidden[:, names.index("item")] = torch.from_numpy(batch.rng.random(batch.items.numel()) < self.hide_ids)
        return hidden.to(self.device)

    def _target_inputs(self, inputs: Tensor, batch: Batch) -> Tensor:
        """The embedded fields that the item tower reads of the items to be found."""
        return inputs[batch.targets]

    @torch.no_grad()
    def _item_arrays(self, codes: Codes, frame: pl.DataFrame) -> dict[str, np.ndarray]:
        network = self.network_.eval()
        inputs, vectors = [], []
        for start in range(0, frame.height, 65_536):
            own = network.fields(tensors(take(codes, slice(start, start + 65_536)), self._where()))
            inputs.append(own.cpu().numpy())
            vectors.append(network.item(own).cpu().numpy())
        return {"item_inputs_": np.concatenate(inputs), "item_vectors_": np.concatenate(vectors)}

    def _encode(self, histories: Interactions) -> PersonalArrays:
        from scipy.sparse import csr_matrix

        starts = np.maximum(histories.indptr[:-1], histories.indptr[1:] - self.history)
        lengths = histories.indptr[1:] - starts
        newest = histories.indices[spans(starts, lengths)]
        shares = np.repeat(1 / np.maximum(lengths, 1), lengths).astype(np.float32)
        means = csr_matrix((shares, newest, np.concatenate([[0], np.cumsum(lengths)])), shape=histories.shape) @ self.item_inputs_
        about = self._about_of(histories)
        return {"vector": self._query(means, lengths == 0, about), **about_arrays(about)}

    @torch.no_grad()
    def _query(self, means: np.ndarray, empty: np.ndarray, about: Codes) -> np.ndarray:
        network, where = self.network_.eval(), self._where()
        queries = network.query(torch.from_numpy(means).to(where), torch.from_numpy(empty).to(where), tensors(about, where))
        return queries.cpu().numpy()

    def _where(self) -> str:
        return str(next(self.network_.parameters()).device)


class Batch(NamedTuple):
    """One step: whose events, of which items, after which items."""

    items: Tensor
    """int64 [U], distinct item numbers."""
    targets: Tensor
    """int64 [B], places in `items`."""
    histories: Tensor
    """int64 [N], places in `items`, one person's after another's."""
    lengths: Tensor
    """int64 [B]."""
    people: Tensor
    """int64 [B], person numbers."""
    weights: Tensor | None
    """float32 [B]."""
    rng: np.random.Generator
    """For what else a loss draws."""

    def to(self, device: str) -> Batch:
        """On another device."""
        moved = {name: one.to(device) for name, one in self._asdict().items() if isinstance(one, Tensor)}
        return Batch(**{**self._asdict(), **moved})


class Towers(nn.Module):
    """Item tower and query tower over shared field embeddings; both end on the unit sphere."""

    def __init__(self, fields: FieldEmbedding, people: FieldEmbedding | None, hidden: Sequence[int], dim: int) -> None:
        super().__init__()
        self.fields, self.people = fields, people
        self.item_tower = _layers(fields.width, hidden, dim)
        self.query_tower = _layers(fields.width + (people.width if people is not None else 0), hidden, dim)
        self.empty = nn.Parameter(torch.zeros(fields.width))

    def item(self, inputs: Tensor) -> Tensor:
        """float [n, dim] from embedded fields [n, width]."""
        return nn.functional.normalize(self.item_tower(inputs), dim=1)

    def query(self, means: Tensor, empty: Tensor, about: Mapping[str, Tensor]) -> Tensor:
        """float [n, dim] from mean histories [n, width]; a learned vector where `empty`."""
        own = torch.where(empty[:, None], self.empty, means)
        return nn.functional.normalize(self.query_tower(own if self.people is None else torch.cat([own, self.people(about)], 1)), dim=1)


def _layers(inputs: int, hidden: Sequence[int], out: int) -> nn.Sequential:
    parts: list[Any] = []
    for width in hidden:
        parts += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*parts, nn.Linear(inputs, out))


def _means(inputs: Tensor, batch: Batch) -> Tensor:
    """float [B, width]: the mean of every history's embedded fields; zeros where it is empty."""
    starts = torch.cumsum(batch.lengths, 0) - batch.lengths
    return nn.functional.embedding_bag(batch.histories, inputs, starts, mode="mean")
