"""Multi-sense skip-gram with hard clustering (Neelakantan et al., EMNLP 2014): the baseline of disambiguated skip-gram, trained alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sartor.represent.sense_vectors import SenseVectors, SkipGram
from sartor.represent.word_prediction import Vocabulary

MEMORY = 200
"""A centre is the mean of at least so many of its latest contexts, so that it follows vectors that still move."""


class HardSenses(SkipGram):
    """The sense is the cluster whose centre has the largest cosine with the context; centres are running means.

    During the first `warm` batches every word has one sense; its next K occurrences found its clusters.
    """

    def __init__(self, vocabulary: Vocabulary, dim: int, senses: int, warm: int) -> None:
        super().__init__(vocabulary, dim, senses)
        self.register_buffer("centres", torch.zeros(len(vocabulary), senses, dim))
        self.register_buffer("members", torch.zeros(len(vocabulary), senses))
        self.centres: Tensor
        self.members: Tensor
        self.warm, self.batch = warm, 0

    def context(self, around: Tensor) -> Tensor:
        """The mean direction, [B, dim]."""
        there = (around >= 0).to(torch.float32)
        return nn.functional.normalize(torch.bmm(there[:, None], self.predictor.table.detach()[around.clamp(min=0)])[:, 0], dim=1)

    def logits(self, words: Tensor, around: Tensor) -> Tensor:
        """Cosines [B, K]; of clusters that are not founded yet, -1."""
        cosines = (nn.functional.normalize(self.centres[words], dim=2) @ self.context(around)[:, :, None])[:, :, 0]
        return torch.where(self.members[words] > 0, cosines, -1.0)

    def forward(self, words: Tensor, around: Tensor, negatives: Tensor) -> Tensor:
        """Losses [B]; centres move."""
        self.batch += 1
        with torch.no_grad():
            chosen = self._move(words, around) if self.batch > self.warm else torch.zeros_like(words)
        return self.predictor(self.senses[words, chosen], around, negatives)

    def _move(self, words: Tensor, around: Tensor) -> Tensor:
        context = self.context(around)
        founded = (self.members[words] > 0).sum(1)
        chosen = self.logits(words, around).argmax(1)
        # One founder per word and batch; others of the word in this batch join what is there, or it.
        new = torch.zeros(len(self.members), dtype=torch.int64).scatter_(0, words, torch.arange(len(words)))[words] == torch.arange(len(words))
        new &= founded < self.members.shape[1]
        chosen = torch.where(new, founded, chosen)
        counts, sums = torch.zeros_like(self.members), torch.zeros_like(self.centres)
        counts.index_put_((words, chosen), torch.ones(len(words)), accumulate=True)
        sums.index_put_((words, chosen), context, accumulate=True)
        self.members += counts
        rate = 1 / self.members.clamp(min=1, max=MEMORY)[:, :, None]
        self.centres += rate * (sums - counts[:, :, None] * self.centres)
        return chosen


class MSSG(SenseVectors):
    """`SenseVectors` with hard senses; `warm` batches first."""

    warm = 0

    def _make(self, vocabulary: Vocabulary) -> SkipGram:
        return HardSenses(vocabulary, self.settings["dim"], self.senses, self.warm)
