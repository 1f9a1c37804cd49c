"""A language model's own view of a text as a text encoder: mean word vectors beside mean last states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.parts.transformer import Tokens
from sartor.represent.neural import NeuralEncoder
from sartor.write.parts.language_model import LanguageModel


class LMEncoder(NeuralEncoder):
    """For small models of a narrow language: what words a text has, and what they are doing there, in 2 * dim numbers.

    It has no layers to be cut after, and is saved with its model.
    """

    def __init__(self, model: LanguageModel, *, batch_size: int = 128) -> None:
        config = model.network.config
        self.model, self.network, self.name = model, model.network, "lm"
        self.dim, self.depth, self.pooling, self.batch_size, self.max_tokens, self.device = (
            2 * config.dim, 0, "mean", batch_size, config.max_tokens, "cpu",
        )  # fmt: skip

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array(one[: self.max_tokens], np.int64) for one in self.model.tokenizer.encode_all([text.strip() for text in texts])]

    def states(self, tokens: Tokens) -> list[Tensor]:
        ids, mask = tokens.padded(self.model.tokenizer.pad)
        out = self.network.run(ids, mask=mask, states=True)  # type: ignore[operator]
        return [torch.cat([out.states[0], out.hidden], -1)[mask]]

    def stack(self) -> Sequence[nn.Module]:
        return []

    def save(self, folder: str | Path) -> Path:
        raise ConfigError("this encoder is a language model", fix="save the model itself")

    def _cut(self, layers: int) -> None:
        raise ConfigError("this encoder has no layers to be cut after", fix="use it whole")

    def _settings(self) -> dict[str, Any]:
        return {"kind": "lm-1", "words": self.model.tokenizer.to_text()}
