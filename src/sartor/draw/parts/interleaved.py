"""A prompt with pictures in it, read by a small transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Interleaved(nn.Module):
    """From a prompt's token states, in which the states of things' words are their pictures' embeddings, to the embedding of the whole picture.

    One pass of a causal transformer over tokens, the embedding of an edge map, that of the prompt, and a place for the answer; no time, no noise.
    """

    def __init__(self, width: int, dim: int, longest: int, *, inner: int = 40, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.of_token, self.of_thing = nn.Linear(width, inner), nn.Linear(dim, inner)
        self.of_edges, self.of_prompt = nn.Linear(dim, inner), nn.Linear(dim, inner)
        self.answer = nn.Parameter(torch.zeros(1, 1, inner))
        self.position = nn.Parameter(0.02 * torch.randn(1, longest + 3, inner))
        layer = nn.TransformerEncoderLayer(inner, heads, 4 * inner, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, depth, nn.LayerNorm(inner), enable_nested_tensor=False)
        self.out = nn.Linear(inner, dim)

    def forward(self, states: Tensor, things: Tensor, place: Tensor, prompt: Tensor, edges: Tensor) -> Tensor:
        """float [B, dim]. states [B, T, width]; things [B, MOST, dim]; place int64 [B, T], which thing stands at a token, -1: none; prompt and edges
        [B, dim], zero for no edge map."""
        stand = self.of_thing(things).gather(1, place.clamp(min=0)[..., None].expand(-1, -1, self.answer.shape[2]))
        tokens = torch.where((place >= 0)[..., None], stand, self.of_token(states))
        more = [self.of_edges(edges)[:, None], self.of_prompt(prompt)[:, None], self.answer.expand(len(states), -1, -1)]
        x = torch.cat([tokens, *more], 1)
        x = x + torch.cat([self.position[:, : tokens.shape[1]], self.position[:, -3:]], 1)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        return self.out(self.blocks(x, mask=mask, is_causal=True)[:, -1])
