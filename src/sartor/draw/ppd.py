"""PPD: four choices of what somebody prefers steer all later pictures; one model serves everybody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sartor import _fields
from sartor.data.population import Evidence, Population
from sartor.draw._base import DRAWN_AT_ONCE, OnPrior
from sartor.draw.parts.objectives import diffusion_dpo, noised, weighted
from sartor.draw.parts.picture_choices import ChoiceEncoder, Clicks, clicks_of, others, picture_features, train_choices
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.sampler import sample
from sartor.draw.parts.tap import KeysValues, Layer, Slots, layers_of
from sartor.errors import ConfigError, EmptyData
from sartor.method import Run, State, States, learned
from sartor.parts.trainer import Trainer

STEPS_PER_EPOCH = 50
MOST = 5.0
"""Largest weight of an error in the picture against one in the noise."""


@dataclass(kw_only=True, eq=False)
class PPD(OnPrior):
    """A person's choices become a few tokens; a branch of attention beside that to the text reads them, and is trained by diffusion DPO on what
    everybody chose, each under her own tokens. Somebody new needs no training.

        method = PPD().fit(population)                     # preferences (person, prompt, chosen, rejected) and images (image, path)
        state = method.learn(Clicks(prompts=..., chosen=..., rejected=...))
        pictures = method.draw(["a circle"], [state])

    Source: Dang et al., Personalized Preference Fine-tuning of Diffusion Models, CVPR 2025. Differs from the paper in: choices are read by a set
    transformer over the prior's own features, trained to tell further choices of the same people and then frozen, in place of a vision-language
    model; to the tokens one learned set is added that everybody shares, so that somebody without choices gets what most people prefer.

    State: `tokens` float32 [tokens, width]; never weights, nor the pictures.
    """

    tokens: int = 4
    width: int = 64
    pairs: int = 4
    """Choices of a person that she is known by in training."""
    encoder_epochs: int = 60
    steps: int = 400
    batch: int = 8
    """Pairs of a step."""
    learning_rate: float = 1e-3
    beta: float = 2000.0
    """Of diffusion DPO, for errors of the noise that are means over pixels."""
    dropped: float = 0.1
    """How often a person's tokens are left out in training; 1 is DPO for the population."""

    feature_size_: int = learned(0)
    layers_: list[list[Any]] = learned()
    """Attention layers that have a branch, as `tap.Layer`."""
    network_: nn.Module = learned()

    population_frames: ClassVar[tuple[str, ...]] = ("preferences", "images")

    def make_network(self) -> nn.Module:
        made = nn.ModuleDict()
        made["encoder"] = ChoiceEncoder(self.feature_size_, tokens=self.tokens, width=self.width)
        branch = KeysValues([Layer(*one) for one in self.layers_], self.width)
        for values in branch.to_v:
            # The branch adds nothing at first: what is tuned starts as the prior.
            weight: Any = values.weight
            nn.init.zeros_(weight)
        made["branch"] = branch
        made["shared"] = nn.ParameterList([nn.Parameter(torch.randn(self.tokens, self.width) / self.width**0.5)])
        return made

    def _fit(self, population: Population, run: Run) -> None:
        if not 0 <= self.dropped <= 1 or self.beta <= 0:
            raise ConfigError(f"dropped is {self.dropped}, beta is {self.beta}", fix="a share from 0 to 1, and more than 0")
        prior = self._prior
        preferences = population.frame("preferences").collect()
        if preferences.is_empty():
            raise EmptyData("nobody chose anything", fix="give preferences")
        clicks = clicks_of(preferences, population.frame("images").collect(), prior.size)
        people = np.unique(preferences["person"].to_numpy(), return_inverse=True)[1]
        clicks.check(prior, people)
        with prior.lock, torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            features = [picture_features(prior, part) for part in (clicks.chosen, clicks.rejected)]
            self.feature_size_ = int(features[0].shape[1])
            self.layers_ = [list(one) for one in layers_of(prior.unet, cross=True)]
            network: Any = self.make_network()
            network["encoder"] = train_choices(
                features[0], features[1], people, tokens=self.tokens, width=self.width, pairs=self.pairs, epochs=self.encoder_epochs, seed=self.seed,
                progress=run.progress,
            )  # fmt: skip
            self.network_ = network.to(prior.device)
            self._tune(prior, clicks, features, people, run)

    def _tune(self, prior: Prior, clicks: Clicks, features: Sequence[Tensor], people: np.ndarray, run: Run) -> None:
        network: Any = self.network_
        latents = torch.cat([prior.latents(part) for part in (clicks.chosen, clicks.rejected)])
        texts = sorted({*clicks.prompts})
        with torch.no_grad():
            context = prior.encode(texts)
        text_of = torch.tensor([texts.index(one) for one in clicks.prompts])
        groups = [np.flatnonzero(people == one) for one in np.unique(people)]
        owner = {int(row): int(people[row]) for row in range(len(people))}
        done, count = 0, len(clicks)

        def batches(rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
            nonlocal done
            for _ in range(min(STEPS_PER_EPOCH, self.steps - done)):
                done += 1
                rows = rng.choice(count, min(self.batch, count), replace=False)
                yield torch.from_numpy(rows), torch.from_numpy(others(rng, rows, groups, owner, self.pairs))

        def loss(data: tuple[Tensor, Tensor]) -> Tensor:
            rows, support = data
            own = network["encoder"](features[0][support], features[1][support]).to(prior.device)
            kept = (torch.rand(len(rows)) >= self.dropped).to(own)
            tokens = network["shared"][0] + kept[:, None, None] * own
            # One time and one noise for both pictures of a pair.
            first = noised(prior, latents[rows])
            noise, t = first.noise.repeat(2, 1, 1, 1), first.t.repeat(2)
            clean = torch.cat([first.clean, latents[rows + count]])
            seen, said = prior.noised(clean, noise, t), context[text_of[rows]].repeat(2, 1, 1)
            target, scale = prior.target(clean, noise, t), _of_noise(prior, t)
            with torch.no_grad():
                before = scale * weighted(prior.predict(seen, t, said), target)
            branch = network["branch"].stream(tokens.repeat(2, 1, 1))
            after = scale * weighted(prior.predict(seen, t, said, slots=Slots(streams=(branch,))), target)
            (chosen, rejected), (chosen_before, rejected_before) = after.chunk(2), before.chunk(2)
            return diffusion_dpo(chosen, rejected, chosen_before, rejected_before, self.beta).mean()

        learning = nn.ModuleList([network["branch"], network["shared"]])
        Trainer(
            epochs=-(-self.steps // STEPS_PER_EPOCH), learning_rate=self.learning_rate, optimizer="adamw", seed=self.seed, device=str(prior.device)
        ).fit(learning, batches, loss, progress=run.progress, description="preferences")
        network.eval().requires_grad_(False)

    # --- a person

    @torch.no_grad()
    def learn(self, clicks: Clicks, state: State | None = None) -> State:
        """The state of somebody who chose so; without any choice it is the population's, and its notes say so. A new set takes the place of an old
        one. Raises what `Clicks.check` raises."""
        self.check_state(state)
        _fields.check(self)
        prior, network = self.bundle, self._network()
        clicks.check(prior)
        tokens = torch.zeros(self.tokens, self.width)
        if len(clicks):
            with prior.lock:
                chosen, rejected = (picture_features(prior, part)[None] for part in (clicks.chosen, clicks.rejected))
            tokens = network["encoder"](chosen.to(prior.device), rejected.to(prior.device))[0].cpu()
        return self.make_state({"tokens": tokens.numpy()}, before=state, examples=len(clicks), notes={"population": not len(clicks)})

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """From a person's `preferences` and the `images` that they name."""
        frames, prior = evidence.frames, self.bundle
        return self.learn(clicks_of(frames["preferences"], frames["images"], prior.size), state)

    def mixed(self, states: Sequence[State], weights: Sequence[float]) -> State:
        """A state between several: weighted sums of their tokens."""
        for one in states:
            self.check_state(one)
        if not states or len(states) != len(weights):
            raise ConfigError(f"{len(states)} states, {len(weights)} weights", fix="give one weight each")
        tokens = sum(weight * one["tokens"] for one, weight in zip(states, weights, strict=True))
        return self.make_state({"tokens": np.asarray(tokens, np.float32)}, examples=sum(one.examples for one in states), notes={"population": False})

    def _network(self) -> Any:
        network: Any = self.network_.to(self.bundle.device)
        return network

    # --- drawing

    @torch.no_grad()
    def draw(self, prompts: Sequence[str], states: States, *, seeds: Sequence[int] | None = None, strength: float = 1.0) -> np.ndarray:
        """uint8 [n, H, W, 3], one picture for each prompt and its state; None is what the population prefers.

        strength: of the branch; 0 draws what the prior draws, bit for bit the same noise for the same seed.
        """
        seeds = list(range(len(prompts))) if seeds is None else list(seeds)
        if not len(prompts) == len(states) == len(seeds):
            raise ConfigError(f"{len(prompts)} prompts, {len(states)} states, {len(seeds)} seeds", fix="give one each")
        for state in states:
            self.check_state(state)
        prior, network, pictures = self.bundle, self._network(), [np.zeros((0, self.bundle.size, self.bundle.size, 3), np.uint8)]
        zero = np.zeros((self.tokens, self.width), np.float32)
        own = torch.from_numpy(np.stack([zero if one is None else one["tokens"] for one in states]) if states else zero[None]).to(prior.device)
        for start in range(0, len(prompts), DRAWN_AT_ONCE):
            part = slice(start, start + DRAWN_AT_ONCE)
            with prior.lock:
                branch = network["branch"].stream(network["shared"][0] + own[part], weight=strength)
                latents = sample(
                    prior, prior.encode(prompts[part]), seeds[part], steps=self.sampling_steps, guidance=self.guidance,
                    slots=Slots(streams=(branch,)) if strength else None,
                )  # fmt: skip
                pictures.append(prior.images(latents))
        return np.concatenate(pictures)


def _of_noise(prior: Prior, t: Tensor) -> Tensor:
    """float [n], from squared errors of what the denoiser predicts to those of the noise, cut off where noise is almost gone."""
    alpha = prior.alphas.to(t.device)[t]
    kind = prior.scheduler.config.prediction_type
    if kind == "epsilon":
        return torch.ones_like(alpha)
    return alpha if kind == "v_prediction" else (alpha / (1 - alpha)).clamp(max=MOST)
