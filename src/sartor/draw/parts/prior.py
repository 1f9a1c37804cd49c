"""The diffusion prior: what everybody's pictures have in common, as one bundle of diffusers' and transformers' own classes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from sartor import _storage
from sartor.draw.parts import tokens as _tokens
from sartor.draw.parts.codec import SpaceToDepth, to_images, to_tensor
from sartor.draw.parts.encoders import TwoEncoders, check_denoiser, tables
from sartor.draw.parts.pipeline_files import parts_of, read_parts, round_to, write_parts
from sartor.draw.parts.small_prior import small_parts
from sartor.draw.parts.tap import Layer, Slots, install, layers_of
from sartor.draw.parts.tokens import Concept, Words
from sartor.draw.parts.turns import Turns
from sartor.errors import ConfigError, CorruptFile, FileProblem

CARD = "card.json"
SHIPPED = Path(__file__).parents[1] / "shapes_prior"
"""Folder of the prior that comes with the package."""


@dataclass(eq=False)
class Prior:
    """Denoiser, text encoder, tokenizer, codec and schedule under the names that diffusers gives them.

    Tiny ones trained here and a Stable Diffusion are the same to every method: `Prior.small(...)`, `Prior.load(folder)` and
    `Prior.from_pretrained(folder or pipeline)` give the same thing. Weights are frozen; what a method learns stands beside them.
    """

    unet: Any
    """`UNet2DConditionModel`, with a tap in every attention layer."""
    text_encoder: Any
    """`CLIPTextModel`, or the two encoders of an SDXL as one."""
    tokenizer: Any
    """`CLIPTokenizer`."""
    vae: Any
    """`AutoencoderKL`, or the exact `SpaceToDepth`."""
    scheduler: Any
    """Whose settings every sampler is made with: betas, what the denoiser predicts."""
    card: dict[str, Any] = field(default_factory=dict)
    """What it was trained on and how well it draws; `vocabulary` (all words there are) for a closed language."""
    kept: dict[Any, Any] = field(default_factory=dict, repr=False)
    """What was made with it and is worth keeping while it is open: pictures of classes, statistics of its text encoder."""
    lock: Turns = field(default_factory=Turns, repr=False)
    """Held by whoever changes its weights for a while, and by whoever must not meet such a change; learning passes it on between its steps."""
    learning: threading.RLock = field(default_factory=threading.RLock, repr=False)
    """Held by whoever learns: one at a time, since torch's generator is everybody's."""

    def __post_init__(self) -> None:
        kind = self.scheduler.config.prediction_type
        if kind not in ("sample", "epsilon", "v_prediction"):
            raise ConfigError(f"the denoiser predicts '{kind}'", fix="use one that predicts sample, epsilon or v_prediction")
        check_denoiser(self.unet, self.text_encoder)
        install(self.unet)
        _tokens.attach(self.text_encoder)
        # Convolutions of small pictures are a quarter faster with channels innermost; what they compute is the same up to rounding.
        self.unet.to(memory_format=torch.channels_last)
        for part in self.modules:
            part.requires_grad_(False).eval()

    # --- making one

    @classmethod
    def small(
        cls, vocabulary: Sequence[str], *, size: int = 24, factor: int = 3, widths: Sequence[int] = (64, 96), text_width: int = 64,
        text_layers: int = 2, longest: int = 24, seed: int = 0,
    ) -> Self:  # fmt: skip
        """An untrained prior for pictures of `size` pixels and a closed language; 2.9 million weights at the default size. It predicts x0."""
        return cls(
            **small_parts(
                vocabulary, size=size, factor=factor, widths=widths, text_width=text_width, text_layers=text_layers, longest=longest, seed=seed
            )
        )

    @classmethod
    def from_pretrained(cls, source: Any, *, dtype: torch.dtype | None = None) -> Self:
        """A Stable Diffusion (1.x, 2.x, XL and fine-tunes of them): an open pipeline, or a folder that one was saved into.

        Nothing is downloaded. Raises `FileProblem` when a part is missing and `ConfigError` for pipelines of another kind.
        """
        return cls(**(parts_of(source) if hasattr(source, "unet") else read_parts(Path(source), dtype)))

    # --- files

    def save(self, folder: str | Path, *, dtype: torch.dtype = torch.float16) -> Path:
        """Write it as diffusers lays out a pipeline (safetensors), and card.json with its fingerprint; all or nothing."""
        facts = {**self.card, "fingerprint": self.fingerprint}

        def write(fresh: Path) -> None:
            write_parts(self, fresh, dtype)
            _storage.write_atomically(fresh / CARD, json.dumps(facts, indent=1).encode())
            for file in (fresh, *fresh.rglob("*")):
                file.chmod(0o755 if file.is_dir() else 0o644)

        # Rounding is part of what is saved: what goes on from here is what will be loaded.
        round_to(self.modules, dtype)
        self.__dict__.pop("fingerprint", None)
        facts["fingerprint"] = self.fingerprint
        return _storage.write_folder(Path(folder), write, marker=CARD)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The reverse of `save`; raises `FileProblem`, and `CorruptFile` when the weights are not those that the card is of."""
        folder = Path(folder)
        if not (folder / CARD).is_file():
            raise FileProblem("there is no prior here", fix="make one with: sartor draw train-prior", file=folder)
        try:
            card = dict(json.loads((folder / CARD).read_bytes()))
            saved = str(card.pop("fingerprint"))
        except (ValueError, KeyError, TypeError) as cause:
            raise CorruptFile("the card cannot be read", fix="train it again", file=folder / CARD) from cause
        made = cls(**read_parts(folder, torch.float32), card=card)
        if made.fingerprint != saved:
            raise CorruptFile("the weights are not those of the card", fix="fetch or train it again", file=folder)
        return made

    @classmethod
    def shapes(cls) -> Self:
        """The prior of the shapes world that comes with the package, on which claims are measured; its card has the recipe and what it can do."""
        return cls.load(SHIPPED)

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits that differ when what it is made of differs (weights to the precision of float16); states of concepts name it."""
        # Not the whole configuration: newer versions of diffusers add to it what changes nothing.
        facts = [self.scheduler.config.prediction_type, self.size, int(self.tokenizer.model_max_length)]
        digest = hashlib.blake2b(json.dumps(facts).encode(), digest_size=16)
        digest.update(self.alphas.to(torch.float16).numpy().data)
        for name in ("unet", "text_encoder", "vae"):
            for key, tensor in sorted(getattr(self, name).state_dict().items()):
                digest.update(f"{name}.{key}{list(tensor.shape)}".encode())
                digest.update(np.ascontiguousarray(tensor.detach().to("cpu", torch.float16).numpy()).data)
        return digest.hexdigest()

    # --- what it is

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All that has weights."""
        return self.unet, self.text_encoder, self.vae

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype

    @property
    def dim(self) -> int:
        """Of the rows of words, in and out."""
        return sum(self.widths)

    @property
    def widths(self) -> list[int]:
        """Of a row's part in each text encoder."""
        return [int(table.weight.shape[1]) for table in tables(self.text_encoder)]

    @property
    def size(self) -> int:
        """Pixels of a picture, both ways."""
        return int(self.unet.config.sample_size) * self.scale

    @property
    def scale(self) -> int:
        """Pixels per latent pixel."""
        return self.vae.factor if isinstance(self.vae, SpaceToDepth) else 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def guidance(self) -> float:
        """How strongly pictures are led to the prompt unless asked otherwise: what its card says, or the usual 7.5 of Stable Diffusion, 5 of XL."""
        return float(self.card.get("guidance", 5.0 if isinstance(self.text_encoder, TwoEncoders) else 7.5))

    @property
    def eta(self) -> float:
        """How much fresh noise every step of drawing adds unless asked otherwise, as DDIM counts it: what its card says, or none."""
        return float(self.card.get("eta", 0.0))

    @property
    def parameters(self) -> int:
        """Weights of denoiser and text encoder."""
        return sum(p.numel() for part in (self.unet, self.text_encoder) for p in part.parameters())

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Self:
        """Move everything; half precision is for GPUs. An SDXL's autoencoder that says so (`force_upcast`) stays in float32: float16 overflows."""
        for part in self.modules:
            upcast = part is self.vae and isinstance(self.text_encoder, TwoEncoders) and getattr(self.vae.config, "force_upcast", False)
            part.to(device) if dtype is None else part.to(device, torch.float32 if upcast and dtype == torch.float16 else dtype)
        return self

    # --- words

    def words(self, prompts: Sequence[str], concepts: Sequence[Concept] = ()) -> Words:
        """Prompts as numbers; raises `BadPrompt`."""
        counts = {one.name: one.count for one in concepts}
        if len(counts) < len(concepts):
            raise ConfigError("two concepts have one name", fix="rename one")
        return _tokens.tokenize(self.tokenizer, prompts, counts, vocabulary=self.card.get("vocabulary"))

    def encode_words(self, words: Words, concepts: Sequence[Concept] = ()) -> Tensor:
        """Context float [n, T, d], of an SDXL [n, T + 1, d] (`encoders.TwoEncoders`); gradients reach the concepts' rows."""
        ids = words.ids.to(self.device)
        with _tokens.standing(words, concepts):
            if isinstance(self.text_encoder, TwoEncoders):
                return self.text_encoder(ids, words.lengths)
            return self.text_encoder(ids).last_hidden_state

    def encode(self, prompts: Sequence[str], concepts: Sequence[Concept] = ()) -> Tensor:
        """Context of prompts, in which learned words stand as `<mug>`."""
        return self.encode_words(self.words(prompts, concepts), concepts)

    def nothing(self) -> Tensor:
        """Context [1, ...] of no prompt, which guidance leads away from."""
        silent = self.text_encoder.nothing(int(self.tokenizer.model_max_length)) if isinstance(self.text_encoder, TwoEncoders) else None
        return self.encode([""]) if silent is None else silent

    def tokens(self, context: Tensor) -> Tensor:
        """The rows of a context that stand for tokens, [n, T, d]: all but an SDXL's summary."""
        return self.text_encoder.tokens(context) if isinstance(self.text_encoder, TwoEncoders) else context

    # --- pictures

    def latents(self, images: np.ndarray) -> Tensor:
        """float [n, c, h, w] of uint8 [n, H, W, 3]; raises `BadImage`."""
        pixels = to_tensor(images).to(self.device, self._codec_dtype)
        with torch.no_grad():
            return (self.vae.encode(pixels).latent_dist.mode() * self.vae.config.scaling_factor).to(self.dtype)

    def images(self, latents: Tensor) -> np.ndarray:
        """uint8 [n, H, W, 3] of latents."""
        with torch.no_grad():
            return to_images(self.vae.decode(latents.to(self._codec_dtype) / self.vae.config.scaling_factor).sample)

    @property
    def _codec_dtype(self) -> torch.dtype:
        return next((one.dtype for one in self.vae.parameters()), self.dtype)

    # --- denoising

    @cached_property
    def alphas(self) -> Tensor:
        """float [steps], the share of the picture in what the denoiser sees at each time."""
        return torch.as_tensor(self.scheduler.alphas_cumprod, dtype=torch.float32)

    def shares(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(alpha) and sqrt(1 - alpha) of times int64 [n], as [n, 1, 1, 1]."""
        alpha = self.alphas.to(t.device)[t].reshape(-1, 1, 1, 1)
        return alpha.sqrt().to(self.dtype), (1 - alpha).sqrt().to(self.dtype)

    def noised(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the denoiser sees at times int64 [n]."""
        signal, rest = self.shares(t)
        return signal * x0 + rest * noise

    def predict(self, x: Tensor, t: Tensor, context: Tensor, *, slots: Slots | None = None) -> Tensor:
        """The denoiser's own output (x0, noise or v) for noised latents at times int64 [n] or a single one."""
        slots, added = None if slots is None else slots.at(t), None
        if isinstance(self.text_encoder, TwoEncoders):
            context, slots, added = self.text_encoder.given(context, slots, t, self._first, self.size)
        extra = None if slots is None else {"slots": slots}
        return self.unet(x, t, encoder_hidden_states=context, cross_attention_kwargs=extra, added_cond_kwargs=added).sample

    @cached_property
    def _first(self) -> Layer:
        return layers_of(self.unet, cross=True)[0]

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What that output should be."""
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            signal, rest = self.shares(t)
            return signal * noise - rest * x0
        return x0 if kind == "sample" else noise

    def x0(self, output: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The picture that an output stands for."""
        signal, rest = self.shares(t)
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            return signal * x - rest * output
        return output if kind == "sample" else (x - rest * output) / signal
