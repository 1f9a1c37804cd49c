"""The two text encoders of an SDXL as one: a word has a row in each, and a prompt a summary beside its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.draw.parts.tap import Layer, Slots
from sartor.errors import ConfigError


class TwoEncoders(nn.Module):
    """What the denoiser of an SDXL hears: the last but one layer of a `CLIPTextModel` and of a `CLIPTextModelWithProjection`, side by side.

    A context is float [n, T + 1, d]: a row for each token, d numbers of which the first are the first encoder's; behind them the pooled summary of
    the second, filled up with zeros. So what selects, repeats or joins prompts carries the summary along; `tokens` leaves it out.

    Source: Podell et al., SDXL, ICLR 2024, as diffusers' `StableDiffusionXLPipeline` has it.
    """

    def __init__(self, first: Any, second: Any, tokenizers: Sequence[Any], *, zeros_for_empty: bool = True) -> None:
        super().__init__()
        known, also = (one.get_vocab() for one in tokenizers)
        if known != also:
            raise ConfigError("the two tokenizers have different words", fix="use an SDXL whose encoders both read CLIP's words")
        self.first, self.second = first, second
        self.second_tokenizer = tokenizers[1]
        self.zeros_for_empty = zeros_for_empty
        """Whether the denoiser was trained to hear zeros where nothing is said."""
        self.dim = sum(int(table.weight.shape[1]) for table in tables(self))
        self.pooled = int(second.config.projection_dim)
        if self.pooled > self.dim:
            raise ConfigError(f"the summary has {self.pooled} numbers, a token {self.dim}", fix="use an SDXL")

    def forward(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """Context of int64 [n, T] as the first tokenizer gives them, filler behind `lengths`."""
        last = torch.tensor(lengths, device=ids.device) - 1
        filler = torch.arange(ids.shape[1], device=ids.device) > last[:, None]
        heard = [
            one(own, output_hidden_states=True)
            for one, own in ((self.first, ids), (self.second, ids.masked_fill(filler, self.second_tokenizer.pad_token_id)))
        ]
        # Not the encoder's own summary: it looks for the first end token, which also stands in the places of learned words.
        pooled = self.second.text_projection(heard[1].last_hidden_state[torch.arange(len(ids), device=ids.device), last])
        rows = torch.cat([one.hidden_states[-2] for one in heard], -1)
        return torch.cat([rows, F.pad(pooled, (0, self.dim - self.pooled))[:, None].to(rows)], 1)

    def nothing(self, longest: int) -> Tensor | None:
        """Context [1, T + 1, d] of an empty prompt, where that is none that the encoders say."""
        table = tables(self)[0].weight
        return torch.zeros(1, longest + 1, self.dim, dtype=table.dtype, device=table.device) if self.zeros_for_empty else None

    @staticmethod
    def tokens(context: Tensor) -> Tensor:
        """The rows of tokens alone, [n, T, d]."""
        return context[..., :-1, :]

    def given(self, context: Tensor, slots: Slots | None, t: Tensor, layer: Layer, size: int) -> tuple[Tensor, Slots | None, dict[str, Tensor]]:
        """From a context, and what a method puts in its place, to what the denoiser takes: tokens, slots, and the added conditions.

        layer: whose context has the summary, where layers hear different ones. size: pixels of the picture, drawn whole.
        """
        summary = context[:, -1]
        if slots is not None and slots.context is not None:
            if (other := slots.context(layer, t)) is not None:
                # What is painted is in values, so that their summary counts.
                summary = (other[1] if isinstance(other, tuple) else other)[:, -1]
            slots = replace(slots, context=_without_summaries(slots.context))
        places = torch.tensor([size, size, 0, 0, size, size], dtype=context.dtype, device=context.device)
        added = {"text_embeds": summary[:, : self.pooled], "time_ids": places.expand(len(context), -1)}
        return self.tokens(context), slots, added


def _without_summaries(choose: Any) -> Any:
    def chosen(layer: Layer, time: Tensor) -> Tensor | tuple[Tensor, Tensor] | None:
        other = choose(layer, time)
        if isinstance(other, tuple):
            return TwoEncoders.tokens(other[0]), TwoEncoders.tokens(other[1])
        return None if other is None else TwoEncoders.tokens(other)

    return chosen


def tables(text_encoder: nn.Module) -> list[nn.Embedding]:
    """The input rows of a text encoder; of both, in the order in which a word's numbers stand."""
    both = (text_encoder.first, text_encoder.second) if isinstance(text_encoder, TwoEncoders) else (text_encoder,)
    return [cast("Any", one).get_input_embeddings() for one in both]


def check_denoiser(unet: Any, text_encoder: nn.Module) -> None:
    """Raise `ConfigError` where a denoiser wants other conditions than the text encoder gives."""
    kind, fix = getattr(unet.config, "addition_embed_type", None), "use a text-to-image pipeline: Stable Diffusion 1.x, 2.x or XL"
    if not isinstance(text_encoder, TwoEncoders):
        if kind is not None:
            raise ConfigError(f"the denoiser wants added conditions ({kind}), and there is one text encoder", fix=fix)
        return
    if kind != "text_time":
        raise ConfigError(f"two text encoders, and a denoiser that wants {kind or 'no'} added conditions", fix=fix)
    wanted, told = unet.add_embedding.linear_1.in_features, text_encoder.pooled + 6 * unet.config.addition_time_embed_dim
    if wanted != told or unet.config.cross_attention_dim != text_encoder.dim:
        what = f"the denoiser wants {wanted} and {unet.config.cross_attention_dim} numbers, the text encoders give {told} and {text_encoder.dim}"
        raise ConfigError(what, fix=fix)
