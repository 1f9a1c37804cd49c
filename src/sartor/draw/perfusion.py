"""Perfusion: a concept in kilobytes that looks where its class looks and paints what the pictures show, behind a gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.draw._base import ConceptMethod, Plan, Taught
from sartor.draw._shown import Shown, spell
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tap import Layer, Slots, layers_of
from sartor.draw.parts.text_statistics import inverse_moment
from sartor.draw.parts.tokens import Concept, of_word
from sartor.draw.parts.tuning import Step, tune
from sartor.errors import ConfigError

ALIKE = 0.98
"""Two concepts of one class whose directions are nearer than this open each other's gates."""


@dataclass(kw_only=True, eq=False)
class Perfusion(ConceptMethod):
    """Gated rank-one edits of the keys and values of cross-attention.

    In every layer the key and the value of an encoding e become W (e - s/E i) + sigmoid((s/E - beta) / tau) o, with i the concept's direction,
    s = e^T C^-1 i and E = i^T C^-1 i, C the second moment of the text encoder's outputs. o is learned for values, and locked for keys: what W_K
    makes of the class word, so that the concept attends as its class does. A lower `beta` at request time opens the gate more: more of the subject,
    less of the prompt, without learning anew. Several concepts come each with their own edit, on the complement of the span of all directions.

    For many things of many people, where prompts matter more than the last likeness. On the shapes world (claims/draw/perfusion.py) with equal steps
    it follows prompts better than DreamBooth at low rank (0.75 against 0.66), in 3 KB against 72, but is less the subject (0.53 against 0.67).

    Source: Tewel et al., Key-Locked Rank One Editing for Text-to-Image Personalization, SIGGRAPH 2023. Differs from the paper in: masks, where
    given, are the person's, not of a segmentation network; C is of 4,000 captions.
    State: rows [1, d], direction [d], values.<layer> [width], of about 3 KB on the small prior and 56 KB on Stable Diffusion 1.5, float32.
    """

    steps: int = 200
    word_rate: float = 1e-2
    value_rate: float = 1e-1
    """Of the paper 6e-3 and 3e-2; here a little more is better (a pilot on one subject)."""
    batch: int = 8
    beta: float = 0.75
    """Where the gate is half open, as a share of the concept's own energy."""
    tau: float = 0.1
    """Width of the gate."""
    average: float = 0.99
    """Of the moving average of the word's encoding that the direction is."""
    locked: bool = True
    """Keys are those of the class word; else they are learned as values are."""
    counted: int = 4_000
    """Captions for C."""

    says_class: ClassVar[bool] = False

    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        _check_gate(self.beta, self.tau)
        of_class, inverse = encoding(prior, shown.class_word), inverse_moment(prior, count=self.counted)
        edit = RankOne(prior.unet, [of_class.clone()], [_projected(prior, of_class, "to_k")], [_projected(prior, of_class, "to_v")], inverse)
        edit.beta, edit.tau, edit.locked = self.beta, self.tau, self.locked

        def follow(step: Step) -> Tensor:
            here = step.words.places[shown.name].to(step.context.device) >= 0
            edit.directions[0].lerp_(prior.tokens(step.context)[here].detach().mean(0), 1 - self.average)
            return step.context.new_zeros(())

        start = of_word(prior.text_encoder, prior.tokenizer, shown.class_word)[:1]
        tuned = tune(
            prior, references, [Concept(shown.name, start)], self.captions(shown), steps=self.steps, word_rate=self.word_rate, weights=edit,
            weight_rate=self.value_rate, terms=[follow], slots=Slots(edit=edit), batch=self.batch, seed=seed, progress=progress,
        )  # fmt: skip
        return {"rows": tuned.concepts[0].rows, "direction": edit.directions[0], **edit.arrays()}, tuned.record

    def _plan(  # type: ignore[override]  # it has a gate in place of a strength
        self, prior: Prior, prompts: list[str], taught: Mapping[str, Taught], *, beta: float | None = None, tau: float | None = None,
        global_lock: bool = False,
    ) -> Plan:  # fmt: skip
        """`beta`, `tau`: of the gate, in place of the settings. `global_lock`: all keys are those of the prompt with class words."""
        inverse = inverse_moment(prior, count=self.counted)
        _check_apart(taught, inverse)
        things = list(taught.values())
        # Locked keys are not kept: they are made again from the class word.
        keys = [one.changes("keys.") or _projected(prior, encoding(prior, one.class_word), "to_k") for one in things]
        edit = RankOne(prior.unet, [one.tensors["direction"] for one in things], keys, [one.changes("values.") for one in things], inverse)
        edit.beta, edit.tau = self.beta if beta is None else beta, self.tau if tau is None else tau
        _check_gate(edit.beta, edit.tau)
        context = prior.encode(prompts, [one.concept(name) for name, one in taught.items()])
        if not global_lock:
            return Plan(context=context, slots=Slots(edit=edit))
        plain = prior.encode([spell(one, {name: own.class_word for name, own in taught.items()}, {}, says_class=False) for one in prompts])

        def values_only(layer: Layer, key: Tensor, value: Tensor, _context: Tensor) -> tuple[Tensor, Tensor]:
            return key, edit(layer, key, value, context)[1] if layer.cross else value

        return Plan(context=context, slots=Slots(context=lambda layer, _: (plain, context) if layer.cross else None, edit=values_only))


def _check_gate(beta: float, tau: float) -> None:
    if not tau > 0 or not beta == beta:
        raise ConfigError(f"the gate has beta {beta}, tau {tau}", fix="tau must be more than 0, about 0.1; beta is 0.6 to 0.75 in the paper")


def _check_apart(taught: Mapping[str, Taught], inverse: Tensor) -> None:
    names = list(taught)
    for number, a in enumerate(names):
        for b in names[number + 1 :]:
            one, other = (taught[name].tensors["direction"].double().cpu() for name in (a, b))
            cosine = float(one @ inverse @ other / ((one @ inverse @ one) * (other @ inverse @ other)).sqrt())
            if taught[a].class_word == taught[b].class_word and cosine > ALIKE:
                what = f"{a} and {b} are both a {taught[a].class_word} with directions of cosine {cosine:.3f}: each would open the other's gate"
                raise ConfigError(what, fix="draw them one at a time, or learn one with another class word")


@torch.no_grad()
def encoding(prior: Prior, word: str) -> Tensor:
    """float [d], what the text encoder makes of a word in "a word"; of its last token, where it has several."""
    words = prior.words([f"a {word}"])
    return prior.encode_words(words)[0, words.lengths[0] - 2]


@torch.no_grad()
def _projected(prior: Prior, encoded: Tensor, which: str) -> dict[str, Tensor]:
    return {layer.name: getattr(prior.unet.get_submodule(layer.name), which)(encoded) for layer in layers_of(prior.unet, cross=True)}


class RankOne:
    """The edits of one or several concepts, as `Slots.edit` and, while they are learned, as `tuning.Weights` wants them.

    directions: float [d] each; keys, values: layer -> [width] each, what stands at a direction; inverse: float64 [d, d], C^-1.
    """

    beta, tau, locked = 0.75, 0.1, True

    def __init__(
        self, unet: nn.Module, directions: Sequence[Tensor], keys: Sequence[Mapping[str, Tensor]], values: Sequence[Mapping[str, Tensor]],
        inverse: Tensor,
    ) -> None:  # fmt: skip
        self.unet, self.directions = unet, torch.stack(list(directions))
        self.inverse = inverse.to(self.directions.device)
        self.keys, self.values = ({name: nn.Parameter(torch.stack([one[name] for one in own])) for name in own[0]} for own in (keys, values))

    def __call__(self, layer: Layer, key: Tensor, value: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        if not layer.cross:
            return key, value
        directions = self.directions.double()
        dual = directions @ self.inverse
        product = dual @ directions.T
        similar = context @ (dual / product.diagonal()[:, None]).to(context).T
        gates = torch.sigmoid((similar - self.beta) / self.tau)
        # Coordinates [B, T, concepts] of the part in the span of the directions: with one concept, s / E.
        inside = context @ torch.linalg.solve(product, dual).to(context).T
        attention: Any = self.unet.get_submodule(layer.name)
        made = []
        for now, weight, own in ((key, attention.to_k.weight, self.keys), (value, attention.to_v.weight, self.values)):
            # W is linear: W(e - c i) is W(e) - c W(i).
            made.append(now - inside @ F.linear(self.directions.to(now), weight) + gates @ own[layer.name].to(now))
        return made[0], made[1]

    # --- while it is learned

    def parameters(self) -> list[nn.Parameter]:
        return [*self.values.values(), *(() if self.locked else self.keys.values())]

    def use(self, rows: int) -> Any:
        return nullcontext()

    def arrays(self) -> dict[str, Tensor]:
        """values.<layer> [width], and keys.<layer> unless they are locked."""
        parts = {"values": self.values} if self.locked else {"values": self.values, "keys": self.keys}
        return {f"{part}.{name}": one[0].detach().clone() for part, own in parts.items() for name, one in own.items()}

    def close(self) -> None:
        """Nothing of the denoiser was changed."""
