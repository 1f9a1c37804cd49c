"""Cross Initialization: a new word starts from what the text encoder says of its class, rather than from its row in the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sartor.draw._base import ConceptMethod
from sartor.draw._shown import Shown
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tokens import Concept, of_word
from sartor.draw.parts.word_learning import learn_word
from sartor.errors import ConfigError

FAST = {"steps": 25, "learning_rate": 2e-2}
"""Settings of the fast version; its rate is not in the paper."""


@dataclass(kw_only=True, eq=False)
class CrossInit(ConceptMethod):
    """Textual inversion in a fraction of the steps: learned rows end up nearer to the encoder's outputs than to its inputs, so they start there.

    It helps where outputs are much larger than input rows, as those of Stable Diffusion 2 are; the record says by how much (`output_to_input`).

    Source: Pang et al., Cross Initialization for Personalized Text-to-Image Generation, CVPR 2024. State: rows float32 [vectors, d].
    """

    steps: int = 320
    learning_rate: float = 5e-3
    """For Stable Diffusion, whose words are short; on the shapes prior, whose words are twenty times longer, 6e-2 was best of 5e-3, 2e-2 and 6e-2."""
    batch: int = 8
    vectors: int = 2
    """Rows of the word."""
    near: float = 1e-5
    """Weight of the mean distance of the rows from their start."""
    names: Sequence[str] | None = None
    """Members of the class by name: their rows are averaged place by place before they are encoded. Without names, the class word is encoded."""
    start: Literal["outputs", "inputs"] = "outputs"
    """ "inputs" is the usual start, for comparison."""

    def _check_thing(self, prior: Prior, shown: Shown) -> None:
        super()._check_thing(prior, shown)
        if self.vectors < 1 or self.near < 0:
            raise ConfigError(f"vectors {self.vectors}, near {self.near}", fix="use vectors >= 1, near >= 0")
        self._inputs(prior, shown.class_word)

    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        inputs = self._inputs(prior, shown.class_word)
        outputs = said(prior, inputs)
        begin = outputs if self.start == "outputs" else inputs
        word, record = learn_word(
            prior, references, shown.name, begin, prompts=self.captions(shown), steps=self.steps, learning_rate=self.learning_rate, batch=self.batch,
            near=self.near, seed=seed, progress=progress,
        )  # fmt: skip
        ratio, cosine = outputs.norm(dim=-1) / inputs.norm(dim=-1), torch.cosine_similarity(outputs, inputs, dim=-1)
        return {"rows": word.rows}, {**record, "output_to_input": float(ratio.mean()), "cosine": float(cosine.mean())}

    def _inputs(self, prior: Prior, class_word: str) -> Tensor:
        """float [vectors, d], the table's rows of the class word, repeated, or of the names, averaged column by column."""
        if self.names is None:
            rows = of_word(prior.text_encoder, prior.tokenizer, class_word)
            return rows.repeat(-(-self.vectors // len(rows)), 1)[: self.vectors]
        if not self.names:
            raise ConfigError("names is empty", fix="give names of members of the class, or None for the class word")
        # Words that a closed language does not have are named here.
        prior.words(list(self.names))
        each = [of_word(prior.text_encoder, prior.tokenizer, name) for name in self.names]
        if (most := max(map(len, each))) < self.vectors:
            raise ConfigError(f"vectors is {self.vectors}, the names have {most} tokens at most", fix=f"use vectors={most}, or longer names")
        return torch.stack([torch.stack([one[column] for one in each if len(one) > column]).mean(0) for column in range(self.vectors)])


@torch.no_grad()
def said(prior: Prior, inputs: Tensor) -> Tensor:
    """float [m, d]: what the text encoder gives for rows [m, d] that are a prompt by themselves."""
    return prior.encode(["<start>"], [Concept("<start>", inputs)])[0, 1 : 1 + len(inputs)]
