"""DreamBooth: the denoiser itself is tuned to "<v> class", held in place by what it used to draw of the class."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from sartor.draw._base import ConceptMethod
from sartor.draw._shown import Shown
from sartor.draw.parts.lora_files import write_lora
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tokens import Concept, at_norm, numbers, of_word, save_embeds
from sartor.draw.parts.tuning import class_pictures, tune
from sartor.draw.parts.weights import Kind, learning
from sartor.errors import ConfigError, UnknownId
from sartor.method import State


@dataclass(kw_only=True, eq=False)
class DreamBooth(ConceptMethod):
    """Weights that know one thing by a rare identifier before its class word, and still know the class.

    What it is worth beside a learned word at equal steps, and how much of the subject leaks into "a class" with and without the class pictures, is
    measured on the shapes world (claims/draw/dreambooth.py).

    Source: Ruiz et al., DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation, CVPR 2023. The class pictures are
    drawn by the frozen prior itself. Differs from the paper in: low rank by default, as most people train it; the text encoder is not tuned; and
    the identifier may be a free row in place of a rare word, since a small vocabulary has none.
    State: the row, and weights.<layer>.{A, B} (low rank) or weights.<parameter> (whole), in half precision.
    """

    tune: Kind = "low-rank"
    steps: int = 150
    learning_rate: float = 2e-3
    """For low rank; whole weights take about a tenth. On the small prior 5e-3 is more alike, 2e-3 follows prompts better."""
    rank: int = 4
    batch: int = 4
    """Pictures of the subject in a step; as many of the class."""
    class_weight: float = 1.0
    """Of the class pictures' error; 0 leaves them out."""
    class_images: int = 64
    identifier: str = ""
    """A rare word of the text encoder ("sks"), whose row stands for the thing's name; by default a row of length and meaning of its own. It is not
    learned either way."""

    says_class: ClassVar[bool] = True

    def _check_thing(self, prior: Prior, shown: Shown) -> None:
        super()._check_thing(prior, shown)
        if self.class_weight < 0:
            raise ConfigError(f"class_weight is {self.class_weight}", fix="use 0 or more")
        if self.identifier:
            check_rare(prior, self.identifier)

    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        rare = of_word(prior.text_encoder, prior.tokenizer, self.identifier) if self.identifier else None
        word = Concept(shown.name, identifier(prior, shown.class_word, seed, shown.name) if rare is None else rare)
        beside = class_pictures(prior, f"a {shown.class_word}", self.class_images) if self.class_weight else None
        with learning(prior, self.tune, rank=self.rank, seed=seed) as weights:
            tuned = tune(
                prior, references, [word], self.captions(shown), steps=self.steps, weights=weights, weight_rate=self.learning_rate, beside=beside,
                beside_weight=self.class_weight, batch=self.batch, seed=seed, progress=progress,
            )  # fmt: skip
            learned = {f"weights.{name}": value for name, value in weights.arrays().items()}
        return {"rows": word.rows, **learned}, tuned.record

    def export(self, state: State, name: str, folder: str | Path, *, layout: Literal["diffusers", "kohya"] = "diffusers") -> tuple[Path, Path]:
        """Write one thing for other programs: its LoRA, and its word as a textual inversion.

        After `pipeline.load_lora_weights(folder)` and `pipeline.load_textual_inversion(folder / "learned_embeds.safetensors")` a pipeline draws
        "<v> class" as this does. Raises `UnknownId`, and `ConfigError` for whole weights.
        """
        self.check_state(state)
        taught = self.taught(state)
        if name not in taught:
            raise UnknownId("the state has no such concept", id=name, fix=f"it has {', '.join(taught)}")
        changes = {key: value.cpu().numpy() for key, value in taught[name].changes().items()}
        if not all(key.endswith((".A", ".B")) for key in changes):
            raise ConfigError("whole weights are no LoRA", fix="learn it with tune='low-rank'")
        words = save_embeds(Path(folder) / "learned_embeds.safetensors", [taught[name].concept(name)], widths=self.bundle.widths)
        return write_lora(changes, folder, layout=layout), words


def identifier(prior: Prior, class_word: str, seed: int, name: str = "") -> Tensor:
    """float [1, d]: a word without a meaning, as long as the class word's row, in a direction drawn from the seed, the class word and the name."""
    like = of_word(prior.text_encoder, prior.tokenizer, class_word)
    drawn = torch.randn(1, prior.dim, generator=torch.Generator().manual_seed(seed * 2**32 + zlib.crc32(f"{class_word} {name}".encode()))).to(like)
    return at_norm(drawn, like.norm(dim=-1).mean())


def check_rare(prior: Prior, word: str) -> None:
    """Raise `ConfigError` unless it is one short token that the text encoder has hardly ever read.

    Tokenizers of CLIP's kind number tokens in the order in which they were merged, frequent ones first: what is in the last half is rare. In a
    closed language every word is an ordinary one.
    """
    if prior.card.get("vocabulary") is not None:
        what = f"'{word}' cannot be an identifier: this prior knows ordinary words only"
        raise ConfigError(what, fix="leave identifier out, and call things e.g. <sks>, <zwx> or <vqn>: each gets a row of its own")
    known = prior.tokenizer.get_vocab()
    words = sorted((number, one[:-4]) for one, number in known.items() if number >= len(known) / 2 and one.endswith("</w>"))
    short = [one for _, one in words if len(one) <= 3 and one.isalpha()]
    ids = numbers(prior.tokenizer, word)
    if len(ids) != 1 or word.lower() not in short:
        why = f"it is {len(ids)} tokens" if len(ids) != 1 else "it is an ordinary word, or a long one"
        raise ConfigError(f"'{word}' cannot be an identifier: {why}", fix=f"use a rare one, such as {', '.join(short[-3:])}, or leave it out")
