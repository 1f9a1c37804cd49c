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
from sartor.write.parts.logits import PersonaBias
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
    dim, fusion, drop: of the `AttributeEncoder`.
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
        self.encoder = AttributeEncoder(fields, dim, fusion=fusion, query=width if fusion == "attention" else 0, drop=drop)
        self.head = MixtureHead(width, dim, vocabulary) if bias else None
        self.turn = nn.Linear(dim, network.get_submodule("model.layers.0.self_attn.q_proj").out_features, bias=False) if attention else None
        self.places = Projector(dim, width, places) if places else None
        self.match = NormMatch.of(network) if places else None

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Parameters for an optimizer. The model is right where the traits' words are not learned yet: a gate as fast as these would shut
        before there is anything behind it."""
        slow = list(self.head.weigh.parameters()) if self.head is not None else []
        rest = [one for one in self.parameters() if not any(one is other for other in slow)]
        return [{"params": rest}, *([{"params": slow, "lr": learning_rate / 3}] if slow else [])]

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
            return logits
        rows = own.nonzero()[:, 0]
        return self.head(logits, hidden, self.encoder.fuse(vectors[rows], hidden)[0], dial[rows])

    def loss(self, network: Any, codes: Codes, ids: Tensor, mask: Tensor, own: Tensor) -> Tensor:
        """Mean cross-entropy of the tokens of `own`, in nats."""
        return F.cross_entropy(self.foretold(network, codes, ids, mask, own), ids[own])

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
