"""The whole history as one vector in front of the prompt of a frozen language model."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.data.population import Evidence, Population
from sartor.errors import ConfigError, CorruptFile, SpaceMismatch
from sartor.method import Run, State, learned
from sartor.parts.trainer import Trainer, seeded
from sartor.parts.transformer import Tokens
from sartor.represent.neural import NeuralEncoder
from sartor.represent.text import neural_encoder
from sartor.write._base import Conversation, LMWriter
from sartor.write.backends.backend import text_of
from sartor.write.parts.lm_encoder import LMEncoder
from sartor.write.parts.pieces import Piece, Turn, pieces_of, population_pieces, turns
from sartor.write.parts.soft_prefix import NormMatch, Projector, in_front


@dataclass(kw_only=True, eq=False)
class PPlug(LMWriter):
    """Persona-Plug: past pieces, weighted by how they fit the request, become one vector; it and a learned one stand before the prompt.

    For always visible habits of many people on one frozen model, at two places of the prompt however long the history is. It says nothing
    that the frozen model did not learn to read: habits that hang on the kind of request want adapters (`write.personal_lora`).

    Source: Liu et al., LLMs + Persona-Plug = Personalized LLMs, 2024. Differs from the paper in: the norms are matched by a running estimate
    in place of a constant, and the encoder's vectors are standardised before
    the projection; the likeliest word is taken at every step in place of a beam of 4; the default encoder is the language model's
    own view of a text (any neural encoder can be named); `pooled`.

    State: `history` float16 [pieces, encoder dim], unit vectors, oldest first, of the newest `keep` pieces: 256 bytes each with the default
    encoder of 128 dimensions. A piece is forgotten exactly by leaving its row out.
    """

    encoder: str = "lm"
    """Of pieces (frozen) and requests (a copy, trained): "lm", "minilm", or the folder of a neural encoder."""
    keep: int = 512
    """Pieces in a state, at most: the newest; the state's notes say how many were dropped."""
    pooled: bool = False
    """All pieces alike, whatever the request: then a person is one vector, and nothing is looked up."""
    instruction: str = ""
    """Put before the request for the encoder, where the encoder was trained with one."""
    history: int = 8
    """Pieces of a person in a training example, at most."""
    steps: int = 600
    batch: int = 32
    learning_rate: float = 3e-3
    """The paper's 1e-4 is for models of billions of weights."""
    weight_decay: float = 1e-4
    people: int = 600
    """Of the population, to train on, at most: their pieces are encoded once, before."""

    network_: _Plug = learned()
    encoder_print_: str = learned("")
    """Fingerprint of the encoder that the history's vectors come from."""

    prefix: ClassVar[int] = 2

    def _learn(self, population: Population, run: Run) -> None:
        if self.keep < 1 or self.history < 1 or self.steps < 1 or self.batch < 1 or self.people < 1:
            raise ConfigError("keep, history, steps, batch or people is less than 1", fix="use at least 1 of each")
        rng = np.random.default_rng(self.seed)
        everybody = [own for own in population_pieces(population).values() if len(own) > 1]
        if not everybody:
            raise ConfigError("nobody has two pieces to learn from", fix="give more texts")
        people = [everybody[number] for number in sorted(rng.permutation(len(everybody))[: self.people])]
        encoder = self._encoder()
        self.encoder_print_ = encoder.fingerprint
        vectors = np.split(self._vectors([piece for own in people for piece in own]), np.cumsum([len(own) for own in people])[:-1])
        told = [turns(self.lm.model.tokenizer, own) for own in people]
        with seeded(self.seed):
            self.network_ = self.make_network()
        network = self.network_
        network.standardise(np.concatenate(vectors).astype(np.float32))

        def batches(rng: np.random.Generator) -> Iterator[_Batch]:
            for _ in range(-(-self.steps // _STAGES)):
                chosen = [(int(who), rng.permutation(len(people[who]))) for who in rng.integers(len(people), size=self.batch)]
                histories = [vectors[who][order[1 : 1 + self.history]] for who, order in chosen]
                asked = [people[who][order[0]].prompt for who, order in chosen]
                yield _Batch(*_padded(histories), self._requests(asked), [told[who][order[0]] for who, order in chosen])

        trainer = Trainer(
            epochs=_STAGES, learning_rate=self.learning_rate, lr_decay=0.75, optimizer="adamw", weight_decay=self.weight_decay, clip_norm=1.0,
            seed=self.seed,
        )  # fmt: skip
        trainer.fit(network, batches, self._loss, progress=run.progress, checkpoint=run.checkpoint, key=run.key, description="plug")

    def make_network(self) -> _Plug:
        encoder, lm = self._encoder(), self.lm.model.network
        query = copy.deepcopy(encoder.network).requires_grad_(not self.pooled)
        return _Plug(query, encoder.dim, NormMatch.of(lm), lm.config.dim)

    def _encoder(self) -> NeuralEncoder:
        """The frozen one."""
        if self._frozen is None:
            self._frozen = LMEncoder(self.lm.model) if self.encoder == "lm" else neural_encoder(self.encoder)
        return self._frozen

    _frozen: Any = learned(None)

    def _vectors(self, pieces: Sequence[Piece]) -> np.ndarray:
        """float16 [pieces, dim]. What people wrote is encoded in memory and left in no cache."""
        encoder = self._encoder()
        if encoder.fingerprint != self.encoder_print_:
            what = f"the history encoder '{self.encoder}' is {encoder.fingerprint[:8]}, the plug was fitted with {self.encoder_print_[:8]}"
            raise SpaceMismatch(what, fix="use the encoder it was fitted with, or fit again")
        return encoder.encode([f"{piece.prompt} {piece.text}".strip() for piece in pieces]).astype(np.float16)

    def _requests(self, texts: Sequence[str]) -> Tokens:
        """Requests as the encoder's tokens; one without a token becomes a space."""
        made = self._encoder().tokenize([f"{self.instruction} {text}".strip() for text in texts])
        return Tokens.of([one if one.size else np.zeros(1, np.int64) for one in made])

    def _weights(self, history: Tensor, mask: Tensor, requests: Tokens) -> Tensor:
        """float [B, pieces], summing to 1: softmax of history times request, or all alike."""
        if self.pooled:
            return mask / mask.sum(1, keepdim=True)
        encoder = copy.copy(self._encoder())
        encoder.network = self.network_.query
        asked = encoder.pooled(requests)[-1]
        return (history @ asked[:, :, None])[:, :, 0].masked_fill(~mask, -torch.inf).softmax(1)

    def _front(self, history: Tensor, mask: Tensor, requests: Tokens) -> Tensor:
        """The two vectors of each row, float [B, 2, dim]."""
        return self.network_(history, self._weights(history, mask, requests))

    def _loss(self, batch: _Batch) -> Tensor:
        lm = self.lm.model.network
        longest = max(one.ids.size for one in batch.targets)
        ids = torch.full((len(batch.targets), longest), self.lm.model.tokenizer.pad)
        own, mask = torch.zeros(ids.shape, dtype=torch.bool), torch.zeros(len(ids), longest + 2, dtype=torch.bool)
        for row, one in enumerate(batch.targets):
            ids[row, : one.ids.size], own[row, : one.ids.size] = torch.from_numpy(one.ids), torch.from_numpy(one.own)
            mask[row, : one.ids.size + 2] = True
        front = self._front(batch.history, batch.mask, batch.requests)
        hidden = lm.run(embeddings=torch.cat([front, lm.embed(ids)], 1), mask=mask).hidden[:, 1:-1]
        return F.cross_entropy(lm.words_out(hidden[own]), ids[own])

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        self.check_state(state)
        pieces = pieces_of(evidence)
        rows = [self._vectors(pieces[-self.keep :])] if pieces else []
        old = state["history"] if state is not None else np.empty((0, self._encoder().dim), np.float16)
        every = np.concatenate([old, *rows])
        dropped = len(old) + len(pieces) - min(len(every), self.keep)
        return self.make_state(
            {"history": every[-self.keep :].copy()}, before=state, examples=len(pieces), notes={"dropped": dropped} if dropped else {}
        )

    def check_state(self, state: State | None) -> None:
        super().check_state(state)
        if state is None:
            return
        own, dim = state.arrays.get("history"), self._encoder().dim
        if own is None or own.ndim != 2 or own.shape[1] != dim or not np.isfinite(own).all():
            shape = "missing" if own is None else f"of shape {list(own.shape)}"
            what = f"the state's history is {shape}, or not of numbers; the encoder '{self.encoder}' gives {dim} for each piece"
            raise CorruptFile(what, fix="adapt the person again")

    @torch.no_grad()
    def _answers(self, conversations: Sequence[Conversation], prompts: Sequence[list[int]], states: Sequence[State]) -> list[str]:
        model = self.lm.model
        history, mask = _padded([state["history"] for state in states])
        asked = [next((text_of(one) for one in reversed(messages) if one["role"] == "user"), "") for messages in conversations]
        front = self._front(history, mask, self._requests(asked))
        soft = [[model.tokenizer.soft] * 2 + prompt for prompt in prompts]
        vectors = [in_front(model.network, own, prompt) for own, prompt in zip(front, prompts, strict=True)]
        done = model.generate(soft, model.sampling(max_tokens=self.max_new), embeddings=vectors)
        return [model.tokenizer.decode(one.ids) for one in done]


_STAGES = 10


class _Batch(NamedTuple):
    history: Tensor
    """float [B, pieces, encoder dim]."""
    mask: Tensor
    """bool [B, pieces]."""
    requests: Tokens
    targets: list[Turn]


class _Plug(nn.Module):
    """What is trained: the encoder of requests, two projections, and the learned vector that all people share."""

    centre: Tensor
    spread: Tensor

    def __init__(self, query: nn.Module, dim: int, match: NormMatch, out: int) -> None:
        super().__init__()
        self.query, self.persona, self.instruction = query, Projector(dim, out), Projector(dim, out)
        self.shared = nn.Parameter(torch.randn(dim) * dim**-0.5)
        self.match_persona, self.match_instruction = match, copy.deepcopy(match)
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(dim))

    def standardise(self, vectors: np.ndarray) -> None:
        """What all pieces have in common says nothing of anybody: taken off, and every number brought to the same spread."""
        self.centre.copy_(torch.from_numpy(vectors.mean(0)))
        self.spread.copy_(torch.from_numpy(vectors.std(0)).clamp(min=1e-4))

    def forward(self, history: Tensor, weights: Tensor) -> Tensor:
        """History float [B, pieces, dim] and weights [B, pieces] -> the shared and the personal vector, float [B, 2, out]."""
        persona = self.match_persona((weights[:, None] @ self.persona((history - self.centre) / self.spread)[:, :, 0])[:, 0])
        shared = self.match_instruction(self.instruction(self.shared)[0])
        return torch.stack([shared.expand_as(persona), persona], 1)


def _padded(histories: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    longest = max(len(one) for one in histories)
    out, mask = torch.zeros(len(histories), longest, histories[0].shape[1]), torch.zeros(len(histories), longest, dtype=torch.bool)
    for row, one in enumerate(histories):
        out[row, : len(one)], mask[row, : len(one)] = torch.from_numpy(one.astype(np.float32)), True
    return out, mask
