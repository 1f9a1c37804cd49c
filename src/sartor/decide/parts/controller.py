"""Small neural controllers, trained through a twin: a policy, the twin, and the rollout of both, for many people at once.

The policy sees ln x (x relative to a reference) and answers rates from 0 to a limit, by two hidden layers. Its cost is the squared log distance
to the target after a burn-in, and a little for control itself.

Dynamics-informed training: where a simulator is given, what it does is what counts forward, and the twin's Jacobian is what counts backward:
x = x_twin + stop(x_simulated - x_twin). A process of whole numbers and chance has no gradient; the twin's stands in for it, at states that the
process really was in.

Source: control of medical digital twins with artificial neural networks, 2024 (the cost, the two ways); training a policy through its dynamics:
Asikis, Boettcher and Antulov-Fantulin, Neural ordinary differential equation control of dynamics on graphs, 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sartor.decide.parts.equations import Equations
from sartor.decide.parts.simulator import Simulator
from sartor.errors import ConfigError, Diverged

HIDDEN = 16
EXTINCT = -8.0
"""ln x below which a variable is not followed: a process that has lost it does not come back."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Course:
    """What controllers are trained for."""

    reference: np.ndarray
    """float64 [m], what counts are relative to."""
    equations: Equations
    """Of the twins."""
    target: np.ndarray
    """float64 [q], counts of what each control is to bring there."""
    limit: float
    horizon: int
    burn_in: int
    effort: float
    """Cost of a mean rate of 1."""
    learning_rate: float
    """Of Adam."""
    starts: int
    """Rollouts per step; they begin at the reference, times exp(0.2 N)."""
    seed: int

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of each layer."""
        m, q = self.equations.aims.shape
        return (m, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, q)

    def logs(self, counts: np.ndarray) -> np.ndarray:
        """float32, ln x; of what died out, as if one were left."""
        return np.log(np.maximum(counts, 1.0) / self.reference).astype(np.float32)


def fresh(course: Course) -> np.ndarray:
    """Weights float32 [n] to begin with: little control, nearly the same everywhere."""
    rng, parts = np.random.default_rng([course.seed, 103]), []
    for number, (inside, outside) in enumerate(course.sizes):
        last = number == len(course.sizes) - 1
        parts += [rng.normal(0, (0.1 if last else 1.0) / np.sqrt(inside), inside * outside), np.full(outside, -2.0 if last else 0.0)]
    return np.concatenate(parts).astype(np.float32)


def policy(weights: Tensor, logs: Tensor, course: Course) -> Tensor:
    """Rates [people, n, q] of weights [people, w] at ln x [people, n, m]."""
    at, x = 0, logs
    for number, (inside, outside) in enumerate(course.sizes):
        matrix = weights[:, at : at + inside * outside].reshape(-1, inside, outside)
        at += inside * outside
        x = torch.baddbmm(weights[:, None, at : at + outside], x, matrix)
        at += outside
        x = torch.nn.functional.elu(x) if number < len(course.sizes) - 1 else x
    return course.limit * torch.sigmoid(x)


def trained(
    parameters: np.ndarray, weights: np.ndarray, course: Course, steps: int, simulator: Callable[[int], Simulator] | None = None,
    progress: Callable[[], None] = lambda: None,
) -> np.ndarray:  # fmt: skip
    """Weights float32 [people, w] after some steps of Adam through each one's twin, parameters float [people, blocks, size].

    Parameters
    ----------
    simulator: gives the process for a step, of people * starts runs, those of one person together; then training is dynamics-informed.
    progress: called after every step.

    People do not touch each other: each has a gradient clipped to 1, and best weights of her own, to which she returns, at half the rate, when her
    cost is ten times that of them or no number. Raises `Diverged` when it never was one.
    """
    people = len(weights)
    generator = torch.Generator().manual_seed(course.seed)
    p, starts = torch.tensor(parameters, dtype=torch.float32)[:, None], 0.2 * torch.randn(course.starts, len(course.reference), generator=generator)
    w = torch.tensor(weights, requires_grad=True)
    optimiser = torch.optim.Adam([w], lr=course.learning_rate)
    best, lowest, rate = w.detach().clone(), torch.full((people,), torch.inf), torch.ones(people)
    for step in range(steps + 1):
        process = None if simulator is None else simulator(step)
        logs = starts.expand(people, -1, -1) if process is None else _seen(process.counts, course, people)
        costs = _costs(p, w, logs, course, process)
        value = torch.where(torch.isfinite(costs.detach()), costs.detach(), torch.inf)
        better = value < lowest
        best, lowest = torch.where(better[:, None], w.detach(), best), torch.where(better, value, lowest)
        if step == steps:
            break
        (gradient,) = torch.autograd.grad(costs.sum(), w)
        lost = ~(value <= 10 * lowest)
        rate = torch.where(lost, rate / 2, rate)
        gradient = torch.where(lost[:, None], torch.zeros(()), gradient)
        w.grad = gradient * torch.clamp(1.0 / (gradient.norm(dim=1, keepdim=True) + 1e-9), max=1.0)
        before = w.detach().clone()
        optimiser.step()
        with torch.no_grad():
            w.copy_(torch.where(lost[:, None], best, before + rate[:, None] * (w - before)))
        progress()
    if not bool(torch.isfinite(lowest).all()):
        raise Diverged("a controller's cost is not finite", fix="check the twin's parameters, or lower learning_rate")
    return np.asarray(best.numpy(), np.float32)


def courses(parameters: np.ndarray, noise: np.ndarray, weights: np.ndarray, counts: np.ndarray, course: Course) -> np.ndarray:
    """What follows counts [people, m] by parameters [people, draws, blocks, size] and noise [people, m]: float64 [people, draws, horizon, m]."""
    p, spread = torch.tensor(parameters, dtype=torch.float32), torch.tensor(noise, dtype=torch.float32)[:, None]
    w = torch.from_numpy(weights)
    generator, out = torch.Generator().manual_seed(course.seed), []
    logs = torch.from_numpy(course.logs(counts))[:, None].expand(-1, p.shape[1], -1)
    for _ in range(course.horizon):
        change = course.equations.change(p, torch.exp(logs), policy(w, logs, course))
        logs = moved(logs, change + spread * torch.randn(logs.shape[1:], generator=generator))
        out.append(logs)
    return np.asarray(np.exp(torch.stack(out, 2).numpy().astype(np.float64)) * course.reference)


def _seen(counts: np.ndarray, course: Course, people: int) -> Tensor:
    if counts.shape != (people * course.starts, len(course.reference)):
        raise ConfigError(f"the simulator shows {list(counts.shape)}", fix=f"give it {people * course.starts} runs of {len(course.reference)} counts")
    return torch.from_numpy(course.logs(counts)).reshape(people, course.starts, -1)


def _costs(p: Tensor, w: Tensor, logs: Tensor, course: Course, process: Simulator | None) -> Tensor:
    """The mean cost of each person's rollouts, [people]."""
    target, total = torch.from_numpy(aims(course)), torch.zeros(len(w))
    aimed = torch.from_numpy(course.equations.aims.T.astype(np.float32))
    for tick in range(course.horizon):
        rates = policy(w, logs, course)
        logs = moved(logs, course.equations.change(p, torch.exp(logs), rates))
        if process is not None:
            seen = process.step(rates.detach().numpy().reshape(-1, rates.shape[-1]).astype(np.float64))
            logs = logs + (_seen(seen, course, len(w)) - logs).detach()
        if tick >= course.burn_in:
            total = total + ((logs @ aimed.T - target) ** 2).sum(-1).mean(1) + course.effort * rates.mean((1, 2))
    return total / (course.horizon - course.burn_in)


def moved(logs: Tensor, change: Tensor) -> Tensor:
    """A step in logarithms, kept where numbers stay finite."""
    return torch.clamp(logs + torch.clamp(change, -1.0, 1.0), EXTINCT, -EXTINCT)


def aims(course: Course) -> np.ndarray:
    """float32 [q], the targets as ln x."""
    return np.log(course.target / (course.equations.aims.T @ course.reference)).astype(np.float32)
