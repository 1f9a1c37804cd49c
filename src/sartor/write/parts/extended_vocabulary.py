"""Words of one request that are no tokens of the model: they get ids of their own behind the vocabulary, and are spelled when they are said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sartor.write.parts.decoding import Step

Word = tuple[int, ...]
"""A word as the tokens that spell it; one token where it is in the vocabulary."""


def words_of(tokens: Sequence[int], starts: Sequence[bool]) -> list[Word]:
    """Tokens as words: `starts` says which begin one (`Tokenizer.encode_words`)."""
    out: list[Word] = []
    for token, first in zip(tokens, starts, strict=True):
        if first or not out:
            out.append((int(token),))
        else:
            out[-1] = (*out[-1], int(token))
    return out


class ExtendedVocabulary:
    """Ids for the words of one request: a token is its own number, and a word of several tokens gets `size`, `size` + 1, ...

    Source: See et al., Get To The Point: Summarization with Pointer-Generator Networks, 2017, where such words are unknown ones; here the
    model can read them, since they are spelled in tokens it has.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        """Of the model's vocabulary."""
        self.words: list[Word] = []
        """The words from id `size` on."""
        self._ids: dict[Word, int] = {}

    def __len__(self) -> int:
        return self.size + len(self.words)

    def add(self, word: Word) -> int:
        """The id of a word, a new one if it is not there yet."""
        if len(word) == 1:
            return word[0]
        if word not in self._ids:
            self._ids[word] = len(self)
            self.words.append(word)
        return self._ids[word]

    def find(self, word: Word) -> int | None:
        """The id of a word, None where it has none."""
        return word[0] if len(word) == 1 else self._ids.get(word)


@dataclass
class _Path:
    """What is being spelled in one row."""

    own: float = 1.0
    """Probability that what was written so far is no extended word in the middle."""
    open: list[tuple[Word, float]] = field(default_factory=list)
    """Tokens still to be written of each word that may be meant, and its probability."""
    tokens: Tensor | None = None
    """float [vocabulary], what was foretold when nothing was in the middle."""


@dataclass
class Spelling:
    """A distribution over an extended vocabulary as one over tokens, step by step: the exact marginal of all words that may be meant.

    Where words begin alike ("ba-kin", "ba-loz") their first tokens get the sum, and each further token the words that still fit. Any way of
    choosing tokens, also sampling, then chooses among whole words with their own probabilities.

    Parameters
    ----------
    extended: per prompt its vocabulary.
    foretell: from a step to probabilities float [b, longest extended vocabulary], as if a word began here.
    """

    extended: Sequence[ExtendedVocabulary]
    foretell: Callable[[Step], Tensor]
    _paths: dict[int, _Path] = field(init=False, default_factory=dict)

    def __call__(self, logits: Tensor, step: Step) -> Tensor:
        every = self.foretell(step)
        rows = step.rows.tolist()
        out = every[:, : logits.shape[-1]].clone()
        for place, row in enumerate(rows):
            path = self._moved(row, step.written[place])
            words = self.extended[row].words
            masses = every[place, self.extended[row].size : self.extended[row].size + len(words)].tolist()
            begun = [(word, mass) for word, mass in zip(words, masses, strict=True) if mass > 1e-9]
            for word, mass in begun:
                out[place, word[0]] += mass
            plain = every[place, : logits.shape[-1]]
            out[place] *= path.own
            for rest, mass in path.open:
                out[place, rest[0]] += mass
            path.open += [(word, path.own * mass) for word, mass in begun]
            path.tokens = path.own * plain
        return out.clamp(min=1e-12).log().to(logits)

    def _moved(self, row: int, written: Sequence[int]) -> _Path:
        """The row's path after its last token."""
        path = self._paths.get(row)
        if path is None or not written or path.tokens is None:
            self._paths[row] = path = _Path()
            return path
        token = written[-1]
        own, still = float(path.tokens[token]), []
        for rest, mass in path.open:
            if rest[0] == token:
                if len(rest) == 1:
                    own += mass
                else:
                    still.append((rest[1:], mass))
        total = own + sum(mass for _, mass in still)
        if total <= 0:
            # Some other hook wrote what nothing here foretold.
            own, total = 1.0, 1.0
        path.own, path.open = own / total, [(rest, mass / total) for rest, mass in still]
        return path


def padded_ids(vocabularies: Sequence[ExtendedVocabulary], words: Sequence[Sequence[Word]]) -> tuple[Tensor, Tensor]:
    """Ids int64 [B, longest] of each row's words, which are added to its vocabulary, and bool [B, longest], True where there is a word."""
    longest = max([1, *(len(one) for one in words)])
    ids, mask = torch.zeros(len(words), longest, dtype=torch.int64), torch.zeros(len(words), longest, dtype=torch.bool)
    for row, (own, said) in enumerate(zip(vocabularies, words, strict=True)):
        ids[row, : len(said)] = torch.tensor([own.add(word) for word in said], dtype=torch.int64)
        mask[row, : len(said)] = True
    return ids, mask
