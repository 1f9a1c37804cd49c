"""Moving a latent vector to where classifiers see what is wanted: an energy, an ordinary differential equation, and Langevin dynamics."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sartor.errors import ConfigError
from sartor.write.parts.latent import Gaussian, LatentClassifiers


class LatentEnergy:
    """E(z | c) = - sum over attributes j of w_j log softmax(f_j(z))[c_j], lower where z shows what is wanted.

    Parameters
    ----------
    classifiers: f.
    aspects: int64 [B, attributes], c; -1 leaves an attribute free.
    weights: float [B, attributes], w; 0 does as well.
    """

    def __init__(self, classifiers: LatentClassifiers, aspects: Tensor, weights: Tensor) -> None:
        if aspects.shape != weights.shape:
            raise ConfigError(f"aspects {list(aspects.shape)} and weights {list(weights.shape)}", fix="give one weight for each aspect")
        self.classifiers, self.aspects = classifiers, aspects
        self.weights = torch.where(aspects < 0, 0.0, weights)

    def __call__(self, z: Tensor, rows: Tensor | None = None) -> Tensor:
        """float [b] of z [b, dim], which are these rows; all by default."""
        aspects, weights = (part if rows is None else part[rows] for part in (self.aspects, self.weights))
        total = z.new_zeros(len(z))
        for attribute in range(aspects.shape[1]):
            likely = self.classifiers(z, attribute).log_softmax(-1).gather(1, aspects[:, attribute, None].clamp(min=0))[:, 0]
            total = total - weights[:, attribute] * likely
        return total

    def pull(self, z: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Minus the energy's gradient, [b, dim], and the energy."""
        with torch.enable_grad():
            at = z.detach().requires_grad_(True)
            energy = self(at, rows)
            return -torch.autograd.grad(energy.sum(), at)[0], energy.detach()


class Sampled(NamedTuple):
    """Where the latent vectors have come to."""

    z: Tensor
    """float [B, dim]."""
    energy: Tensor
    """float [B]."""
    steps: Tensor
    """int64 [B], accepted ones."""
    reached: Tensor
    """bool [B]: whether a row came to the end; else it is the best seen on its way."""


def ode_sample(
    energy: LatentEnergy, start: Tensor, *, prior: Gaussian | None = None, beta: tuple[float, float] = (0.1, 20.0), atol: float = 1e-3,
    rtol: float = 1e-3, most: int = 200,
) -> Sampled:  # fmt: skip
    """Integrate dz/dt = -beta(t)/2 (p(z) - dE/dz) from t = 1 to 0, beta(t) = b0 + t (b1 - b0).

    p(z) is 0, or with a `prior` ((var - 1) z + mean) / var of it. `beta`, `atol`, `rtol`: as published. `most`: steps tried for a row.
    """

    def slope(t: Tensor, z: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        pull, value = energy.pull(z, rows)
        if prior is not None:
            var = prior.log_var[rows].exp()
            pull = pull + ((var - 1) * z + prior.mean[rows]) / var
        return -0.5 * (beta[0] + t * (beta[1] - beta[0]))[:, None] * pull, value

    return dormand_prince(slope, start, 1.0, 0.0, atol=atol, rtol=rtol, most=most, value=energy)


def langevin(energy: LatentEnergy, start: Tensor, noise: Tensor, *, step: float = 0.01, decay: float = 1.0) -> Sampled:
    """z + step/2 (-dE/dz) + sqrt(step) noise, for each of the standard normal numbers [steps, B, dim]; `decay` multiplies the step each time."""
    z = start
    for drawn in noise:
        pull, _ = energy.pull(z)
        z = z + step / 2 * pull + step**0.5 * drawn
        step *= decay
    with torch.no_grad():
        found = energy(z)
    return Sampled(z, found, torch.full((len(z),), len(noise)), torch.ones(len(z), dtype=torch.bool))


_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = (
    (), (1 / 5,), (3 / 40, 9 / 40), (44 / 45, -56 / 15, 32 / 9), (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656), (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)  # fmt: skip
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)

Slope = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From times [b], places [b, dim] and row numbers [b] to the slope [b, dim] and a value [b] of the place."""


def dormand_prince(
    slope: Slope, start: Tensor, begin: float, end: float, *, atol: float, rtol: float, most: int, value: Callable[[Tensor, Tensor], Tensor]
) -> Sampled:
    """Runge-Kutta of order 5 with the error of order 4; every row has its own steps, so that it does not depend on the rest of the batch.

    A row that has not come to the end after `most` tries gives the place of the lowest value that it has passed.
    Source: Dormand and Prince, 1980.
    """
    z, n = start.clone(), len(start)
    times, size = z.new_full((n,), begin), z.new_full((n,), 0.01 * (end - begin))
    steps, reached = torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.bool)
    best, lowest = z.clone(), value(z, torch.arange(n)).detach()
    for _ in range(most):
        rows = (~reached).nonzero()[:, 0]
        if not rows.numel():
            break
        t, at = times[rows], z[rows]
        h = torch.where((end - t).abs() < size[rows].abs(), end - t, size[rows])
        slopes: list[Tensor] = []
        place = at
        for node, own in zip(_NODES, _STAGES, strict=True):
            place = at + h[:, None] * sum((weight * one for weight, one in zip(own, slopes, strict=True)), torch.zeros_like(at))
            slopes.append(slope(t + node * h, place, rows)[0])
        error = h[:, None] * sum((weight * one for weight, one in zip(_ERROR, slopes, strict=True)), torch.zeros_like(at))
        scale = atol + rtol * torch.maximum(at.abs(), place.abs())
        wrong = ((error / scale) ** 2).mean(1).sqrt().nan_to_num(nan=1e9, posinf=1e9)
        size[rows] = h * (0.9 * wrong.clamp(min=1e-10) ** -0.2).clamp(0.2, 10.0)
        taken = rows[wrong <= 1]
        z[taken], times[taken] = place[wrong <= 1], (t + h)[wrong <= 1]
        steps[taken] += 1
        found = value(z[taken], taken).detach()
        better = taken[found < lowest[taken]]
        lowest[better], best[better] = found[found < lowest[taken]], z[better]
        reached[taken] = (times[taken] - end).abs() < 1e-6
    z = torch.where(reached[:, None], z, best)
    return Sampled(z, value(z, torch.arange(n)).detach(), steps, reached)
