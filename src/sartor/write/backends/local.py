"""A model in this process as a writer backend: prompts in, words out, whatever the network and its tokenizer are."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from sartor.errors import ConfigError, TooLarge, UnknownId
from sartor.parts.lora import LoraBank, read_adapter
from sartor.write.backends.backend import Generation, Message, check_messages, check_settings
from sartor.write.parts.decoding import Decoder, RowAdapters, Sampling

_UNFINISHED = "\ufffd"


class Words(Protocol):
    """A tokenizer that knows how its model is talked to."""

    end: frozenset[int]
    """Tokens that end an answer."""
    longest: int
    """Tokens that the model takes, prompt and answer together."""

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """A conversation, and the assistant's turn. What a message says can never be read as its end or as another speaker."""
        ...

    def ids(self, text: str) -> list[int]:
        """A plain text."""
        ...

    def text(self, ids: Sequence[int]) -> str:
        """The reverse, without special tokens."""
        ...


Adapters = tuple[RowAdapters, Callable[[str | None], int]]
"""Per-row weights, and the number of a name among them; the function raises `UnknownId` for a name that is none."""


def named_adapters(network: torch.nn.Module, folders: Mapping[str, str | Path]) -> Adapters | None:
    """LoRA adapters in peft's layout, opened over a network by name, all of one rank and scale; None when there are none.

    Raises `ConfigError` for an adapter of another network, rank or kind, `FileProblem` and `CorruptFile`.
    """
    if not folders:
        return None
    config, arrays = read_adapter(next(iter(folders.values())))
    alpha = config["lora_alpha"] * (config["r"] ** 0.5 if config.get("use_rslora") else 1)
    bank = LoraBank(network, targets=sorted({name.rpartition(".")[0] for name in arrays}), rank=config["r"], alpha=alpha)
    numbers = {name: bank.read(folder) for name, folder in folders.items()}

    def number(name: str | None) -> int:
        if name is None:
            return -1
        if name not in numbers:
            raise UnknownId("there is no such adapter", fix="open the model with it", adapter=repr(name[:100]))
        return numbers[name]

    return bank, number


class LocalWriter:
    """A `Backend` over a network with `run` and `words_out` as `CausalLM` has them.

    Parameters
    ----------
    name: as it was asked for.
    network: anything that `write.parts.decoding.Decoder` decodes, and that gives logits of token numbers when it is called.
    words: its tokenizer.
    adapters: per-row weights (`named_adapters`).
    """

    def __init__(self, name: str, network: Any, words: Words, *, adapters: Adapters | None = None) -> None:
        self.name, self.network, self.words, self.adapters = name, network, words, adapters
        # One batch at a time: two would only slow each other down, and per-row weights belong to the batch that is inside.
        self._lock = threading.Lock()

    def generate(
        self, batch: Sequence[Sequence[Message]], *, max_tokens: int = 256, temperature: float = 0.0, seed: int | None = None,
        stop: Sequence[str] = (), logprobs: bool = False, adapters: Sequence[str | None] | None = None,
    ) -> list[Generation]:  # fmt: skip
        """See `Backend.generate`; raises `TooLarge` where prompt and answer are more than the model takes. Row i draws with seed + i."""
        check_settings(len(batch), max_tokens, temperature, adapters)
        prompts = [self._prompt(messages, max_tokens) for messages in batch]
        if not prompts:
            return []
        decoder = self._decoder(prompts, max_tokens, temperature, seed, stop, adapters)
        with self._lock:
            while decoder.step():
                pass
        made = []
        for prompt, out in zip(prompts, decoder.out, strict=True):
            text, ended = self._cut(self.words.text(out.ids), stop)
            given = tuple(out.log_probs) if logprobs else None
            made.append(Generation(text, "stop" if ended else out.finish, len(prompt), len(out.ids), given))
        return made

    def stream(
        self, messages: Sequence[Message], *, max_tokens: int = 256, temperature: float = 0.0, seed: int | None = None, stop: Sequence[str] = (),
        adapter: str | None = None,
    ) -> Iterator[str]:  # fmt: skip
        """See `Backend.stream`. What may be the beginning of a stop text is held back until it is known."""
        check_settings(1, max_tokens, temperature, None)
        prompt = self._prompt(messages, max_tokens)
        return self._pieces(self._decoder([prompt], max_tokens, temperature, seed, stop, [adapter]), stop)

    def _pieces(self, decoder: Decoder, stop: Sequence[str]) -> Generator[str, None, str]:
        """Returns what `Generation.finish` would be."""
        told, going = 0, True
        while going:
            with self._lock:
                going = bool(decoder.step())
            text, ended = self._cut(self.words.text(decoder.out[0].ids), stop)
            sure = len(text) if ended or not going else len(text) - _held_back(text, stop)
            if sure > told:
                yield text[told:sure]
                told = sure
            if ended:
                return "stop"
        return decoder.out[0].finish

    def logprobs(self, contexts: Sequence[Sequence[Message]], continuations: Sequence[str]) -> list[np.ndarray]:
        """See `Backend.logprobs`: float64, one number per token of the continuation."""
        if len(contexts) != len(continuations):
            raise ConfigError(f"{len(continuations)} continuations for {len(contexts)} conversations", fix="give one for each")
        found = []
        for messages, text in zip(contexts, continuations, strict=True):
            said = self.words.ids(text)
            prompt = self._prompt(messages, len(said))
            with self._lock, torch.no_grad():
                logits = self.network(torch.tensor([prompt + said]))[0, len(prompt) - 1 : -1].double()
            found.append(logits.log_softmax(-1).gather(1, torch.tensor(said, dtype=torch.int64)[:, None])[:, 0].numpy())
        return found

    def count_tokens(self, text: str) -> int:
        """Exactly."""
        return len(self.words.ids(text))

    def _prompt(self, messages: Sequence[Message], more: int) -> list[int]:
        check_messages(messages)
        ids = self.words.prompt(messages)
        if len(ids) + more > self.words.longest:
            what = f"a prompt of {len(ids):,} tokens and {more:,} more; the model takes {self.words.longest:,}"
            raise TooLarge(what, fix="shorten the messages, or ask for fewer tokens")
        return ids

    def _decoder(
        self, prompts: list[list[int]], max_tokens: int, temperature: float, seed: int | None, stop: Sequence[str],
        adapters: Sequence[str | None] | None,
    ) -> Decoder:  # fmt: skip
        own = None
        if adapters is not None and any(one is not None for one in adapters):
            if self.adapters is None:
                raise ConfigError("this model was opened without adapters", fix="open it with them, or ask without")
            own = (self.adapters[0], [self.adapters[1](one) for one in adapters])
        first = secrets.randbits(32) if seed is None else seed
        ends = (lambda ids: self._cut(self.words.text(ids), stop)[1]) if stop else None
        sampling = Sampling(max_tokens=max_tokens, temperature=temperature, stop=self.words.end, ends=ends)
        return Decoder(self.network, prompts, sampling, seeds=[(first + row) % 2**63 for row in range(len(prompts))], adapters=own)

    @staticmethod
    def _cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
        """A text up to the first stop text, and whether there was one."""
        found = [at for one in stop if one and (at := text.find(one)) >= 0]
        return (text[: min(found)], True) if found else (text, False)


def _held_back(text: str, stop: Sequence[str]) -> int:
    """Characters at the end that may still change: the beginning of a stop text, or half of a character."""
    longest = 0
    for one in stop:
        for length in range(min(len(one) - 1, len(text)), longest, -1):
            if text.endswith(one[:length]):
                longest = length
                break
    return max(longest, len(text) - len(text.rstrip(_UNFINISHED)))
