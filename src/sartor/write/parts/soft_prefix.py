"""Vectors in front of a prompt: as input embeddings, or as keys and values of every layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.parts.trainer import seeded
from sartor.write.parts.causal_lm import CausalLM, Past


class NormMatch(nn.Module):
    """Scales vectors to the mean norm of a model's word embeddings, by a running estimate of their own norm: [..., dim] -> [..., dim].

    Vectors that are much longer or shorter than words are to the model nothing it has ever read.
    """

    norm: Tensor

    def __init__(self, target: float, momentum: float = 0.05) -> None:
        super().__init__()
        self.target, self.momentum = target, momentum
        self.register_buffer("norm", torch.zeros(()))

    @classmethod
    def of(cls, network: CausalLM) -> NormMatch:
        """For the words of a network."""
        return cls(float(network.model.embed_tokens.weight.detach().norm(dim=-1).mean()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training or not float(self.norm):
            mean = x.detach().norm(dim=-1).mean()
            self.norm.copy_(mean if not float(self.norm) else self.norm + self.momentum * (mean - self.norm))
        return x * (self.target / self.norm.clamp(min=1e-6))


class Projector(nn.Module):
    """Vectors of any kind as m word embeddings: Linear - GELU - Linear, [..., dim in] -> [..., m, dim of the model]; norms are not matched yet."""

    def __init__(self, dim: int, out: int, places: int = 1) -> None:
        super().__init__()
        self.places, self.out = places, out
        self.net = nn.Sequential(nn.Linear(dim, out), nn.GELU(), nn.Linear(out, out * places))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).unflatten(-1, (self.places, self.out))


def in_front(network: CausalLM, vectors: Tensor, ids: Sequence[int] | Tensor) -> Tensor:
    """The input embeddings of a prompt with vectors before it: [m, dim] and n tokens -> [m + n, dim]."""
    return torch.cat([vectors, network.embed(torch.as_tensor(ids, device=vectors.device))])


class KeyValuePrefix(nn.Module):
    """m learned positions in front of every layer's keys and values (Li and Liang, Prefix-Tuning, 2021).

    While it is learned it may stand behind a small network, which trains more steadily; `settle` computes the prefix once and throws that
    network away.

    Parameters
    ----------
    network: the frozen model.
    places: m.
    hidden: width of the network behind it; 0 learns keys and values themselves.
    start: token numbers whose keys and values it begins as, m of them; random by default.
    """

    def __init__(self, network: CausalLM, places: int = 16, *, hidden: int = 0, start: Sequence[int] | None = None, seed: int = 0) -> None:
        super().__init__()
        config = network.config
        self.shape = _shape(network)
        if places < 1 or (start is not None and len(start) != places):
            raise ConfigError(
                f"{places} places, begun as {len(start) if start is not None else 'random'} tokens", fix="give one token for each place"
            )
        if places >= config.max_tokens:
            raise ConfigError(f"{places} places of {config.max_tokens}", fix="leave room for a prompt")
        width = math.prod(self.shape)
        if start is not None:
            with torch.no_grad():
                past = network.run(torch.as_tensor(start)[None]).past
            flat = torch.stack([torch.stack([k[0], v[0]]) for k, v in zip(past.keys, past.values, strict=True)])
            first = flat.permute(3, 0, 1, 2, 4).reshape(places, width)
        else:
            first = 0.02 * torch.randn(places, width, generator=torch.Generator().manual_seed(seed))
        self.values = nn.Parameter(first.clone())
        self.net: nn.Module | None = None
        if hidden:
            with seeded(seed):
                self.net = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, width))
            for part in (self.net[2].weight, self.net[2].bias):
                nn.init.zeros_(part)  # type: ignore[arg-type]

    def flat(self) -> Tensor:
        """float [m, layers * 2 * kv heads * dim / heads], keys before values: as peft's prefix tuning keeps it (`prompt_embeddings`)."""
        return self.values if self.net is None else self.values + self.net(self.values)

    def past(self, batch: int) -> Past:
        """The prefix for a batch; positions 0 to m - 1 are its."""
        return _past(self.flat().expand(batch, -1, -1), self.shape)

    def settle(self) -> None:
        """Keep what was learned, without the network behind it."""
        with torch.no_grad():
            self.values.copy_(self.flat())
        self.net = None


def stacked_past(network: CausalLM, flat: Tensor) -> Past:
    """Prefixes of several rows, each its own: float [B, m, layers * 2 * kv heads * dim / heads] as `KeyValuePrefix.flat` gives -> `Past`."""
    return _past(flat, _shape(network))


def _shape(network: CausalLM) -> tuple[int, int, int, int]:
    """Of a prefix's one position: layers, keys and values, kv heads, dim / heads."""
    config = network.config
    return config.layers, 2, config.shared_heads, config.dim // config.heads


def _past(flat: Tensor, shape: tuple[int, ...]) -> Past:
    own = flat.unflatten(-1, shape).permute(2, 3, 0, 4, 1, 5)
    return Past(tuple(own[:, 0]), tuple(own[:, 1]))
