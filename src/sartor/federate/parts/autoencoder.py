"""A fully connected autoencoder for sensor windows, and the network that writes such networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Autoencoder(nn.Module):
    """features -> hidden widths -> code, and back; linear at the code and at the end, as inputs are standardised."""

    def __init__(self, features: int, hidden: Sequence[int], code: int) -> None:
        super().__init__()
        widths = [features, *hidden, code]
        self.encoder, self.decoder = _stack(widths), _stack(widths[::-1])

    def forward(self, x: Tensor, code: bool = False) -> Tensor:
        """What is rebuilt [n, features] of windows [n, features], or their codes [n, code]."""
        z = self.encoder(x)
        return z if code else self.decoder(z)


def _stack(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class HyperNetwork(nn.Module):
    """An embedding per client, and an MLP from embeddings to all weights of another network.

    A linear map to every tensor is one linear map to all of them. Its shift starts at an ordinary start of the other network, so that what it
    writes first can learn. Source: Shamsian et al., Personalized Federated Learning using Hypernetworks, ICML 2021.
    """

    def __init__(self, clients: int, width: int, start: Tensor, hidden: int = 100) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(torch.empty(clients, width))
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(hidden, hidden)
        self.weights = nn.Linear(hidden, start.numel())
        self._start = (start,)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Embeddings of spread 1; small differences between clients around the ordinary start."""
        nn.init.normal_(self.embeddings)
        for one in (self.first, self.second, self.weights):
            one.reset_parameters()
        with torch.no_grad():
            self.weights.weight.mul_(0.1)
            self.weights.bias.copy_(self._start[0])

    def forward(self, embeddings: Tensor) -> Tensor:
        """Weights [k, numbers] for embeddings [k, width]."""
        return self.weights(self.second(torch.relu(self.first(embeddings))))
