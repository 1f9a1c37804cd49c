"""A variational latent variable behind a text: Gaussians, what keeps them alive, classifiers on them, and the way into a language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.write.parts.causal_lm import CausalLM, Past


class Gaussian(NamedTuple):
    """Of independent dimensions."""

    mean: Tensor
    """float [B, dim]."""
    log_var: Tensor
    """float [B, dim]."""

    def sample(self, noise: Tensor) -> Tensor:
        """The draw that standard normal numbers [B, dim] stand for; gradients go through it (Kingma and Welling 2014)."""
        return self.mean + (0.5 * self.log_var).exp() * noise


def divergence(posterior: Gaussian, prior: Gaussian) -> Tensor:
    """KL(posterior || prior) of each dimension, in nats, float [B, dim]."""
    ratio = posterior.log_var - prior.log_var
    return 0.5 * (ratio.exp() + (prior.mean - posterior.mean) ** 2 / prior.log_var.exp() - 1 - ratio)


def free_bits(each: Tensor, threshold: float) -> Tensor:
    """The mean over texts of the divergences [B, dim] that are above the threshold: those below do not count, and cost nothing to keep."""
    return (each * (each > threshold)).sum(1).mean()


def cyclic_beta(step: int, period: int, zero: float = 0.2) -> float:
    """Weight of the divergence at a step, from 0: nothing for the first `zero` of every period, then 1. Source: Fu et al., NAACL 2019."""
    return 0.0 if step % period < zero * period else 1.0


def active_units(means: Tensor, least: float = 0.01) -> int:
    """Dimensions in which the posterior's means [texts, dim] differ from text to text, with a variance above `least`: 0 is a latent that the
    decoder has learned to do without. Source: Burda et al., ICLR 2016."""
    return int((means.var(0) > least).sum())


class GaussianHead(nn.Module):
    """Pooled states [B, width] as a Gaussian of `dim` dimensions: Linear - tanh - Linear.

    `log_var` is what the logarithm of the variance begins at, alike for all texts; means begin with a variance of 1 where the pooled states
    have. Where the noise begins as large as what is said, the decoder learns to do without both.
    """

    def __init__(self, width: int, dim: int, log_var: float = 0.0) -> None:
        super().__init__()
        self.pool, self.out = nn.Linear(width, width), nn.Linear(width, 2 * dim, bias=False)
        self.log_var = nn.Parameter(torch.full((dim,), log_var))
        with torch.no_grad():
            self.pool.weight.normal_(std=width**-0.5)
            # The square of a tanh of standard normal numbers is 0.39 on average.
            self.out.weight[:dim].normal_(std=(0.39 * width) ** -0.5)
            self.out.weight[dim:].zero_()

    def forward(self, pooled: Tensor) -> Gaussian:
        mean, log_var = self.out(torch.tanh(self.pool(pooled))).chunk(2, -1)
        return Gaussian(mean, log_var + self.log_var)


class LatentClassifiers(nn.Module):
    """One classifier of the latent vector for each attribute: Linear - ReLU - Linear."""

    def __init__(self, dim: int, aspects: Sequence[int], hidden: int = 128) -> None:
        super().__init__()
        self.each = nn.ModuleList(nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, count)) for count in aspects)

    def forward(self, z: Tensor, attribute: int) -> Tensor:
        """Logits float [B, aspects]."""
        return self.each[attribute](z)


class CommonCentre(nn.Module):
    """Pulls the attributes' latent vectors onto one another, so that regions learned apart can be met together.

    Keeps the last batch mean of each attribute, without gradients; the loss of a batch is the mean squared distance of its own mean from
    those of the other attributes that were met, summed. Source: Lu et al., MIRACLE, 2023.
    """

    means: Tensor
    met: Tensor

    def __init__(self, dim: int, attributes: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(attributes, dim))
        self.register_buffer("met", torch.zeros(attributes, dtype=torch.bool))

    def forward(self, z: Tensor, attribute: int) -> Tensor:
        centre = z.mean(0)
        others = self.met.clone()
        others[attribute] = False
        loss = ((centre - self.means[others]) ** 2).mean(1).sum()
        self.means[attribute], self.met[attribute] = centre.detach(), True
        return loss


class LatentInjector(nn.Module):
    """A latent vector's two ways into a decoder, both at once: added to every input embedding, and as one key and value in front of every
    layer, which are the same numbers. Source: Li et al., Optimus, 2020.

    Parameters
    ----------
    dim: of the latent vector.
    width: of the embeddings.
    layers, heads, each: of the decoder's keys: so many layers, heads, and numbers in a head.
    loud: size that both begin with, 1 is usual. A decoder that can answer already takes a loud vector for all that it is to say, and unlearns
        to read the question.
    """

    def __init__(self, dim: int, width: int, layers: int, heads: int, each: int, loud: float = 1.0) -> None:
        super().__init__()
        self.shape = (layers, heads, each)
        self.embed, self.keys = nn.Linear(dim, width, bias=False), nn.Linear(dim, layers * heads * each, bias=False)
        with torch.no_grad():
            self.embed.weight.mul_(loud)
            self.keys.weight.mul_(loud)

    @classmethod
    def of(cls, network: CausalLM, dim: int) -> LatentInjector:
        """For our own language model, which can answer already: faint."""
        config = network.config
        return cls(dim, config.dim, config.layers, config.shared_heads, config.dim // config.heads, loud=0.02)

    def pairs(self, z: Tensor) -> list[Tensor]:
        """Per layer the key, which is the value as well: float [B, heads, 1, each]."""
        layers, heads, each = self.shape
        return list(self.keys(z).view(len(z), layers, heads, 1, each).unbind(1))

    def past(self, z: Tensor) -> Past:
        """The same for a `CausalLM`."""
        own = tuple(self.pairs(z))
        return Past(own, own)


class RowOffsets:
    """What is added to every input embedding of each row, words written later included: `adapters` of a `Decoder`.

    Parameters
    ----------
    table: the model's table of words in.
    offsets: float [people, dim].
    """

    def __init__(self, table: nn.Module, offsets: Tensor) -> None:
        self.offsets = offsets
        # Per thread and task: two requests may be inside at once, each with rows of its own.
        self._now: ContextVar[Tensor | None] = ContextVar("sartor_offset_rows", default=None)
        self._handle = table.register_forward_hook(self._add)

    @contextmanager
    def use(self, rows: Sequence[int] | Tensor) -> Iterator[None]:
        """While inside, row i of what the model reads has the offset `rows[i]`."""
        token = self._now.set(self.offsets[torch.as_tensor(rows)])
        try:
            yield
        finally:
            self._now.reset(token)

    def _add(self, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        own = self._now.get()
        if own is None:
            return output
        if len(output) != len(own):
            raise ConfigError(f"{len(own)} offsets for {len(output)} rows", fix="name one for each row of the batch")
        return output + own[:, None]

    def detach(self) -> None:
        """Take the hook off the table again."""
        self._handle.remove()


def mean_pooled(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens that are there: float [B, L, dim], bool [B, L] -> [B, dim]."""
    weights = mask / mask.sum(1, keepdim=True).clamp(min=1)
    return (weights[:, None].to(states.dtype) @ states)[:, 0]
