"""Steering a model behind an API by values that are kept here: its weights are never seen.

`write_remote` is value-augmented sampling, for servers that give the likeliest tokens' log-probabilities. `rerank_blocks` is not: it draws whole
blocks of text and keeps the best, for servers that give text only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sartor.errors import ConfigError
from sartor.parts.remote import Remote
from sartor.write.backends.endpoint import KEY
from sartor.write.parts.logits import tilt
from sartor.write.parts.value_model import Lookahead, ValueModel


class CompletionEndpoint:
    """A server's POST {url}/completions, asked with token numbers: vLLM and others. Neither prompts nor keys are ever logged.

    Parameters
    ----------
    url, model, key, timeout, retries, backoff: as of `write.backends.endpoint.ChatEndpoint`.
    vocabulary: token -> number, for servers that name likely tokens by their text; with None they are asked for numbers ("token_id:17", as vLLM has).
    """

    def __init__(
        self, url: str, model: str, *, vocabulary: Mapping[str, int] | None = None, key: str = KEY, timeout: float = 60.0, retries: int = 4,
        backoff: float = 0.5,
    ) -> None:  # fmt: skip
        self._remote = Remote(url=url, key=key, timeout=timeout, retries=retries, backoff=backoff, kind="a completions API")
        self.model, self.vocabulary = model, vocabulary
        self._client: Any = None
        self.requests = 0
        """Asked so far."""

    def top(self, ids: Sequence[int], k: int) -> tuple[list[int], list[float]]:
        """The k likeliest next tokens behind `ids`, or as many as the server tells: numbers and log-probabilities in nats.

        Raises `ConfigError` when the server gives no log-probabilities, and what `Remote.refusal` names.
        """
        told = self._ask(list(ids), 1, temperature=1.0, logprobs=k, **self._as_numbers())[0]
        try:
            found = told["logprobs"]["top_logprobs"][0]
            pairs = [(self._number(name), float(value)) for name, value in found.items()]
        except (KeyError, TypeError, IndexError, ValueError, AttributeError):
            raise ConfigError(
                f"{self._remote.url} gives no log-probabilities of the likeliest tokens",
                fix="serve the model with log-probabilities, or use rerank_blocks, which needs text only and is not value-augmented sampling",
            ) from None
        known = sorted(((number, value) for number, value in pairs if number is not None), key=lambda one: -one[1])[:k]
        if not known:
            raise ConfigError(f"none of the tokens that {self._remote.url} names is in the vocabulary", fix="give the served model's own vocabulary")
        return [number for number, _ in known], [value for _, value in known]

    def other(self, ids: Sequence[int], without: Sequence[int], *, temperature: float) -> int:
        """One next token that is none of `without`, by logit bias."""
        bias = {str(number): -100 for number in without}
        told = self._ask(list(ids), 1, temperature=temperature, logit_bias=bias, logprobs=1, **self._as_numbers())[0]
        try:
            number = self._number(told["logprobs"]["tokens"][0])
        except (KeyError, TypeError, IndexError, ValueError):
            number = None
        if number is None:
            raise self._remote.malformed("names no token that is in the vocabulary")
        return number

    def texts(self, prompt: str, n: int, *, max_tokens: int, seed: int | None = None) -> list[tuple[str, bool]]:
        """n continuations drawn at temperature 1, and whether each came to its end."""
        more: dict[str, Any] = {"n": n} | ({} if seed is None else {"seed": seed})
        return [(str(one.get("text", "")), one.get("finish_reason") == "stop") for one in self._ask(prompt, max_tokens, temperature=1.0, **more)]

    def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _as_numbers(self) -> dict[str, Any]:
        return {"return_tokens_as_token_ids": True} if self.vocabulary is None else {}

    def _number(self, name: str) -> int | None:
        if self.vocabulary is not None:
            return self.vocabulary.get(name)
        return int(name.removeprefix("token_id:"))

    def _ask(self, prompt: str | list[int], max_tokens: int, *, temperature: float, **more: Any) -> list[dict[str, Any]]:
        self._client = self._client or self._remote.client("write")
        body = {"model": self.model, "prompt": prompt, "max_tokens": max_tokens, "temperature": temperature, **more}
        self.requests += 1
        answer, tries = self._remote.ask(lambda: self._client.post("/completions", json=body))
        if answer.status_code != 200:
            raise self._remote.refusal(answer, tries)
        try:
            choices = answer.json()["choices"]
            if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices) or not choices:
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._remote.malformed("does not answer with choices") from None
        return choices


@dataclass(frozen=True)
class Written:
    """What was written."""

    ids: list[int]
    finish: str
    """"stop" or "length"."""
    requests: int
    """Asked of the server."""
    method: str
    """"value-augmented sampling" or "block re-ranking"."""


def write_remote(
    endpoint: CompletionEndpoint, model: ValueModel, prompt: Sequence[int], beta: Sequence[float], *, end: int, k: int = 20, max_tokens: int = 64,
    temperature: float = 1.0, seed: int = 0,
) -> Written:  # fmt: skip
    """Value-augmented sampling on a model behind an API: one request per token.

    Among the tokens that the server names the logits are augmented here; all others keep theirs, and when one of them is drawn a second
    request, with a logit bias against the named ones, says which.

    Parameters
    ----------
    model: values over the served model's own tokens.
    beta: a dial for each reward.
    end: the token that ends an answer.
    temperature: 1 draws, 0 takes the likeliest; the server tells too little for others.
    """
    _check_dials(model, beta)
    if temperature not in (0.0, 1.0) or not 1 <= k <= 20 or max_tokens < 1:
        what = f"temperature {temperature}, k {k}, max_tokens {max_tokens}"
        raise ConfigError(what, fix="temperature 0 or 1, k from 1 to 20, max_tokens >= 1")
    ahead, random, before, ids = Lookahead(model), np.random.default_rng(seed), endpoint.requests, list[int]()
    dials = torch.tensor([list(beta)], dtype=torch.float32)
    ahead.start([prompt])
    finish = "length"
    while len(ids) < max_tokens:
        tokens, given = endpoint.top([*prompt, *ids], k)
        log_probs = np.array(given)
        logits = log_probs + tilt(ahead.look(torch.tensor([tokens])), dials)[0].double().numpy()
        token = _chosen(logits, log_probs, random.random(), temperature)
        number = endpoint.other([*prompt, *ids], tokens, temperature=temperature) if token is None else tokens[token]
        if number == end:
            finish = "stop"
            break
        ids.append(number)
        ahead.push(torch.tensor([number]))
    return Written(ids, finish, endpoint.requests - before, "value-augmented sampling")


def _chosen(logits: np.ndarray, log_probs: np.ndarray, drawn: float, temperature: float) -> int | None:
    """Place of the chosen one; None for any other token. `log_probs` are those before anything was added."""
    if not temperature:
        # No other token can be likelier than the least likely named one.
        return int(logits.argmax()) if logits.max() >= log_probs.min() else None
    rest = max(0.0, 1.0 - float(np.exp(log_probs).sum()))
    weights = np.append(np.exp(logits), rest if rest > 1e-6 else 0.0)
    place = int(np.searchsorted(weights.cumsum(), drawn * weights.sum(), side="right"))
    return min(place, len(logits) - 1) if place < len(logits) or not weights[-1] else None


def rerank_blocks(
    endpoint: CompletionEndpoint, model: ValueModel, prompt: str, beta: Sequence[float], *, encode: Any, n: int = 8, block: int = 12, blocks: int = 8,
    seed: int = 0,
) -> tuple[str, Written]:  # fmt: skip
    """Not value-augmented sampling: draws `n` blocks of text, keeps the one whose value is best, and goes on from there.

    For servers that give nothing but text. It costs n times the tokens, and moves less: it can only choose among what was drawn.

    Parameters
    ----------
    encode: text -> token numbers of the value model.
    block: tokens of each, 8 to 16 being sensible; `blocks` of them at most.
    """
    _check_dials(model, beta)
    if min(n, block, blocks) < 1:
        raise ConfigError(f"n {n}, block {block}, blocks {blocks}", fix="use at least 1 of each")
    text, before, finish = "", endpoint.requests, "length"
    dials = torch.tensor(list(beta), dtype=torch.float32)
    for number in range(blocks):
        drawn = endpoint.texts(prompt + text, n, max_tokens=block, seed=seed + number)
        worth = []
        for one, _ in drawn:
            with torch.no_grad():
                worth.append(float(model.run(torch.tensor([encode(prompt + text + one)]))[0][0, -1] @ dials))
        best = int(np.argmax(worth))
        text += drawn[best][0]
        if drawn[best][1]:
            finish = "stop"
            break
    return text, Written(list(encode(text)), finish, endpoint.requests - before, "block re-ranking")


def _check_dials(model: ValueModel, beta: Sequence[float]) -> None:
    rewards = model.head.out.out_features
    if len(beta) != rewards or not all(math.isfinite(one) for one in beta):
        raise ConfigError(f"{len(beta)} dials, or one that is not finite, for {rewards} rewards", fix="give one finite number for each")
