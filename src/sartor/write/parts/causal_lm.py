"""A causal language model in Llama's layout: what is trained here opens in transformers, peft and every server that knows Llama."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.errors import ConfigError, TooLarge
from sartor.parts.trainer import seeded


@dataclass(frozen=True, kw_only=True)
class LMConfig:
    """The shape of a `CausalLM`. The default has 0.1 million weights beside its vocabulary."""

    vocabulary: int
    dim: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 0
    """Heads of keys and values, shared by groups of queries (Ainslie et al. 2023); 0 is as many as `heads`."""
    feedforward: int = 0
    """Hidden width of the gated feed-forward part; 0 is 3 * dim."""
    max_tokens: int = 256
    """Longest sequence, prefixes included."""
    theta: float = 10_000.0
    """Base of the rotary positions."""
    eps: float = 1e-6
    """Of RMSNorm."""
    tied: bool = True
    """Whether words in and words out are one table."""
    dropout: float = 0.0
    """In attention, while training."""

    def __post_init__(self) -> None:
        for name, least in (("vocabulary", 2), ("dim", 2), ("layers", 1), ("heads", 1), ("max_tokens", 2)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}", fix=f"use at least {least}")
        if self.dim % self.heads or (self.dim // self.heads) % 2:
            raise ConfigError(f"{self.dim} dimensions cannot be split evenly among {self.heads} heads", fix="dim must be an even multiple of heads")
        if self.heads % self.shared_heads:
            raise ConfigError(f"{self.heads} heads cannot share {self.shared_heads} heads of keys", fix="heads must be a multiple of kv_heads")

    @property
    def shared_heads(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def width(self) -> int:
        """Of the feed-forward part."""
        return self.feedforward or 3 * self.dim


class Past(NamedTuple):
    """Keys and values of what came before: the cache of a decoder, or a learned prefix, which is the same thing to attention."""

    keys: tuple[Tensor, ...]
    """Per layer float [B, kv heads, T, dim / heads], turned by their positions already."""
    values: tuple[Tensor, ...]
    """The same shapes."""
    mask: Tensor | None = None
    """bool [B, T], False where a row has filler; None when there is none."""

    @property
    def length(self) -> int:
        return self.keys[0].shape[2]

    def rows(self, rows: Tensor) -> Past:
        """Some rows of the batch, in any order, also repeated: int64 [rows]."""
        keys, values = (tuple(one[rows] for one in part) for part in (self.keys, self.values))
        return Past(keys, values, None if self.mask is None else self.mask[rows])


class Output(NamedTuple):
    """What one pass gives."""

    hidden: Tensor
    """float [B, L, dim], after the last norm: what the words out are computed from."""
    past: Past
    states: tuple[Tensor, ...]
    """float [B, L, dim] after 0, 1, ..., layers - 1 blocks, before any norm; empty unless asked for."""


class CausalLM(nn.Module):
    """RMSNorm, rotary positions, gated feed-forward, no biases (Touvron et al. 2023), with parameters named as transformers names them.

    `network(ids)` gives logits. `network.run(...)` gives hidden states and the cache, and takes input embeddings, prefixes and packed rows.
    Padding may stand anywhere: it takes no position and is seen by nothing.
    """

    def __init__(self, config: LMConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with seeded(seed):
            self.model = _Body(config)
            self.lm_head = None if config.tied else nn.Linear(config.dim, config.vocabulary, bias=False)
            for weight in self.parameters():
                if weight.ndim > 1:
                    nn.init.normal_(weight, std=0.02 if config.dim > 256 else config.dim**-0.5 / 2)
        half = config.dim // config.heads // 2
        speed = 1.0 / config.theta ** (torch.arange(0, 2 * half, 2, dtype=torch.float32) / (2 * half))
        angle = torch.arange(config.max_tokens, dtype=torch.float32)[:, None] * speed
        self.register_buffer("turns", torch.stack([angle.cos(), angle.sin()]).repeat(1, 1, 2), persistent=False)

    def forward(self, ids: Tensor, *, mask: Tensor | None = None, past: Past | None = None) -> Tensor:
        """Logits float [B, L, vocabulary] of the token after each one."""
        return self.words_out(self.run(ids, mask=mask, past=past).hidden)

    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings float [..., dim] of token numbers."""
        return self.model.embed_tokens(ids)

    def words_out(self, hidden: Tensor) -> Tensor:
        """Logits float [..., vocabulary] from last hidden states."""
        return F.linear(hidden, self.model.embed_tokens.weight) if self.lm_head is None else self.lm_head(hidden)

    def run(
        self, ids: Tensor | None = None, *, embeddings: Tensor | None = None, mask: Tensor | None = None, segments: Tensor | None = None,
        past: Past | None = None, states: bool = False,
    ) -> Output:  # fmt: skip
        """One pass.

        Parameters
        ----------
        ids: int64 [B, L]; or `embeddings` float [B, L, dim] in their place.
        mask: bool [B, L], False where there is filler.
        segments: int64 [B, L] for several independent sequences in one row, 0 where there is filler; in place of `mask`, without `past`.
        past: what came before each row.
        states: give every layer's states too.

        Raises `TooLarge` when a row has more tokens than the model has positions.
        """
        if ids is not None and embeddings is None:
            x = self.embed(ids)
        elif embeddings is not None and ids is None:
            x = embeddings
        else:
            raise ConfigError("token numbers and embeddings are both given, or neither", fix="give one of them")
        positions, allowed, mask = self._seen(x, mask, segments, past)
        turns = self.turns[:, positions].unsqueeze(-3 if positions.ndim > 1 else 1)  # type: ignore[index]
        keys, values, every = [], [], []
        for number, layer in enumerate(self.model.layers):
            if states:
                every.append(x)
            before = None if past is None else (past.keys[number], past.values[number])
            x, key, value = layer(x, turns, before, allowed)
            keys.append(key)
            values.append(value)
        return Output(self.model.norm(x), Past(tuple(keys), tuple(values), mask), tuple(every))

    def _seen(self, x: Tensor, mask: Tensor | None, segments: Tensor | None, past: Past | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Positions [L] or [B, L]; who may see whom, bool broadcastable to [B, heads, L, T + L], or None for plain causal; which keys are real."""
        batch, length = x.shape[:2]
        before = past.length if past is not None else 0
        at = torch.arange(length, device=x.device)
        if segments is not None:
            if mask is not None or past is not None:
                raise ConfigError("packed rows have neither a mask nor a past", fix="mark filler by segment 0")
            starts = torch.where(segments != F.pad(segments, (1, 0), value=-1)[:, :-1], at, 0).cummax(1).values
            self._fits(int((at - starts).max()) + 1)
            together = (segments[:, :, None] == segments[:, None, :]) & (at[:, None] >= at[None, :])
            return at - starts, together[:, None], None
        old = past.mask if past is not None else None
        if mask is None and old is None:
            self._fits(before + length)
            # One new token sees all there is; several are plainly causal only when nothing is before them.
            allowed = None if length == 1 or not before else (at[:, None] + before >= torch.arange(before + length, device=x.device)[None, :])
            return at + before, allowed, None
        own = mask if mask is not None else torch.ones(batch, length, dtype=torch.bool, device=x.device)
        seen = old if old is not None else torch.ones(batch, before, dtype=torch.bool, device=x.device)
        positions = (seen.sum(1, keepdim=True) + own.long().cumsum(1) - 1).clamp(min=0)
        self._fits(int(positions.max()) + 1)
        every = torch.cat([seen, own], 1)
        causal = at[:, None] + before >= torch.arange(before + length, device=x.device)[None, :]
        itself = at[:, None] + before == torch.arange(before + length, device=x.device)[None, :]
        # Filler sees itself: what may see nothing would be NaN.
        return positions, ((causal & every[:, None, :]) | itself)[:, None], every

    def _fits(self, tokens: int) -> None:
        if tokens > self.config.max_tokens:
            what = f"{tokens} tokens, prefix included; the model takes {self.config.max_tokens}"
            raise TooLarge(what, fix="shorten the prompt, or ask for fewer tokens")


class _Body(nn.Module):
    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocabulary, config.dim)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.dim, eps=config.eps)


class _Layer(nn.Module):
    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = (nn.RMSNorm(config.dim, eps=config.eps) for _ in range(2))
        self.self_attn, self.mlp = _Attention(config), _FeedForward(config)

    def forward(self, x: Tensor, turns: Tensor, past: tuple[Tensor, Tensor] | None, allowed: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        attended, key, value = self.self_attn(self.input_layernorm(x), turns, past, allowed)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), key, value


class _Attention(nn.Module):
    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.heads, self.shared, self.each, self.rate = config.heads, config.shared_heads, config.dim // config.heads, config.dropout
        self.q_proj = nn.Linear(config.dim, config.dim, bias=False)
        self.k_proj, self.v_proj = (nn.Linear(config.dim, self.shared * self.each, bias=False) for _ in range(2))
        self.o_proj = nn.Linear(config.dim, config.dim, bias=False)

    def forward(self, x: Tensor, turns: Tensor, past: tuple[Tensor, Tensor] | None, allowed: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, _ = x.shape
        q = self.q_proj(x).view(batch, length, self.heads, self.each).transpose(1, 2)
        k, v = (part(x).view(batch, length, self.shared, self.each).transpose(1, 2) for part in (self.k_proj, self.v_proj))
        q, k = _turned(q, turns), _turned(k, turns)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        rate = self.rate if self.training else 0.0
        plain = allowed is None and length > 1
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=rate, is_causal=plain, enable_gqa=self.shared != self.heads)
        return self.o_proj(seen.transpose(1, 2).reshape(batch, length, -1)), k, v


class _FeedForward(nn.Module):
    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(config.dim, config.width, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(config.width, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021), first half against second half as Llama has them: x [B, heads, L, d], turns [2, (B,) 1, L, d]."""
    cosine, sine = turns[0].to(x.dtype), turns[1].to(x.dtype)
    a, b = x.chunk(2, -1)
    return x * cosine + torch.cat([-b, a], -1) * sine


def top_log_probs(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k likeliest tokens: log-probabilities float [..., k], best first, and their numbers int64 [..., k]."""
    best = logits.log_softmax(-1).topk(min(k, logits.shape[-1]), -1)
    return best.values, best.indices


def llama_config(config: LMConfig, *, end: int | None = None, pad: int | None = None) -> dict[str, Any]:
    """As the config.json of transformers' LlamaForCausalLM."""
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": config.vocabulary, "hidden_size": config.dim,
        "intermediate_size": config.width, "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
        "num_key_value_heads": config.shared_heads, "head_dim": config.dim // config.heads, "max_position_embeddings": config.max_tokens,
        "rms_norm_eps": config.eps, "rope_theta": config.theta, "rope_parameters": {"rope_type": "default", "rope_theta": config.theta},
        "tie_word_embeddings": config.tied, "attention_bias": False, "mlp_bias": False, "hidden_act": "silu", "attention_dropout": config.dropout,
        "bos_token_id": None, "eos_token_id": end, "pad_token_id": pad, "dtype": "float32", "torch_dtype": "float32",
    }  # fmt: skip


def from_llama_config(facts: Mapping[str, Any]) -> LMConfig:
    """The reverse of `llama_config`; raises `ConfigError` for what this model does not do (biases, scaled positions, another activation)."""
    rope = facts.get("rope_parameters") or facts.get("rope_scaling") or {}
    heads, dim = int(facts["num_attention_heads"]), int(facts["hidden_size"])
    wrong = [
        name
        for name, bad in (
            ("model_type", facts.get("model_type") != "llama"),
            ("attention_bias", bool(facts.get("attention_bias"))),
            ("mlp_bias", bool(facts.get("mlp_bias"))),
            ("hidden_act", facts.get("hidden_act", "silu") != "silu"),
            ("rope_type", rope.get("rope_type", rope.get("type", "default")) != "default"),
            ("head_dim", (facts.get("head_dim") or dim // heads) * heads != dim),
        )
        if bad
    ]
    if wrong:
        raise ConfigError(f"this model's {', '.join(wrong)} is not of the plain Llama kind", fix="open it with transformers")
    return LMConfig(
        vocabulary=int(facts["vocab_size"]), dim=dim, layers=int(facts["num_hidden_layers"]), heads=heads,
        kv_heads=int(facts.get("num_key_value_heads") or heads), feedforward=int(facts["intermediate_size"]),
        max_tokens=int(facts["max_position_embeddings"]), theta=float(rope.get("rope_theta", facts.get("rope_theta", 10_000.0))),
        eps=float(facts.get("rms_norm_eps", 1e-6)), tied=bool(facts.get("tie_word_embeddings", False)),
        dropout=float(facts.get("attention_dropout") or 0.0),
    )  # fmt: skip
