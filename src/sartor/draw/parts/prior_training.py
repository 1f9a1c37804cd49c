"""Teaching a prior: pictures and captions of the shapes world through the one training loop, with averaged weights."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw.parts.objectives import even
from sartor.draw.parts.prior import Prior
from sartor.errors import ConfigError
from sartor.parts.trainer import Trainer, seeded

CHUNK = 200
"""Steps between two checkpoints."""
ETA = 1.0
"""Share of fresh noise in every step of drawing: of 0, 0.5 and 1 what follows captions best, on two trained priors."""
NOISY = 0.7
"""From this share of the times on, noise hides what is in a picture, and only the words can say it."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a prior is trained; the published settings of this world."""

    steps: int = 20_000
    batch: int = 16
    learning_rate: float = 6e-4
    warm_up: int = 300
    """Steps until the full rate."""
    decay: float = 0.3
    """Share of the steps, at the end, over which the rate falls to nothing."""
    average: float = 0.999
    """Of the moving average of weights that is kept."""
    empty: float = 0.1
    """Share of captions that are left out whole, for guidance."""
    noisy: float = 0.5
    """Share of pictures shown at the noisiest times only (beyond their share among all times). Everywhere else the picture itself says what is in
    it: with times drawn evenly, 750 steps of a trial left colours and places all but unheard, with these they were heard ten times as well."""
    heaviest: float = 2.0
    """Loss weights are 1 / (1 - alpha), at most this: what is nearly clean would otherwise be all there is. Fine detail (textures, nouns) wants more
    of it once the words are heard: 5, with `noisy` 0.3, in a second run that starts from the first."""
    simple: int = 3_000
    """Steps in the beginning that show one object and say all of it: which word is which is learned in hundreds of steps from these, and in many
    thousands from the mixture, whose pictures of several objects and whose left-out words drown it."""
    widths: tuple[int, ...] = (64, 96)
    seed: int = 0
    """Of the weights, the pictures and the order."""

    def __post_init__(self) -> None:
        shares = (self.decay > 0, self.decay <= 1, 0 <= self.average < 1, 0 <= self.empty < 1, 0 <= self.noisy <= 1)
        if self.steps < 1 or self.batch < 1 or not all(shares) or self.simple < 0 or self.heaviest <= 0 or self.learning_rate <= 0:
            what = ", ".join(f"{name} {value}" for name, value in asdict(self).items() if name not in ("widths", "seed", "warm_up"))
            raise ConfigError(what, fix="steps and batch >= 1, simple >= 0, shares from 0 to 1, heaviest and learning rate above 0")

    def rate(self, epoch: int, number: int) -> float:
        """Factor of the learning rate at a batch."""
        step = epoch * CHUNK + number
        falling = (self.steps - step) / max(1.0, self.decay * self.steps)
        return min(1.0, (step + 1) / max(1, self.warm_up), max(falling, 1 / self.steps))


class Lesson(nn.Module):
    """A prior being taught: the weights that learn and their moving average, which is what is kept."""

    updates: Tensor

    def __init__(self, prior: Prior, recipe: Recipe) -> None:
        super().__init__()
        self.prior, self.recipe = prior, recipe
        self.live = nn.ModuleDict({"unet": prior.unet, "text_encoder": prior.text_encoder}).requires_grad_(True)
        self.mean = copy.deepcopy(self.live).requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Mean squared error of the output at random times, weighted towards the clean end."""
        self.follow()
        prior, (latents, ids) = self.prior, batch
        t = self.times(len(latents)).to(latents.device)
        noise = torch.randn(latents.shape).to(latents)
        context = prior.text_encoder(ids).last_hidden_state
        output = prior.predict(prior.noised(latents, noise, t), t, context)
        error = F.mse_loss(output, prior.target(latents, noise, t), reduction="none").mean((1, 2, 3))
        return (even(prior, t, heaviest=self.recipe.heaviest) * error).mean()

    def times(self, count: int) -> Tensor:
        """int64 [count], `noisy` of them among the noisiest, the rest anywhere."""
        share, latest = torch.rand(count), len(self.prior.alphas)
        share = torch.where(torch.rand(count) < self.recipe.noisy, NOISY + (1 - NOISY) * share, share)
        return (latest * share).long().clamp(max=latest - 1)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the average to the weights; faster in the beginning, when it still holds the start."""
        count = int(self.updates) + 1
        self.updates.fill_(count)
        rate = 1 - min(self.recipe.average, (1 + count) / (10 + count))
        torch._foreach_lerp_(list(self.mean.parameters()), list(self.live.parameters()), rate)

    def averaged(self) -> Prior:
        """The prior with the averaged weights, for itself."""
        kept = copy.deepcopy(self.mean)
        recipe = {**asdict(self.recipe), "widths": list(self.recipe.widths)}
        card = {**self.prior.card, "steps": min(int(self.updates), self.recipe.steps), "recipe": recipe}
        return Prior(kept["unet"], kept["text_encoder"], self.prior.tokenizer, self.prior.vae, self.prior.scheduler, card)


def train_prior(
    world: ShapesWorld, recipe: Recipe, *, start: Prior | None = None, progress: bool = False, checkpoint: Path | None = None, device: str = "cpu",
    snapshot: Callable[[Prior], Any] | None = None, every: int = 2_000,
) -> Prior:  # fmt: skip
    """A prior of this world's pictures.

    Parameters
    ----------
    start: a trained prior to go on from; the recipes that made it stay in the card. Default: an untrained one of the recipe's widths and seed.
    checkpoint: a folder; progress is left there every 200 steps, and the same call goes on from it, after Ctrl-C or a power cut.
    snapshot: called with the averaged prior so far after every `every` steps, so that there is always something to use.

    Raises `Diverged`, and `ConfigError` when the checkpoint is of another recipe.
    """
    prior = begun(recipe, start).to(device)
    prior.card |= {"world": {"seed": world.seed, "held_out_pairs": world.held_out_pairs}, "eta": ETA}
    lesson = Lesson(prior, recipe).to(device)
    chunks = -(-recipe.steps // CHUNK)

    def batches(rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        left = recipe.steps - int(lesson.updates)
        for _ in range(min(CHUNK, left)):
            pictures, captions = _simple(world, rng, recipe.batch) if int(lesson.updates) < recipe.simple else world.batch(rng, recipe.batch)
            captions = ["" if empty else caption for caption, empty in zip(captions, rng.random(recipe.batch) < recipe.empty, strict=True)]
            yield prior.latents(pictures), prior.words(captions).ids.to(prior.device)

    def keep(epoch: int, _network: nn.Module) -> None:
        if snapshot is not None and (epoch + 1) % max(1, every // CHUNK) == 0 and epoch + 1 < chunks:
            snapshot(lesson.averaged())

    trainer = Trainer(
        epochs=chunks, learning_rate=recipe.learning_rate, optimizer="adamw", weight_decay=0.01, clip_norm=1.0, seed=recipe.seed, device=device,
        schedule=recipe.rate, hooks=(keep,),
    )  # fmt: skip
    first = () if start is None else (start.fingerprint,)
    key = hashlib.blake2b(repr([asdict(recipe), world, prior.parameters, *first]).encode(), digest_size=8).hexdigest()
    trainer.fit(lesson, batches, lesson.loss, parameters=list(lesson.live.parameters()), progress=progress, checkpoint=checkpoint, key=key,
                description="diffusion prior")  # fmt: skip
    lesson.follow()
    return lesson.averaged()


def begun(recipe: Recipe, start: Prior | None = None) -> Prior:
    """What training starts from: an untrained prior, or one with the weights of `start` and what that went through in its card."""
    fresh = Prior.small(VOCABULARY, widths=recipe.widths, seed=recipe.seed)
    if start is None:
        return fresh
    for name in ("unet", "text_encoder"):
        there, wanted = getattr(start, name).state_dict(), getattr(fresh, name).state_dict()
        if {key: value.shape for key, value in there.items()} != {key: value.shape for key, value in wanted.items()}:
            what = f"the prior to start from has another {name} than widths {list(recipe.widths)} and this world's words give"
            raise ConfigError(what, fix="give the widths that it was trained with, and a prior that `sartor draw train-prior` made")
        getattr(fresh, name).load_state_dict(there)
    fresh.card["before"] = [*start.card.get("before", []), start.card.get("recipe")]
    return fresh


def _simple(world: ShapesWorld, rng: np.random.Generator, count: int) -> tuple[np.ndarray, list[str]]:
    """Pictures of one object each, and whole captions."""
    drawn = world.scenes(rng, 4 * count + 16)
    chosen = drawn.rows(np.flatnonzero(drawn.count == 1)[:count])
    return chosen.render(), chosen.captions()


def seconds_per_step(world: ShapesWorld, recipe: Recipe, *, device: str = "cpu", steps: int = 8) -> float:
    """Wall-clock time of one training step on this machine, measured."""
    prior = Prior.small(VOCABULARY, widths=recipe.widths, seed=recipe.seed).to(device)
    lesson, rng = Lesson(prior, recipe).to(device), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(lesson.live.parameters(), lr=1e-6, fused=True)
    with seeded(0):
        for number in range(steps + 2):
            if number == 2:
                start = time.perf_counter()
            pictures, captions = world.batch(rng, recipe.batch)
            loss = lesson.loss((prior.latents(pictures), prior.words(captions).ids.to(prior.device)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loss.item()
    return (time.perf_counter() - start) / steps
