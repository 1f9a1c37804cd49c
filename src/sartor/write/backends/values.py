"""Value-augmented sampling around models of the transformers library: values on any causal model, and a processor for its `generate`.

trunk = TransformersTrunk(AutoModelForCausalLM.from_pretrained("small"))
model = ValueModel(trunk, rewards=1, dim=trunk.dim)
teach_values(model, samples)
steer = ValueProcessor(model, torch.tensor([3.0]), tokenizer=small_tokenizer, policy_tokenizer=tokenizer)
policy.generate(**inputs, logits_processor=[steer])
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.write.parts.logits import tilt
from sartor.write.parts.value_model import Lookahead, ValueModel


class HasVocabulary(Protocol):
    """A tokenizer of transformers or tokenizers."""

    def get_vocab(self) -> dict[str, int]: ...


def check_vocabularies(values: HasVocabulary, policy: HasVocabulary) -> None:
    """Raise `ConfigError` unless both tokenizers give the same numbers to the same tokens: values of other tokens mean nothing."""
    own, other = values.get_vocab(), policy.get_vocab()
    if own != other:
        differ = min(token for token in {*own, *other} if own.get(token) != other.get(token))
        what = f"the value model's tokenizer is not the policy's: {differ!r} is {own.get(differ)} there and {other.get(differ)} here"
        raise ConfigError(what, fix="teach values with the policy's own tokenizer")


class _Cache(NamedTuple):
    cache: Any
    mask: Tensor

    def rows(self, rows: Tensor) -> _Cache:
        """Some rows, in a copy: the library's caches change in place."""
        cache, rows = copy.deepcopy(self.cache), rows.to(self.mask.device)
        cache.batch_select_indices(rows)
        return _Cache(cache, self.mask[rows])


class _Output(NamedTuple):
    hidden: Tensor
    past: _Cache


class TransformersTrunk:
    """A causal model of transformers with the `run` of `CausalLM`: hidden states float [B, L, dim] after the last norm, and the cache."""

    def __init__(self, model: nn.Module) -> None:
        self.module = model
        self.dim = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]

    def run(self, ids: Tensor, *, mask: Tensor | None = None, past: _Cache | None = None) -> _Output:
        own = mask if mask is not None else torch.ones_like(ids, dtype=torch.bool)
        every = own if past is None else torch.cat([past.mask, own], 1)
        at = (every.long().cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        # Without the words out, which the values do not need.
        out = self.module.base_model(  # type: ignore[operator]
            input_ids=ids, attention_mask=every.long(), position_ids=at, past_key_values=past.cache if past is not None else None, use_cache=True
        )
        return _Output(out.last_hidden_state, _Cache(out.past_key_values, every))


class ValueProcessor:
    """A `LogitsProcessor`: adds beta times the centred values of the likeliest tokens at every step (Han et al., 2024).

    Parameters
    ----------
    model: teaches nothing here; its cache goes along with the batch that is written.
    beta: float [rewards] for all rows, or [rows, rewards].
    tokenizer, policy_tokenizer: of the value model and of the model that writes; raises `ConfigError` when they are not the same.
    k: tokens that are looked at.
    pad: number of the token that fills up prompts in front.
    """

    def __init__(
        self, model: ValueModel, beta: Tensor, *, tokenizer: HasVocabulary, policy_tokenizer: HasVocabulary, k: int = 20, pad: int | None = None
    ) -> None:
        check_vocabularies(tokenizer, policy_tokenizer)
        rewards = model.head.out.out_features
        if beta.shape[-1] != rewards or beta.ndim > 2:
            raise ConfigError(f"dials of shape {list(beta.shape)} for {rewards} rewards", fix="give [rewards], or [rows, rewards]")
        self.beta, self.k, self.pad, self._ahead = beta, k, pad, Lookahead(model)
        self._seen: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        best = scores.topk(min(self.k, scores.shape[-1]), -1).indices
        if self._seen is not None and self._seen.shape == input_ids[:, :-1].shape and torch.equal(self._seen, input_ids[:, :-1]):
            self._ahead.push(input_ids[:, -1])
        else:
            self._ahead.start([self._without_filler(row) for row in input_ids])
        self._seen = input_ids
        beta = self.beta.to(scores).expand(len(scores), -1)
        return scores.scatter_add(1, best, tilt(self._ahead.look(best), beta).to(scores.dtype))

    def _without_filler(self, row: Tensor) -> list[int]:
        ids: list[int] = row.tolist()
        start = 0
        while start < len(ids) - 1 and ids[start] == self.pad:
            start += 1
        return ids[start:]
