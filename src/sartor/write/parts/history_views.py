"""Past posts and answers as a frozen language model sees them: read once, to be attended to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sartor.write.parts.decoding import left_padded
from sartor.write.parts.extended_vocabulary import Word, words_of


class Told(NamedTuple):
    """A post and its answer as tokens."""

    post: np.ndarray
    """int [tokens], as a message: with the marks that the model needs."""
    said: np.ndarray
    """int [tokens] of the answer's words, without any mark."""
    starts: np.ndarray
    """bool [tokens of said]: which begin a word."""


class View(NamedTuple):
    """What a model sees in one of them."""

    post: np.ndarray
    """int [tokens]."""
    post_states: np.ndarray
    """float16 [tokens, width], of each token of the post."""
    spelled: list[Word]
    """The answer's words."""
    states: np.ndarray
    """float16 [words, width], each about to say a word."""


class Saying(NamedTuple):
    """An answer being said after its post, for a head to learn from."""

    prompt: np.ndarray
    """int [tokens]."""
    prompt_states: np.ndarray
    """float16 [tokens, width]."""
    states: np.ndarray
    """float16 [words + 1, width], each about to say a word, the last about to end."""
    inner: np.ndarray
    """float16 [any, width], in the middle of words that are spelled: no word begins there."""
    spelled: list[Word]
    """The words, and the end."""


def views(network: Any, told: Sequence[Told], opening: int, *, batch: int = 128) -> list[View]:
    """Posts and answers, each read alone: an answer does not know its post. `opening` is the token that an answer begins behind."""
    posts = states(network, [one.post for one in told], batch=batch)
    answers = states(network, [np.concatenate([[opening], one.said]) for one in told], batch=batch)
    made = []
    for one, post, hidden in zip(told, posts, answers, strict=True):
        spelled = words_of(one.said.tolist(), one.starts.tolist())
        begins = np.cumsum([0, *(len(word) for word in spelled)])[:-1].astype(np.int64)
        made.append(View(one.post, post, spelled, hidden[begins]))
    return made


def sayings(network: Any, told: Sequence[Told], opening: Sequence[int], end: int, *, batch: int = 128) -> list[Saying]:
    """Answers as they are said behind their posts; `opening` tokens stand between the two, and `end` behind the answer."""
    prompts = [np.concatenate([one.post, opening]).astype(np.int64) for one in told]
    read = states(network, [np.concatenate([prompt, one.said]) for prompt, one in zip(prompts, told, strict=True)], batch=batch)
    made = []
    for one, prompt, hidden in zip(told, prompts, read, strict=True):
        spelled = [*words_of(one.said.tolist(), one.starts.tolist()), (end,)]
        begins = np.cumsum([0, *(len(word) for word in spelled[:-1])])
        middle = np.setdiff1d(np.arange(one.said.size + 1), begins)
        before = prompt.size - 1
        made.append(Saying(prompt, hidden[: prompt.size], hidden[before + begins], hidden[before + middle], spelled))
    return made


@torch.no_grad()
def states(network: Any, texts: Sequence[np.ndarray], *, batch: int = 128) -> list[np.ndarray]:
    """Last states of each text's tokens, float16 [tokens, width]; each text is read alone."""
    out: list[np.ndarray] = [np.empty(0)] * len(texts)
    order = np.argsort([one.size for one in texts], kind="stable")
    for start in range(0, len(texts), batch):
        rows = order[start : start + batch]
        ids, mask = left_padded([texts[row].tolist() for row in rows])
        hidden = network.run(ids, mask=mask).hidden
        for place, row in enumerate(rows):
            out[row] = hidden[place, mask[place]].numpy().astype(np.float16)
    return out


def padded(arrays: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Ragged float arrays [n, d] as float32 [B, longest, d] and bool [B, longest]."""
    longest, width = max([1, *(len(one) for one in arrays)]), arrays[0].shape[1]
    out, mask = torch.zeros(len(arrays), longest, width), torch.zeros(len(arrays), longest, dtype=torch.bool)
    for row, one in enumerate(arrays):
        out[row, : len(one)], mask[row, : len(one)] = torch.from_numpy(one.astype(np.float32)), True
    return out, mask
