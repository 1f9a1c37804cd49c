"""The diffusion prior: what everybody's pictures have in common, as one bundle of diffusers' and transformers' own classes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from sartor import _storage
from sartor.draw.parts import tokens as _tokens
from sartor.draw.parts.codec import SpaceToDepth, to_images, to_tensor
from sartor.draw.parts.pipeline_files import PARTS, quiet, read_parts
from sartor.draw.parts.tap import Slots, install
from sartor.draw.parts.tokens import Concept, Words
from sartor.draw.parts.word_tokenizer import word_tokenizer
from sartor.errors import ConfigError, CorruptFile, FileProblem
from sartor.parts.trainer import seeded

CARD = "card.json"
GUIDANCE = 2.0
"""Of small priors: of 1, 1.5, 2 and 3.5 what follows short prompts best."""
WORDS_START, ATTENTION_START = 50.0, 3.0
"""Where training from nothing starts, times the libraries' own start."""
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
    """`CLIPTextModel`."""
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
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    """Held by whoever changes its weights for a while, and by whoever must not meet such a change."""

    def __post_init__(self) -> None:
        kind = self.scheduler.config.prediction_type
        if kind not in ("sample", "epsilon", "v_prediction"):
            raise ConfigError(f"the denoiser predicts '{kind}'", fix="use one that predicts sample, epsilon or v_prediction")
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
        from diffusers import DDIMScheduler, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel

        if size % (factor * 2 ** (len(widths) - 1)) or any(width % 16 for width in widths):
            fix = "size must be a multiple of factor * 2 ** (levels - 1), widths multiples of 16"
            raise ConfigError(f"size {size}, factor {factor}, widths {list(widths)}", fix=fix)
        tokenizer = word_tokenizer(vocabulary, longest)
        with seeded(seed):
            text = CLIPTextModel(
                CLIPTextConfig(
                    vocab_size=len(tokenizer), hidden_size=text_width, intermediate_size=4 * text_width, num_hidden_layers=text_layers,
                    num_attention_heads=4, max_position_embeddings=longest, hidden_act="gelu", projection_dim=text_width,
                    bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
                )
            )  # fmt: skip
            levels = len(widths)
            unet = UNet2DConditionModel(
                sample_size=size // factor, in_channels=3 * factor**2, out_channels=3 * factor**2, layers_per_block=1,
                block_out_channels=tuple(widths), down_block_types=("CrossAttnDownBlock2D",) * levels,
                up_block_types=("CrossAttnUpBlock2D",) * levels, cross_attention_dim=text_width, attention_head_dim=4, norm_num_groups=16,
            )  # fmt: skip
        with torch.no_grad():
            # CLIP starts words small beside what its layers add, and attention even over all words: which of five places a prompt says
            # ("top left") was then not learned in 400 steps of a trial, and from this start in 160.
            words, denoiser = cast("Any", text.get_input_embeddings()), cast("Any", unet)
            words.weight.mul_(WORDS_START)
            for name, layer in denoiser.named_modules():
                if name.endswith(("attn2.to_q", "attn2.to_k")):
                    layer.weight.mul_(ATTENTION_START)
        scheduler = DDIMScheduler(
            beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=True, set_alpha_to_one=True, timestep_spacing="trailing",
        )  # fmt: skip
        card = {"vocabulary": list(vocabulary), "size": size, "steps": 0, "seed": seed, "guidance": GUIDANCE}
        return cls(unet, text, tokenizer, SpaceToDepth(factor), scheduler, card)

    @classmethod
    def from_pretrained(cls, source: Any, *, dtype: torch.dtype | None = None) -> Self:
        """A Stable Diffusion (1.x, 2.x and fine-tunes of them): a `StableDiffusionPipeline`, or a folder that one was saved into.

        Nothing is downloaded. Raises `FileProblem` when a part is missing and `ConfigError` for pipelines of another kind.
        """
        if hasattr(source, "unet"):
            given = {name: getattr(source, name) for name in PARTS}
        else:
            given = read_parts(Path(source), dtype)
        if getattr(source, "text_encoder_2", None) is not None or (not hasattr(source, "unet") and (Path(source) / "text_encoder_2").exists()):
            raise ConfigError("this pipeline has two text encoders", fix="use a Stable Diffusion of the classes 1.x or 2.x")
        return cls(**given)

    # --- files

    def save(self, folder: str | Path, *, dtype: torch.dtype = torch.float16) -> Path:
        """Write it as diffusers lays out a pipeline (safetensors), and card.json with its fingerprint; all or nothing."""
        facts = {**self.card, "fingerprint": self.fingerprint}

        def write(fresh: Path) -> None:
            for name in ("unet", "text_encoder"):
                part = getattr(self, name)
                before = next(part.parameters()).dtype
                with quiet():
                    part.to(dtype).save_pretrained(fresh / name, safe_serialization=True)
                    part.to(before)
            self.tokenizer.save_pretrained(fresh / "tokenizer")
            self.scheduler.save_pretrained(fresh / "scheduler")
            if isinstance(self.vae, SpaceToDepth):
                text = json.dumps({"_class_name": "SpaceToDepth", "factor": self.vae.factor})
                _storage.write_atomically(fresh / "vae" / "config.json", text.encode())
            else:
                self.vae.save_pretrained(fresh / "vae", safe_serialization=True)
            _storage.write_atomically(fresh / CARD, json.dumps(facts, indent=1).encode())
            for file in (fresh, *fresh.rglob("*")):
                file.chmod(0o755 if file.is_dir() else 0o644)

        # Rounding is part of what is saved: what goes on from here is what will be loaded.
        _round(self.modules, dtype)
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
        return int(self.text_encoder.get_input_embeddings().weight.shape[1])

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
        """How strongly pictures are led to the prompt unless asked otherwise: what its card says, or Stable Diffusion's usual 7.5."""
        return float(self.card.get("guidance", 7.5))

    @property
    def parameters(self) -> int:
        """Weights of denoiser and text encoder."""
        return sum(p.numel() for part in (self.unet, self.text_encoder) for p in part.parameters())

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Self:
        """Move everything; half precision is for GPUs."""
        for part in self.modules:
            part.to(device) if dtype is None else part.to(device, dtype)
        return self

    # --- words

    def words(self, prompts: Sequence[str], concepts: Sequence[Concept] = ()) -> Words:
        """Prompts as numbers; raises `BadPrompt`."""
        counts = {one.name: one.count for one in concepts}
        if len(counts) < len(concepts):
            raise ConfigError("two concepts have one name", fix="rename one")
        return _tokens.tokenize(self.tokenizer, prompts, counts, vocabulary=self.card.get("vocabulary"))

    def encode_words(self, words: Words, concepts: Sequence[Concept] = ()) -> Tensor:
        """Context float [n, T, d]; gradients reach the concepts' rows."""
        with _tokens.standing(words, concepts):
            return self.text_encoder(words.ids.to(self.device)).last_hidden_state

    def encode(self, prompts: Sequence[str], concepts: Sequence[Concept] = ()) -> Tensor:
        """Context float [n, T, d] of prompts, in which learned words stand as `<mug>`."""
        return self.encode_words(self.words(prompts, concepts), concepts)

    # --- pictures

    def latents(self, images: np.ndarray) -> Tensor:
        """float [n, c, h, w] of uint8 [n, H, W, 3]; raises `BadImage`."""
        pixels = to_tensor(images).to(self.device, self.dtype)
        with torch.no_grad():
            return self.vae.encode(pixels).latent_dist.mode() * self.vae.config.scaling_factor

    def images(self, latents: Tensor) -> np.ndarray:
        """uint8 [n, H, W, 3] of latents."""
        with torch.no_grad():
            return to_images(self.vae.decode(latents / self.vae.config.scaling_factor).sample)

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
        extra = None if slots is None else {"slots": slots.at(t)}
        return self.unet(x, t, encoder_hidden_states=context, cross_attention_kwargs=extra).sample

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


def _round(modules: Sequence[nn.Module], dtype: torch.dtype) -> None:
    with torch.no_grad():
        for part in modules:
            for tensor in part.state_dict().values():
                if tensor.is_floating_point():
                    tensor.copy_(tensor.to(dtype))
