"""What a language model must answer when it extracts memories, and the check of what it did answer.

A row stands only when its quote stands in the message: what a model made up, or read in its own prompt, is no evidence.
"""

from __future__ import annotations

from typing import Any

from sartor.errors import BadValue, TooLarge, WrongType
from sartor.write.memory.extraction import Found
from sartor.write.memory.records import checked_polarity, checked_text
from sartor.write.memory.words import plain

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["memories"],
    "additionalProperties": False,
    "properties": {
        "memories": {
            "type": "array",
            "maxItems": 20,
            "items": {
                "type": "object",
                "required": ["text", "kind", "quote"],
                "additionalProperties": False,
                "properties": {
                    "text": {"type": "string", "description": "one sentence in the first person that stands for itself"},
                    "kind": {"enum": ["fact", "preference"]},
                    "quote": {"type": "string", "description": "the words of the message that say so, letter by letter"},
                    "polarity": {"type": "number", "minimum": -1, "maximum": 1, "description": "-1 dislikes, 1 likes, 0 neither"},
                    "subject": {"type": ["string", "null"], "description": "the thing liked or disliked, or the slot of a fact: home, name, work"},
                    "value": {"type": ["string", "null"], "description": "what fills the slot"},
                    "ended": {"type": "boolean", "description": "it says that something no longer holds"},
                },
            },
        }
    },
}
"""JSON Schema of the answer."""


def checked_rows(answer: Any, message: str) -> list[Found]:
    """A model's answer as statements; raises `WrongType` or `BadValue` with the row and the field, so that the job can ask again."""
    if not isinstance(answer, dict) or not isinstance(answer.get("memories"), list):
        raise WrongType("the answer has no list of memories", fix='answer {"memories": [...]}')
    words = f" {plain(message)} "
    out = []
    for row, one in enumerate(answer["memories"], 1):
        out.append(_checked(one, words, row))
    return out


def _checked(one: Any, words: str, row: int) -> Found:
    properties = SCHEMA["properties"]["memories"]["items"]["properties"]
    if not isinstance(one, dict):
        raise WrongType("a memory is not an object", fix='write {"text": ..., "kind": ..., "quote": ...}', row=row)
    if unknown := set(one) - set(properties):
        raise BadValue("a memory has a field that is none", fix=f"fields are {', '.join(properties)}", row=row, field=sorted(unknown)[0])
    field = "text"
    try:
        text = checked_text(one.get("text"), "text")
        field = "quote"
        quote = plain(checked_text(one.get("quote"), "quote"))
        if not quote or f" {quote} " not in words:
            raise BadValue("the quote does not stand in the message", fix="repeat the message's own words")
        field = "kind"
        kind = one.get("kind")
        if kind not in ("fact", "preference"):
            raise BadValue("this kind of memory is unknown", fix="use fact or preference")
        field = "polarity"
        polarity = checked_polarity(one.get("polarity", 0))
        for field in ("subject", "value"):
            if one.get(field) is not None:
                checked_text(one[field], field)
        field = "ended"
        if not isinstance(one.get("ended", False), bool):
            raise WrongType("it is not true or false", fix="write true or false")
    except (BadValue, WrongType, TooLarge) as wrong:
        raise type(wrong)(wrong.what, fix=wrong.fix, row=row, field=field) from None
    return Found(text, kind, polarity, one.get("subject"), one.get("value"), bool(one.get("ended", False)))
