"""Recommending from the words that describe items, with no table of people or items at all."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from sartor.data.ids import IdMap
from sartor.data.interactions import Interactions
from sartor.data.population import Evidence, Population
from sartor.errors import BadValue, ConfigError, StateMismatch
from sartor.method import State, States, learned
from sartor.parts.factors import Factors
from sartor.parts.graph import BipartiteGraph, propagated_people
from sartor.parts.samplers import pairs, unseen
from sartor.recommend._base import PersonalArrays
from sartor.recommend._pairwise import PairwiseRecommender, shared_negatives
from sartor.represent.text import TextEncoder, item_texts, text_encoder, uncached


@dataclass(kw_only=True, eq=False)
class AlphaRec(PairwiseRecommender):
    """Titles go through a frozen text encoder and one small network; a person is the mean of what they liked, through the same network.

    For catalogues where most items are new (hidden films of ml-100k: three times the Recall@20 of ids or of random vectors), and for another
    shop without training again (`for_catalogue`: 91% of a model trained there). A sentence (`steer`) at weight 0.5 doubles a genre's share.
    Among well-known items a table of ids is better with a small encoder, and random vectors are as good as titles: a warm number says
    nothing about language (claims/recommend/alpharec.py).

    Source: Sheng et al., Language Representations Can be What Recommenders Need, ICLR 2025. Differs from the paper in: negatives are
    shared by a batch; hidden sizes for encoders smaller than the paper's are ours; the weight of a sentence is our reading.

    State: `vector` float32 [embedding_dim], beside the items; after `steer` also `sentence` float32 [text dim] and `sentence_weight`
    float32 [1]. All of it follows from the item list and the sentence, so `without` takes events back exactly.
    """

    encoder: str = "minilm"
    """Name or folder, as `represent.text.text_encoder` takes it."""
    text_fields: Sequence[str] = ("title",)
    """Columns of the items frame that make up an item's text."""
    projection: Literal["mlp", "linear"] = "mlp"
    """linear is the paper's probe: is taste a linear function of language?"""
    hidden_dim: int = 0
    """Of the MLP; 0 follows the paper: 8, 2, 1/2, 9/32 times the text dimension for 768, 1,536, 3,072, 4,096; twice for smaller ones."""
    layers: int = 2
    loss: Literal["softmax", "bpr"] = "softmax"
    temperature: float = 0.15
    negatives: int = 256
    epochs: int = 500
    learning_rate: float = 5e-4
    batch_size: int = 4096
    l2: float = 0.0
    patience: int = 20
    validate_every: int = 1
    control: Literal["none", "shuffled", "random"] = "none"
    """For ablations: give every item another item's vector, or a random one."""
    same_text: int = 10
    """More items than this with one and the same text are an error."""

    population_frames: ClassVar[tuple[str, ...]] = ("events", "items")
    weight_decay: ClassVar[float] = 1e-6

    network_: nn.Module = learned()
    """The projection: [n, text dim] -> [n, embedding_dim]."""
    item_texts_: np.ndarray = learned()
    """float32 [items, text dim]: the encoder's vectors."""
    encoder_fingerprint_: str = learned()

    def make_network(self) -> nn.Module:
        """The untrained projection."""
        dim = self.item_texts_.shape[1]
        if self.projection == "linear":
            return nn.Linear(dim, self.embedding_dim, bias=False)
        known = {768: 8.0, 1536: 2.0, 3072: 0.5, 4096: 9 / 32}
        hidden = self.hidden_dim or int(dim * known.get(dim, 2.0 if dim < 768 else 0.5))
        return nn.Sequential(nn.Linear(dim, hidden), nn.LeakyReLU(), nn.Linear(hidden, self.embedding_dim))

    def for_catalogue(self, population: Population) -> Self:
        """The same trained network for other items, and other people's events if there are any; nothing is trained.

        States of this method are refused by the new one: adapt its people again.
        """
        self.check_fitted()
        other = copy.copy(self)
        data = population.interactions() if "events" in population else None
        other.items_ = data.items if data is not None else IdMap.of(population.items.collect()["item"])
        other.item_texts_ = self._texts(population, other.items_)
        empty = BipartiteGraph(np.zeros(1, np.int64), np.empty(0, np.int32), len(other.items_))
        graph = empty if data is None else BipartiteGraph.of(data.matrix())
        other._export(other._both_sides(self.network_, graph), graph)
        other._seal()
        return other

    def steer(self, state: State | None, sentence: str, *, weight: float = 0.5) -> State:
        """The state of somebody who also said in words what they want now.

        weight: of the sentence against the history, 0 to 1; somebody without a history is all sentence.
        """
        self.check_state(state)
        if not 0 <= weight <= 1 or not sentence.strip():
            raise ConfigError(f"weight {weight}, sentence {sentence!r}", fix="give some words, and a weight from 0 to 1")
        base = state if state is not None else self.make_state({"items": np.empty(0, np.int32), "vector": self.population_vector_.copy()})
        # Her own words: no cache keeps anything of them.
        steered = self._steered(base, uncached(self._text_encoder).encode([sentence])[0], weight)
        return replace(steered, version=base.version + (state is not None), notes={**base.notes, "sentence": sentence})

    def without(self, state: State, items: Sequence[Any]) -> State:
        """The state as if some of its events had never been: exactly what `adapt` makes of the others."""
        self.check_state(state)
        kept = state["items"][~np.isin(state["items"], self.items_.numbers(items))]
        left = Evidence.from_items(self.items_.array[kept].tolist())
        made = super().adapt(left)
        out = replace(made, version=state.version + 1, examples=int(kept.size), notes=_notes(kept.size, state.notes))
        return self._again(out, state)

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        made = super().adapt(evidence, state)
        return made if state is None else self._again(replace(made, notes={**made.notes, **_kept(state.notes)}), state)

    # --- training: the pairwise loop, with a projection where others have tables

    def _check(self) -> None:
        super()._check()
        for name, value, known in (
            ("projection", self.projection, ("mlp", "linear")),
            ("loss", self.loss, ("softmax", "bpr")),
            ("control", self.control, ("none", "shuffled", "random")),
        ):
            if value not in known:
                raise ConfigError(f"{name} is '{value}'", fix=f"use one of {', '.join(known)}")
        if self.temperature <= 0 or self.negatives < 1:
            raise ConfigError(f"temperature {self.temperature}, negatives {self.negatives}", fix="use temperature > 0 and negatives >= 1")

    def _factors(self, data: Interactions, population: Population, graph: BipartiteGraph) -> Factors:
        self.encoder_fingerprint_ = self._encoder.fingerprint
        self.item_texts_ = self._texts(population, data.items)
        return self._both_sides(self.make_network(), graph)

    def _both_sides(self, network: nn.Module, graph: BipartiteGraph) -> Factors:
        people = _means(graph.indptr, graph.indices, self.item_texts_)
        return Factors(_Projected(network, people), _Projected(network, self.item_texts_), graph=graph, layers=self.layers)

    def _examples(self, rng: np.random.Generator, network: Factors, graph: BipartiteGraph, rows: np.ndarray) -> Iterable[Any]:
        for people, items in pairs(rng, rows, graph.indices, self.batch_size):
            if self.loss == "bpr":
                yield people, items, unseen(rng, people, 1, graph.indptr, graph.indices, graph.items)
            else:
                yield people, items, *shared_negatives(rng, people, self.negatives, graph)

    def _loss(self, network: Factors, batch: Any) -> Tensor:
        return self._bpr(network(), *batch) if self.loss == "bpr" else self._softmax(network(), *batch)

    def _cosine_temperature(self) -> float:
        return self.temperature if self.loss == "softmax" else 0.0

    def _export(self, network: Factors, graph: BipartiteGraph) -> None:
        assert isinstance(network.items, _Projected)
        self.network_ = network.items.network.eval()
        super()._export(network, graph)

    # --- one person

    def _encode(self, histories: Interactions) -> PersonalArrays:
        own = histories.matrix()
        indptr = own.indptr.astype(np.int64)
        vectors = self._people(_means(indptr, own.indices, self.item_texts_), indptr, own.indices)
        vectors[np.diff(indptr) == 0] = self.population_vector_
        return {"vector": vectors}

    @torch.no_grad()
    def _people(self, texts: np.ndarray, indptr: np.ndarray, indices: np.ndarray, said: np.ndarray | None = None, weight: float = 0.0) -> np.ndarray:
        """Final vectors of people by their mean texts [n, text dim], what they said [text dim], and what their neighbours pass on."""
        layer0 = self.network_(torch.from_numpy(texts)).numpy()
        if said is not None:
            layer0 = (1 - weight) * layer0 + weight * self.network_(torch.from_numpy(np.array(said[None]))).numpy()
        if not self.layers:
            return self.scale_ * layer0
        return self.scale_ * propagated_people(layer0, indptr, indices, self.neighbour_vectors_, self.layers)

    def _states(self, histories: Interactions, before: States, examples: Sequence[int], unknown: int) -> Iterator[State]:
        for state in super()._states(histories, before, examples, unknown):
            yield state if state["items"].size else replace(state, notes=_notes(0, state.notes))

    def _again(self, made: State, before: State) -> State:
        """What was said before still holds."""
        if "sentence" not in before.arrays:
            return made
        return self._steered(made, before["sentence"], float(before["sentence_weight"][0]))

    def _steered(self, state: State, said: np.ndarray, weight: float) -> State:
        items = np.unique(state["items"])
        indptr = np.array([0, items.size], np.int64)
        texts = _means(indptr, items, self.item_texts_)
        vector = self._people(texts, indptr, items, said, weight if items.size else 1.0)[0]
        arrays = {**state.arrays, "vector": vector, "sentence": said.copy(), "sentence_weight": np.array([weight], np.float32)}
        return replace(state, arrays=arrays)

    # --- texts

    @cached_property
    def _encoder(self) -> TextEncoder:
        return text_encoder(self.encoder)

    @property
    def _text_encoder(self) -> TextEncoder:
        if self._encoder.fingerprint != self.encoder_fingerprint_:
            now, then = self._encoder.fingerprint[:8], self.encoder_fingerprint_[:8]
            raise StateMismatch(
                f"the text encoder '{self.encoder}' is {now}, but this was fitted with {then}",
                fix="use the same model files, or fit again",
            )
        return self._encoder

    def _texts(self, population: Population, items: IdMap) -> np.ndarray:
        texts = item_texts(population.item_frame(items), self.text_fields)
        (text, count), *_ = Counter(texts).most_common(1)
        if count > self.same_text:
            raise BadValue(
                f"{count} items share the text {text!r}",
                fix="add text fields (text_fields=('title', 'categories')), or raise same_text",
                frame="items",
            )
        vectors = self._text_encoder.encode(texts)
        rng = np.random.default_rng([self.seed, len(texts)])
        if self.control == "shuffled":
            return vectors[rng.permutation(len(texts))]
        if self.control == "random":
            drawn = rng.standard_normal(vectors.shape).astype(np.float32)
            return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return vectors


class _Projected(nn.Module):
    """Fixed texts through the shared network."""

    texts: Tensor

    def __init__(self, network: nn.Module, texts: np.ndarray) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("texts", torch.from_numpy(texts), persistent=False)

    def forward(self) -> Tensor:
        return self.network(self.texts)


def _means(indptr: np.ndarray, indices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Mean vector of each row's items, float32 [rows, dim]; zeros for an empty row."""
    from scipy.sparse import csr_matrix

    lengths = np.diff(indptr)
    weights = np.repeat(1 / np.maximum(lengths, 1), lengths).astype(np.float32)
    return csr_matrix((weights, indices, indptr), shape=(lengths.size, vectors.shape[0])) @ vectors


def _kept(notes: Any) -> dict[str, Any]:
    return {"sentence": notes["sentence"]} if "sentence" in notes else {}


def _notes(items: int, notes: Any) -> dict[str, Any]:
    """A person without items is answered as the population, and the state says so."""
    return {**{k: v for k, v in notes.items() if k != "population"}, **({} if items else {"population": True})}
