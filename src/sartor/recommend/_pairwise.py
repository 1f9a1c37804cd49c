"""What methods share whose people and items are vectors trained on (person, item had, item not had): LightGCN, PLD, GraphHash.

A subclass says what is its own: how the vectors come about (`_factors`), which batches it sees (`_examples`), what it minimises (`_loss`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.data.interactions import Interactions
from sartor.data.population import Population
from sartor.errors import BadValue, ConfigError, EmptyData
from sartor.method import Run, learned
from sartor.parts import losses
from sartor.parts.factors import Factors, Table
from sartor.parts.fold_in import fold_in
from sartor.parts.graph import BipartiteGraph, mean_of, neighbour_vectors, propagated_people
from sartor.parts.samplers import pairs, unseen
from sartor.parts.trainer import History, Trainer, seeded
from sartor.recommend._base import PersonalArrays, VectorRecommender
from sartor.recommend._validation import validation

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(kw_only=True, eq=False)
class PairwiseRecommender(VectorRecommender):
    """Vectors of people and items, trained so that a person's items score above others, optionally propagated over the graph.

    State: `vector` float32 [embedding_dim], beside the items. Nobody's row of a table is used after `fit`: a person's layer-0 vector is
    fitted on that person's items by `adapt_steps` steps with all items frozen, and what the graph passes on is a closed form.
    """

    embedding_dim: int = 64
    layers: int = 3
    """Propagations over the graph; 0 is matrix factorisation."""
    epochs: int = 100
    learning_rate: float = 1e-3
    batch_size: int = 2048
    l2: float = 1e-4
    """Times half the squared norms of the layer-0 vectors in a batch, per example."""
    patience: int = 10
    """Validations without a better score before stopping."""
    validate_every: int = 5
    """Epochs between validations."""
    adapt_steps: int = 50
    """Gradient steps on a person's layer-0 vector; 0 leaves it at the average person's."""
    adapt_learning_rate: float = 0.05
    device: str = "cpu"

    neighbour_vectors_: np.ndarray = learned()
    """float32 [items, dim]: what an item passes on to a person that has it; no rows without a graph."""
    scale_: float = learned(1.0)
    """What people's vectors are multiplied by so that inner products with `item_vectors_` are the scores that training compared."""
    start_: np.ndarray = learned()
    """float32 [dim]: the average person's layer-0 vector."""
    losses_: list[float] = learned()
    """Mean training loss of every epoch."""

    optimizer: ClassVar[str] = "adam"
    weight_decay: ClassVar[float] = 0.0

    # --- what a method says

    def _factors(self, data: Interactions, population: Population, graph: BipartiteGraph) -> Factors:
        """The vectors to be trained."""
        people, items = (Table(count, self.embedding_dim) for count in data.shape)
        return Factors(people, items, graph=graph, layers=self.layers)

    def _examples(self, rng: np.random.Generator, network: Factors, graph: BipartiteGraph, rows: np.ndarray) -> Iterable[Any]:
        """One epoch of (people, items had, items not had [b, n])."""
        for people, items in pairs(rng, rows, graph.indices, self.batch_size):
            yield people, items, unseen(rng, people, 1, graph.indptr, graph.indices, graph.items)

    def _loss(self, network: Factors, batch: Any) -> Tensor:
        return self._bpr(network(), *batch)

    def _hooks(self) -> Sequence[Callable[[int, nn.Module], None]]:
        """Called after every epoch with its number, from 0, and the network."""
        return ()

    def _cosine_temperature(self) -> float:
        """Temperature of a loss on cosines; 0 for one on inner products."""
        return 0.0

    # --- what all share

    def _bpr(self, vectors: tuple[Tensor, Tensor, Tensor, Tensor], people: np.ndarray, had: np.ndarray, not_had: np.ndarray) -> Tensor:
        """BPR on propagated vectors, and L2 on layer 0."""
        final_people, final_items, people0, items0 = vectors
        who, plus, minus = (torch.from_numpy(one.astype(np.int64)) for one in (people, had, not_had))
        person = final_people[who]
        positive = (person * final_items[plus]).sum(1)
        negative = torch.einsum("bd,bnd->bn", person, final_items[minus])
        squares = people0[who].square().sum(1) + items0[plus].square().sum(1) + items0[minus].square().sum(2).mean(1)
        return losses.bpr(positive, negative) + self.l2 / 2 * squares.mean()

    def _softmax(
        self, vectors: tuple[Tensor, Tensor, Tensor, Tensor], people: np.ndarray, had: np.ndarray, negatives: np.ndarray, known: np.ndarray
    ) -> Tensor:
        """Sampled softmax on cosine similarity, with negatives [n] shared by the batch; `known` [b, n] marks those the person has."""
        final_people, final_items, people0, items0 = vectors
        who, plus, minus = (torch.from_numpy(one.astype(np.int64)) for one in (people, had, negatives))
        person = F.normalize(final_people[who], dim=-1)
        positive = (person * F.normalize(final_items[plus], dim=-1)).sum(1)
        others = (person @ F.normalize(final_items[minus], dim=-1).T).masked_fill(torch.from_numpy(known), -torch.inf)
        loss = losses.sampled_softmax(positive, others, temperature=self._cosine_temperature())
        if not self.l2:
            return loss
        return loss + self.l2 / 2 * (people0[who].square().sum(1) + items0[plus].square().sum(1)).mean()

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        self._check()
        had = data.matrix()
        check_unseen_left(data, had)
        graph = BipartiteGraph.of(had)
        with seeded(self.seed):
            network = self._factors(data, population, graph).to(self.device)
        rows = np.repeat(np.arange(graph.people, dtype=np.int32), np.diff(graph.indptr))
        validate = None
        if (judge := validation(self, data, run)) is not None:

            def validate() -> float:
                self._export(network, graph)
                return judge()

        trainer = Trainer(
            epochs=self.epochs, learning_rate=self.learning_rate, optimizer=self.optimizer, weight_decay=self.weight_decay,
            patience=self.patience, validate_every=self.validate_every, seed=self.seed, device=self.device, hooks=self._hooks(),
        )  # fmt: skip
        history = trainer.fit(
            network,
            lambda rng: self._examples(rng, network, graph, rows),
            lambda batch: self._loss(network, batch),
            validate=validate,
            progress=run.progress,
            checkpoint=run.checkpoint,
            key=run.key,
            description=type(self).__name__,
        )
        self._export(network, graph)
        self._finish(network, graph, data, history)

    def _check(self) -> None:
        if self.embedding_dim < 1 or self.layers < 0 or self.batch_size < 1 or self.l2 < 0:
            raise ConfigError(
                f"embedding_dim {self.embedding_dim}, layers {self.layers}, batch_size {self.batch_size}, l2 {self.l2}",
                fix="use embedding_dim >= 1, layers >= 0, batch_size >= 1, l2 >= 0",
            )

    def _finish(self, network: Factors, graph: BipartiteGraph, data: Interactions, history: History) -> None:
        self.losses_ = history.losses

    @torch.no_grad()
    def _export(self, network: Factors, graph: BipartiteGraph) -> None:
        """Everything that ranking and fold-in need, as arrays."""
        layers = network.item_layers()
        self.item_vectors_ = _array(mean_of(layers))
        as_arrays = [_array(one) for one in layers]
        self.neighbour_vectors_ = neighbour_vectors(as_arrays, graph.item_degrees) if self.layers else np.empty((0, self.embedding_dim), np.float32)
        people, items, people0, items0 = network()
        if not people.shape[0]:
            # A catalogue whose people are not known yet: somebody who likes everything alike stands for them.
            people, people0 = items.mean(0, keepdim=True), items0.mean(0, keepdim=True)
        self.start_ = _array(people0.mean(0))
        self.scale_ = 1.0
        if temperature := self._cosine_temperature():
            lengths = np.linalg.norm(self.item_vectors_, axis=1, keepdims=True)
            self.item_vectors_ = self.item_vectors_ / np.maximum(lengths, 1e-12)
            self.scale_ = 1 / (temperature * float(people.norm(dim=1).mean()))
        self.population_vector_ = self.scale_ * _array(people.mean(0))

    def _encode(self, histories: Interactions) -> PersonalArrays:
        own = histories.matrix()
        indptr = own.indptr.astype(np.int64)
        start = self.start_ * self.scale_ / (self.layers + 1)
        offset = self.scale_ * propagated_people(None, indptr, own.indices, self.neighbour_vectors_, self.layers) if self.layers else None
        vectors = fold_in(self.item_vectors_, indptr, own.indices, start, offset=offset, **self._fold_in_settings())
        if offset is not None:
            vectors = vectors + offset
        vectors[np.diff(indptr) == 0] = self.population_vector_
        return {"vector": vectors}

    def _fold_in_settings(self) -> dict[str, Any]:
        # Training pulls a person's layer-0 vector once per example by l2 / 2; with K layers, what is fitted here is 1 / (K + 1) of it.
        l2 = self.l2 / 2 * ((self.layers + 1) / self.scale_) ** 2
        return {"steps": self.adapt_steps, "learning_rate": self.adapt_learning_rate, "l2": l2, "seed": self.seed}


def shared_negatives(rng: np.random.Generator, people: np.ndarray, n: int, graph: BipartiteGraph) -> tuple[np.ndarray, np.ndarray]:
    """n distinct uniform items for a whole batch, int32 [n], and which of them each person has, bool [len(people), n].

    One product with n items replaces n gathered rows per example; the expectation of the loss is the same.
    """
    drawn = rng.choice(graph.items, min(n, graph.items), replace=False)
    return drawn.astype(np.int32), graph.edges[people][:, drawn].toarray()


def check_implicit(data: Interactions, method: str) -> None:
    """Raise `BadValue` when events carry different values: ratings must not be taken for clicks silently."""
    values = data.values[np.isfinite(data.values)]
    if values.size and values.min() != values.max():
        low, high = float(values.min()), float(values.max())
        raise BadValue(
            f"{method} expects implicit positives, but these have values {low:g}..{high:g}",
            fix="threshold them first: population.positives(at_least)",
        )


def check_unseen_left(data: Interactions, had: csr_matrix) -> None:
    """Raise `EmptyData` when somebody has every item, so that no negative can be drawn."""
    full = np.flatnonzero(np.diff(had.indptr) >= had.shape[1])
    if full.size:
        person = data.people.array[full[0]]
        raise EmptyData(
            f"person {person!r} has no unvoted items", fix="leave this person out, or give the whole catalogue as items", people=full.size
        )


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)
