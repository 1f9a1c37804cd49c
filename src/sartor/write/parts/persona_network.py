"""Declared attributes on a frozen language model, by up to three ways in: its output, its attention, and vectors in front of the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.parts.fields import Field
from sartor.write.parts.attribute_encoder import AttributeEncoder, Fusion
from sartor.write.parts.decoding import Step
from sartor.write.parts.logits import PersonaBias, drawn
from sartor.write.parts.mixture_head import MixtureHead
from sartor.write.parts.query_shift import QueryShift, Shift
from sartor.write.parts.soft_prefix import NormMatch, Projector

Codes = Mapping[str, Tensor]


class PersonaNetwork(nn.Module):
    """What is trained beside a frozen model; the model is given at every call and never changes.

    Any model with the face of `CausalLM` (`embed`, `run`, `words_out`): ours, or one of transformers' (`write.parts.transformers_network`).

    Parameters
    ----------
    network: the frozen model, for its sizes.
    fields: the keys, of a `FieldCodec`.
    dim, fusion, drop: of the `AttributeEncoder`; a dim of 0 is the model's own, and values can `begin_as` their words.
    bias: persona-aware bias, a `MixtureHead`.
    attention: persona-aware attention, a `QueryShift`.
    places: vectors in front; their fusion cannot wait for what is said, so that it is not "attention".
    """

    def __init__(
        self, network: Any, fields: Sequence[Field], dim: int = 32, *, fusion: Fusion = "attention", drop: float = 0.1, bias: bool = True,
        attention: bool = False, places: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if not bias and not attention and places < 1:
            raise ConfigError("the traits have no way in", fix="switch on bias, attention or places")
        if places and fusion == "attention":
            raise ConfigError("vectors in front are made before anything is said", fix="use fusion 'average' or 'concat' with them")
        vocabulary, width = network.model.embed_tokens.weight.shape
        dim = dim or width
        self.encoder = AttributeEncoder(fields, dim, fusion=fusion, query=width if fusion == "attention" else 0, drop=drop)
        self.head = MixtureHead(width, dim, vocabulary) if bias else None
        self.turn = nn.Linear(dim, network.get_submodule("model.layers.0.self_attn.q_proj").out_features, bias=False) if attention else None
        self.places = Projector(dim, width, places) if places else None
        self.match = NormMatch.of(network) if places else None

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Parameters for an optimizer, the gate slower than the rest: at first the model knows better, and it would shut for good."""
        slow = list(self.head.weigh.parameters()) if self.head is not None else []
        rest = [one for one in self.parameters() if not any(one is other for other in slow)]
        return [{"params": rest}, *([{"params": slow, "lr": learning_rate / 5}] if slow else [])]

    @torch.no_grad()
    def begin_as(self, network: Any, values: Mapping[str, Sequence[Sequence[int]]]) -> None:
        """Let every value begin as the model's vectors of its words, and the head as the model's words out.

        A trait that is met rarely then says its own word before anything is learned of it. values: key -> tokens of each, in the order of their
        codes. Raises `ConfigError` where traits are not as wide as the model.
        """
        table = network.lm_head.weight if network.lm_head is not None else network.model.embed_tokens.weight
        if self.encoder.dim != table.shape[1]:
            raise ConfigError(f"vectors of {self.encoder.dim} for a model of {table.shape[1]}", fix="use dim 0")
        for field, own in zip(self.encoder.table.fields, self.encoder.table.tables, strict=True):
            rows: Any = own.weight
            for code, tokens in enumerate(values[field.name], 1):
                vector = table[torch.as_tensor(list(tokens))].mean(0)
                # Its own word gets a logit of about 10.
                rows[code] = 10 * vector / vector.square().sum().clamp(min=1e-6)
        if self.head is not None:
            self.head.words.weight.copy_(table)
            nn.init.zeros_(self.head.words.bias)

    def front(self, vectors: Tensor) -> Tensor | None:
        """Vectors in front of each row's prompt, float [B, places, width], or None."""
        return self.match(self.places(self.encoder.fuse(vectors)[0])) if self.places is not None and self.match is not None else None

    def shifted(self, network: Any, vectors: Tensor, strength: Tensor) -> QueryShift | None:
        """Persona-aware attention for the people of `vectors` [people, keys, dim], with a dial [people] each, or None."""
        turn = self.turn
        if turn is None:
            return None

        def of(rows: Tensor) -> Shift:
            own, dial = vectors[rows][:, None], strength[rows][:, None, None]
            return lambda x: dial * turn(self.encoder.fuse(own, x)[0])

        return QueryShift(network, of)

    def hooks(self, vectors: Tensor, strength: Tensor) -> list[PersonaBias]:
        """Persona-aware bias for a decoder's prompts, one person each."""
        head = self.head
        if head is None:
            return []

        def bias(step: Step) -> Tensor:
            return head.bias(self.encoder.fuse(vectors[step.rows], step.hidden)[0])

        return [PersonaBias(bias, head.gate, strength)]

    def foretold(self, network: Any, codes: Codes, ids: Tensor, mask: Tensor, own: Tensor, strength: Tensor | None = None) -> Tensor:
        """Logits float [tokens of `own`, vocabulary] of these tokens, each from those before it.

        ids int64, mask and own bool, all [B, L]; no row begins with a token of its own. strength: a dial [B], 1 by default.
        """
        return self._foretold(network, codes, ids, mask, own, strength)[0]

    def _foretold(
        self, network: Any, codes: Codes, ids: Tensor, mask: Tensor, own: Tensor, strength: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The same, and beside it with a share of one half for the bias, whatever the gate says."""
        vectors, dial = self.encoder.vectors(codes), strength if strength is not None else torch.ones(len(ids))
        front, shift = self.front(vectors), self.shifted(network, vectors, dial)
        before = front.shape[1] if front is not None else 0
        if front is not None:
            read: dict[str, Tensor] = {"embeddings": torch.cat([front, network.embed(ids)], 1), "mask": F.pad(mask, (before, 0), value=True)}
        else:
            read = {"ids": ids, "mask": mask}
        # Where a person only enters behind the model, nothing is to be learned through it.
        learning = torch.is_grad_enabled() and (front is not None or shift is not None)
        with torch.set_grad_enabled(learning), shift.use(range(len(ids))) if shift is not None else nullcontext():
            hidden = network.run(**read).hidden
        hidden = hidden[:, before:][:, :-1][own[:, 1:]]
        with torch.no_grad() if not hidden.requires_grad else nullcontext():
            logits = network.words_out(hidden)
        if self.head is None:
            return logits, None
        rows = own.nonzero()[:, 0]
        bias = self.head.bias(self.encoder.fuse(vectors[rows], hidden)[0])
        return drawn(logits, bias, dial[rows] * (1 - self.head.gate(hidden))), drawn(logits, bias, 0.5 * dial[rows])

    def loss(self, network: Any, codes: Codes, ids: Tensor, mask: Tensor, own: Tensor) -> Tensor:
        """Mean cross-entropy of the tokens of `own`, in nats; where there is a bias, also with half of it everywhere.

        The model is right where the traits' words are not learned yet, so that the gate shuts before there is anything behind it, and what
        is behind a shut gate learns nothing. The second term teaches the words however the gate stands.
        """
        said, half = self._foretold(network, codes, ids, mask, own)
        loss = F.cross_entropy(said, ids[own])
        return loss if half is None else loss + F.cross_entropy(half, ids[own])

    def decoder(self, network: Any, codes: Codes, prompts: Sequence[Sequence[int]], strength: Tensor) -> dict[str, Any]:
        """What `decoding.Decoder` needs for these prompts, one person each; prompts have `places` filler tokens in front already."""
        vectors = self.encoder.vectors(codes)
        front, shift = self.front(vectors), self.shifted(network, vectors, strength)
        more: dict[str, Any] = {"hooks": self.hooks(vectors, strength)}
        if shift is not None:
            more["adapters"] = (shift, range(len(prompts)))
        if front is not None:
            rest = (network.embed(torch.as_tensor(prompt[front.shape[1] :])) for prompt in prompts)
            more["embeddings"] = [torch.cat([own, words]) for own, words in zip(front, rest, strict=True)]
        return more
