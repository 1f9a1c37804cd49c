"""A language model that was trained here (`write.parts.language_model`) as a writer backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sartor.write.backends.backend import Message, text_of
from sartor.write.backends.local import LocalWriter, named_adapters
from sartor.write.parts.language_model import LanguageModel
from sartor.write.parts.tokenizer import ROLES

_ROLES = {"developer": "system", "tool": "user", "function": "user"}
"""Roles that the small model has not learned, as those that it has."""


def tiny_writer(folder: str | Path, *, adapters: Mapping[str, str | Path] | None = None) -> LocalWriter:
    """Open the folder that `LanguageModel.save` wrote, and folders of adapters by name. Raises `FileProblem`, `CorruptFile`, `ConfigError`."""
    model = LanguageModel.load(folder)
    return LocalWriter(f"tiny:{folder}", model.network, _Words(model), adapters=named_adapters(model.network, adapters or {}))


class _Words:
    def __init__(self, model: LanguageModel) -> None:
        self._tokenizer = model.tokenizer
        self.end, self.longest = frozenset({model.tokenizer.end}), model.network.config.max_tokens

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        roles = [_ROLES.get(str(one["role"]), str(one["role"])) for one in messages]
        return self._tokenizer.chat([
            {"role": role if role in ROLES else "user", "content": text_of(one)} for role, one in zip(roles, messages, strict=True)
        ])  # fmt: skip

    def ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)

    def text(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids)
