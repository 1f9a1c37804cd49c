"""Memories as the API takes them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path
from pydantic import Field, FiniteFloat, JsonValue, StrictBool, StringConstraints, model_validator

from sartor.serve.schemas import ID_LENGTH, In, Time

Kind = Literal["fact", "preference", "summary", "message"]
Form = Literal["mem0", "chatgpt"]
Confirm = Literal["never", "inferred", "always"]
MemoryPath = Annotated[str, Path(min_length=1, max_length=ID_LENGTH)]
MemoryId = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Sentence = Annotated[str, StringConstraints(min_length=1, max_length=8_000)]
Content = Annotated[str, StringConstraints(max_length=1_000_000)]


class PartIn(In):
    """A part of a message that has several."""

    type: Literal["text"]
    text: Content


class MessageIn(In):
    """One message of a chat; only those of the user are read."""

    role: Literal["user", "assistant", "system", "developer", "tool"] = "user"
    content: Content | list[PartIn] | None
    id: MemoryId | None = None
    time: Time | None = None


class RememberIn(In):
    text: Sentence | None = None
    """A sentence to be kept as it is."""
    messages: Annotated[list[MessageIn], Field(max_length=500)] | None = None
    """Instead: messages, out of which the user's statements about herself are taken."""
    kind: Kind | None = None
    id: MemoryId | None = None
    """The same id again adds nothing."""
    time: Time | None = None
    recalled: Annotated[list[MemoryId], Field(max_length=100)] = []
    """Memories that were in front of the speaker: what only repeats them is not kept."""
    confirm: Confirm = "inferred"
    """Which extracted memories wait for the person's word."""

    @model_validator(mode="after")
    def _one(self) -> RememberIn:
        if (self.text is None) == (self.messages is None):
            raise ValueError("give either text or messages")
        return self


class RecallIn(In):
    query: Sentence
    k: Annotated[int, Field(strict=True, ge=1, le=100)] = 5
    budget_tokens: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None


class EditIn(In):
    text: Sentence | None = None
    polarity: Annotated[FiniteFloat, Field(ge=-1, le=1)] | None = None

    @model_validator(mode="after")
    def _something(self) -> EditIn:
        if self.text is None and self.polarity is None:
            raise ValueError("give text or polarity")
        return self


class ConfirmIn(In):
    right: StrictBool = True
    """False: it is wrong, and is deleted."""


class ImportIn(In):
    form: Form | None = None
    """Null looks."""
    data: JsonValue
    """What mem0's get_all gives, or conversations.json of a ChatGPT export."""
    confirm: Confirm = "inferred"
