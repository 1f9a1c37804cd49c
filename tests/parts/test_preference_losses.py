"""Preference losses and lambda-returns against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from sartor.errors import BadValue, ConfigError
from sartor.parts.preference_losses import bradley_terry_fit, dpo, ipo, margin, sft
from sartor.parts.value_head import ValueHead, td_lambda, value_loss


def test_losses_are_their_formulas() -> None:
    chosen, rejected, before, after = (torch.randn(6, generator=torch.Generator().manual_seed(one), requires_grad=True) for one in range(4))
    margins = margin(chosen, rejected, before, after)
    torch.testing.assert_close(margins, (chosen - before) - (rejected - after))
    torch.testing.assert_close(dpo(margins, beta=0.3), -torch.log(torch.sigmoid(0.3 * margins)).mean())
    torch.testing.assert_close(ipo(margins, beta=0.05), (margins - 10).square().mean())
    torch.testing.assert_close(sft(chosen), -chosen.mean())
    dpo(margins).backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    # More of the chosen answer, less of the rejected one.
    assert (chosen.grad < 0).all()
    assert (rejected.grad > 0).all()
    for loss in (dpo, ipo):
        with pytest.raises(ConfigError, match="beta"):
            loss(margins, beta=0.0)


@given(st.integers(0, 10_000), st.integers(0, 30))
def test_one_persons_weights_are_the_peak_of_the_posterior(seed: int, choices: int) -> None:
    rng = np.random.default_rng(seed)
    rows, mean, scale = rng.normal(size=(choices, 3)), rng.normal(size=3), np.diag([1.0, 0.5, 2.0])
    weights, covariance = bradley_terry_fit(rows, mean, scale)

    def cost(at: np.ndarray) -> float:
        return float(np.logaddexp(0, -rows @ at).sum() + (at - mean) @ scale @ (at - mean) / 2)

    np.testing.assert_allclose(weights, minimize(cost, np.zeros(3), tol=1e-10).x, atol=1e-4)
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    if not choices:
        np.testing.assert_allclose(weights, mean)
        np.testing.assert_allclose(covariance, np.linalg.inv(scale))


def test_weights_stay_finite_where_all_choices_agree() -> None:
    weights, _ = bradley_terry_fit(np.full((200, 1), 50.0), np.zeros(1), np.eye(1) * 1e-3)
    assert 0 < weights[0] < 100
    with pytest.raises(BadValue):
        bradley_terry_fit(np.array([[np.nan]]), np.zeros(1), np.eye(1))


def test_lambda_returns_are_mixtures_of_n_step_returns() -> None:
    random = torch.Generator().manual_seed(0)
    values, rewards = torch.randn(2, 7, 2, generator=random), torch.randn(2, 7, 2, generator=random)
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[0, 1:6], mask[1, 3:] = True, True
    gamma, lam = 0.9, 0.7
    found = td_lambda(values, rewards, mask, gamma=gamma, lam=lam)
    for row, (start, end) in enumerate([(1, 6), (3, 7)]):
        for t in range(start, end):
            steps = end - t
            n_step = []
            for n in range(1, steps + 1):
                total = sum(gamma**i * rewards[row, t + i] for i in range(n))
                n_step.append(total + (gamma**n * values[row, t + n] if n < steps else 0))
            wanted = sum((1 - lam) * lam ** (n - 1) * one for n, one in enumerate(n_step[:-1], 1)) + lam ** (steps - 1) * n_step[-1]
            torch.testing.assert_close(found[row, t], wanted)
    assert not found[~mask].any()
    head = ValueHead(4, 3)
    assert not head(torch.randn(5, 4)).any()
    torch.testing.assert_close(value_loss(values, found, mask), 0.5 * (values - found)[mask].square().mean())
    with pytest.raises(ConfigError):
        td_lambda(values, rewards, mask, lam=1.1)
