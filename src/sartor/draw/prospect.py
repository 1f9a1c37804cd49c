"""ProSpect: a word for each of ten stages of drawing, so that layout, content and material can be taken one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from sartor.draw._base import ConceptMethod, Plan, Taught
from sartor.draw._shown import Shown
from sartor.draw.parts.by_time import Heard, at_each
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tokens import Concept, Words, of_word
from sartor.draw.parts.tuning import tune
from sartor.draw.parts.weights import Network
from sartor.errors import ConfigError
from sartor.parts.trainer import seeded

STAGES = 10
"""Equal parts of the times; drawing begins in stage 9 (noise) and ends in stage 0 (the last details)."""
MODES: dict[str, tuple[int, ...]] = {"layout": (7, 8, 9), "content": (0, 1, 2, 3, 4, 5, 6, 7), "material": (0, 1, 2, 3, 4)}
"""Stages in which the learned word stands; in all others its class word. As in the authors' examples."""


@dataclass(kw_only=True, eq=False)
class ProSpect(ConceptMethod):
    """What one picture shows, by the stage of drawing in which it is decided.

        method.draw(["a <mug> on sand"], [state])                                 # everything of it
        method.draw(["a <mug> on sand"], [state], stages="layout")                # only where it stands, as `MODES` has it
        method.draw(["a <mug>"], [state], stages=["<mug>"] * 5 + ["red mug"] * 4 + [0])   # stages 0 to 9, each its own words
        method.draw(["a <mug>"], [state], image=picture, strength=0.6)            # on top of another picture

    An entry of `stages` stands in the word's place during its stage: text, with or without the word, or the number of another stage, whose row is
    taken. Stages are parts of the time, so that they mean the same for any number of sampling steps.

    Source: Zhang et al., ProSpect: Prompt Spectrum for Attribute-Aware Personalization of Diffusion Models, ACM TOG 2023. Differs from the paper in:
    the block adds to the class word's row (the authors' makes rows from nothing, which on a prior with long rows starts far from any word).
    State: rows float32 [10, d], and block.* where `keep_block`.
    """

    steps: int = 250
    learning_rate: float = 2e-3
    batch: int = 8
    rows_by: Literal["block", "free"] = "block"
    """What is trained: a small transformer block that makes all ten rows, or the rows themselves."""
    keep_block: bool = False

    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        start = of_word(prior.text_encoder, prior.tokenizer, shown.class_word).mean(0)
        with seeded(seed):
            rows: nn.Module = (Block(start) if self.rows_by == "block" else Free(start)).to(prior.device)
        word = Concept(shown.name, start[None])

        def speak(words: Words, t: Tensor) -> Heard:
            now = rows()[stage(prior, t.cpu())][:, None]
            return Heard(prior.encode_words(words, [Concept(shown.name, now)])[None])

        tuned = tune(
            prior, references, [word], self.captions(shown), steps=self.steps, weights=Network(rows), weight_rate=self.learning_rate, speak=speak,
            batch=self.batch, seed=seed, progress=progress,
        )  # fmt: skip
        rows.eval()
        with torch.no_grad():
            learned = {"rows": rows().detach()}
        if self.keep_block:
            learned |= {f"block.{name}": value for name, value in Network(rows).arrays().items()}
        return learned, tuned.record

    def _plan(  # type: ignore[override]  # its strength is of the noise over another picture
        self, prior: Prior, prompts: list[str], taught: Mapping[str, Taught], *, stages: str | Sequence[str | int] | None = None,
        image: np.ndarray | None = None, strength: float = 0.6,
    ) -> Plan:  # fmt: skip
        contexts = []
        for number in range(STAGES):
            texts, concepts = prompts, []
            for name, one in taught.items():
                entry = listed(stages, name, one.class_word)[number]
                row = number if isinstance(entry, str) else entry
                texts = [text.replace(name, entry if isinstance(entry, str) else name) for text in texts]
                concepts.append(Concept(name, one.tensors["rows"][row : row + 1]))
            contexts.append(Heard(prior.encode(texts, concepts)[None]))
        slots = at_each(lambda time: contexts[int(stage(prior, torch.tensor(time)))])
        return Plan(context=contexts[-1].keys[0], slots=slots, options=self._onto(prior, image, strength))

    def _places(self, one: Taught) -> int:
        return 1

    def _onto(self, prior: Prior, image: np.ndarray | None, strength: float) -> dict[str, Any]:
        """Where drawing starts from another picture uint8 [H, W, 3], with noise up to a share `strength` of the times."""
        if image is None:
            return {}
        if not 0 < strength <= 1:
            raise ConfigError(f"strength is {strength}", fix="use a share from 0 to 1, such as 0.6")
        first = min(self.sampling_steps - 1, round(self.sampling_steps * (1 - strength)))
        return {"onto": References.of(prior, np.asarray(image)[None]).latents, "first": first}


class Free(nn.Module):
    """Ten rows as they are: the smallest variant."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(start.repeat(STAGES, 1))

    def forward(self) -> Tensor:
        return self.rows


class Block(nn.Module):
    """Self-attention, cross-attention and a feed-forward layer as wide as all stages: from the class word's row to all ten."""

    start: Tensor

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        from diffusers.models.attention import FeedForward
        from diffusers.models.attention_processor import Attention

        dim = len(start)
        self.register_buffer("start", start[None, None])
        self.attn1, self.attn2 = (Attention(dim, cross_attention_dim=dim, heads=8, dim_head=64, dropout=0.1) for _ in range(2))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))
        self.ff = FeedForward(dim, dim_out=STAGES * dim, dropout=0.1, activation_fn="geglu")

    def forward(self) -> Tensor:
        """float [10, d]."""
        first = self.norm1(self.start)
        x = self.attn1(first, encoder_hidden_states=first) + self.start
        x = self.attn2(self.norm2(x), encoder_hidden_states=self.start) + x
        rows: Tensor = self.ff(self.norm3(x)).reshape(STAGES, -1)
        scale = self.start.norm() / self.start.shape[-1] ** 0.5
        out: Tensor = self.start[0] + scale * rows
        return out


def stage(prior: Prior, t: Tensor) -> Tensor:
    """The stage of times, from 0 (the picture) to 9 (noise)."""
    return t * STAGES // len(prior.alphas)


def listed(stages: str | Sequence[str | int] | None, name: str, class_word: str) -> list[str | int]:
    """What stands in the place of a learned word, stage by stage."""
    if stages is None:
        return [name] * STAGES
    if isinstance(stages, str):
        if stages not in MODES:
            raise ConfigError(f"there is no mode '{stages}'", fix=f"use {', '.join(MODES)}, or a list of {STAGES}")
        return [name if number in MODES[stages] else class_word for number in range(STAGES)]
    if len(stages) != STAGES:
        raise ConfigError(f"expected {STAGES} stage prompts, got {len(stages)}", fix="give one for each stage, 0 (the picture) to 9 (noise)")
    if wrong := [one for one in stages if not isinstance(one, str) and not 0 <= one < STAGES]:
        raise ConfigError(f"{wrong[0]} is no stage", fix=f"use 0 to {STAGES - 1}")
    return list(stages)
