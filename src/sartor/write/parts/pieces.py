"""What a person wrote, as pieces: a text, and what it answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import polars as pl

from sartor.errors import BadValue, CorruptFile, EmptyData
from sartor.write.parts.tokenizer import Tokenizer

if TYPE_CHECKING:
    from sartor.data.population import Evidence, Population


class Piece(NamedTuple):
    """Something a person wrote."""

    prompt: str
    """What it answers; empty when nothing is known of that."""
    text: str


T = TypeVar("T")
KINDS = ("reply", "answer", "message", "review", "post")
"""Kinds of texts that are a person's own writing; where the frame has none of `kind`, all texts are."""


FACTS = ("fact", "statement", "memory")
"""Kinds of texts in which people say something of themselves."""


def pieces_of(evidence: Evidence) -> list[Piece]:
    """One person's pieces, oldest first; raises `BadValue` when a row is somebody else's."""
    return _pieces(_own(own_texts(evidence))) if "texts" in evidence.frames else []


def facts_of(evidence: Evidence, kinds: Sequence[str] = FACTS) -> list[str]:
    """What one person said of herself, oldest first: texts of these kinds, or all where the frame has no `kind`. Raises `BadValue`."""
    if "texts" not in evidence.frames:
        return []
    frame = own_texts(evidence)
    frame = frame.filter(pl.col("text").is_not_null() & (pl.col("text").str.strip_chars() != ""))
    frame = frame.filter(pl.col("kind").is_in(list(kinds))) if "kind" in frame.columns else frame
    frame = frame.sort("time", maintain_order=True, nulls_last=False) if "time" in frame.columns else frame
    return list(frame["text"].to_list())


def own_texts(evidence: Evidence) -> pl.DataFrame:
    """The frame `texts` of one person; raises `BadValue` when a row is somebody else's."""
    frame = evidence.frames["texts"]
    if "person" in frame.columns and evidence.person is not None:
        others = frame.filter(pl.col("person").is_not_null() & (pl.col("person").cast(pl.String) != str(evidence.person)))["person"]
        if others.len():
            what = f"texts of {others[0]!r} among those of {evidence.person!r}"
            raise BadValue(what, fix="give each person's own texts only", column="person")
    return frame


def population_pieces(population: Population) -> dict[Any, list[Piece]]:
    """Everybody's pieces, oldest first, by person in the order of their ids; raises `EmptyData` when there is none."""
    frame = _own(population.texts.collect())
    if "person" not in frame.columns:
        frame = frame.with_columns(pl.lit("").alias("person"))
    parts = frame.filter(pl.col("person").is_not_null()).partition_by("person", as_dict=True, maintain_order=True)
    out = {person: found for (person,), rows in sorted(parts.items()) if (found := _pieces(rows))}
    if not out:
        raise EmptyData("nobody has written anything", fix=f"give texts with a person, of kind {', '.join(KINDS)} or of none")
    return out


def _own(frame: pl.DataFrame) -> pl.DataFrame:
    frame = frame.filter(pl.col("text").is_not_null() & (pl.col("text").str.strip_chars() != ""))
    if "kind" in frame.columns:
        frame = frame.filter(pl.col("kind").is_null() | pl.col("kind").is_in(KINDS))
    if "role" in frame.columns:
        frame = frame.filter(pl.col("role").is_null() | (pl.col("role") != "assistant"))
    return frame.sort("time", maintain_order=True, nulls_last=False) if "time" in frame.columns else frame


def _pieces(frame: pl.DataFrame) -> list[Piece]:
    prompts = frame["prompt"].fill_null("").to_list() if "prompt" in frame.columns else [""] * frame.height
    return [Piece(prompt, text) for prompt, text in zip(prompts, frame["text"].to_list(), strict=True)]


def packed(pieces: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Pieces, or other texts that belong together, as arrays of a state: `pieces` uint8 (UTF-8), `lengths` int32 [pieces, texts of each]."""
    texts = [part.encode("utf-8", "replace") for piece in pieces for part in piece]
    lengths = np.array([len(one) for one in texts], np.int32).reshape(len(pieces), -1) if pieces else np.empty((0, 0), np.int32)
    return {"pieces": np.frombuffer(b"".join(texts), np.uint8).copy(), "lengths": lengths}


def unpacked(arrays: Mapping[str, np.ndarray], kind: Callable[..., T]) -> list[T]:
    """The reverse of `packed`: one `kind(*texts)` for each; raises `CorruptFile`."""
    text, lengths = arrays.get("pieces"), arrays.get("lengths")
    if text is None or lengths is None or lengths.ndim != 2 or (lengths < 0).any() or lengths.sum() != text.size:
        raise CorruptFile("the state's texts do not fit together", fix="adapt the person again")
    if not lengths.size:
        return []
    parts = [part.tobytes().decode("utf-8", "replace") for part in np.split(text, np.cumsum(lengths.ravel())[:-1])]
    each = lengths.shape[1]
    return [kind(*parts[at : at + each]) for at in range(0, len(parts), each)]


class Turn(NamedTuple):
    """A piece as tokens."""

    ids: np.ndarray
    """int32 [tokens]: the question as the user's message, where there is one, and the text as the assistant's."""
    own: np.ndarray
    """bool [tokens]: which of them the person wrote (the end of the message included)."""


def turns(tokenizer: Tokenizer, pieces: Sequence[Piece]) -> list[Turn]:
    """Pieces as tokens, in the layout that prompts have."""
    prompts, texts = tokenizer.encode_all([one.prompt for one in pieces]), tokenizer.encode_all([one.text for one in pieces])
    return list(_turns(tokenizer, prompts, texts))


def _turns(tokenizer: Tokenizer, prompts: list[list[int]], texts: list[list[int]]) -> Iterator[Turn]:
    special = tokenizer.special
    user, assistant, end = special["<|user|>"], special["<|assistant|>"], tokenizer.end
    for prompt, text in zip(prompts, texts, strict=True):
        asked = [user, *prompt, end] if prompt else []
        ids = [*asked, assistant, *text, end]
        own = np.zeros(len(ids), bool)
        own[len(asked) + 1 :] = True
        yield Turn(np.array(ids, np.int32), own)
