"""How good what is to come will be: a scalar head on a sequence model's states, and what to teach it (TD(lambda))."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sartor.errors import ConfigError


class ValueHead(nn.Module):
    """One value per reward from each state, float [..., dim] -> [..., rewards]; begins as zero everywhere."""

    def __init__(self, dim: int, rewards: int) -> None:
        super().__init__()
        self.out = nn.Linear(dim, rewards)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.out(hidden)


def td_lambda(values: Tensor, rewards: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 0.95) -> Tensor:
    """What each state's value should be: the lambda-return G of a finished trajectory, behind whose end there is nothing.

    delta_t = r_t + gamma V_{t+1} - V_t, A_t = delta_t + gamma lambda A_{t+1}, G_t = A_t + V_t (Sutton, 1988; as generalised advantages, Schulman et
    al., 2016). lambda 1 is the sum of what came; lambda 0 believes the next state's value.

    Parameters
    ----------
    values: float [B, T, ...], of the states, without gradient.
    rewards: float [B, T, ...], on leaving each state.
    mask: bool [B, T], which states there are; those of a row are next to each other.
    """
    if not 0 <= gamma <= 1 or not 0 <= lam <= 1:
        raise ConfigError(f"gamma {gamma}, lambda {lam}", fix="both from 0 to 1")
    there = mask.view(*mask.shape, *[1] * (values.ndim - 2)).to(values)
    values, rewards = values * there, rewards * there
    out, following, ahead = torch.zeros_like(values), torch.zeros_like(values[:, 0]), torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        ahead = rewards[:, t] + gamma * following - values[:, t] + gamma * lam * ahead
        following = values[:, t]
        out[:, t] = ahead + following
    return out * there


def value_loss(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Half the mean squared error over the states that there are (and over rewards): values and returns float [B, T, ...], mask bool [B, T]."""
    return 0.5 * (values - returns)[mask].square().mean()
