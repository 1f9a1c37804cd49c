"""Encoders of other makers, frozen: any vision model of transformers, any ONNX file; and plain pixels, which others must beat.

encoder = open_encoder("transformers:path/to/model", shape)
encoder.encode(images)            float32 [n, dim], of uint8 [n, h, w, 3]
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sartor.errors import ConfigError, CorruptFile, FileProblem, MissingExtra

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet: what most vision models expect who do not say otherwise."""


class Encoder(Protocol):
    """From pictures to vectors."""

    @property
    def fingerprint(self) -> str:
        """Another one for other weights: vectors of one encoder say nothing beside those of another."""

    def encode(self, images: np.ndarray) -> np.ndarray:
        """float32 [n, dim], of uint8 [n, h, w, 3]."""


def open_encoder(name: str) -> Encoder:
    """ "pixels", "transformers:FOLDER" (or a name in the local cache) or "onnx:FILE"."""
    kind, _, where = name.partition(":")
    if kind == "pixels" and not where:
        return Pixels()
    if kind == "transformers" and where:
        return Transformers(where)
    if kind == "onnx" and where:
        return Onnx(Path(where))
    raise ConfigError(f"there is no encoder '{name}'", fix="use small, pixels, transformers:FOLDER or onnx:FILE")


class Pixels:
    """The picture itself, at most 32 pixels high, without its mean and contrast."""

    fingerprint = "pixels"

    def encode(self, images: np.ndarray) -> np.ndarray:
        """See `Encoder`."""
        step = max(1, round(images.shape[1] / 32))
        small = images[:, : images.shape[1] // step * step, : images.shape[2] // step * step].astype(np.float32)
        n, height, width, channels = small.shape
        small = small.reshape(n, height // step, step, width // step, step, channels).mean((2, 4)).reshape(n, -1)
        small -= small.mean(1, keepdims=True)
        return small / np.maximum(small.std(1, keepdims=True), 1e-6)


class Transformers:
    """A vision model of transformers: its pooled output where it has one, else the mean of its last hidden states."""

    def __init__(self, name: str) -> None:
        try:
            from transformers import AutoConfig, AutoModel
        except ImportError as missing:
            raise MissingExtra("transformers", "text") from missing
        try:
            config = AutoConfig.from_pretrained(name, local_files_only=True)
            found, told = AutoModel.from_pretrained(name, local_files_only=True, output_loading_info=True)
        except (OSError, ValueError) as cause:
            raise FileProblem(f"transformers cannot open '{name}'", fix="give the folder of a saved vision model", file=name) from cause
        # What a file lacks is drawn at random, each time anew. Heads for labels are saved without a pooler, and can be read without it.
        self.model, self.lacking = found.eval(), frozenset(told["missing_keys"])
        if lost := sorted(key for key in self.lacking if "pooler" not in key):
            raise FileProblem(f"there are no weights of {lost[0]}", fix="give the folder of a whole vision model", file=name)
        config = getattr(config, "vision_config", config)
        side = getattr(config, "image_size", None)
        if side is None:
            raise ConfigError(f"'{name}' does not say for which size of pictures it is", fix="use a vision model such as ViT, DINOv2 or CLIP")
        self.size = (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))
        self.mean, self.deviation = _normalisation(name)

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits of its weights, to the precision of float16, and of what pictures are brought to."""
        made = hashlib.blake2b(json.dumps([self.size, self.mean, self.deviation]).encode(), digest_size=16)
        for name, tensor in sorted((name, one) for name, one in self.model.state_dict().items() if name not in self.lacking):
            made.update(f"{name}{list(tensor.shape)}".encode())
            made.update(np.ascontiguousarray(tensor.half().numpy()).data)
        return made.hexdigest()

    def encode(self, images: np.ndarray) -> np.ndarray:
        """See `Encoder`."""
        import torch

        out = []
        with torch.no_grad():
            for at in range(0, len(images), 64):
                x = torch.from_numpy(_prepared(images[at : at + 64], self.size, self.mean, self.deviation))
                if hasattr(self.model, "get_image_features"):
                    made = self.model.get_image_features(pixel_values=x)
                    out.append((made if isinstance(made, torch.Tensor) else made.pooler_output).numpy())
                    continue
                made = self.model(pixel_values=x)
                pooled = None if self.lacking else getattr(made, "pooler_output", None)
                hidden = made.last_hidden_state
                pooled = pooled if pooled is not None else hidden.mean(1) if hidden.ndim == 3 else hidden.mean((2, 3))
                out.append(pooled.flatten(1).numpy())
        return np.concatenate(out).astype(np.float32)


class Onnx:
    """Any model in ONNX with one picture input, float32 [n, 3, h, w] or [n, h, w, 3]; its first output is the vector.

    What it expects of colours it does not say: they are given normalised as for ImageNet, in RGB.
    """

    def __init__(self, file: Path) -> None:
        try:
            import onnxruntime
        except ImportError as missing:
            raise MissingExtra("onnxruntime", "onnx") from missing
        if not file.is_file():
            raise FileProblem("there is no such file", fix="give an .onnx file", file=file)
        try:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as cause:  # onnxruntime's errors have no common base
            raise CorruptFile("this is no model that onnxruntime can run", fix="export it again", file=file) from cause
        first = self.session.get_inputs()[0]
        shape: list[Any] = list(first.shape)
        if len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise ConfigError(f"its first input is {shape}", fix="use a model that takes pictures [n, 3, h, w] or [n, h, w, 3]", file=str(file))
        self.name, self.last = first.name, shape[3] == 3 and shape[1] != 3
        sides = shape[1:3] if self.last else shape[2:4]
        self.size = tuple(side if isinstance(side, int) else 0 for side in sides)
        self.fixed = shape[0] if isinstance(shape[0], int) else 0
        with file.open("rb") as opened:
            self.fingerprint = hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

    def encode(self, images: np.ndarray) -> np.ndarray:
        """See `Encoder`."""
        size = (self.size[0] or images.shape[1], self.size[1] or images.shape[2])
        step, out = self.fixed or 64, []
        for at in range(0, len(images), step):
            x = _prepared(images[at : at + step], size, MEAN, DEVIATION)
            short = step - len(x) if self.fixed else 0
            given = np.concatenate([x, np.zeros((short, *x.shape[1:]), np.float32)]) if short else x
            made = self.session.run(None, {self.name: given.transpose(0, 2, 3, 1).copy() if self.last else given})[0]
            out.append(np.asarray(made, np.float32).reshape(len(given), -1)[: len(x)])
        return np.concatenate(out)


def _prepared(images: np.ndarray, size: tuple[int, int], mean: tuple[float, ...], deviation: tuple[float, ...]) -> np.ndarray:
    """float32 [n, 3, h, w], brought to the size and normalised."""
    import torch
    import torch.nn.functional as F

    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    if x.shape[2:] != size:
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
    made = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
    return made.numpy()


def _normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What the model's own preprocessor says, where it comes with one."""
    file = Path(name) / "preprocessor_config.json"
    if not file.is_file():
        return MEAN, DEVIATION
    try:
        facts = json.loads(file.read_bytes())
        return tuple(map(float, facts.get("image_mean", MEAN))), tuple(map(float, facts.get("image_std", DEVIATION)))
    except (ValueError, TypeError, AttributeError) as cause:
        raise CorruptFile("the preprocessor's settings cannot be read", fix="save the model again", file=file) from cause
