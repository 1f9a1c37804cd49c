"""A conditional variational autoencoder of answers with a shared space for attributes: what MIRACLE trains, over any encoder and decoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.write.parts.causal_lm import CausalLM
from sartor.write.parts.latent import (
    CommonCentre,
    Gaussian,
    GaussianHead,
    LatentClassifiers,
    LatentInjector,
    RowOffsets,
    active_units,
    cyclic_beta,
    divergence,
    free_bits,
    mean_pooled,
)  # fmt: skip


class Batch(NamedTuple):
    """Answers that are labelled for one attribute."""

    ids: Tensor
    """int64 [B, L]: what was asked and the answer."""
    mask: Tensor
    """bool [B, L], False where there is filler behind the end."""
    own: Tensor
    """bool [B, L]: which tokens are the answer's; no row begins with one."""
    attribute: int
    tags: Tensor
    """int64 [B], the aspect of each."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Of the parts of the loss; the defaults are the published ones."""

    divergence: float = 0.001
    free: float = 0.9
    """Nats of a dimension that cost nothing."""
    period: int = 40
    """Steps of beta's cycle."""
    warm: int = 0
    """Steps before the cycles begin, in which the divergence costs nothing."""
    classes: float = 0.05
    """Of the latent classifiers while their loss is 0.1 or more; below it is always 0.05."""
    centre: float = 0.002
    """Of the distance between the attributes' mean latent vectors; 0 leaves them apart."""
    prior_classes: bool = False
    """Whether the classifiers also see draws from the prior."""


_POSTERIOR, _PRIOR = -2.0, 0.0
"""Logarithms of the variances at the start; the prior's is that of the posterior's means before training."""


class LatentDialogue(nn.Module):
    """Encoder, posterior q(z | question, answer), prior p(z | question), classifiers, and what puts z into a decoder.

    Subclasses say how texts are encoded (`pooled`) and decoded (`hidden_states`, `words_out`).
    """

    step: Tensor
    about: Tensor

    def __init__(self, width: int, dim: int, aspects: Sequence[int], injector: LatentInjector, weights: Weights) -> None:
        super().__init__()
        self.weights = weights
        self.posterior, self.prior = GaussianHead(width, dim, _POSTERIOR), GaussianHead(width, dim, _PRIOR)
        self.classifiers, self.centre, self.prior_centre = (
            LatentClassifiers(dim, aspects),
            CommonCentre(dim, len(aspects)),
            CommonCentre(dim, len(aspects)),
        )
        self.injector = injector
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("about", torch.stack([torch.zeros(width), torch.ones(width)]))

    @abstractmethod
    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Texts as vectors: int64 and bool [B, L] -> float [B, width]."""

    @abstractmethod
    def hidden_states(self, ids: Tensor, mask: Tensor, z: Tensor) -> Tensor:
        """The decoder's last hidden states float [B, L, dim] with z [B, latent] inside."""

    @abstractmethod
    def words_out(self, hidden: Tensor) -> Tensor:
        """Logits."""

    def asked(self, batch: Batch) -> Tensor:
        """bool [B, L]: the question's tokens."""
        return batch.mask & ~batch.own

    def both(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Vectors of question and answer together, and of the question alone."""
        return self.pooled(batch.ids, batch.mask), self.pooled(batch.ids, self.asked(batch))

    def gaussians(self, batch: Batch) -> tuple[Gaussian, Gaussian]:
        """Posterior and prior."""
        whole, asked = self.both(batch)
        return self.posterior(self.standard(whole)), self.before(asked)

    def before(self, asked: Tensor) -> Gaussian:
        """The prior of questions' vectors."""
        return self.prior(self.standard(asked))

    def standard(self, pooled: Tensor) -> Tensor:
        """Vectors less what all texts have in common, every number with the same spread."""
        return (pooled - self.about[0]) / self.about[1]

    @torch.no_grad()
    def standardise(self, batches: Sequence[Batch]) -> None:
        """Learn what all texts have in common: texts that look alike to the Gaussians teach the decoder to do without them."""
        every = torch.cat([self.both(one)[0] for one in batches])
        self.about.copy_(torch.stack([every.mean(0), every.std(0).clamp(min=1e-4)]))

    def reconstruction(self, batch: Batch, z: Tensor) -> Tensor:
        """Mean cross-entropy of the answers' tokens, in nats."""
        hidden = self.hidden_states(batch.ids, batch.mask, z)
        wanted = batch.own[:, 1:]
        return F.cross_entropy(self.words_out(hidden[:, :-1][wanted]), batch.ids[:, 1:][wanted])

    def loss(self, batch: Batch) -> Tensor:
        """Of one batch; counts the steps of beta's cycle."""
        weights, attribute = self.weights, batch.attribute
        posterior, prior = self.gaussians(batch)
        begun = int(self.step) - weights.warm
        beta = cyclic_beta(begun, weights.period) if begun >= 0 else 0.0
        self.step += 1
        # While the divergence costs nothing, the latent vector is learned without noise.
        z = posterior.mean if not beta else posterior.sample(torch.randn_like(posterior.mean))
        drawn = prior.sample(torch.randn_like(prior.mean))
        total = self.reconstruction(batch, z) + weights.divergence * beta * free_bits(divergence(posterior, prior), weights.free)
        classes = F.cross_entropy(self.classifiers(z, attribute), batch.tags)
        if weights.prior_classes:
            classes = classes + F.cross_entropy(self.classifiers(drawn, attribute), batch.tags)
        total = total + (weights.classes if float(classes.detach()) >= 0.1 else 0.05) * classes
        if weights.centre:
            total = total + weights.centre * (self.centre(z, attribute) + self.prior_centre(drawn, attribute))
        return total

    @torch.no_grad()
    def judge(self, batches: Sequence[Batch]) -> tuple[float, int]:
        """Reconstruction and classification loss of held-out answers from their posterior's means, and the active units of these."""
        losses, means = [], []
        for batch in batches:
            posterior, _ = self.gaussians(batch)
            classes = F.cross_entropy(self.classifiers(posterior.mean, batch.attribute), batch.tags)
            losses.append(float(self.reconstruction(batch, posterior.mean) + self.weights.classes * classes))
            means.append(posterior.mean)
        return sum(losses) / len(losses), active_units(torch.cat(means))


class SmallDialogue(LatentDialogue):
    """Over our own small models: encoder and decoder begin as copies of one language model, and both are trained.

    A text is the mean of its words' vectors beside the mean of the last states, in 2 * dim numbers.
    """

    def __init__(self, encoder: CausalLM, decoder: CausalLM, dim: int, aspects: Sequence[int], weights: Weights) -> None:
        super().__init__(2 * encoder.config.dim, dim, aspects, LatentInjector.of(decoder, dim), weights)
        self.encoder, self.decoder = encoder, decoder

    def _states(self, ids: Tensor, mask: Tensor) -> Tensor:
        out = self.encoder.run(ids, mask=mask, states=True)
        return torch.cat([out.states[0], out.hidden], -1)

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        return mean_pooled(self._states(ids, mask), mask)

    def both(self, batch: Batch) -> tuple[Tensor, Tensor]:
        # The encoder sees no word before it comes: the question's states are the same with the answer behind it.
        states = self._states(batch.ids, batch.mask)
        return mean_pooled(states, batch.mask), mean_pooled(states, self.asked(batch))

    def hidden_states(self, ids: Tensor, mask: Tensor, z: Tensor) -> Tensor:
        embeddings = self.decoder.embed(ids) + self.injector.embed(z)[:, None]
        return self.decoder.run(embeddings=embeddings, mask=mask, past=self.injector.past(z)).hidden

    def words_out(self, hidden: Tensor) -> Tensor:
        return self.decoder.words_out(hidden)

    def offsets(self, z: Tensor) -> RowOffsets:
        """For decoding, beside `injector.past(z)`."""
        return RowOffsets(self.decoder.model.embed_tokens, self.injector.embed(z))
