"""What a text encoder's outputs are like in general: their second moment over many captions, by which one word's output is told from all others'."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.tokens import numbers
from sartor.errors import ConfigError

TEMPLATES = ("a {}", "a photo of a {}", "a picture of the {} on a {}", "the {} and the {}", "a {} with a {}", "one {} in front of another {}")
RIDGE = 1e-6
"""Of the mean eigenvalue, so that directions no caption has do not blow up."""


def captions_for(prior: Prior, count: int, *, seed: int = 0) -> list[str]:
    """Captions of what the prior draws: scenes of the shapes world for a prior of that world, else sentences with the tokenizer's own words."""
    rng = np.random.default_rng([seed, 12])
    vocabulary = prior.card.get("vocabulary")
    if vocabulary is not None and {*VOCABULARY} <= {*vocabulary}:
        made = dict(prior.card.get("world", {}))
        return ShapesWorld(**made).scenes(rng, count).captions(dropped=rng)
    known = vocabulary or sorted(one[:-4] for one in prior.tokenizer.get_vocab() if one.endswith("</w>") and one[:-4].isalpha())
    longest = int(prior.tokenizer.model_max_length) - 2
    fits = [one for one in TEMPLATES if len(numbers(prior.tokenizer, one.replace("{}", ""))) + one.count("{}") <= longest]
    if vocabulary is not None or not fits:
        fits = ["{}"]
    chosen = [fits[number] for number in rng.integers(len(fits), size=count)]
    return [one.format(*rng.choice(known, one.count("{}"))) for one in chosen]


@torch.no_grad()
def inverse_moment(prior: Prior, *, count: int = 4_000, batch: int = 256) -> Tensor:
    """float64 [d, d], the inverse of C = E[e e^T] over the encodings e of all tokens of `count` captions, not centred.

    Under the product a^T C^-1 b, encodings of different words are about orthogonal (Tewel et al., Perfusion, 2023; Meng et al., ROME, 2022). Made
    once for each prior.
    """
    if count < 1:
        raise ConfigError(f"{count} captions", fix="use at least 1")
    key = ("inverse moment", count)
    if key not in prior.kept:
        texts = captions_for(prior, count)
        total, tokens = torch.zeros(prior.dim, prior.dim, dtype=torch.float64), 0
        for start in range(0, count, batch):
            rows = prior.tokens(prior.encode(texts[start : start + batch])).flatten(0, 1).cpu().double()
            total += rows.T @ rows
            tokens += len(rows)
        moment = total / tokens
        prior.kept[key] = torch.linalg.inv(moment + RIDGE * moment.diagonal().mean() * torch.eye(prior.dim, dtype=torch.float64))
    found: Tensor = prior.kept[key]
    return found
