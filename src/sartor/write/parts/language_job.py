"""Offline work for a language model: extract, summarise, rewrite; checked, asked again where it is wrong, remembered, with where it came from.

    job = extract(backend("endpoint:..."), "List what the person likes.", schema={"type": "array", "items": {"type": "string"}})
    for result in job.run(["I love rye bread.", "..."]):
        result.value, result.provenance

A model is asked off the request path, so an answer may be checked: one that does not fit is sent back with what is wrong, a few times; what still
does not fit is a result with an error in it, and the other texts go on.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sartor import _storage
from sartor.errors import BadAnswer, ConfigError, MissingExtra, SartorError
from sartor.progress import bar
from sartor.write.backends.backend import Backend
from sartor.write.parts.prompt import Composer, Template, template

MOST_STARTS = 200
"""Brackets at which an answer is tried as JSON."""
VERSION = 1
"""Of prompts and checks; another one asks anew what older ones answered."""


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from; holds nothing of the text."""

    backend: str
    job: str
    """Digest of task, schema, template and settings."""
    input: str
    """Digest of the text."""
    tries: int
    time: float
    """Seconds since 1970 UTC."""
    cached: bool = False
    """Whether it had been made before."""


@dataclass(frozen=True)
class Result:
    """What became of one text."""

    value: Any
    """A text, or what the schema describes; None where there is an error."""
    provenance: Provenance
    error: str | None = None
    """What was wrong with the last answer."""


@dataclass(kw_only=True)
class LanguageJob:
    """One kind of work for many texts. Make it with `extract`, `summarise` or `rewrite`.

    Parameters
    ----------
    backend: who does it.
    template: with the slots "task" and `slot`, and "schema" where there is one.
    task: what to do, in words.
    slot: the data slot.
    schema: JSON Schema of the answer; None: the answer is a text.
    check: raises `ValueError` with a reason for an answer that is not good enough; sees the answer and the input.
    budget: tokens of a prompt.
    max_tokens: of an answer.
    retries: how often a model that answered wrongly is told so and asked again.
    cache: folder that keeps answers, one file each. What people wrote may show in them: whoever names a folder has to erase it with
        the people. None keeps them in memory, for as long as the job lives.
    """

    backend: Backend
    template: Template
    task: str
    slot: str
    schema: Mapping[str, Any] | None = None
    check: Callable[[Any, Sequence[str]], None] | None = None
    budget: int | None = None
    max_tokens: int = 512
    retries: int = 2
    temperature: float = 0.0
    seed: int = 0
    cache: Path | None = None
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        if self.retries < 0 or not self.task.strip():
            raise ConfigError(f"retries is {self.retries}, the task has {len(self.task)} characters", fix="retries >= 0, and say what to do")
        if self.schema is not None:
            _validator(self.schema)

    @property
    def digest(self) -> str:
        """Of everything that decides an answer but the text."""
        parts = [VERSION, self.backend.name, self.template.text, self.task, self.schema, self.budget, self.max_tokens, self.temperature, self.seed]
        return _digest(json.dumps(parts, sort_keys=True))

    def run(self, inputs: Sequence[str | Sequence[str]], *, progress: bool = False) -> list[Result]:
        """One result per input (a text, or several that belong together), in their order; equal inputs are asked once.

        Errors of the backend (`EndpointFailed`, `RateLimited`, ...) end the run; what was made before is in the cache.
        """
        made = []
        with bar(f"asking {self.backend.name}", len(inputs), enabled=progress, unit="text") as shown:
            for one in inputs:
                made.append(self.one(one))
                shown.advance()
        return made

    def one(self, texts: str | Sequence[str]) -> Result:
        """The result for one input."""
        given = [texts] if isinstance(texts, str) else list(texts)
        job, key = self.digest, _digest(json.dumps(given))
        found = self._known(f"{job}-{key}")
        if found is not None:
            return Result(found["value"], Provenance(self.backend.name, job, key, found["tries"], found["time"], cached=True))
        value, tries, wrong = self._asked(given)
        about = Provenance(self.backend.name, job, key, tries, time.time())
        if wrong is not None:
            return Result(None, about, wrong)
        self._keep(f"{job}-{key}", {"value": value, "tries": tries, "time": about.time})
        return Result(value, about)

    def must(self, texts: str | Sequence[str]) -> Any:
        """The value for one input; raises `BadAnswer` where there is none."""
        found = self.one(texts)
        if found.error is not None:
            raise BadAnswer(
                f"{self.backend.name} does not give what was asked for in {found.provenance.tries} tries: {found.error}",
                fix="use a stronger model, or a simpler schema",
            )
        return found.value

    def _asked(self, given: list[str]) -> tuple[Any, int, str | None]:
        fill: dict[str, str | Sequence[str]] = {"task": self.task, self.slot: given}
        if self.schema is not None:
            fill["schema"] = json.dumps(self.schema, ensure_ascii=False)
        prompt = Composer(self.template, self.backend.count_tokens).compose(fill, budget=self.budget)
        messages: list[dict[str, str]] = [{"role": "user", "content": prompt.text}]
        wrong = ""
        for tried in range(self.retries + 1):
            settings = {"max_tokens": self.max_tokens, "temperature": self.temperature, "seed": self.seed + tried}
            made = self.backend.generate([messages], **settings)[0]  # type: ignore[arg-type]
            try:
                if made.finish == "length":
                    raise ValueError(f"it is longer than {self.max_tokens} tokens")
                return self._read(made.text, given), tried + 1, None
            except ValueError as error:
                if isinstance(error, SartorError):
                    raise
                wrong = str(error)[:300]
            repair = Composer(template("repair"), self.backend.count_tokens).compose({"problem": wrong}).text
            # Only the newest failure: a long row of them would leave no room.
            messages = [messages[0], {"role": "assistant", "content": made.text}, {"role": "user", "content": repair}]
        return None, self.retries + 1, wrong

    def _read(self, text: str, given: Sequence[str]) -> Any:
        """What an answer says; raises `ValueError` with what is wrong."""
        value: Any = text.strip()
        if self.schema is not None:
            value = json_in(text)
            problems = sorted(_validator(self.schema).iter_errors(value), key=lambda one: list(map(str, one.absolute_path)))
            if problems:
                place = "/".join(map(str, problems[0].absolute_path)) or "the answer"
                raise ValueError(f"{place}: {problems[0].message}")
        elif not value:
            raise ValueError("it is empty")
        if self.check is not None:
            self.check(value, given)
        return value

    def _known(self, key: str) -> Any:
        with self._lock:
            if key in self._kept or self.cache is None:
                return self._kept.get(key)
        try:
            return json.loads((self.cache / f"{key}.json").read_bytes())
        # Not there, or cut off when the power went: it is asked again.
        except (OSError, ValueError):
            return None

    def _keep(self, key: str, value: Any) -> None:
        if self.cache is None:
            with self._lock:
                self._kept[key] = value
        else:
            _storage.write_atomically(self.cache / f"{key}.json", json.dumps(value, ensure_ascii=False).encode())


def extract(backend: Backend, task: str, *, schema: Mapping[str, Any], **settings: Any) -> LanguageJob:
    """Take out of each text what a JSON Schema describes; `settings` as `LanguageJob` takes them."""
    return LanguageJob(backend=backend, template=template("extract"), task=task, slot="text", schema=schema, **settings)


def summarise(backend: Backend, task: str, **settings: Any) -> LanguageJob:
    """Put several texts into a few words; the task says for what use."""
    return LanguageJob(backend=backend, template=template("summarise"), task=task, slot="texts", **settings)


def rewrite(backend: Backend, task: str, **settings: Any) -> LanguageJob:
    """Say each text in another way."""
    return LanguageJob(backend=backend, template=template("rewrite"), task=task, slot="text", **settings)


def json_in(text: str) -> Any:
    """The first JSON object or array in an answer, whatever stands around it (models like to wrap it); raises `ValueError`."""
    decoder = json.JSONDecoder(parse_constant=_refuse)
    for start in list(itertools.islice(re.finditer(r"[{[]", text), MOST_STARTS)):
        try:
            return decoder.raw_decode(text, start.start())[0]
        except RecursionError:
            break
        except ValueError:
            continue
    raise ValueError("there is no JSON object or array in it")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _validator(schema: Mapping[str, Any]) -> Any:
    try:
        import jsonschema
    except ImportError as missing:
        raise MissingExtra("jsonschema", "write") from missing
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as cause:
        raise ConfigError(f"the schema is no JSON Schema: {cause.message}", fix='write for example {"type": "array"}') from cause
    return kind(schema)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
