"""Break-A-Scene: one picture with several things and a mask for each gives a word for each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sartor.draw._base import Taught
from sartor.draw._scene import SceneMethod
from sartor.draw._shown import Shown
from sartor.draw.parts.masks import finest
from sartor.draw.parts.objectives import localised
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tap import Recorder
from sartor.draw.parts.tokens import Concept, of_word
from sartor.draw.parts.tuning import Say, Step, Term, class_pictures, tune
from sartor.draw.parts.weights import Kind, learning
from sartor.errors import BadImage, BadPrompt, ConfigError

MOST = 4
"""Things of one scene; more are rarely kept apart."""
OVERLAP = 0.05
"""Of the smaller mask."""


@dataclass(kw_only=True, eq=False)
class BreakAScene(SceneMethod):
    """Every step draws which of the things are spoken of: the sentence names them, and only their masks together count (union sampling). Each word's
    attention is drawn to its own mask. Words learn alone first, then the denoiser with them, beside pictures of the classes.

    Source: Avrahami et al., Break-A-Scene: Extracting Multiple Concepts from a Single Image, SIGGRAPH Asia 2023. Differs from the paper in: low-rank
    changes of attention in the denoiser by default, the text encoder is left as it is; the error inside the masks is divided by their area; the
    pictures beside are of the classes themselves in one picture; sentences say how the masks lie ("a <a> left of a <b>") where `joined` is "place".

    State: as `SceneMethod` has it; of the masks only hashes.
    """

    tune: Kind = "low-rank"
    word_steps: int = 150
    steps: int = 150
    """Of the second phase, in which words and denoiser learn."""
    word_rate: float = 5e-3
    learning_rate: float = 2e-3
    """Of the second phase, for low rank; whole weights take about a tenth."""
    rank: int = 4
    batch: int = 8
    union: bool = True
    """Draw which things are spoken of; else all of them are, at every step."""
    attention_weight: float = 0.01
    """Of the squared difference between a word's attention and its mask; 0 leaves it out."""
    attention_side: int = 16
    """The finest cross-attention of at most so many pixels a side is looked at."""
    flip: bool = True
    """Half of the time the picture and its masks are mirrored."""
    class_weight: float = 1.0
    class_images: int = 64
    joined: Literal["place", "and"] = "place"
    """What stands between two words: how their masks lie, or "and"."""
    allow_many: bool = False
    """Whether a scene may have more than four things."""

    def _check_scene(self, things: Sequence[Shown]) -> None:
        if len(things) > MOST and not self.allow_many:
            raise ConfigError(f"{len(things)} things in one picture", fix=f"name at most {MOST}, or set allow_many")
        if bare := [one.name for one in things if one.masks is None]:
            raise BadImage(f"{bare[0]} has no mask", fix="mark where it is in every picture, or use a method without masks")

    def _learn_scene(
        self, prior: Prior, references: References, things: Sequence[Shown], masks: Sequence[Tensor | None], seed: int, progress: bool
    ) -> tuple[Sequence[Concept], dict[str, Tensor], dict[str, Any]]:
        where = {one.name: mask for one, mask in zip(things, masks, strict=True) if mask is not None}
        _check_apart(where)
        hashes = {name: hashlib.blake2b(mask.cpu().numpy().tobytes(), digest_size=16).hexdigest() for name, mask in where.items()}
        if self.flip:
            images = np.concatenate([references.images, references.images[:, :, ::-1]])
            references = References(images, prior.latents(images), None, references.hashes)
            where = {name: torch.cat([mask, mask.flip(-1)]) for name, mask in where.items()}
        words: Sequence[Concept] = [Concept(one.name, of_word(prior.text_encoder, prior.tokenizer, one.class_word)[:1]) for one in things]
        record = Recorder() if self.attention_weight else None
        terms = [attends(where, self.attention_weight, self.attention_side)] if self.attention_weight else []
        say = said(where, union=self.union, place=self.joined == "place")
        first = tune(
            prior, references, words, say, steps=self.word_steps, word_rate=self.word_rate, terms=terms, record=record, batch=self.batch, seed=seed,
            progress=progress,
        )  # fmt: skip
        of_classes = sentence([one.class_word for one in things], [mask[0] for mask in where.values()], place=self.joined == "place")
        beside = class_pictures(prior, of_classes, self.class_images) if self.class_weight else None
        with learning(prior, self.tune, rank=self.rank, seed=seed) as weights:
            second = tune(
                prior, references, first.concepts, say, steps=self.steps, word_rate=self.learning_rate, weights=weights,
                weight_rate=self.learning_rate, beside=beside, beside_weight=self.class_weight, terms=terms, record=record, batch=self.batch,
                seed=seed + 1, progress=progress,
            )  # fmt: skip
            learned = weights.arrays()
        return second.concepts, learned, {"words": first.record, "weights": second.record, "masks": hashes}

    def _check_prompts(self, prompts: Sequence[str], taught: Mapping[str, Taught], present: Sequence[str]) -> None:
        if taught and not present and (bare := [prompt for prompt in prompts if not any(name in prompt for name in taught)]):
            raise BadPrompt(f"'{bare[0]}' has none of {', '.join(taught)}", fix="say at least one of them, or draw without a state")


def said(masks: Mapping[str, Tensor], *, union: bool = True, place: bool = True) -> Say:
    """Sentences with some of the things, as many and which at random, and their masks together; all of them without `union`."""
    names = [*masks]

    def say(numbers: Tensor) -> tuple[Sequence[str], Tensor | None]:
        texts, together = [], []
        for number in numbers.tolist():
            count = int(torch.randint(1, len(names) + 1, ())) if union else len(names)
            chosen = [names[one] for one in sorted(torch.randperm(len(names))[:count].tolist())]
            texts.append(sentence(chosen, [masks[name][number] for name in chosen], place=place))
            together.append(torch.stack([masks[name][number] for name in chosen]).amax(0))
        return texts, torch.stack(together)

    return say


def sentence(names: Sequence[str], masks: Sequence[Tensor], *, place: bool = True) -> str:
    """'a <a> left of a <b>', from how masks [1, H, W] lie to each other; or 'a <a> and a <b>'."""
    out = f"a {names[0]}"
    for number in range(1, len(names)):
        out += f" {_lies(masks[number - 1], masks[number]) if place else 'and'} a {names[number]}"
    return out


def _lies(first: Tensor, second: Tensor) -> str:
    down, right = (_centre(second, axis) - _centre(first, axis) for axis in (0, 1))
    if abs(right) >= abs(down):
        return "left of" if right >= 0 else "right of"
    return "above" if down > 0 else "below"


def _centre(mask: Tensor, axis: int) -> float:
    along = mask[0].sum(1 - axis)
    return float((along * torch.arange(len(along)).to(along)).sum() / along.sum())


def attends(masks: Mapping[str, Tensor], weight: float, side: int) -> Term:
    """Each word's attention, the mean over layers scaled to a largest value of 1, against its own mask."""

    def term(step: Step) -> Tensor:
        maps, total, count = finest(step.maps, side), step.output.new_zeros(()), 0
        for name, mask in masks.items():
            tokens = (step.words.places[name] >= 0).to(maps.device)
            rows = tokens.any(1).nonzero()[:, 0]
            if len(rows):
                own = mask[step.numbers.to(mask.device)[rows]]
                total, count = total + len(rows) * localised({"": maps[rows]}, tokens[rows], own), count + len(rows)
        return weight * total / max(1, count)

    return term


def _check_apart(masks: Mapping[str, Tensor]) -> None:
    names = [*masks]
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            a, b = masks[first], masks[second]
            shares = torch.minimum(a, b).sum((1, 2, 3)) / torch.minimum(a.sum((1, 2, 3)), b.sum((1, 2, 3)))
            if float(shares.max()) > OVERLAP:
                what = f"the masks of {first} and {second} overlap by {float(shares.max()):.0%} of the smaller"
                raise BadImage(what, fix="give every pixel to one thing", image=int(shares.argmax()))
