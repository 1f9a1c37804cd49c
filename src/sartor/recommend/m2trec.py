"""The next item of a session, for catalogues where items come and go: items are known by their attributes only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from sartor.errors import BadValue, ConfigError, EmptyData
from sartor.method import Run, State, States, learned
from sartor.parts.field_embedding import FieldEmbedding, tensors
from sartor.parts.fields import DEFAULT, Codes, Field, take
from sartor.parts.histories import spans
from sartor.parts.losses import sampled_softmax
from sartor.parts.samplers import order
from sartor.parts.sequence import SequenceEncoder
from sartor.parts.trainer import Trainer, seeded
from sartor.recommend._base import PersonalArrays, VectorRecommender
from sartor.recommend._features import FieldRecommender, check_settings
from sartor.recommend._validation import validation

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Population


@dataclass(kw_only=True, eq=False)
class M2TRec(FieldRecommender, VectorRecommender):
    """A transformer over a session whose items are vectors of their attributes, at the input and at the output; from the session's mean it
    foretells the next item and, as further tasks, the next item's categories.

    For anonymous sessions over changing catalogues: there is no table of item ids, so that a new item is scored like any other as soon
    as its attributes are known (`add_items`). Where items have few or coarse attributes it cannot tell them apart. A session is what the
    population calls a person: one row of events.

    Measured in a generated shop (claims/recommend/m2trec.py): HR@20 of items nobody has touched 0.110 (chance 0.010, id models 0), of all
    items 0.241 against 0.190 for GRU4Rec. The further tasks gave no faster convergence there, which the paper reports.

    Source: Shalaby et al., M2TRec, RecSys 2022. Differs from the paper in: sizes, the linear maps before the inner product and the
    sampled softmax (mixed in-batch and uniform negatives, corrected for how often an item is drawn) are our reading, they are not given
    there; several values of one category field share its target.

    State: `vector` float32 [embedding_dim], length 1, and the times of the events: 4 bytes x dimensions + 12 per event.
    """

    use_ids: bool = False
    """Stays False: an item is what its columns say."""
    embedding_dim: int = 128
    """Width of session and item vectors."""
    field_dim: int = 32
    """Width of every field's embedding."""
    blocks: int = 2
    """Transformer blocks."""
    heads: int = 4
    """Attention heads."""
    dropout: float = 0.2
    """Of the transformer."""
    max_length: int = 20
    """Newest events that are read."""
    tasks: Sequence[str] | None = None
    """Category fields of the next item to foretell beside it; None takes all with 2 to 1,000 values, [] none."""
    task_weight: float = 0.5
    """Weight of each such loss. Published: not given."""
    temperature: float = 0.07
    """Of the softmax over cosines."""
    negatives: int = 512
    """Uniform negatives per step, beside the other targets of the batch."""
    epochs: int = 20
    """Most passes over all prefixes of all sessions."""
    batch_size: int = 256
    """Prefixes per step."""
    learning_rate: float = 1e-3
    """Of AdamW."""
    weight_decay: float = 0.01
    """Of AdamW."""
    patience: int = 3
    """Stop after so many epochs without a better validation score; only with validation data."""
    device: str = "cpu"
    """Where `fit` trains; serving is on the CPU."""

    tasks_: list[str] = learned()
    """The category fields that are foretold."""
    task_values_: dict[str, list[str]] = learned()
    """Their values, in the order of `categories`."""
    item_inputs_: np.ndarray = learned()
    """float32 [items, embedding_dim]: what the transformer reads of each item."""
    network_: M2TRecNetwork = learned()
    """Item encoder, transformer, heads."""
    losses_: list[float] = learned()
    """Mean training loss of every epoch."""

    keeps: ClassVar[tuple[str, ...]] = ("times",)

    def make_network(self) -> M2TRecNetwork:
        codec = self.item_codec
        encoder = SequenceEncoder(
            self.embedding_dim, blocks=self.blocks, heads=self.heads, dropout=self.dropout, max_length=self.max_length,
            feedforward=4 * self.embedding_dim, activation="gelu", attention="bidirectional",
        )  # fmt: skip
        return M2TRecNetwork(FieldEmbedding(codec.fields, self.field_dim), encoder, self.embedding_dim, [codec[name] for name in self.tasks_])

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        if self.use_ids:
            raise ConfigError("M2TRec reads no item ids: a new item would have none", fix="leave use_ids=False; for ids there is two-tower")
        check_settings(
            self, at_least_1=("embedding_dim", "field_dim", "blocks", "heads", "max_length", "negatives", "batch_size"), positive=("temperature",)
        )
        codes, frame = self._read_items(population, data.counts() > 0)
        self.person_codec_, self.person_vocabulary_ = [], np.empty(0, np.uint64)
        self._foretell(codes, frame)
        with seeded(self.seed):
            self.network_ = self.make_network().to(self.device)
        on_device = tensors(codes, self.device)
        counts = data.counts()
        judge = validation(self, data, run)

        def validate() -> float:
            self._finish(codes, frame, data)
            return judge() if judge is not None else 0.0

        trainer = Trainer(
            epochs=self.epochs, learning_rate=self.learning_rate, weight_decay=self.weight_decay, optimizer="adamw",
            patience=self.patience, seed=self.seed, device=self.device,
        )  # fmt: skip
        history = trainer.fit(
            self.network_, lambda rng: self._steps(rng, data, counts), lambda batch: self._loss(batch, on_device),
            validate=None if judge is None else validate, progress=run.progress, checkpoint=run.checkpoint, key=run.key, description="M2TRec",
        )  # fmt: skip
        self.losses_ = history.losses
        self.network_.cpu()
        self._finish(codes, frame, data)

    def _foretell(self, codes: Codes, frame: pl.DataFrame) -> None:
        """Settle the further tasks and the names of their values."""
        codec = self.item_codec
        possible = [field.name for field in codec.fields if field.kind in ("category", "categories")]
        chosen = [name for name in possible if 2 <= codec[name].size <= 1000] if self.tasks is None else list(self.tasks)
        if wrong := [name for name in chosen if name not in possible]:
            raise ConfigError(f"tasks {wrong} are no category fields of the items", fix=f"choose from {possible}")
        self.tasks_, self.task_values_ = chosen, {}
        for name in chosen:
            column = frame[name].explode() if codec[name].is_bag else frame[name]
            values = column.drop_nulls().cast(pl.String).unique()
            named = dict(zip(codec.numbers(name, values).tolist(), values.to_list(), strict=True))
            self.task_values_[name] = [named[code] for code in range(1, codec[name].size + 1)]

    def _finish(self, codes: Codes, frame: pl.DataFrame, data: Interactions) -> None:
        self._set_items(codes, frame)
        sample = np.arange(len(data.people)) if len(data.people) <= 10_000 else np.linspace(0, len(data.people) - 1, 10_000).astype(np.int64)
        own = data.take(sample[data.lengths[sample] > 0])
        mean = self._vectors(self._sessions(own.indptr, own.indices)).mean(0)
        self.population_vector_ = (mean / np.linalg.norm(mean)).astype(np.float32)

    @torch.no_grad()
    def _item_arrays(self, codes: Codes, frame: pl.DataFrame) -> dict[str, np.ndarray]:
        codec, network = self.item_codec, self.network_.eval()
        if (blank := codec.missing(codes).all(1)).any():
            raise BadValue(
                f"item {frame['item'][int(blank.argmax())]!r} has no metadata in any of {codec.names}; M2TRec cannot place it",
                fix="fill one of them in, or leave the item out", rows=int(blank.sum()),
            )  # fmt: skip
        inputs, vectors = [], []
        for start in range(0, frame.height, 65_536):
            own = network.fields(tensors(take(codes, slice(start, start + 65_536)), self._where()))
            inputs.append(network.into(own).cpu().numpy())
            vectors.append(network.item(own).cpu().numpy())
        return {"item_inputs_": np.concatenate(inputs), "item_vectors_": np.concatenate(vectors)}

    def _steps(self, rng: np.random.Generator, data: Interactions, counts: np.ndarray) -> Iterator[Batch]:
        """Every event but a session's first is asked for from those before it."""
        rows = data.rows
        asked = np.flatnonzero(np.arange(len(data)) > data.indptr[rows])
        for chosen in order(rng, asked.size, self.batch_size):
            events = asked[chosen]
            starts = np.maximum(data.indptr[rows[events]], events - self.max_length)
            before = data.indices[spans(starts, events - starts)]
            candidates = np.concatenate([data.indices[events], rng.integers(0, len(data.items), self.negatives, dtype=np.int32)])
            # How often an item is expected among the candidates, whichever way it comes in.
            expected = events.size * counts[candidates] / len(data) + self.negatives / len(data.items)
            items, places = np.unique(np.concatenate([candidates, before]), return_inverse=True)
            places, histories = np.split(places, [candidates.size])
            parts = (items.astype(np.int64), places, histories, events - starts, np.log(expected).astype(np.float32))
            yield Batch(*(torch.from_numpy(one).to(self.device) for one in parts))

    def _loss(self, batch: Batch, codes: Mapping[str, Tensor]) -> Tensor:
        network, size = self.network_, batch.lengths.numel()
        own = network.fields(take(codes, batch.items))
        session = network.session(network.into(own)[batch.histories], batch.lengths)
        logits = network.query(session) @ network.item(own[batch.candidates]).T
        others = logits.masked_fill(batch.candidates[:size, None] == batch.candidates[None, :], -torch.inf)
        loss = sampled_softmax(
            logits.diagonal(), others, temperature=self.temperature, log_q_positive=batch.log_q[:size], log_q_negatives=batch.log_q
        )
        targets = take(codes, batch.items[batch.candidates[:size]])
        for field, head in zip(network.tasks, network.heads, strict=True):
            loss = loss + self.task_weight * _task(head(session), targets[field.name].long(), field)
        return loss

    def _encode(self, histories: Interactions) -> PersonalArrays:
        out = np.tile(self.population_vector_, (len(histories.people), 1))
        filled = np.flatnonzero(histories.lengths > 0)
        if filled.size:
            own = histories.take(filled)
            out[filled] = self._vectors(self._sessions(own.indptr, own.indices))
        return {"vector": out}

    def _states(self, histories: Interactions, before: States, examples: Sequence[int], unknown: int) -> Iterator[State]:
        why = {"why": "the session is empty: this is the population's answer"}
        for state in super()._states(histories, before, examples, unknown):
            yield state if state["items"].size else dataclasses.replace(state, notes={**state.notes, **why})

    @torch.no_grad()
    def _sessions(self, indptr: np.ndarray, items: np.ndarray) -> Tensor:
        """float [sessions, dim] of sessions `items[indptr[s]:indptr[s + 1]]`, none of them empty."""
        network, where = self.network_.eval(), self._where()
        out = torch.empty(indptr.size - 1, self.embedding_dim)
        starts = np.maximum(indptr[:-1], indptr[1:] - self.max_length)
        lengths = indptr[1:] - starts
        by_length = np.argsort(lengths, kind="stable")
        for first in range(0, by_length.size, 512):
            rows = by_length[first : first + 512]
            inputs = torch.from_numpy(self.item_inputs_[items[spans(starts[rows], lengths[rows])]])
            out[torch.from_numpy(rows)] = network.session(inputs.to(where), torch.from_numpy(lengths[rows]).to(where)).cpu()
        return out

    @torch.no_grad()
    def _vectors(self, sessions: Tensor) -> np.ndarray:
        return self.network_.query(sessions.to(self._where())).cpu().numpy()

    @torch.no_grad()
    def categories(self, states: Sequence[State]) -> dict[str, np.ndarray]:
        """What the next item's categories will be: field -> float32 [states, values], probabilities of `task_values_[field]`.

        Raises `EmptyData` for a state without events: it says nothing about them.
        """
        for state in states:
            self.check_state(state)
        if any(not state["items"].size for state in states):
            raise EmptyData("a session without events says nothing about the next item's categories", fix="leave it out")
        lengths = np.array([state["items"].size for state in states])
        sessions = self._sessions(np.concatenate([[0], np.cumsum(lengths)]), np.concatenate([state["items"] for state in states]))
        return {name: torch.softmax(head(sessions), 1).numpy() for name, head in zip(self.tasks_, self.network_.heads, strict=True)}

    def _where(self) -> str:
        return str(next(self.network_.parameters()).device)


class Batch(NamedTuple):
    """One step: candidates for the next item after some sessions."""

    items: Tensor
    """int64 [U], distinct item numbers."""
    candidates: Tensor
    """int64 [B + negatives], places in `items`; the first B are the targets."""
    histories: Tensor
    """int64 [N], places in `items`, one session's after another's."""
    lengths: Tensor
    """int64 [B]."""
    log_q: Tensor
    """float32 [B + negatives], log of how often a candidate is expected among the candidates."""


class M2TRecNetwork(nn.Module):
    """Attributes to item vectors, item vectors to a session vector, and that to the next item and its categories."""

    def __init__(self, fields: FieldEmbedding, encoder: SequenceEncoder, dim: int, tasks: Sequence[Field]) -> None:
        super().__init__()
        self.fields, self.encoder, self.tasks = fields, encoder, tuple(tasks)
        self.into, self.to_item, self.to_query = nn.Linear(fields.width, dim), nn.Linear(fields.width, dim), nn.Linear(dim, dim)
        self.heads = nn.ModuleList(nn.Linear(dim, field.size) for field in tasks)

    def session(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """float [B, dim]: the mean of the transformer's outputs; inputs [N, dim], one session's after another's."""
        out = self.encoder.ragged(inputs, lengths)
        places = torch.arange(out.shape[0], device=out.device)
        return nn.functional.embedding_bag(places, out, lengths.cumsum(0) - lengths, mode="mean")

    def query(self, session: Tensor) -> Tensor:
        """float [B, dim], length 1."""
        return nn.functional.normalize(self.to_query(session), dim=1)

    def item(self, embedded: Tensor) -> Tensor:
        """float [n, dim], length 1, from embedded fields."""
        return nn.functional.normalize(self.to_item(embedded), dim=1)


def _task(logits: Tensor, codes: Tensor, field: Field) -> Tensor:
    """Cross-entropy of a category field; several values share the target, missing ones count nothing."""
    codes = codes if field.is_bag else codes[:, None]
    present = (codes != DEFAULT) & (codes != field.padding)
    found = torch.log_softmax(logits, 1).gather(1, (codes - 1).clamp(0, field.size - 1))
    known = present.any(1)
    losses = -(found * present).sum(1) / present.sum(1).clamp(min=1)
    return losses.sum() / known.sum().clamp(min=1)
