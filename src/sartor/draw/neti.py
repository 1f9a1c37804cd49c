"""NeTI: a word that is a small network, which says what it is at this time and in this layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.draw._base import ConceptMethod, Plan, Taught
from sartor.draw._shown import Shown
from sartor.draw.parts.by_time import Heard, ahead
from sartor.draw.parts.encoders import TwoEncoders
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.sampler import times
from sartor.draw.parts.tap import layers_of
from sartor.draw.parts.tokens import NAME, Concept, Words, at_norm, of_word
from sartor.draw.parts.tuning import tune
from sartor.draw.parts.weights import Network
from sartor.errors import BadPrompt, ConfigError
from sartor.method import States
from sartor.parts.trainer import seeded

WAVES, ANCHORS, HIDDEN = 1024, 10, 128
SIGMA_TIME, SIGMA_LAYER = 0.03, 2.0
"""Of the frequencies, for times from 0 to 1,000 and layers by number."""


@dataclass(kw_only=True, eq=False)
class NeTI(ConceptMethod):
    """One thing by a mapper from (time, layer) to a row; what has no place in the row goes past the text encoder, into values alone.

        method.draw(["a <mug> on sand"], [state], truncation=16)      # of 128: fewer are easier to edit, more are more alike

    Source: Alaluf et al., A Neural Space-Time Representation for Text-to-Image Personalization, SIGGRAPH Asia 2023. The row is rescaled to the
    length of the class word's, as in the paper (the authors' code rescales row and bypass together). State: the mapper, float32, about 0.7 MB with
    7 layers and rows of 64 numbers, 2.2 MB on Stable Diffusion.
    """

    steps: int = 250
    learning_rate: float = 8e-3
    """1e-3 times the batch of 8 in the authors' code."""
    batch: int = 8
    weight_decay: float = 1e-2
    dropout: float = 0.5
    """How often a step cuts the mapper's last hidden vector at random places; without it there is nothing to truncate."""
    bypass: float = 0.2
    """Length of what goes past the text encoder, in lengths of what comes out of it."""

    def draw(
        self, prompts: Sequence[str], states: States, *, seeds: Sequence[int] | None = None, classes: Mapping[str, str] | None = None,
        present: Sequence[str] = (), truncation: int | None = None, **options: Any
    ) -> np.ndarray:  # fmt: skip
        """As of every method; `truncation` keeps that many of the 128 numbers of the mapper's last hidden vector."""
        if truncation is not None:
            if not 1 <= truncation <= HIDDEN:
                raise ConfigError(f"truncation must be 1..{HIDDEN}, got {truncation}", fix="small is easier to edit, large is more alike")
            if lacking := [one for one in prompts if not NAME.search(one)]:
                known = sorted({name for state in states if state is not None for name in state.notes["concepts"]})
                raise BadPrompt(f"'{lacking[0]}' has no learned word to truncate", fix=f"write {' or '.join(known) or 'one'} into it")
        return super().draw(prompts, states, seeds=seeds, classes=classes, present=present, truncation=truncation, **options)

    def _check_thing(self, prior: Prior, shown: Shown) -> None:
        super()._check_thing(prior, shown)
        if isinstance(prior.text_encoder, TwoEncoders):
            what = "NeTI does not run on an SDXL: its bypass goes in before a final normalisation, which an SDXL does not listen behind"
            raise ConfigError(what, fix="use a Stable Diffusion 1.x or 2.x, or another method of words: prospect, core, cross-init")
        if not 0 <= self.dropout <= 1 or self.bypass < 0:
            raise ConfigError(f"dropout {self.dropout}, bypass {self.bypass}", fix="use dropout 0..1, bypass >= 0")
        if (count := len(of_word(prior.text_encoder, prior.tokenizer, shown.class_word))) != 1:
            raise BadPrompt(f"the class word '{shown.class_word}' is {count} tokens", fix="give a single-token word: the mapper has one place")

    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        row = of_word(prior.text_encoder, prior.tokenizer, shown.class_word)
        with seeded(seed):
            mapper = Mapper(prior, float(row.norm())).to(prior.device)
        tuned = tune(
            prior, references, [Concept(shown.name, row)], self.captions(shown), steps=self.steps, weights=Network(mapper),
            weight_rate=self.learning_rate, weight_decay=self.weight_decay,
            speak=lambda words, t: self._heard(prior, words, t, {shown.name: mapper}, None, dropout=self.dropout), batch=self.batch, seed=seed,
            progress=progress,
        )  # fmt: skip
        return {f"mapper.{name}": value for name, value in Network(mapper).arrays().items()}, tuned.record

    def _plan(self, prior: Prior, prompts: list[str], taught: Mapping[str, Taught], *, truncation: int | None = None, **_: Any) -> Plan:
        rows = {name: of_word(prior.text_encoder, prior.tokenizer, one.class_word) for name, one in taught.items()}
        words = prior.words(prompts, [Concept(name, row) for name, row in rows.items()])
        for name in taught:
            if len(twice := ((words.places[name] >= 0).sum(1) > 1).nonzero()):
                raise BadPrompt(f"'{prompts[int(twice[0])]}' has {name} twice", fix="write it once: the mapper has one place")
        mappers = {}
        for name, one in taught.items():
            mappers[name] = Mapper(prior, float(rows[name].norm())).to(prior.device)
            mappers[name].load_state_dict(one.changes("mapper."))
        slots = ahead(lambda some, t: self._heard(prior, some, t, mappers, truncation), words, times(prior, self.sampling_steps))
        return Plan(context=prior.encode([""]).expand(len(prompts), -1, -1), slots=slots)

    def _places(self, one: Taught) -> int:
        return 1

    def _heard(self, prior: Prior, words: Words, t: Tensor, mappers: Mapping[str, Mapper], truncation: int | None, *, dropout: float = 0.0) -> Heard:
        """Keys and values of every layer: n prompts in each of L layers go through the text encoder as L * n prompts."""
        count, n = next(iter(mappers.values())).layers, len(words.ids)
        many = Words(words.ids.repeat(count, 1), {name: place.repeat(count, 1) for name, place in words.places.items()}, words.lengths * count)
        layer, time = torch.arange(count).repeat_interleave(n), t.cpu().repeat(count)
        parts = {name: one(time, layer, truncation, dropout=dropout) for name, one in mappers.items()}
        concepts = [Concept(name, row[:, None]) for name, (row, _) in parts.items()]
        keys, values = past_encoder(prior, many, concepts, {name: part for name, (_, part) in parts.items()}, self.bypass)
        return Heard(keys.reshape(count, n, *keys.shape[1:]), values.reshape(count, n, *values.shape[1:]))


class Mapper(nn.Module):
    """(time, layer) -> row [d], of a given length, and bypass [d]."""

    waves: Tensor

    def __init__(self, prior: Prior, norm: float) -> None:
        super().__init__()
        self.layers, self.norm, self.unit = len(layers_of(prior.unet, cross=True)), norm, 1000 / len(prior.alphas)
        self.register_buffer("waves", torch.randn(WAVES, 2) * torch.tensor([SIGMA_TIME, SIGMA_LAYER]))
        width = ANCHORS * self.layers
        self.anchors = nn.Linear(2 * WAVES, width)
        self.net = nn.Sequential(
            nn.Linear(width, HIDDEN), nn.LayerNorm(HIDDEN), nn.LeakyReLU(), nn.Linear(HIDDEN, HIDDEN), nn.LayerNorm(HIDDEN), nn.LeakyReLU()
        )
        self.out = nn.Linear(HIDDEN, 2 * prior.dim)
        at = torch.cartesian_prod(torch.arange(0, 1000, 1000 // ANCHORS), torch.arange(self.layers))
        with torch.no_grad():
            # The first layer begins as a similarity to some times in every layer.
            self.anchors.weight.copy_(self.encoded(at[:, 0] / self.unit, at[:, 1]))

    def encoded(self, time: Tensor, layer: Tensor) -> Tensor:
        """Random Fourier features float [n, 2048], of length 1."""
        phases = torch.stack([time * self.unit, layer], 1).to(self.waves) @ self.waves.T
        return F.normalize(torch.cat([phases.sin(), phases.cos()], 1), dim=1)

    def forward(self, time: Tensor, layer: Tensor, truncation: int | None = None, *, dropout: float = 0.0) -> tuple[Tensor, Tensor]:
        """Of int64 [n] times and layers."""
        hidden = self.net(self.anchors(self.encoded(time, layer)))
        if truncation is not None:
            hidden = hidden * (torch.arange(HIDDEN) < truncation).to(hidden)
        elif dropout and float(torch.rand(())) < dropout:
            hidden = hidden * (torch.arange(HIDDEN) < torch.randint(HIDDEN, (len(hidden), 1))).to(hidden)
        row, bypass = self.out(hidden).chunk(2, 1)
        return at_norm(row, self.norm), bypass


def past_encoder(prior: Prior, words: Words, concepts: Sequence[Concept], bypass: Mapping[str, Tensor], scale: float) -> tuple[Tensor, Tensor]:
    """Contexts [n, T, d] without and with what is added at each concept's place before the text encoder's final normalisation.

    bypass: [n, d] of each concept, of any length; it is added with `scale` times the length of what stands there.
    """
    norm: Any = next(module for name, module in prior.text_encoder.named_modules() if name.endswith("final_layer_norm"))
    seen: list[Tensor] = []
    hook = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        plain = prior.encode_words(words, concepts)
    finally:
        hook.remove()
    hidden = seen[0]
    for name, part in bypass.items():
        here = (words.places[name] >= 0)[..., None].to(hidden.device)
        added = hidden + scale * F.normalize(part, dim=-1)[:, None].to(hidden) * hidden.norm(dim=-1, keepdim=True)
        hidden = torch.where(here, added, hidden)
    return plain, norm(hidden)
