"""ZOODiP: a word learned on a model of whole numbers by forward passes alone, as a phone can."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sartor.draw._base import ConceptMethod
from sartor.draw._shown import Shown
from sartor.draw.parts.int8 import is_quantised, quantised
from sartor.draw.parts.objectives import Noised, Times, noised, times, weighted
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tokens import Concept, of_word
from sartor.draw.parts.zeroth_order import Estimator
from sartor.errors import ConfigError

BINS = 10


@dataclass(kw_only=True, eq=False)
class ZOODiP(ConceptMethod):
    """Textual inversion without gradients: nothing of what a forward pass computes is kept, so that memory is that of drawing.

    Three ideas: the word learns on the quantised model itself (eight bits, a scale for each output), by differences of its loss along a few
    random directions; directions in which the word hardly moves are taken out of later estimates (`zeroth_order`); and only times are drawn in which
    the text decides how things look (`telling_times` measures which).

    Source: Seo et al., ZOODiP: Efficient Personalization of Quantized Diffusion Model without Backpropagation, CVPR 2025. Differs from the authors'
    code in: mu, rate and epsilon count in the usual number of the class word's row, which on the small prior is sixty times that of a Stable
    Diffusion (0.0145); the codec has no weights there; where there are masks, only what they mark counts, as for the other methods of the room.
    Their 30,000 steps of one picture are fewer here, each along more directions. State: rows float32 [1, d].
    """

    steps: int = 1000
    batch: int = 1
    learning_rate: float = 3e-2
    """In usual numbers (root mean square) of the class word's row; theirs, for rows of about 0.4, comes to 0.7."""
    directions: int = 7
    """Theirs are 2 at 30,000 steps."""
    mu: float = 3e-2
    """How far is looked along a direction, in the same unit."""
    tau: int | None = None
    """Steps after which it is asked anew in which directions the word has moved; None: a sixth of the numbers of a row, as their 128 of 768."""
    nu: float = 1e-3
    epsilon: float = 1e-5
    """Of Adam, in the loss by the same unit; theirs, 1e-3 by numbers of a row, comes to 1.4e-5."""
    project: bool = True
    low: float = 0.5
    """Of the times, from the picture (0) to noise (1): from here,"""
    high: float = 0.9
    """and up to here."""
    together: int = 8
    """Pictures that the denoiser sees at once, which is what memory goes into; values of a larger batch are looked at one after another."""
    quantise: bool = True
    """Make the eight-bit model from the prior; else the prior must be one."""

    def _check_thing(self, prior: Prior, shown: Shown) -> None:
        super()._check_thing(prior, shown)
        if not self.quantise and not is_quantised(prior):
            raise ConfigError("the prior is not quantised", fix="set quantise=True, or open one that is (parts.int8.quantised)")
        times(len(prior.alphas), low=self.low, high=self.high)
        if min(self.steps, self.batch) < 1:
            raise ConfigError(f"steps {self.steps}, batch {self.batch}", fix="use at least 1")

    @torch.no_grad()
    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        small = quantised(prior) if self.quantise else prior
        start = of_word(prior.text_encoder, prior.tokenizer, shown.class_word)[:1]
        unit, tau = float(start.norm()) / start.shape[-1] ** 0.5, max(8, start.shape[-1] // 6) if self.tau is None else self.tau
        # Values, steps and slopes in units of a row's usual number, so that one set of settings fits rows of any size.
        learning = Estimator(
            start / unit, rate=self.learning_rate, directions=self.directions, mu=self.mu, tau=tau, nu=self.nu, epsilon=self.epsilon,
            project=self.project,
        )  # fmt: skip
        draw, began = torch.Generator().manual_seed(seed), time.process_time()
        text, at = self.captions(shown)[0], times(len(prior.alphas), low=self.low, high=self.high)
        record: list[float] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for _ in range(self.steps):
                prior.lock.pass_on()
                chosen = torch.randint(len(references), (self.batch,), generator=draw)
                data = Look.of(small, references, chosen, at)
                losses = partial(data.losses, small, text, shown.name, together=self.together)
                record.append(learning.step(lambda values, losses=losses: losses(unit * values), draw))  # type: ignore[misc]
        means = [round(sum(part) / len(part), 6) for part in (record[start : start + 50] for start in range(0, len(record), 50))]
        facts = {"steps": [self.steps], "losses": [means], "forward": self.steps * (1 + self.directions), "removed": len(learning.low)}
        return {"rows": unit * learning.value}, {**facts, "seed": seed, "cpu_seconds": time.process_time() - began}


class Look(NamedTuple):
    """Noised pictures, at which several values of a word are compared."""

    data: Noised
    mask: Tensor | None

    @classmethod
    def of(cls, prior: Prior, references: References, chosen: Tensor, at: Times) -> Look:
        return cls(noised(prior, references.latents[chosen], at=at), None if references.masks is None else references.masks[chosen])

    def losses(self, prior: Prior, text: str, name: str, values: Tensor, *, together: int) -> Tensor:
        """float [k] of rows [k, m, d], each on the same pictures, noise and times; the denoiser sees `together` pictures at once, or one value's."""
        return torch.cat([self._of(prior, text, name, part) for part in values.split(max(1, together // len(self.data.t)))])

    def _of(self, prior: Prior, text: str, name: str, values: Tensor) -> Tensor:
        words, count = prior.words([text] * len(values), [Concept(name, values[0])]), len(self.data.t)
        context = prior.encode_words(words, [Concept(name, values)]).repeat_interleave(count, 0)
        seen, t = (part.repeat(len(values), *[1] * (part.ndim - 1)) for part in (self.data.seen, self.data.t))
        output = prior.predict(seen, t, context).split(count)
        target = prior.target(self.data.clean, self.data.noise, self.data.t)
        return torch.stack([weighted(one, target, self.mask).mean() for one in output])


@torch.no_grad()
def telling_times(prior: Prior, references: References, shown: Shown, *, count: int = 32, mu: float = 3e-2, seed: int = 0) -> list[float]:
    """How much the loss of each tenth of the times hangs on the word, by forward passes: the mean absolute slope along random directions."""
    start = of_word(prior.text_encoder, prior.tokenizer, shown.class_word)[:1]
    unit, found = float(start.norm()) / start.shape[-1] ** 0.5, []
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for number in range(BINS):
            at = times(len(prior.alphas), low=number / BINS, high=(number + 1) / BINS)
            data = Look.of(prior, references, torch.arange(count) % len(references), at)
            values = torch.cat([start[None], start + mu * unit * torch.randn(4, *start.shape, generator=draw)])
            losses = data.losses(prior, f"a {shown.name}", shown.name, values, together=5 * count)
            found.append(float((losses[1:] - losses[0]).abs().mean()) / mu)
    return found


def best_window(slopes: list[float], width: int = 4) -> tuple[float, float]:
    """The part of the times, `width` tenths long, with the largest slopes."""
    first = max(range(len(slopes) - width + 1), key=lambda one: sum(slopes[one : one + width]))
    return first / BINS, (first + width) / BINS
