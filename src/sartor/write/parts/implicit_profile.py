"""A person's profile that nobody wrote down: read from past answers, in general and for the moment, with words to copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.parts.sequence import SequenceEncoder
from sartor.write.parts.copy_head import HistoryCopy
from sartor.write.parts.extended_vocabulary import ExtendedVocabulary, Word, padded_ids
from sartor.write.parts.history_views import View
from sartor.write.parts.memory_attention import KeyValueMemory, masked_softmax


class Profile(NamedTuple):
    """What was read of some people, B rows."""

    general: Tensor
    """float [B, dim], the summary token's output."""
    keys: Tensor
    """float [B, pairs, dim], of past posts."""
    values: Tensor
    """float [B, pairs, dim], of past answers."""
    pairs: Tensor
    """bool [B, pairs]."""
    tokens: Tensor
    """float [B, words, dim], of every word of every answer."""
    ids: Tensor
    """int64 [B, words], in each person's extended vocabulary."""
    words: Tensor
    """bool [B, words]."""

    def rows(self, rows: Tensor) -> Profile:
        """Some people, in any order, also repeated."""
        return Profile(*(one[rows] for one in self))


class Said(NamedTuple):
    """What a head says at L moments of each of B answers."""

    words: Tensor
    """float [B, L, vocabulary], what joins the model's logits."""
    copied: Tensor
    """float [B, L, words], weights of the history's words."""
    gate: Tensor
    """float [B, L], how much is generated."""


class _Level(nn.BatchNorm1d):
    """Batch normalisation; a row that is alone in its batch, which has no spread of its own, is levelled by what was seen so far."""

    def forward(self, rows: Tensor) -> Tensor:
        if self.training and len(rows) < 2:
            return F.batch_norm(rows, self.running_mean, self.running_var, eps=self.eps)
        return super().forward(rows)


class ImplicitProfile(nn.Module):
    """General profile, key-value memory for the dynamic one, and copying, over the states of a frozen language model.

    All maps begin as what is plainly sensible: words are copied where the model was in a similar state, a past post is like this one where its
    words are, and what was answered then makes its words likelier. From there they learn.

    Source: Ma et al., One Chatbot Per Person, 2021, and its code.

    Parameters
    ----------
    vocabulary, width: tokens of the model, and width of its states. Everything here is twice as wide: a word's code beside the state that was
        about to say it. Codes begin at random, since to a model words that mean the same are nearly the same vector.
    pieces, longest: past pairs, and words of an answer or tokens of a post, at most.
    general, dynamic, copies: its three parts; without one its vector is 0, or nothing is copied.
    query: who asks the memory: "step", the decoder's state with its context at every word (as in the authors' code); "post", the mean
        of the post's states (as the paper says).
    """

    def __init__(
        self, vocabulary: int, width: int, *, heads: int = 4, pieces: int = 15, longest: int = 20, general: bool = True, dynamic: bool = True,
        copies: bool = True, query: str = "step",
    ) -> None:  # fmt: skip
        super().__init__()
        if query not in ("step", "post"):
            raise ConfigError(f"there is no query '{query}'", fix="use step or post")
        self.has_general, self.has_dynamic, self.copies, self.query, self.longest = general, dynamic, copies, query, longest
        dim = 2 * width
        self.codes = nn.Embedding(vocabulary, width)
        self.summary = nn.Parameter(torch.randn(dim))

        def encoder(most: int) -> SequenceEncoder:
            made = SequenceEncoder(
                dim, blocks=1, heads=heads, dropout=0.1, max_length=most, feedforward=2 * dim, activation="gelu", count_from="start",
                attention="bidirectional",
            )  # fmt: skip
            for name, weight in made.named_parameters():
                if name.endswith(("out.weight", "down.weight")):
                    nn.init.zeros_(weight)
            return made

        self.answers, self.posts = encoder(pieces * longest + 1), encoder(longest)
        # What all posts have in common finds nothing, and sums of many words would saturate the switch before anything is learned.
        self.level_keys, self.level_values, self.level_seen = (_Level(dim, affine=False) for _ in range(3))
        self.context = nn.Linear(width, dim)
        nn.init.zeros_(self.context.weight)
        self.memory = KeyValueMemory(width + dim if query == "step" else dim, dim)
        self.copy = HistoryCopy(width, dim)
        combined = width + 3 * dim
        self.combine, self.switch = nn.Linear(combined, width), nn.Linear(combined, 2)
        with torch.no_grad():
            own = torch.eye(dim)
            self.copy.asks.weight.copy_(own[:, width:])
            self.memory.asks.weight.copy_(F.pad(own, (width, 0)) if query == "step" else own)
            for linear in (self.copy.asks, self.memory.asks, self.combine, self.switch):
                nn.init.zeros_(linear.bias)
            nn.init.zeros_(self.switch.weight)
            nn.init.zeros_(self.combine.weight)
            # Of the dynamic profile, the words.
            self.combine.weight[:, -dim:] = own[:width]

    def read(self, histories: Sequence[Sequence[View]], vocabularies: Sequence[ExtendedVocabulary]) -> Profile:
        """Profiles of people, each of at least one piece, oldest first; words that are no tokens join each one's vocabulary."""
        answers = [[view.spelled[: self.longest] for view in own] for own in histories]
        lengths = torch.tensor([[sum(len(one) for one in own)] for own in answers])[:, 0]
        told = np.concatenate([view.states[: self.longest] for own in histories for view in own])
        entered = self._entered([word for own in answers for one in own for word in one], told).split(lengths.tolist())
        put = self.answers.ragged(torch.cat([part for one in entered for part in (one, self.summary[None])]), lengths + 1)
        rows = put.split((lengths + 1).tolist())
        dim = put.shape[1]
        most, pairs = int(lengths.max()), max(len(own) for own in histories)
        tokens = put.new_zeros(len(rows), max(1, most), dim)
        values, keys, there = (
            put.new_zeros(len(rows), pairs, dim),
            put.new_zeros(len(rows), pairs, dim),
            torch.zeros(len(rows), pairs, dtype=torch.bool),
        )
        posts = [view.post[-self.longest :] for own in histories for view in own]
        sizes = torch.tensor([len(one) for one in posts])
        asked = self._entered(np.concatenate(posts), np.concatenate([view.post_states[-self.longest :] for own in histories for view in own]))
        outputs = iter(self.posts.ragged(asked, sizes).split(sizes.tolist()))
        for row, (own, one) in enumerate(zip(answers, rows, strict=True)):
            tokens[row, : len(one) - 1] = one[:-1]
            there[row, : len(own)] = True
            for pair, part in enumerate(one[:-1].split([len(answer) for answer in own])):
                values[row, pair], keys[row, pair] = part.sum(0), next(outputs).sum(0)
        values, keys = (
            part.masked_scatter(there[:, :, None], level(part[there])) for part, level in ((values, self.level_values), (keys, self.level_keys))
        )
        ids, mask = padded_ids(vocabularies, [[word for one in own for word in one] for own in answers])
        return Profile(torch.stack([one[-1] for one in rows]), keys, values, there, tokens, ids, mask)

    def _entered(self, words: Sequence[Word] | np.ndarray, states: np.ndarray) -> Tensor:
        """Codes beside levelled states, float [n, 2 * width]; a word of several tokens has the sum of theirs at the length of one."""
        hidden = torch.from_numpy(states.astype(np.float32))
        if isinstance(words, np.ndarray):
            codes = self.codes(torch.from_numpy(words.astype(np.int64)))
        else:
            sizes = torch.tensor([len(word) for word in words])
            tokens = torch.tensor([token for word in words for token in word])
            codes = F.embedding_bag(tokens, self.codes.weight, sizes.cumsum(0) - sizes, mode="sum") * sizes[:, None] ** -0.5
        return torch.cat([codes, F.layer_norm(hidden, hidden.shape[-1:])], -1)

    def context_of(self, prompts: Sequence[np.ndarray], states: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Prompts as `forward` takes them: float [B, m, 2 * width] and bool [B, m]; tokens and states [m, width] of each."""
        entered = self._entered(np.concatenate(prompts), np.concatenate(states))
        mask = torch.arange(max(len(one) for one in prompts))[None] < torch.tensor([[len(one)] for one in prompts])
        return entered.new_zeros(*mask.shape, entered.shape[1]).masked_scatter(mask[:, :, None], entered), mask

    def forward(self, states: Tensor, context: Tensor, asked: Tensor, profile: Profile) -> Said:
        """What is said at some moments of B answers.

        states float [B, L, width]; context float [B, m, 2 * width] and asked bool [B, m] of the prompts (`context_of`); B profiles.
        """
        scores = self.context(states) @ context.transpose(1, 2) * context.shape[-1] ** -0.5
        seen = masked_softmax(scores, asked[:, None]) @ context
        if self.query == "step":
            seen = self.level_seen(seen.flatten(0, 1)).view_as(seen)
            query = torch.cat([states, seen], -1)
        else:
            mean = (context * asked[:, :, None]).sum(1) / asked.sum(1, keepdim=True).clamp(min=1)
            query = self.level_seen(mean)[:, None].expand_as(seen)
        dynamic, _ = self.memory(query, profile.keys, profile.values, profile.pairs)
        general = profile.general[:, None].expand_as(dynamic)
        combined = torch.cat([states, seen, general * self.has_general, dynamic * self.has_dynamic], -1)
        copied = self.copy(states, profile.tokens, profile.words)
        gate = self.switch(combined).softmax(-1)[..., 0]
        words = self.combine(combined) @ self.codes.weight.T * self.codes.embedding_dim**-0.5
        return Said(words, copied, gate if self.copies else torch.ones_like(gate))
