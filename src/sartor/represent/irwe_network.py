"""The two units of IRWE: from walk statistics to identity, from walks to position."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.parts.sequence import SequenceEncoder


class Network(nn.Module):
    """Both units; position reads identity, so that its loss trains both.

    Parameters
    ----------
    dim: of both vectors.
    patterns, degrees: widths of the two statistics.
    codes: width of the nodes' random codes.
    reach: nodes per walk.
    """

    def __init__(self, dim: int, patterns: int, degrees: int, codes: int, reach: int) -> None:
        super().__init__()
        self.pattern = nn.Parameter(torch.randn(patterns, dim) / dim**0.5)
        self.key = nn.Parameter(torch.randn(patterns, dim) / dim**0.5)
        self.degree = nn.Sequential(nn.Linear(degrees, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.joined = nn.Sequential(nn.Linear(2 * dim, dim), nn.LayerNorm(dim))
        self.told = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, patterns + degrees))
        self.token = nn.Linear(codes + dim, dim)
        self.walk = SequenceEncoder(
            dim, blocks=1, heads=4, dropout=0.0, max_length=reach, activation="gelu", count_from="start", attention="bidirectional"
        )
        self.question = nn.Linear(dim, 1)
        self.placed = nn.Linear(dim, dim)
        # At first a position is the mean of the codes met, which tells where a node is already; what identity and attention add is learned.
        with torch.no_grad():
            self.token.weight[:, codes:] *= 0.1
            for weight in self.walk.blocks.parameters():
                if weight.ndim > 1:
                    weight.mul_(0.2)
            nn.init.eye_(self.placed.weight)
            for bias in (self.token.bias, self.placed.bias):
                nn.init.zeros_(bias)

    def identity(self, shares: Tensor, degrees: Tensor) -> Tensor:
        """From statistics [n, patterns] and [n, degrees] to [n, dim]."""
        query = self.degree(degrees)
        # Attention over patterns, each as often as it was seen; nothing where no walk was.
        weight = shares * torch.softmax(query @ self.key.T, dim=1)
        weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-12)
        return self.joined(torch.cat([weight @ self.pattern, query], dim=1))

    def position(self, shares: Tensor, degrees: Tensor, codes: Tensor, paths: Tensor) -> Tensor:
        """Of n nodes [n, dim], each of length 1, from their walks int64 [n, walks, reach] over the nodes that the other arrays are of."""
        n, walks, reach = paths.shape
        tokens = self.token(torch.cat([codes, self.identity(shares, degrees)], dim=1))[paths.reshape(n * walks, reach)]
        states = self.walk.ragged(tokens.reshape(n * walks * reach, -1), torch.full((n * walks,), reach))
        ends = states.reshape(n, walks, reach, -1).mean(dim=2)
        weight = torch.softmax(self.question(ends), dim=1)
        return F.normalize(self.placed((weight * ends).sum(dim=1)), dim=1)

    def identity_loss(self, shares: Tensor, degrees: Tensor) -> Tensor:
        """Squared error of the statistics told from the identity, relative to their spread."""
        shares, degrees = torch.as_tensor(shares), torch.as_tensor(degrees)
        truth = torch.cat([shares, degrees], dim=1)
        found = self.told(self.identity(shares, degrees))
        return ((found - truth) ** 2).sum(dim=1).mean() / truth.var(dim=0).sum().clamp(min=1e-6)

    def position_loss(
        self, shares: Tensor, degrees: Tensor, codes: Tensor, paths: Tensor, place: Tensor, *, negatives: float, temperature: float
    ) -> Tensor:
        """Logistic loss of pairs that were met on one walk against all pairs with nodes of the noise.

        place: int64 [3, pairs], rows of the walked nodes: starts, whom they met, and noise.
        """
        vectors = self.position(shares, degrees, codes, paths)
        starts, met, noise = (vectors[one] for one in place)
        near = F.logsigmoid((starts * met).sum(dim=1) / temperature).mean()
        far = F.logsigmoid(-(starts @ noise.T) / temperature)[place[0][:, None] != place[2][None, :]].mean()
        return -near - negatives * far
