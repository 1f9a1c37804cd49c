"""A language model of the transformers library with the face of `CausalLM`: hidden states, so that trained heads can stand on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sartor.errors import ConfigError


class _Past(NamedTuple):
    cache: Any
    mask: Tensor
    """bool [B, T]."""

    @property
    def length(self) -> int:
        return self.mask.shape[1]

    def rows(self, rows: Tensor) -> _Past:
        self.cache.batch_select_indices(rows.to(self.mask.device))
        return _Past(self.cache, self.mask[rows])


class _Output(NamedTuple):
    hidden: Tensor
    past: _Past | None


class TransformersNetwork:
    """For heads that read what a frozen model is about to say (`MixtureHead`, `HistoryCopy`), vectors in front and shifted queries.

        network = TransformersNetwork(LlamaForCausalLM.from_pretrained(folder))
        generate(network, prompts, sampling, hooks=[...])     # write.parts.decoding

    Its weights are frozen here. Models whose logits are their output table times the last hidden state, which Llama, Qwen and Mistral have
    and Gemma 2 has not; raises `ConfigError` for others.
    """

    def __init__(self, model: Any) -> None:
        self.inner: nn.Module = model.eval().requires_grad_(False)
        self.model: Any = model.base_model
        self.lm_head: Any = model.get_output_embeddings()
        self.training = False
        ids = torch.zeros(1, 2, dtype=torch.int64, device=self._device)
        with torch.no_grad():
            if not torch.allclose(model(input_ids=ids).logits, self.words_out(self.run(ids).hidden), atol=1e-4, rtol=1e-3):
                what = f"the logits of {type(model).__name__} are more than its output table times the last hidden state"
                raise ConfigError(what, fix="use a model of Llama's kind, or hooks on the logits alone")

    @property
    def _device(self) -> torch.device:
        return next(self.inner.parameters()).device

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.inner.parameters()

    def get_submodule(self, name: str) -> nn.Module:
        return self.inner.get_submodule(name)

    def train(self, mode: bool = True) -> TransformersNetwork:
        """Nothing: it is frozen."""
        return self

    def eval(self) -> TransformersNetwork:
        return self

    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings float [..., dim]."""
        return self.inner.get_input_embeddings()(ids)  # type: ignore[operator]

    def words_out(self, hidden: Tensor) -> Tensor:
        """Logits float [..., vocabulary] from last hidden states."""
        return self.lm_head(hidden)

    def run(self, ids: Tensor | None = None, *, embeddings: Tensor | None = None, mask: Tensor | None = None, past: _Past | None = None) -> _Output:
        """One pass, as `CausalLM.run`: ids int64 [B, L] or embeddings float [B, L, dim], mask bool [B, L], True where there is a token."""
        given = ids if ids is not None else embeddings
        if given is None:
            raise ConfigError("there is nothing to read", fix="give token numbers or embeddings")
        own = mask if mask is not None else torch.ones(given.shape[:2], dtype=torch.bool, device=given.device)
        every = own if past is None else torch.cat([past.mask, own], 1)
        out = self.model(
            input_ids=ids, inputs_embeds=embeddings, attention_mask=every.long(), past_key_values=past.cache if past is not None else None,
            position_ids=(every.long().cumsum(1) - 1).clamp(min=0)[:, -given.shape[1] :], use_cache=not torch.is_grad_enabled(),
        )  # fmt: skip
        return _Output(out.last_hidden_state, _Past(out.past_key_values, every) if out.past_key_values is not None else None)
