"""The vector of one query in a fraction of the time: the encoder's own network with weights of one byte.

    encoder = text_encoder("minilm")
    query_encoder(encoder).encode(["which dish is mild?"]) @ encoder.encode(documents).T

For a single short text a network's products wait for its weights to come from memory, and eight bits come four times as fast as 32. Weights have a
scale per output, states one per token, and products are summed in 32-bit whole numbers. Around them stands a plain forward pass
without the layers of calls of a library that serves every model.

Source: a scale per row and one per column, Dettmers et al., LLM.int8(), 2022; here a row's steps need not be centred, which does for the few outlying
features of a network of this size what they use 16 bits for.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.parts.unit import unit
from sartor.represent.encoder import TextEncoder, Truncated

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sartor.represent.pretrained import Pretrained


def query_encoder(encoder: TextEncoder) -> TextEncoder:
    """What encodes single queries for search among vectors of `encoder`: in the same space, the vectors nearly the same, several times faster.

    The encoder itself where that is not to be had: it is no BERT on a processor that multiplies bytes.
    """
    if isinstance(encoder, Truncated):
        inner = query_encoder(encoder.encoder)
        return encoder if inner is encoder.encoder else Truncated(inner, encoder.dim)
    if _is_bert(encoder):
        return ByteBert(encoder)  # type: ignore[arg-type]  # looked at there
    return encoder


class ByteBert:
    """A `Pretrained` BERT encoder with linear layers of 8 bits, for one text at a time.

    Its vectors have a cosine of about .999 with the encoder's own, and its fingerprint: compare them with what the encoder has made, but do not keep
    them. It takes a quarter of the encoder's memory in addition, and follows the encoder when that is trained further.
    """

    def __init__(self, encoder: Pretrained) -> None:
        self.encoder, self.dim = encoder, encoder.dim
        self._made_of, self._layers = "", list[_Layer]()
        self._guard = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """The encoder's: it is the same space."""
        return self.encoder.fingerprint

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """float32 [texts, dim], one after another."""
        import torch

        layers = self._ready()
        out = np.zeros((len(texts), self.dim), np.float32)
        with torch.inference_mode():
            for row, ids in enumerate(self.encoder.tokenize(texts)):
                if ids.size:
                    states: Tensor = self.encoder.network.embeddings(torch.from_numpy(ids.astype(np.int64))[None])[0]  # type: ignore[operator]
                    for layer in layers:
                        states = layer(states)
                    out[row] = self.encoder.pool(states, torch.tensor([ids.size]))[0].numpy()
        return unit(out)

    def _ready(self) -> list[_Layer]:
        with self._guard:
            if self._made_of != self.encoder.fingerprint:
                heads = int(self.encoder.network.config.num_attention_heads)  # type: ignore[union-attr, arg-type]
                self._layers = [_Layer(one, heads) for one in self.encoder.stack()]
                self._made_of = self.encoder.fingerprint
            return self._layers


class _Layer:
    """One layer of BERT: attention and feed-forward, each added and normalised."""

    def __init__(self, layer: Any, heads: int) -> None:
        own = layer.attention.self
        self.heads = heads
        self.asking, self.mixing = _ByteLinear(own.query, own.key, own.value), _ByteLinear(layer.attention.output.dense)
        self.widening, self.narrowing = _ByteLinear(layer.intermediate.dense), _ByteLinear(layer.output.dense)
        self.after_attention, self.after_all = layer.attention.output.LayerNorm, layer.output.LayerNorm

    def __call__(self, states: Tensor) -> Tensor:
        from torch.nn.functional import gelu, scaled_dot_product_attention

        tokens, dim = states.shape
        query, key, value = self.asking(states).view(tokens, 3, self.heads, dim // self.heads).permute(1, 2, 0, 3)[:, None]
        mixed = scaled_dot_product_attention(query, key, value)[0].transpose(0, 1).reshape(tokens, dim)
        states = self.after_attention(self.mixing(mixed) + states)
        made: Tensor = self.after_all(self.narrowing(gelu(self.widening(states))) + states)
        return made


class _ByteLinear:
    """Linear layers of one input, one after another in the output."""

    def __init__(self, *layers: nn.Linear) -> None:
        import torch

        weight = torch.cat([one.weight.detach() for one in layers])
        self.bias = torch.cat([one.bias.detach() for one in layers])
        self.scale = weight.abs().amax(1).clamp_min(1e-12) / 127
        whole = (weight / self.scale[:, None]).round()
        self.weight, self.sums = whole.to(torch.int8).t(), whole.sum(1) * self.scale

    def __call__(self, states: Tensor) -> Tensor:
        import torch

        # States lie lopsided: all 256 steps go to what there is, from its lowest to its highest.
        low, high = torch.aminmax(states, dim=1, keepdim=True)
        step = (high - low).clamp_min_(1e-12).div_(255)
        middle = low + 128 * step
        whole = (states - middle).div_(step).round_().to(torch.int8)
        return torch.addcmul(torch.addcmul(self.bias, middle, self.sums), torch._int_mm(whole, self.weight) * step, self.scale)


def _is_bert(encoder: TextEncoder) -> bool:
    network = getattr(encoder, "network", None)
    config = getattr(network, "config", None)
    if getattr(config, "model_type", "") != "bert" or getattr(encoder, "device", "") != "cpu":
        return False
    import torch

    plain = getattr(config, "hidden_act", "") == "gelu" and getattr(config, "position_embedding_type", "absolute") in ("absolute", None)
    single = all(one.dtype == torch.float32 for one in network.parameters())  # type: ignore[union-attr]
    quick = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return plain and single and quick and _sums_whole()


@cache
def _sums_whole() -> bool:
    """Whether sums of byte products are exact: a processor without instructions of its own for them (VNNI) adds two of them in 16 bits."""
    import torch

    most = torch.full((4, 64), 127, dtype=torch.int8)
    return bool((torch._int_mm(most, torch.full((64, 16), 127, dtype=torch.int8)) == 64 * 127**2).all())
