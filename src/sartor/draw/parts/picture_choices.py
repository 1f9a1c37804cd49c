"""What people chose of two pictures: checked pairs, features of pictures from the prior itself, and an encoder of a person's few choices."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.draw.parts.codec import read_images
from sartor.draw.parts.prior import Prior
from sartor.errors import BadImage, BadValue, ConfigError, MissingColumn
from sartor.parts.trainer import Trainer, seeded

ENCODED_AT_ONCE = 256
HELD_OUT, PATIENCE = 10, 10
"""One person of so many is held out when the encoder learns, and it stops after so many epochs in which these are not told better."""
CLEAN = 0.1
"""At which part of the schedule the denoiser looks at a picture: nearly clean."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clicks:
    """What somebody chose: of two pictures for each prompt, the better one."""

    prompts: Sequence[str]
    chosen: np.ndarray
    """uint8 [n, H, W, 3]."""
    rejected: np.ndarray
    """uint8 [n, H, W, 3], for the same prompts."""
    rejected_prompts: Sequence[str] | None = None
    """What the rejected pictures were for, where that is known."""

    def __len__(self) -> int:
        return len(self.prompts)

    def check(self, prior: Prior, people: Sequence[Any] | np.ndarray | None = None) -> None:
        """Raise `ConfigError` for lengths that differ, `BadImage` for pictures of another size, and `BadValue` for pairs of two prompts or pairs that
        one person chose both ways. `people`: whose each choice is; one person's by default."""
        shape = (len(self), prior.size, prior.size, 3)
        for name in ("chosen", "rejected"):
            images = np.asarray(getattr(self, name))
            if len(images) != len(self):
                raise ConfigError(f"{len(images)} {name} pictures for {len(self)} prompts", fix="give one each")
            if len(self) and (images.shape != shape or images.dtype != np.uint8):
                raise BadImage(f"{name} pictures are {images.dtype} {list(images.shape)}", fix=f"give uint8 {list(shape)}")
        if self.rejected_prompts is not None:
            for row, (one, other) in enumerate(zip(self.prompts, self.rejected_prompts, strict=True)):
                if one != other:
                    raise BadValue(f"pair {row} is of '{one}' and of '{other}'", fix="compare two pictures of one prompt", row=row)
        seen: dict[tuple[Any, str, str, str], int] = {}
        both = []
        for row, prompt in enumerate(self.prompts):
            a, b = (hashlib.blake2b(np.ascontiguousarray(part[row]).data, digest_size=16).hexdigest() for part in (self.chosen, self.rejected))
            who = None if people is None else people[row]
            seen.setdefault((who, prompt, a, b), row)
            if (who, prompt, b, a) in seen:
                both.append(f"{seen[who, prompt, b, a]} and {row}")
        if both:
            raise BadValue(f"pairs chosen both ways: {', '.join(both)}", fix="keep the later choice of each")

    def rows(self, rows: Sequence[int] | np.ndarray) -> Clicks:
        """Some of them."""
        at = np.asarray(rows, np.int64)
        return Clicks(prompts=[self.prompts[row] for row in at], chosen=self.chosen[at], rejected=self.rejected[at])


def clicks_of(preferences: pl.DataFrame, images: pl.DataFrame, size: int) -> Clicks:
    """From frames as people have them: preferences (prompt, chosen, rejected: names of images) and images (image, path, and perhaps prompt)."""
    if "prompt" not in preferences.columns:
        raise MissingColumn("the preferences say nothing of 'prompt'", fix="add what the pictures were drawn for", column="prompt")
    paths = dict(zip(images["image"].cast(pl.String).to_list(), images["path"].to_list(), strict=True))
    asked = dict(zip(images["image"].cast(pl.String).to_list(), images["prompt"].to_list(), strict=True)) if "prompt" in images.columns else {}
    sides = [preferences[name].cast(pl.String).to_list() for name in ("chosen", "rejected")]
    if missing := sorted({one for side in sides for one in side if one not in paths}):
        raise BadValue(f"there is no image '{missing[0]}'", fix="name images of the frame images")
    prompts = preferences["prompt"].to_list()
    if not prompts:
        none = np.zeros((0, size, size, 3), np.uint8)
        return Clicks(prompts=[], chosen=none, rejected=none)
    kept: dict[str, np.ndarray] = {}
    for one in {name for side in sides for name in side}:
        kept[one] = read_images([paths[one]], size)[0]
    pictures = [np.stack([kept[one] for one in side]) for side in sides]
    return Clicks(
        prompts=prompts, chosen=pictures[0], rejected=pictures[1],
        rejected_prompts=[asked.get(one, prompt) for one, prompt in zip(sides[1], prompts, strict=True)] if asked else None,
    )  # fmt: skip


@torch.no_grad()
def picture_features(prior: Prior, images: np.ndarray) -> Tensor:
    """float [n, f]: mean and spread over pixels of what the denoiser's middle and last block make of nearly clean pictures, without a prompt.

    A denoiser knows what is in pictures (Tang et al., DIFT, 2023), so that no second network is needed. The same picture gives the same features.
    """
    blocks = [one for one in (prior.unet.mid_block, prior.unet.up_blocks[-1]) if one is not None]
    found: list[Tensor] = []
    hooks = [one.register_forward_hook(lambda _module, _inputs, out: found.append(out)) for one in blocks]
    context, parts = prior.encode([""]), []
    time = torch.tensor(int(CLEAN * len(prior.alphas)), device=prior.device)
    try:
        for start in range(0, len(images), ENCODED_AT_ONCE):
            found.clear()
            latents = prior.latents(images[start : start + ENCODED_AT_ONCE])
            signal, _ = prior.shares(time[None])
            prior.predict(latents * signal, time, context.expand(len(latents), -1, -1))
            parts.append(torch.cat([part for one in found for part in (one.mean((2, 3)), one.std((2, 3)))], 1).float().cpu())
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(parts)


class ChoiceEncoder(nn.Module):
    """A person's choices as tokens: a set transformer over pairs of features, chosen and rejected, in which their order plays no part.

    Source: Lee et al., Set Transformer, ICML 2019: learned queries attend to what the choices say to each other.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, features: int, *, tokens: int = 4, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.look = nn.Linear(features, width)
        self.pair = nn.Linear(2 * width, width)
        self.among = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.1, batch_first=True, norm_first=True)
        self.queries = nn.Parameter(torch.randn(tokens, width) / width**0.5)
        self.ask = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.judge = nn.Linear(tokens * width, width, bias=False)

    def seen(self, features: Tensor) -> Tensor:
        """float [..., width] of features of pictures."""
        return self.look((features - self.centre) / self.scale)

    def forward(self, chosen: Tensor, rejected: Tensor) -> Tensor:
        """float [B, tokens, width] of features [B, pairs, f]."""
        a, b = self.seen(chosen), self.seen(rejected)
        said = self.among(self.pair(torch.cat([a - b, a + b], -1)))
        asked = self.queries.expand(len(said), -1, -1)
        return self.norm(asked + self.ask(asked, said, said, need_weights=False)[0])

    def liking(self, tokens: Tensor, features: Tensor) -> Tensor:
        """float [B, k]: how much whoever has these tokens [B, m, width] likes pictures with features [B, k, f]."""
        return (self.judge(tokens.flatten(1))[:, None] * self.seen(features)).sum(-1) / tokens.shape[2] ** 0.5


def train_choices(
    chosen: Tensor, rejected: Tensor, people: np.ndarray, *, tokens: int = 4, width: int = 64, pairs: int = 4, epochs: int = 60, batch: int = 64,
    learning_rate: float = 1e-3, weight_decay: float = 0.05, seed: int = 0, progress: bool = False,
) -> ChoiceEncoder:  # fmt: skip
    """An encoder that tells what people choose from `pairs` others of their choices, by features [n, f] of what people [n] chose and rejected.

    Raises `ConfigError` when somebody has no more than `pairs` choices.
    """
    groups = [np.flatnonzero(people == one) for one in np.unique(people)]
    if min(len(group) for group in groups) <= pairs:
        raise ConfigError(f"somebody has {min(len(group) for group in groups)} choices", fix=f"give more than {pairs} of each, or fewer pairs")
    with seeded(seed):
        network = ChoiceEncoder(chosen.shape[1], tokens=tokens, width=width)
    both = torch.cat([chosen, rejected])
    network.centre.copy_(both.mean(0))
    network.scale.copy_(both.std(0).clamp(min=1e-4))
    owner = {int(row): number for number, group in enumerate(groups) for row in group}
    # A few people's choices are soon known by heart: some are held out, and say which epoch tells new people's best.
    held = groups[::HELD_OUT] if len(groups) >= 5 * HELD_OUT else []
    apart = np.concatenate(held) if held else np.zeros(0, np.int64)
    learned_from = np.setdiff1d(np.arange(len(people)), apart)
    of_held = torch.from_numpy(others(np.random.default_rng(seed), apart, groups, owner, pairs)) if held else torch.zeros(0)

    def batches(rng: np.random.Generator) -> list[tuple[Tensor, Tensor]]:
        order = rng.permutation(learned_from)
        made = []
        for start in range(0, len(order), batch):
            asked = order[start : start + batch]
            made.append((torch.from_numpy(others(rng, asked, groups, owner, pairs)), torch.from_numpy(asked)))
        return made

    def loss(data: tuple[Tensor, Tensor]) -> Tensor:
        support, asked = data
        own = network(chosen[support], rejected[support])
        liked = network.liking(own, torch.stack([chosen[asked], rejected[asked]], 1))
        return F.softplus(liked[:, 1] - liked[:, 0]).mean()

    @torch.no_grad()
    def validate() -> float:
        network.eval()
        score = -float(loss((of_held, torch.from_numpy(apart))))
        network.train()
        return score

    network.train()
    Trainer(epochs=epochs, learning_rate=learning_rate, weight_decay=weight_decay, optimizer="adamw", patience=PATIENCE, seed=seed).fit(
        network, batches, loss, validate=validate if held else None, progress=progress, description="choices"
    )
    return network.eval().requires_grad_(False)


def others(rng: np.random.Generator, rows: np.ndarray, groups: Sequence[np.ndarray], owner: dict[int, int], pairs: int) -> np.ndarray:
    """int64 [rows, pairs]: for each choice, `pairs` other ones of the same person, at random."""
    made = []
    for row in rows:
        group = groups[owner[int(row)]]
        made.append(rng.choice(group[group != row], pairs, replace=False))
    return np.stack(made)
