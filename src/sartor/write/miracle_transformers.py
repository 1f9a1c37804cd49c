"""MIRACLE's training and decoding over models of the transformers library: a decoder of GPT-2's kind, an encoder of BERT's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sartor.errors import ConfigError, MissingExtra
from sartor.write.parts.latent import LatentInjector, RowOffsets, mean_pooled
from sartor.write.parts.latent_dialogue import LatentDialogue, Weights


class TransformersDialogue(LatentDialogue):
    """The latent vector joins GPT-2's input embeddings, and its past keys and values; BERT's mean state is what the Gaussians are made from.

        dialogue = TransformersDialogue(GPT2LMHeadModel.from_pretrained(a), BertModel.from_pretrained(b), 64, [2, 2, 2], Weights())
        dialogue.loss(batch).backward()                  # batches as `write.parts.latent_dialogue.Batch`, in tokens that both models know

    Source: Lu et al., MIRACLE, 2023. Differs from it in: one tokenizer for both models.

    Parameters
    ----------
    decoder: a causal language model with as many heads of keys as of queries, and `past_key_values`.
    encoder: a model whose output has `last_hidden_state`; its words must be at least the decoder's.
    dim: of the latent vector.
    aspects: how many each attribute has.
    weights: of the loss.
    """

    def __init__(self, decoder: Any, encoder: Any, dim: int, aspects: Sequence[int], weights: Weights) -> None:
        config = decoder.config
        heads, width = config.num_attention_heads, config.hidden_size
        if (getattr(config, "num_key_value_heads", None) or heads) != heads:
            raise ConfigError("the decoder's queries share keys", fix="use a model of GPT-2's kind")
        if encoder.config.vocab_size < config.vocab_size:
            what = f"the encoder knows {encoder.config.vocab_size} tokens, the decoder {config.vocab_size}"
            raise ConfigError(what, fix="use models of one tokenizer")
        injector = LatentInjector(dim, width, config.num_hidden_layers, heads, width // heads)
        super().__init__(encoder.config.hidden_size, dim, aspects, injector, weights)
        self.decoder, self.encoder = decoder, encoder

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        return mean_pooled(self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask)

    def hidden_states(self, ids: Tensor, mask: Tensor, z: Tensor) -> Tensor:
        words = self.decoder.get_input_embeddings()(ids) + self.injector.embed(z)[:, None]
        seen = torch.cat([mask.new_ones(len(ids), 1), mask], 1).long()
        body = self.decoder.base_model
        found: Tensor = body(inputs_embeds=words, attention_mask=seen, past_key_values=self._cache(z), use_cache=True).last_hidden_state
        return found

    def words_out(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.decoder.get_output_embeddings()(hidden)
        return logits

    @torch.no_grad()
    def write(self, ids: Tensor, z: Tensor, *, most: int = 32, end: int | None = None) -> list[list[int]]:
        """The likeliest words after prompts of one length, int64 [B, L], with z [B, latent]; a row ends before the token `end`."""
        cache, offsets = self._cache(z), RowOffsets(self.decoder.get_input_embeddings(), self.injector.embed(z))
        out: list[list[int]] = [[] for _ in ids]
        done = [False] * len(ids)
        try:
            with offsets.use(range(len(ids))):
                for _ in range(most):
                    logits = self.decoder(input_ids=ids, past_key_values=cache, use_cache=True).logits[:, -1]
                    ids = logits.argmax(-1, keepdim=True)
                    for row, token in enumerate(ids[:, 0].tolist()):
                        done[row] = done[row] or token == end
                        out[row] += [] if done[row] else [token]
                    if all(done):
                        break
        finally:
            offsets.detach()
        return out

    def _cache(self, z: Tensor) -> Any:
        """The latent vector as what came before every row."""
        try:
            from transformers import DynamicCache
        except ImportError as missing:
            raise MissingExtra("transformers", "text") from missing
        cache = DynamicCache()
        for layer, pair in enumerate(self.injector.pairs(z)):
            cache.update(pair, pair, layer)
        return cache
