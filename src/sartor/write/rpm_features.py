"""What in a request may matter to the answer: jobs that say so, whoever does them, and a check of what they say."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sartor.errors import BadAnswer
from sartor.write.backends.backend import Backend
from sartor.write.parts.language_job import LanguageJob, Provenance, Result, extract

Feature = tuple[str, int]
"""A phrase of the request, and which way it speaks: +1, 0, -1."""
MOST = 32
"""Features of a request."""
SCHEMA: dict[str, Any] = {
    "type": "array", "maxItems": MOST,
    "items": {
        "type": "object", "required": ["phrase", "sign"], "additionalProperties": False,
        "properties": {"phrase": {"type": "string", "minLength": 1, "maxLength": 80}, "sign": {"enum": [-1, 0, 1]}},
    },
}  # fmt: skip
TASK = (
    "The first text is a request; the second, where there is one, is how the person answered it. List the short phrases of the request, word for "
    "word, that may have led to such an answer, each with sign 1 (speaks for it, or for a high one), -1 (against) or 0 (unclear, or no answer)."
)


class Job(Protocol):
    """Offline work on a text or several: `LanguageJob`, or `RuleJob`."""

    def one(self, texts: str | Sequence[str]) -> Result:
        """The result for one input."""
        ...


@dataclass(frozen=True)
class RuleJob:
    """A job done by a function, where no language model is needed; a `ValueError` in it is an answer that cannot be used."""

    make: Callable[[Sequence[str]], Any]
    name: str = "rule"

    def one(self, texts: str | Sequence[str]) -> Result:
        """See `Job`."""
        given = [texts] if isinstance(texts, str) else list(texts)
        about = Provenance(self.name, self.name, "", 1, time.time())
        try:
            return Result(self.make(given), about)
        except ValueError as error:
            return Result(None, about, str(error)[:300])


def feature_job(backend: Backend, task: str = TASK, **settings: Any) -> LanguageJob:
    """A language model as the job: asked once more when its answer cannot be read; `settings` as `LanguageJob` takes them."""
    return extract(backend, task, schema=SCHEMA, **{"retries": 1} | settings)


def features(job: Job, request: str, answer: str | None = None, *, tries: int = 2) -> list[Feature]:
    """Phrases of a request with signs, each once; phrases that do not stand in it, or say the answer itself, are left out.

    Raises `BadAnswer` when the job twice gives what is no list of features (a `LanguageJob` has asked again by itself).
    """
    wrong = ""
    for _ in range(1 if isinstance(job, LanguageJob) else tries):
        result = job.one([request] if answer is None else [request, answer])
        wrong = result.error or ""
        if not wrong:
            try:
                return _checked(result.value, request, answer)
            except (TypeError, KeyError, ValueError) as error:
                wrong = f"{type(error).__name__}: {error}"[:300]
    raise BadAnswer(f"no features could be read: {wrong}", fix="use a stronger model, or a simpler task")


def _checked(value: Any, request: str, answer: str | None) -> list[Feature]:
    found: dict[str, int] = {}
    text = request.casefold()
    if not isinstance(value, list):
        raise TypeError(f"a list was asked for, it is a {type(value).__name__}")
    for one in value:
        phrase, sign = one["phrase"], one["sign"]
        if not isinstance(phrase, str) or isinstance(sign, bool) or sign not in (-1, 0, 1):
            raise ValueError("a feature is not a phrase and a sign of -1, 0 or 1")
        phrase = " ".join(phrase.split())
        # A path that quotes the answer would be no reason for it.
        told = answer is not None and phrase.casefold() == answer.strip().casefold()
        if phrase and phrase.casefold() in text and not told:
            found.setdefault(phrase, sign)
    return list(found.items())[:MOST]
