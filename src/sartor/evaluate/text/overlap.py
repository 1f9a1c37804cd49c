"""How much of a wanted text a written one has: BLEU and ROUGE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numba
import numpy as np

from sartor.errors import ConfigError

Words = Sequence[str]


def bleu(candidate: Words, references: Sequence[Words], *, order: int = 4) -> float:
    """BLEU of one text, in [0, 1]: geometric mean of n-gram precisions times the brevity penalty.

    Only orders that the candidate has n-grams of count; a precision of 0 is smoothed by halving, as sacrebleu's sentence BLEU does.
    Source: Papineni et al., ACL 2002; smoothing 3 of Chen and Cherry, WMT 2014.
    """
    matches, totals, length, closest = _counts(candidate, references, order)
    return _bleu(matches[: max(1, np.count_nonzero(totals))], totals[: max(1, np.count_nonzero(totals))], length, closest)


def corpus_bleu(candidates: Sequence[Words], references: Sequence[Sequence[Words]], *, order: int = 4) -> float:
    """BLEU of many texts together, in [0, 1]: their counts are summed first. `references[i]` are those of the i-th text."""
    if len(candidates) != len(references):
        raise ConfigError(f"{len(candidates)} texts and references for {len(references)}", fix="give references for each text")
    parts = [_counts(one, wanted, order) for one, wanted in zip(candidates, references, strict=True)]
    if not parts:
        return 0.0
    matches, totals = np.sum([part[0] for part in parts], axis=0), np.sum([part[1] for part in parts], axis=0)
    return _bleu(matches, totals, sum(part[2] for part in parts), sum(part[3] for part in parts))


def rouge_n(candidate: Words, reference: Words, n: int = 1) -> float:
    """F1 of n-grams. Source: Lin, 2004."""
    return _f1(_grams(candidate, n), _grams(reference, n))


def rouge_l(candidate: Words, reference: Words) -> float:
    """F1 of the longest common subsequence. Source: Lin, 2004."""
    if not candidate or not reference:
        return 0.0
    numbers: dict[str, int] = {}
    a, b = (np.array([numbers.setdefault(word, len(numbers)) for word in text]) for text in (candidate, reference))
    common = int(common_length(a, b))
    return 2 * common / (len(candidate) + len(reference)) if common else 0.0


def rouge_su(candidate: Words, reference: Words, *, skip: int = 4) -> float:
    """F1 of single words and of word pairs in order with at most `skip` words between them (ROUGE-SU4). Source: Lin and Och, ACL 2004."""
    return _f1(_skip_grams(candidate, skip), _skip_grams(reference, skip))


@numba.njit(cache=True, nogil=True)
def common_length(a, b):  # type: ignore[no-untyped-def]
    """Length of the longest common subsequence of two integer arrays."""
    row = np.zeros(b.size + 1, np.int64)
    for i in range(a.size):
        before = 0
        for j in range(b.size):
            above = row[j + 1]
            row[j + 1] = before + 1 if a[i] == b[j] else max(above, row[j])
            before = above
    return row[b.size]


def _grams(text: Words, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(text[at : at + n]) for at in range(len(text) - n + 1))


def _skip_grams(text: Words, skip: int) -> Counter[tuple[str, ...]]:
    pairs = ((text[i], text[j]) for i in range(len(text)) for j in range(i + 1, min(len(text), i + 2 + skip)))
    return Counter(pairs) + _grams(text, 1)


def _f1(a: Counter[tuple[str, ...]], b: Counter[tuple[str, ...]]) -> float:
    total = a.total() + b.total()
    return 2 * (a & b).total() / total if total else 0.0


def _counts(candidate: Words, references: Sequence[Words], order: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Matches and n-grams of every order, the text's length, and that of the reference nearest in length."""
    if not references:
        raise ConfigError("a text has no reference", fix="give at least one")
    matches, totals = np.zeros(order), np.zeros(order)
    for n in range(1, order + 1):
        own, most = _grams(candidate, n), Counter[tuple[str, ...]]()
        for reference in references:
            most |= _grams(reference, n)
        matches[n - 1], totals[n - 1] = (own & most).total(), own.total()
    closest = min((abs(len(one) - len(candidate)), len(one)) for one in references)[1]
    return matches, totals, len(candidate), closest


def _bleu(matches: np.ndarray, totals: np.ndarray, length: int, closest: int) -> float:
    if not matches.any() or (totals == 0).any():
        return 0.0
    precisions, halving = np.empty(matches.size), 1.0
    for at, (matched, total) in enumerate(zip(matches, totals, strict=True)):
        if matched == 0:
            halving *= 2
        precisions[at] = matched / total if matched else 1 / (halving * total)
    return float(min(1.0, np.exp(1 - closest / length)) * np.exp(np.log(precisions).mean()))
