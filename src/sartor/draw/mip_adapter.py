"""MIP-Adapter: several things in one picture, each landing where the words for it look."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sartor.draw._base import Plan, Strength, Taught
from sartor.draw._shown import Shown
from sartor.draw.ip_adapter import IPAdapter
from sartor.draw.parts.image_branch import PictureTokens, each_thing, merging
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.tap import KeysValues, Layer, Merge
from sartor.errors import BadPrompt, ConfigError


@dataclass(kw_only=True, eq=False)
class MIPAdapter(IPAdapter):
    """An IP-Adapter that gives every pixel a share of each thing's pictures, as much as the pixel belongs to the words for that thing by the layer's
    own keys, and more of all pictures where a gate opens that is learned from what the text gives there.

        base = IPAdapter().fit(others)                     # or IPAdapter().open_adapter(file)
        method = MIPAdapter(start=base, steps=300).fit(others)     # with pictures of two things

    Pictures of one thing weigh the same in it, however many there are.

    Source: Huang et al., Resolving Multi-Condition Confusion for Finetuning-Free Personalized Image Generation, AAAI 2025, and its code. Differs from
    the paper in what `IPAdapter` says.

    State: as `IPAdapter` has it.
    """

    scale: float = 0.75

    def make_network(self) -> nn.Module:
        made: Any = super().make_network()
        made["gates"] = nn.ModuleList(nn.Linear(Layer(*one).width, 1, bias=False) for one in self.layers_)
        return made

    def _merge(self, seen: PictureTokens, scale: float) -> Merge:
        network: Any = self.network_
        unet = self._prior.unet if not self.fingerprint_ else self.bundle.unet

        def together(layer: Layer, query: Tensor, text: Tensor, branch: KeysValues, own: PictureTokens) -> Tensor:
            shares = shares_of(layer, query, unet.get_submodule(layer.name).to_k, own)
            gate = network["gates"][branch.numbers[layer.name]](text).sigmoid()
            gate = gate / gate.mean(1, keepdim=True)
            return (shares[..., None] * each_thing(layer, query, branch, own) * own.there[:, :, None, None]).sum(1) * gate

        return merging(network["branch"], seen, scale, together)

    def _plan(self, prior: Prior, prompts: list[str], taught: Mapping[str, Taught], *, strength: Strength = 1.0) -> Plan:
        kinds = [one.class_word for one in taught.values()]
        if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
            raise BadPrompt(f"two things are both a {twice[0]}: no pixel can tell whose it is", fix="call them differently, or draw one at a time")
        return super()._plan(prior, prompts, taught, strength=strength)

    def compose(
        self, prompt: str, phrases: Sequence[str], images: np.ndarray, *, masks: np.ndarray | None = None, seeds: Sequence[int] = (0,),
        same_object: bool = False,
    ) -> np.ndarray:  # fmt: skip
        """uint8 [seeds, H, W, 3]: a prompt that has a phrase for each of some pictures, without states.

        `same_object`: a phrase may stand for several pictures of one thing. Raises `ConfigError` for as many phrases as there are no pictures, or
        one twice, and `BadPrompt` for one that the prompt does not have.
        """
        if len(phrases) != len(images):
            raise ConfigError(f"{len(phrases)} phrases for {len(images)} pictures", fix="give one each")
        if not same_object and (twice := sorted({one for one in phrases if phrases.count(one) > 1})):
            raise ConfigError(f"'{twice[0]}' stands for several pictures", fix="use other words for each, or same_object=True for one thing")
        things, text = [], prompt
        for number, phrase in enumerate(dict.fromkeys(phrases)):
            name, rows = f"<thing-{number}>", [row for row, one in enumerate(phrases) if one == phrase]
            text, found = re.subn(rf"(?<![\w<]){re.escape(phrase)}(?!\w)", name, text, count=1)
            if not found:
                raise BadPrompt(f"'{prompt}' does not say '{phrase}'", fix="use the words of the prompt")
            things.append(Shown(name=name, class_word=phrase, images=images[rows], masks=None if masks is None else masks[rows]))
        return self.draw([text] * len(seeds), [self.learn(things)] * len(seeds), seeds=seeds)


def shares_of(layer: Layer, query: Tensor, to_k: nn.Module, seen: PictureTokens) -> Tensor:
    """float [B, things, P], how much each pixel belongs to each thing's words, over all things 1: nothing is learned through it."""
    with torch.no_grad():
        keys = to_k(seen.phrases)
        rows, things, words, width = keys.shape
        heads, each = layer.heads, width // layer.heads
        logits = torch.einsum("botic,bpic->botip", keys.view(rows, things, words, heads, each), query.view(rows, -1, heads, each)) * each**-0.5
        # Each word looks over all pixels; then the mean over heads and over the words of the phrase.
        looked = logits.softmax(-1).mean(3) * seen.said[..., None]
        relevance = looked.sum(2) / seen.said.sum(2)[..., None].clamp(min=1) * (seen.there > 0)[..., None]
        return relevance / relevance.sum(1, keepdim=True).clamp(min=1e-12)
