"""Teaching a generator on the server from where devices took what it made for them, without seeing their data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pull(made: Tensor, moved: Tensor, shares: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Gradients for a minimising optimiser that moves a generator towards what its clients made of its outputs.

    Parameters
    ----------
    made: float [k, n], what the generator made for k clients, with its graph.
    moved: float [k, n], where each client's local phase took it. The way there is the negative gradient of that client's loss, so the gradient
        of the mean loss at what was made is made - moved. (The other sign walks away from what clients found.)
    shares: float [k], of each client.
    parameters: of the generator; those that had no part in `made` get zeros.

    Source: Shamsian et al., Personalized Federated Learning using Hypernetworks, ICML 2021.
    """
    back = torch.autograd.grad(made, parameters, grad_outputs=shares[:, None] * (made.detach() - moved), allow_unused=True)
    return [torch.zeros_like(one) if found is None else found for one, found in zip(parameters, back, strict=True)]
