"""Words of a closed language as tokens of CLIP's own tokenizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sartor.errors import ConfigError

_SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def word_tokenizer(vocabulary: Sequence[str], longest: int) -> Any:
    """A `CLIPTokenizer` in which every word of a closed language is one token."""
    from transformers import CLIPTokenizer

    parts = {word: (*word[:-1], f"{word[-1]}</w>") for word in sorted({*vocabulary})}
    letters = sorted({letter for word in parts.values() for letter in word})
    merges: list[tuple[str, str]] = []
    while any(len(word) > 1 for word in parts.values()):
        counts = Counter(pair for word in parts.values() for pair in pairwise(word))
        # Ties go to the first in the alphabet: the same language always has the same numbers.
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        parts = {word: _merged(own, best) for word, own in parts.items()}
    known = {token: number for number, token in enumerate(dict.fromkeys((*_SPECIAL, *letters, *("".join(pair) for pair in merges))))}
    tokenizer: Any = CLIPTokenizer
    made = tokenizer(vocab=known, merges=merges, pad_token=_SPECIAL[1], model_max_length=longest)
    if split := [word for word in vocabulary if len(made(word, add_special_tokens=False).input_ids) != 1]:
        raise ConfigError(f"'{split[0]}' is not one token", fix="use words of letters")
    return made


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    for letter in word:
        if out and (out[-1], letter) == pair:
            out[-1] += letter
        else:
            out.append(letter)
    return tuple(out)
