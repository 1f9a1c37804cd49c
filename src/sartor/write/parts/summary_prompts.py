"""How past pieces stand in a small language model's prompt, and how a summary of them is asked for, of this model or of any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from sartor.write.backends.backend import Backend
from sartor.write.parts.language_job import summarise
from sartor.write.parts.language_model import LanguageModel
from sartor.write.parts.logits import Together
from sartor.write.parts.pieces import Piece
from sartor.write.parts.tasks import Task
from sartor.write.parts.tokenizer import Tokenizer

ROWS = 256
"""Prompts written at once."""


def as_turns(tokenizer: Tokenizer, pieces: Sequence[Piece], room: int) -> list[int]:
    """Pieces as earlier turns, in so many tokens: each has an even share, what it does not need goes to the next, and what was asked is cut
    first (LaMP's rule); a text that does not fit whole is left out."""
    ids: list[int] = []
    for at, piece in enumerate(pieces):
        share = (room - len(ids)) // (len(pieces) - at)
        text, prompt = [*tokenizer.encode(piece.text), tokenizer.end], tokenizer.encode(piece.prompt)
        left = share - len(text) - 1
        if left < 0:
            continue
        prompt = prompt[: max(0, left - 2)]
        asked = [tokenizer.special["<|user|>"], *prompt, tokenizer.end] if prompt else []
        ids += [*asked, tokenizer.special["<|assistant|>"], *text]
    return ids


def asked_for_summary(tokenizer: Tokenizer, task: str, pieces: Sequence[Piece], room: int) -> list[int]:
    """Pieces, the task's name, and a system's turn to come: what stands there in a prompt is what is to be written."""
    ask = [*tokenizer.message("user", task), tokenizer.special["<|system|>"]]
    return [*as_turns(tokenizer, pieces, room - len(ask)), *ask]


def written_together(model: LanguageModel, asked: Sequence[Sequence[list[int]]], limit: int) -> list[str]:
    """One text for each group of prompts, of at most `limit` tokens: all prompts of a group write it together (`parts.logits.Together`)."""
    out, start = [""] * len(asked), 0
    while start < len(asked):
        stop = start + 1
        while stop < len(asked) and sum(map(len, asked[start : stop + 1])) <= ROWS:
            stop += 1
        groups = [who for who in range(start, stop) for _ in asked[who]]
        prompts = [one for who in range(start, stop) for one in asked[who]]
        done = model.generate(prompts, model.sampling(max_tokens=limit), hooks=[Together(torch.tensor(groups) - start)])
        for who, one in zip(groups, done, strict=True):
            # All rows of a group are the same, but for one whose prompt left less room.
            out[who] = max(out[who], _cut(model.tokenizer, model.tokenizer.decode(one.ids), limit), key=len)
        start = stop
    return out


def _cut(tokenizer: Tokenizer, text: str, limit: int) -> str:
    """Whole words of at most so many tokens: a text that was broken off may have more when it is read again."""
    words = text.split()
    while words and len(tokenizer.encode(" ".join(words))) > limit:
        words.pop()
    return " ".join(words)


def summary_by(
    backend: Backend, task: Task, past: Sequence[Piece], *, limit: int, count: Callable[[str], int], context: int, seed: int
) -> str:  # fmt: skip
    """A summary by any language model, which is told the task; one that is too long is sent back. Raises `BadAnswer` where none fits."""

    def short(value: str, _: Sequence[str]) -> None:
        if (tokens := count(value)) > limit:
            raise ValueError(f"it has {tokens} tokens; at most {limit} are allowed")

    order = f"Summarise what these past texts of one person show about {task.about}. Use at most {max(1, limit // 2)} words."
    job = summarise(backend, order, check=short, budget=context, max_tokens=2 * limit, seed=seed)
    return str(job.must([task.shown(one) for one in reversed(past)]))
