"""ITI-GEN: example pictures of each category give prompts whose pictures have the categories in equal shares, or in those that somebody wants."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor import _fields
from sartor.data.population import Evidence, Population
from sartor.draw._base import DRAWN_AT_ONCE, OnPrior, open_prior
from sartor.draw.parts.clip import open_clip
from sartor.draw.parts.codec import read_images
from sartor.draw.parts.dual_encoder import ENCODED_AT_ONCE, DualEncoder, train_dual
from sartor.draw.parts.encoders import tables
from sartor.draw.parts.inclusion import WORD, batches, inclusive, spelled, sum_of
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.sampler import sample
from sartor.draw.parts.shares import shared_out, shares_of
from sartor.draw.parts.tokens import Concept, Words
from sartor.errors import BadValue, ConfigError, EmptyData, MissingColumn
from sartor.method import Run, State, States, learned

MOST = 512
"""Combinations of categories."""
Attributes = Mapping[str, Mapping[str, np.ndarray]]
"""Attribute -> category -> pictures uint8 [n, H, W, 3]; nothing is said of how categories of different attributes go together."""


@dataclass(kw_only=True, eq=False)
class ITIGen(OnPrior):
    """The model is not touched; what is learned stands behind a prompt, and the same tokens serve other prompts.

        method = ITIGen().fit(population)                               # images (image, path, caption), for an encoder of pictures and prompts
        state = method.learn("a critter", {"colour": {"teal": pictures, "brown": others}})
        pictures = method.draw(["a critter at top left"] * 8, [state] * 8)       # four of each
        pictures = method.draw(prompts, states, shares={"colour": {"teal": 0.8, "brown": 0.2}})

    Each category of each attribute has `tokens` rows, which begin at zero; those of several attributes are added in the same places. For each two
    categories, the way between their mean pictures and the way between the prompts with their tokens, over all combinations of the other attributes,
    are led to one direction in a space of pictures and prompts, and prompts are held near the prompt without tokens: relu(`near` - mean cosine).

    Where a language hears attributes before its nouns alone, as that of the small prior, prompts say where the tokens stand: "a <inclusive> critter".

    Source: Zhang et al., ITI-GEN: Inclusive Text-to-Image Generation, ICCV 2023. Differs from the authors' code in: rows take the positions where
    they stand, as learned words do (theirs have none), and the rate counts in the usual number of a row. The space is CLIP's where `encoder` names
    one; a prior with a language of its own has none, so that a small one is learned from captioned pictures (`dual_encoder`).
    State: `<attribute>/tokens` float32 [categories, tokens, d].
    """

    tokens: int = 3
    near: float = 0.8
    """Of CLIP. A space that is learned here lies wider: what naming an attribute leaves of the cosine is a measure for it."""
    learning_rate: float = 0.05
    """Times the usual number of a row of the text encoder. Theirs, 0.01, is 0.7 of that of CLIP; it has not been tuned on a trained prior."""
    epochs: int = 30
    steps_per_epoch: int = 5
    halved_at: int = 10
    """The epoch after which the rate is half."""
    encoder: str = ""
    """Folder of a `CLIPModel` whose text encoder is the prior's (Stable Diffusion 1.x: CLIP ViT-L/14); empty: learn one from the population."""
    encoder_dim: int = 64
    encoder_steps: int = 400

    network_: nn.Module | None = learned(None)

    population_frames: ClassVar[tuple[str, ...]] = ("images",)

    def fit(self, population: Population | None = None, *, on: Prior | None = None, **settings: Any) -> Self:
        """Open the prior, and learn the encoder of pictures and prompts from captioned pictures, unless `encoder` names one."""
        if not self.encoder:
            return super().fit(population, on=on, **settings)
        _fields.check(self)
        self._prior = on if on is not None else open_prior(self.prior)
        self.prior_fingerprint_, self.network_ = self._prior.fingerprint, None
        open_clip(self.encoder, self._prior.dim)
        self._seal()
        return self

    def make_network(self) -> nn.Module:
        return DualEncoder(int(self.bundle.unet.config.in_channels), self.bundle.dim, dim=self.encoder_dim)

    def _fit(self, population: Population, run: Run) -> None:
        prior, frame = self._prior, population.frame("images").collect()
        if "caption" not in frame.columns:
            raise MissingColumn("the images say nothing of 'caption'", fix="say what each shows", column="caption")
        if frame.is_empty():
            raise EmptyData("there are no captioned pictures", fix="give some hundreds, or name an encoder")
        with prior.lock, torch.no_grad():
            latents = prior.latents(read_images(frame["path"].to_list(), prior.size))
            captions = frame["caption"].to_list()
            parts = [prior.words(captions[start : start + ENCODED_AT_ONCE]) for start in range(0, len(captions), ENCODED_AT_ONCE)]
            said = torch.cat([self._summary(prior, one) for one in parts])
        same = np.repeat(np.arange(len(latents))[:, None], 2, 1)
        # Pictures alone are told apart, too: what no caption says is in the space all the same.
        self.network_ = train_dual(
            latents, said, latents, same, dim=self.encoder_dim, steps=self.encoder_steps, seed=self.seed, progress=run.progress
        )

    # --- somebody's attributes

    def learn(self, prompt: str, attributes: Attributes, state: State | None = None, *, seed: int | None = None) -> State:
        """The tokens of these attributes, learned at a prompt; a state that is there already is replaced.

        Raises `ConfigError` for fewer than two categories and for too many combinations, `EmptyData` for a category with fewer than two pictures,
        `BadImage` and `BadPrompt`.
        """
        self.check_state(state)
        _fields.check(self)
        _check(attributes, self.tokens)
        prior = self.bundle
        with prior.learning, prior.lock:
            seen = {name: [self._pictures(prior, one) for one in kinds.values()] for name, kinds in attributes.items()}
            tokens, losses = self._learned(prior, prompt, [*seen.values()], self.seed if seed is None else seed)
        arrays = {f"{name}/tokens": one.detach().cpu().float().numpy() for name, one in zip(attributes, tokens, strict=True)}
        count = sum(len(pictures) for kinds in attributes.values() for pictures in kinds.values())
        notes = {"prompt": prompt, "attributes": {name: [*kinds] for name, kinds in attributes.items()}, "losses": losses}
        return self.make_state(arrays, before=state, examples=count, notes=notes)

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """From an `images` frame with the columns path, attribute, category and prompt (one for all)."""
        if "images" not in evidence.frames or evidence.frames["images"].is_empty():
            raise EmptyData("there are no images among the evidence", fix="give some pictures of each category")
        frame = evidence.frames["images"]
        for column in ("attribute", "category", "prompt"):
            if column not in frame.columns:
                raise MissingColumn(f"the images say nothing of '{column}'", fix="add it", column=column)
        if frame["prompt"].n_unique() > 1:
            raise BadValue("the images are for several prompts", fix="learn at one prompt; its tokens serve others, too")
        attributes: dict[str, dict[str, np.ndarray]] = {}
        for (name, kind), rows in frame.group_by("attribute", "category", maintain_order=True):
            attributes.setdefault(str(name), {})[str(kind)] = read_images(rows["path"].to_list(), self.bundle.size)
        return self.learn(str(frame["prompt"][0]), attributes, state)

    def _pictures(self, prior: Prior, images: np.ndarray) -> Tensor:
        """float [n, e] of length 1."""
        own = References.of(prior, images)
        if self.encoder:
            return F.normalize(open_clip(self.encoder, prior.dim).pictures(own.images), dim=-1).to(prior.device)
        network: Any = self.network_
        with torch.no_grad():
            return F.normalize(network.to(prior.device).pictures(own.latents), dim=-1)

    def _said(self, prior: Prior, prompts: Sequence[str], rows: Tensor | None) -> Tensor:
        """float [n, e] of length 1, of prompts with rows [n, tokens, d] behind them, or without."""
        concepts = [] if rows is None else [Concept(WORD, rows)]
        words = prior.words([spelled(one, marked=bool(concepts)) for one in prompts], concepts)
        encoder: Any = open_clip(self.encoder, prior.dim) if self.encoder else self.network_
        return F.normalize(encoder.prompts(self._summary(prior, words, concepts)), dim=-1)

    def _summary(self, prior: Prior, words: Words, concepts: Sequence[Concept] = ()) -> Tensor:
        """float [n, d]: what CLIP reads at the end; else the mean of a prompt's states, since nothing has taught the end to sum them up."""
        states, end = prior.tokens(prior.encode_words(words, concepts)), words.end().to(prior.device)
        if self.encoder:
            return states[torch.arange(len(states), device=states.device), end]
        at = torch.arange(states.shape[1], device=states.device)
        inside = ((at > 0) & (at <= end[:, None])).to(states)
        return (states * inside[..., None]).sum(1) / inside.sum(1, keepdim=True)

    def _learned(self, prior: Prior, prompt: str, seen: list[list[Tensor]], seed: int) -> tuple[list[Tensor], list[float]]:
        sizes = [len(kinds) for kinds in seen]
        combos = torch.tensor([*itertools.product(*map(range, sizes))])
        unit = float(torch.cat([one.weight.flatten() for one in tables(prior.text_encoder)]).square().mean().sqrt())
        live = [nn.Parameter(torch.zeros(size, self.tokens, prior.dim, device=prior.device)) for size in sizes]
        optimizers = [torch.optim.Adam([one], lr=self.learning_rate * unit) for one in live]
        with torch.no_grad():
            plain = self._said(prior, [prompt], None)[0]
        rng, losses = np.random.default_rng(seed), []
        for epoch in range(self.epochs):
            for optimizer in optimizers:
                optimizer.param_groups[0]["lr"] = self.learning_rate * unit * (0.5 if epoch >= self.halved_at else 1.0)
            drawn = [list(batches(rng, [len(one) for one in kinds], self.steps_per_epoch)) for kinds in seen]
            for step, (number, kinds) in itertools.product(range(self.steps_per_epoch), enumerate(seen)):
                prior.lock.pass_on()
                # One attribute at a time; the tokens of the others stand as they are.
                rows = sum_of([one if place == number else one.detach() for place, one in enumerate(live)], combos)
                said = self._said(prior, [prompt] * len(combos), rows)
                chosen = drawn[number][step]
                means = [one[part].mean(0) for one, part in zip(kinds, chosen, strict=True)]
                loss = inclusive(said, combos[:, number], means, plain, self.near)
                optimizers[number].zero_grad()
                live[number].grad = torch.autograd.grad(loss, live[number])[0]
                optimizers[number].step()
                losses.append(float(loss.detach()))
        return [one.detach() for one in live], [round(float(np.mean(part)), 5) for part in np.array_split(losses, min(10, len(losses)))]

    # --- drawing

    @torch.no_grad()
    def draw(
        self, prompts: Sequence[str], states: States, *, seeds: Sequence[int] | None = None, shares: Mapping[str, Mapping[str, float]] | None = None,
        combinations: Sequence[Mapping[str, str]] | None = None,
    ) -> np.ndarray:  # fmt: skip
        """uint8 [n, H, W, 3]; None as a state is the plain prompt.

        Parameters
        ----------
        shares: attribute -> category -> how often; equally often by default. Prompts of one state share them out, as evenly as their number allows.
        combinations: for each prompt, attribute -> category, in place of shares.

        Raises `ConfigError` for shares that do not sum to 1, and `BadValue` for a category that the state has not.
        """
        seeds = list(range(len(prompts))) if seeds is None else list(seeds)
        if not len(prompts) == len(states) == len(seeds) == len(combinations if combinations is not None else prompts):
            raise ConfigError(f"{len(prompts)} prompts, {len(states)} states, {len(seeds)} seeds", fix="give one each")
        prior = self.bundle
        out = np.zeros((len(prompts), prior.size, prior.size, 3), np.uint8)
        for state in {id(one): one for one in states}.values():
            self.check_state(state)
            rows = [row for row, one in enumerate(states) if one is state]
            chosen = None
            if state is not None:
                given = [combinations[row] for row in rows] if combinations is not None else None
                chosen = self._chosen(state, len(rows), shares, given, seeds[rows[0]])
            for start in range(0, len(rows), DRAWN_AT_ONCE):
                part = rows[start : start + DRAWN_AT_ONCE]
                with prior.lock:
                    context = prior.encode([spelled(prompts[row], marked=False) for row in part])
                    if state is not None and chosen is not None:
                        behind = self._rows(prior, state, chosen[start : start + DRAWN_AT_ONCE])
                        context = prior.encode([spelled(prompts[row]) for row in part], [Concept(WORD, behind)])
                    drawn = sample(prior, context, [seeds[row] for row in part], steps=self.sampling_steps, guidance=self.guidance)
                    out[part] = prior.images(drawn)
        return out

    def combinations(
        self, state: State, count: int, shares: Mapping[str, Mapping[str, float]] | None = None, *, seed: int = 0
    ) -> list[dict[str, str]]:
        """What `draw` chooses for so many prompts, attribute -> category each."""
        known = state.notes["attributes"]
        chosen = self._chosen(state, count, shares, None, seed)
        return [{name: known[name][one] for name, one in zip(known, row, strict=True)} for row in chosen.tolist()]

    @staticmethod
    def _chosen(
        state: State, count: int, shares: Mapping[str, Mapping[str, float]] | None, given: Sequence[Mapping[str, str]] | None, seed: int
    ) -> Tensor:
        """int64 [count, attributes]."""
        known: Mapping[str, list[str]] = state.notes["attributes"]
        if given is not None:
            for name, kind in ((name, kind) for one in given for name, kind in one.items()):
                if kind not in known.get(name, []):
                    raise BadValue(f"the state has no {name} '{kind}'", fix=f"it has {', '.join(f'{one}: {kinds}' for one, kinds in known.items())}")
            if lacking := [name for one in given for name in known if name not in one]:
                raise BadValue(f"a combination says nothing of {lacking[0]}", fix="name a category of each attribute")
            return torch.tensor([[kinds.index(one[name]) for name, kinds in known.items()] for one in given])
        if strange := [name for name in shares or {} if name not in known]:
            raise BadValue(f"the state has no attribute {strange[0]}", fix=f"it has {', '.join(known)}")
        weights = [shares_of(name, kinds, (shares or {}).get(name)) for name, kinds in known.items()]
        return torch.from_numpy(shared_out(weights, count, seed))

    @staticmethod
    def _rows(prior: Prior, state: State, chosen: Tensor) -> Tensor:
        tokens = [torch.from_numpy(state[f"{name}/tokens"].copy()).to(prior.device) for name in state.notes["attributes"]]
        return sum_of(tokens, chosen)


def _check(attributes: Attributes, tokens: int) -> None:
    if tokens < 1:
        raise ConfigError(f"tokens is {tokens}", fix="use at least 1")
    if not attributes:
        raise EmptyData("there are no attributes", fix="give example pictures of two categories at least")
    for name, kinds in attributes.items():
        if len(kinds) < 2 or "/" in name:
            raise ConfigError(f"the attribute '{name}' has {len(kinds)} categories", fix="give two or more, and a name without '/'")
        for kind, images in kinds.items():
            if len(images) < 2:
                raise EmptyData(f"{name} '{kind}' has {len(images)} pictures", fix="give at least 2 of each category")
    if (count := math.prod(len(kinds) for kinds in attributes.values())) > MOST:
        raise ConfigError(f"{count} combinations of categories", fix=f"use fewer attributes or categories: {MOST} combinations at most")
