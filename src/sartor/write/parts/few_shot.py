"""A person's choices as examples before a question: windows of one person's own to learn from, and prompts in words or in tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np

from sartor.errors import ConfigError
from sartor.write.parts.choices import Choice
from sartor.write.parts.tokenizer import ASSISTANT, Tokenizer

if TYPE_CHECKING:
    from sartor.write.backends.backend import Backend


T = TypeVar("T")


class Window(NamedTuple, Generic[T]):
    """Choices of one person, in words or in tokens."""

    shots: Sequence[T]
    queries: Sequence[T]
    """Each to be answered behind the shots alone."""


def windows(people: Sequence[Sequence[T]], shots: int, queries: int, rng: np.random.Generator) -> Iterator[Window[T]]:
    """One pass over everybody's choices, shuffled and cut into windows; nobody's choices stand in another's window, and what is left over waits."""
    if shots < 0 or queries < 1:
        raise ConfigError(f"{shots} shots and {queries} queries", fix="use shots >= 0 and queries >= 1")
    size = shots + queries
    cut: list[tuple[int, np.ndarray]] = []
    for who, own in enumerate(people):
        order = rng.permutation(len(own))
        cut += [(who, order[start : start + size]) for start in range(0, len(own) - size + 1, size)]
    for place in rng.permutation(len(cut)):
        who, rows = cut[place]
        chosen = [people[who][row] for row in rows]
        yield Window(chosen[:shots], chosen[shots:])


class Shot(NamedTuple):
    """A choice as token numbers, without marks."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def encode(tokenizer: Tokenizer, choices: Sequence[Choice]) -> list[Shot]:
    """Choices as tokens."""
    parts = [tokenizer.encode_all([one[kind] for one in choices]) for kind in range(3)]
    return [Shot(*row) for row in zip(*parts, strict=True)]


def shot_tokens(tokenizer: Tokenizer, shot: Shot, *, positives: bool = False) -> list[int]:
    """An example in a small model's own layout: the question, the preferred answer as an answer, and the other one under the mark that no answer
    has (the system's)."""
    special, end = tokenizer.special, tokenizer.end
    left = [] if positives else [special["<|system|>"], *shot.rejected, end]
    return [special["<|user|>"], *shot.prompt, end, special[ASSISTANT], *shot.chosen, end, *left]


def question_tokens(tokenizer: Tokenizer, prompt: Sequence[int]) -> list[int]:
    """A question, the answer to come."""
    return [tokenizer.special["<|user|>"], *prompt, tokenizer.end, tokenizer.special[ASSISTANT]]


def few_shot_prompt(shots: Sequence[Choice], question: str, *, positives: bool = False, describe: bool = False, description: str = "") -> str:
    """The published prompt in words, for large models; the answer goes on from its last heading.

    Parameters
    ----------
    positives: leave the rejected answers out.
    describe: ask for a description of the person instead of the answer; given back as `description`, it stands before the answer.
    """
    better = "Response" if positives else "Preferred Response"
    lines: list[str] = []
    for number, one in enumerate(shots, 1):
        lines += [f"# Example {number}", "## Question", one.prompt, f"## {better}", one.chosen]
        lines += [] if positives else ["## Dispreferred Response", one.rejected]
        lines.append("")
    kind = "response" if positives else "preferred response"
    if describe or description:
        task = f"Generate a user description based on the examples above. Then, generate a {kind} to the following question."
    elif shots:
        task = f"Given the examples above, generate a {kind} to the following question."
    else:
        task = "Generate a response to the following question."
    lines += ["# Task", task, "## Question", question]
    if description:
        lines += ["## User Description", description]
    lines.append("## User Description" if describe else f"## {better}")
    return "\n".join(lines) + "\n"


def write_few_shot(
    backend: Backend, shots: Sequence[Choice], question: str, *, positives: bool = False, describe: bool = False, max_tokens: int = 256
) -> str:
    """The prompt-only form with any model that follows instructions, untrained: the baseline. With `describe` it first writes who the person is
    (one request more)."""

    def asked(prompt: str) -> str:
        return backend.generate([[{"role": "user", "content": prompt}]], max_tokens=max_tokens, stop=["\n#"])[0].text.strip()

    told = asked(few_shot_prompt(shots, question, positives=positives, describe=True)) if describe else ""
    return asked(few_shot_prompt(shots, question, positives=positives, description=told))
