"""Learned words: rows that stand in a prompt where a word would, kept outside of the text encoder's table."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sartor import _storage
from sartor.draw.parts.encoders import tables
from sartor.errors import BadPrompt, ConfigError, CorruptFile, FileProblem

NAME = re.compile(r"<[^<>\s]+>")


@dataclass(frozen=True, eq=False)
class Concept:
    """One learned word: `<mug>` and its rows."""

    name: str
    """As it stands in prompts, with its brackets."""
    rows: Tensor
    """float [m, d]: m vectors in the places of m words, one behind the other; or [B, m, d] with own ones for every row of a batch."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"'{self.name}' is not a name of a concept", fix="write it as <mug>")
        if self.rows.ndim not in (2, 3) or not self.rows.shape[-2]:
            raise ConfigError(f"rows of shape {list(self.rows.shape)}", fix="give [m, d]")

    @property
    def count(self) -> int:
        """How many places it takes."""
        return int(self.rows.shape[-2])


class Words(NamedTuple):
    """Prompts as numbers."""

    ids: Tensor
    """int64 [n, T], begin, words, end, filler; in the places of concepts the number of the end token."""
    places: dict[str, Tensor]
    """Concept -> int64 [n, T], which of its rows stands there; -1 elsewhere."""
    lengths: list[int]
    """Tokens of each prompt, begin and end included."""

    def end(self) -> Tensor:
        """int64 [n], where each prompt ends: the place of its summary."""
        return torch.tensor(self.lengths) - 1


def numbers(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a piece of text, without the library's remark on long ones: what is too long is said by whoever knows the whole prompt."""
    found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return found


def tokenize(
    tokenizer: Any, prompts: Sequence[str], concepts: Mapping[str, int] | None = None, *, vocabulary: Sequence[str] | None = None
) -> Words:  # fmt: skip
    """Prompts in numbers, filled up to the length that the text encoder reads.

    Parameters
    ----------
    concepts: how many places each learned word takes.
    vocabulary: all the words there are, for encoders of a closed language.

    Raises `BadPrompt` for a prompt that is too long, has a word outside of a closed vocabulary, or a learned word that nobody has taught.
    """
    known, longest = dict(concepts or {}), int(tokenizer.model_max_length)
    rows: list[list[int]] = []
    places: dict[str, list[list[int]]] = {name: [] for name in known}
    for prompt in prompts:
        ids, own = [tokenizer.bos_token_id], {name: [-1] for name in known}
        for piece in re.split(rf"({NAME.pattern})", prompt):
            if NAME.fullmatch(piece) and (piece in known or vocabulary is not None):
                if piece not in known:
                    raise BadPrompt(f"'{prompt}' has {piece}, which is not a concept here", fix=f"there are {', '.join(known) or 'none'}")
                new = [tokenizer.eos_token_id] * known[piece]
                at = {piece: range(known[piece])}
            else:
                if vocabulary is not None:
                    _check_words(piece, prompt, vocabulary)
                new = numbers(tokenizer, piece) if piece.strip() else []
                at = {}
            ids += new
            for name, rows_of in own.items():
                rows_of.extend(at.get(name, [-1] * len(new)))
        if len(ids) + 1 > longest:
            what = f"'{prompt}' has {len(ids) - 1} tokens, the text encoder reads {longest - 2}"
            raise BadPrompt(what, fix="shorten it")
        rows.append([*ids, tokenizer.eos_token_id])
        for name, rows_of in own.items():
            places[name].append([*rows_of, -1])
    filler = tokenizer.pad_token_id

    def filled(lists: Sequence[Sequence[int]], with_: int) -> Tensor:
        whole = [[*one, *[with_] * (longest - len(one))] for one in lists]
        return torch.tensor(whole, dtype=torch.int64).reshape(len(lists), longest)

    return Words(filled(rows, filler), {name: filled(own, -1) for name, own in places.items()}, [len(one) for one in rows])


def _check_words(piece: str, prompt: str, vocabulary: Sequence[str]) -> None:
    for word in piece.lower().split():
        if word not in vocabulary:
            near = difflib.get_close_matches(word, vocabulary, 3, 0.5)
            fix = f"did you mean {' or '.join(near)}?" if near else f"it knows {', '.join(sorted(vocabulary)[:12])}, ..."
            raise BadPrompt(f"'{prompt}' has the word '{word}', which the text encoder does not know", fix=fix)


_rows: ContextVar[tuple[Words, Mapping[str, Tensor]] | None] = ContextVar("sartor_concept_rows", default=None)


def attach(text_encoder: nn.Module) -> nn.Module:
    """Let a text encoder take rows of concepts (`standing`); without any it is what it was. Once per encoder."""
    start = 0
    for table in tables(text_encoder):
        columns = slice(start, start := start + table.weight.shape[1])
        if not getattr(table, "_sartor_rows", False):
            table.register_forward_hook(partial(_put, columns))
            table._sartor_rows = True  # type: ignore[assignment]
    return text_encoder


def _put(columns: slice, _module: nn.Module, _inputs: Any, out: Tensor) -> Tensor:
    now = _rows.get()
    if now is None:
        return out
    words, rows = now
    for name, own in rows.items():
        place = words.places[name].to(out.device)
        if own.ndim == 3 and own.shape[0] != out.shape[0]:
            raise ConfigError(f"{own.shape[0]} rows of {name} for {out.shape[0]} prompts", fix="give one each")
        own, number = own[..., columns].to(out), place.clamp(min=0)
        here = own[number] if own.ndim == 2 else own.gather(1, number[..., None].expand(*number.shape, own.shape[-1]))
        out = torch.where((place >= 0)[..., None], here, out)
    return out


@contextmanager
def standing(words: Words, concepts: Sequence[Concept]) -> Iterator[None]:
    """While inside, these concepts stand in their places; the text encoder's own table is not touched, and gradients reach only their rows."""
    token = _rows.set((words, {one.name: one.rows for one in concepts}))
    try:
        yield
    finally:
        _rows.reset(token)


# --- where a row starts


def of_word(text_encoder: Any, tokenizer: Any, word: str) -> Tensor:
    """float [m, d], the input rows of a word or a phrase; of two encoders side by side."""
    ids = numbers(tokenizer, word)
    if not ids:
        raise BadPrompt(f"'{word}' has no tokens", fix="give a word")
    return torch.cat([table.weight[torch.tensor(ids)] for table in tables(text_encoder)], -1).detach().clone()


def at_norm(rows: Tensor, norm: Tensor | float) -> Tensor:
    """Rows rescaled to a length."""
    return rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-12) * norm


# --- files


DOUBLE = ("clip_l", "clip_g")
"""Names of a word's two parts in files for SDXL."""


def save_embeds(path: str | Path, concepts: Sequence[Concept], *, widths: Sequence[int] = ()) -> Path:
    """Write learned words as people exchange them (learned_embeds.safetensors: name -> [m, d]), which diffusers' `load_textual_inversion` reads.

    widths: of two text encoders (`Prior.widths`); a file then holds a single word, as `clip_l` and `clip_g`.
    """
    from safetensors.torch import save

    path = Path(path)
    if twice := sorted({one.name for one in concepts if [other.name for other in concepts].count(one.name) > 1}):
        raise ConfigError(f"two concepts are called {twice[0]}", fix="rename one")
    named = {one.name: one.rows.detach().float().cpu() for one in concepts}
    if len(widths) == 2:
        if len(concepts) != 1:
            raise ConfigError(f"{len(concepts)} words for an SDXL", fix="write each into a file of its own")
        named = dict(zip(DOUBLE, next(iter(named.values())).split(list(widths), -1), strict=True))
    _storage.write_atomically(path, save({name: rows.contiguous() for name, rows in named.items()}, {"format": "pt"}))
    return path


def load_embeds(path: str | Path, *, dim: int | None = None, name: str | None = None) -> list[Concept]:
    """The concepts of a file; `dim` is what the text encoder takes, `name` renames a single one.

    Reads name -> [m, d] or [d], the older `emb_params` of single-vector files, and the `clip_l` and `clip_g` of an SDXL. Raises `FileProblem`,
    `CorruptFile`, and `ConfigError` when the rows are of another text encoder.
    """
    from safetensors.torch import load

    path = Path(path)
    if not path.is_file():
        raise FileProblem("there is no such file", fix="check the path", file=path)
    try:
        found = load(path.read_bytes())
    except Exception as cause:
        raise CorruptFile("this is not a whole safetensors file", fix="save it again", file=path) from cause
    if {*found} == {*DOUBLE}:
        found = {path.stem: torch.cat([found[part].reshape(-1, found[part].shape[-1]) for part in DOUBLE], -1)}
    made = []
    for key, rows in found.items():
        rows = rows[None] if rows.ndim == 1 else rows
        if dim is not None and rows.shape[-1] != dim:
            raise ConfigError(f"{key} has {rows.shape[-1]} numbers, the text encoder takes {dim}", fix="use the model it was made for", file=path)
        if not rows.isfinite().all():
            raise CorruptFile(f"{key} has numbers that are not finite", fix="learn it again, at a lower rate", file=path)
        title = name if name is not None and len(found) == 1 else key if NAME.fullmatch(key) else f"<{key.strip('<>')}>"
        made.append(Concept(title, rows.float()))
    if not made:
        raise CorruptFile("this file holds no embedding", fix="save it again", file=path)
    return made
