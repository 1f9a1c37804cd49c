"""DisenDiff: several things out of one picture without masks, by calibrating what their words attend to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sartor.draw._scene import SceneMethod
from sartor.draw._shown import Shown
from sartor.draw.custom_diffusion import CustomDiffusion
from sartor.draw.dreambooth import identifier
from sartor.draw.parts.masks import finest
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tap import Layer, Recorder, Slots
from sartor.draw.parts.tokens import NAME, Concept
from sartor.draw.parts.tuning import Step, Term
from sartor.errors import BadPrompt, ConfigError


@dataclass(kw_only=True, eq=False)
class DisenDiff(SceneMethod, CustomDiffusion):
    """Custom Diffusion on one picture whose caption says "<a> cat and <b> dog": each learned word's attention is bound to that of its class word, and
    the class words' attention is pushed apart from each other.

    Captions are those of the things shown (`Shown.captions`, the same for all of them), or "a <a> cat and a <b> dog"; masks are not used.

    Source: Zhang et al., Attention Calibration for Disentangled Text-to-Image Personalization, CVPR 2024. Differs from the paper in: low-rank
    keys and values by default; the pictures beside are drawn by the prior, not retrieved.

    The settings are those of `CustomDiffusion`; its class pictures are of the caption without its learned words.

    State: as `SceneMethod` has it, weights of keys and values of cross-attention only.
    """

    calibration: float = 0.01
    """Weight of both terms; 0 is Custom Diffusion on the caption."""
    alone_share: float = 0.5
    """Of captions, how many are replaced by "a <a> cat" or "a <b> dog" alone; our choice, the paper names no rate."""
    attention_side: int = 16
    """The finest cross-attention of at most so many pixels a side is looked at."""

    def _check_scene(self, things: Sequence[Shown]) -> None:
        if len(things) < 2:
            raise ConfigError("the caption has one thing", fix="show two or three of the picture, or use custom-diffusion for one")
        kinds = [one.class_word for one in things]
        if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
            raise ConfigError(f"two things are both called {twice[0]}: class words are pushed apart", fix="use class words that differ")
        for caption in self.captions_of(things):
            for one in things:
                if not re.search(rf"{re.escape(one.name)} {re.escape(one.class_word)}\b", caption):
                    what = f"'{caption}' does not have '{one.name} {one.class_word}'"
                    raise BadPrompt(what, fix="write the class word right behind each learned word")
            if strange := [name for name in NAME.findall(caption) if name not in [one.name for one in things]]:
                raise BadPrompt(f"'{caption}' has {strange[0]}, which is not shown", fix="show it too, or leave it out")

    @staticmethod
    def captions_of(things: Sequence[Shown]) -> list[str]:
        """What the pictures show; raises `ConfigError` when the things say it differently."""
        given = [list(one.captions) for one in things if one.captions is not None]
        if any(one != given[0] for one in given):
            raise ConfigError("the things have different captions of the same pictures", fix="give the same to all, or to one of them")
        return given[0] if given else [" and ".join(f"a {one.name} {one.class_word}" for one in things)] * len(things[0].images)

    def _learn_scene(
        self, prior: Prior, references: References, things: Sequence[Shown], masks: Sequence[Tensor | None], seed: int, progress: bool
    ) -> tuple[Sequence[Concept], dict[str, Tensor], dict[str, Any]]:
        captions, alone = self.captions_of(things), [f"a {one.name} {one.class_word}" for one in things]
        # Masks that somebody gives all the same must not help.
        references = References(references.images, references.latents, None, references.hashes)

        def say(numbers: Tensor) -> tuple[Sequence[str], None]:
            single = torch.rand(len(numbers)) < self.alone_share
            which = torch.randint(len(alone), (len(numbers),))
            return [alone[int(w)] if one else captions[int(n)] for n, one, w in zip(numbers, single, which, strict=True)], None

        words = [Concept(one.name, identifier(prior, one.class_word, seed + number)) for number, one in enumerate(things)]
        terms: list[Term] = []
        if self.calibration:
            terms.append(calibrated([one.name for one in things], self.calibration, self.attention_side))
        tuned, learned = self._tuned(
            prior, references, words, say, " ".join(NAME.sub("", captions[0]).split()), terms=terms, record=Recorder() if terms else None,
            slots=Slots(edit=first_detached), seed=seed, progress=progress,
        )  # fmt: skip
        return tuned.concepts, learned, tuned.record


def first_detached(_layer: Layer, key: Tensor, value: Tensor, _context: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values through which nothing is learned of the first token, which every prompt has (Kumari et al., Custom Diffusion, 2023)."""
    return torch.cat([key[:, :1].detach(), key[:, 1:]], 1), torch.cat([value[:, :1].detach(), value[:, 1:]], 1)


def calibrated(names: Sequence[str], weight: float, side: int) -> Term:
    """1 - IoU of each learned word's map with its class word's (which does not move by it), plus the IoU of class words' maps with each other.

    Class words stand right behind their learned words. Terms are averaged over the prompts that have them.
    """

    def term(step: Step) -> Tensor:
        maps, kinds, total = finest(step.maps, side), {}, step.output.new_zeros(())
        for name in names:
            last = step.words.places[name].to(maps.device)
            rows = (last >= 0).any(1)
            at = torch.where(rows, last.argmax(1), 0)
            # A word of several rows ends at its highest.
            own = smoothed(_map(maps, at))
            kind = smoothed(_map(maps, (at + 1).clamp(max=maps.shape[2] - 1))) ** 2
            kinds[name] = (rows, kind)
            if rows.any():
                total = total + (1 - soft_iou(kind.detach(), own))[rows].mean() / len(names)
        pairs = [(a, b) for number, a in enumerate(names) for b in names[number + 1 :]]
        for a, b in pairs:
            both = kinds[a][0] & kinds[b][0]
            if both.any():
                total = total + soft_iou(kinds[a][1], kinds[b][1])[both].mean() / len(pairs)
        return weight * total

    return term


def _map(maps: Tensor, at: Tensor) -> Tensor:
    """float [B, s, s] of maps [B, pixels, T] at one token of each row."""
    one = maps.gather(2, at[:, None, None].expand(-1, maps.shape[1], 1))[..., 0]
    side = round(one.shape[1] ** 0.5)
    return one.reshape(-1, side, side)


def smoothed(maps: Tensor) -> Tensor:
    """Maps [B, s, s] stretched to [0, 1] each, then blurred by a 3 x 3 Gaussian of standard deviation 0.5, reflected at the border."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    even = (maps - low) / (high - low).clamp(min=1e-12)
    line = torch.exp(-(torch.tensor([-1.0, 0.0, 1.0]) ** 2) / (2 * 0.5**2)).to(maps)
    kernel = torch.outer(line, line) / line.sum() ** 2
    return F.conv2d(F.pad(even[:, None], (1, 1, 1, 1), mode="reflect"), kernel[None, None])[:, 0]


def soft_iou(first: Tensor, second: Tensor) -> Tensor:
    """float [B] of soft maps [B, s, s]: (sum of products + 1) / (sum of both - sum of products + 1)."""
    inter = (first * second).sum((1, 2))
    return (inter + 1) / ((first + second).sum((1, 2)) - inter + 1)
