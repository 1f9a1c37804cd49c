"""A frozen vision transformer with a few learned tokens at its entrance and a linear head behind it: what a device learns is those two alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sartor import _storage
from sartor.errors import ConfigError, FileProblem, MissingExtra


class FrozenEncoder:
    """A vision transformer of the library transformers (ViT, or CLIP's vision tower), in evaluation, without gradients for its weights.

    Prompts come after the class token of the first layer ("shallow"). Source: Jia et al., Visual Prompt Tuning, ECCV 2022.
    """

    def __init__(self, model: Any, head: nn.Linear | None = None) -> None:
        self.model, self.head = model.eval().requires_grad_(False), head
        config = model.config
        self.width, self.image, self.patch, self.channels = config.hidden_size, config.image_size, config.patch_size, config.num_channels
        if self.image % self.patch:
            raise ConfigError(f"images of {self.image} pixels are no multiple of patches of {self.patch}", fix="use another size of either")
        self._tokens: Tensor | None = None
        model.get_submodule("embeddings" if hasattr(model, "embeddings") else "vision_model.embeddings").register_forward_hook(self._insert)

    @classmethod
    def read(cls, source: str | Path) -> FrozenEncoder:
        """From a folder that `save_pretrained` wrote, or a name that transformers knows; a classifier in it is where heads start.

        Raises `FileProblem` where there is none, `MissingExtra` without transformers, `ConfigError` for another kind of model.
        """
        try:
            from safetensors import SafetensorError
            from transformers import AutoConfig, CLIPVisionModel, ViTForImageClassification, ViTModel
            from transformers.utils import logging
        except ImportError as missing:
            raise MissingExtra("transformers", "text") from missing
        logging.disable_progress_bar()
        try:
            config: Any = AutoConfig.from_pretrained(source)
            if config.model_type == "vit" and "ViTForImageClassification" in (config.architectures or ()):
                whole: Any = ViTForImageClassification.from_pretrained(source)
                return cls(whole.vit, whole.classifier.requires_grad_(False))
            if config.model_type == "vit":
                return cls(ViTModel.from_pretrained(source, add_pooling_layer=False))
            if config.model_type in ("clip", "clip_vision_model"):
                return cls(CLIPVisionModel.from_pretrained(source))
        except (OSError, ValueError, SafetensorError) as cause:
            raise FileProblem(f"there is no vision model ({cause})", fix="give a folder that save_pretrained wrote", file=source) from cause
        raise ConfigError(f"the encoder is a {config.model_type}", fix="use a vit or CLIP's vision tower")

    def _insert(self, module: nn.Module, inputs: Any, out: Tensor) -> Tensor:
        return out if self._tokens is None else torch.cat([out[:, :1], self._tokens, out[:, 1:]], dim=1)

    def encode(self, images: Tensor, tokens: Tensor | None) -> Tensor:
        """float [n, width], the class token behind the last layer, of images [n, channels, side, side] with tokens [n, m, width] each, or none."""
        self._tokens = tokens
        try:
            out = self.model(pixel_values=images)
        finally:
            self._tokens = None
        # CLIP normalises the class token in its pooler, ViT all tokens.
        return out.last_hidden_state[:, 0] if out.pooler_output is None else out.pooler_output


def digest(source: str | Path) -> str:
    """32 hex digits that tell the encoder of one folder from another's, whatever the folder is called; raises `FileProblem` where there is none."""
    if not Path(source).is_dir():
        raise FileProblem("there is no vision model", fix="give a folder that save_pretrained wrote", file=source)
    return _storage.digest(Path(source))


class Prompted(nn.Module):
    """Prompt [tokens, width] and head, over a frozen encoder that is none of its parameters."""

    def __init__(self, encoder: FrozenEncoder, tokens: int, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        if list(shape) != [encoder.channels, encoder.image, encoder.image]:
            raise ConfigError(
                f"an input is {list(shape)}, the encoder reads {[encoder.channels, encoder.image, encoder.image]}",
                fix="resize the images" if len(shape) == 3 else "give images, or leave the encoder out",
            )
        # In a tuple it is no submodule: neither trained, nor counted, nor sent.
        self._frozen = (encoder,)
        self.prompt = nn.Parameter(torch.empty(tokens, encoder.width))
        self.head = nn.Linear(encoder.width, classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A fresh prompt; the head starts from the encoder's own where that has as many classes."""
        encoder = self._frozen[0]
        bound = math.sqrt(6 / (encoder.channels * encoder.patch**2 + encoder.width))
        nn.init.uniform_(self.prompt, -bound, bound)

    def start_head(self) -> None:
        """Put the encoder's own classifier into the head, if it has one for as many classes."""
        known = self._frozen[0].head
        if known is not None and known.weight.shape == self.head.weight.shape:
            with torch.no_grad():
                self.head.weight.copy_(known.weight)
                self.head.bias.copy_(known.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes] of images [n, channels, side, side]."""
        tokens = self.prompt.expand(len(x), -1, -1)
        return self.head(self._frozen[0].encode(x, tokens if tokens.shape[1] else None))

    def together(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Logits [k, n, classes] of k clients at once, weights [k, ...] by name: the encoder is everybody's, so clients are rows of one batch."""
        k, n = x.shape[:2]
        tokens = weights["prompt"].repeat_interleave(n, 0)
        features = self._frozen[0].encode(x.flatten(0, 1), tokens if tokens.shape[1] else None).view(k, n, -1)
        return torch.baddbmm(weights["head.bias"][:, None], features, weights["head.weight"].transpose(1, 2))
