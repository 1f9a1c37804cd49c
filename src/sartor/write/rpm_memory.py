"""What RPM keeps of one person: her cases with their features and reasons, and the factors counted from them; as arrays and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sartor.errors import CorruptFile, UnknownId
from sartor.write.parts.factors import Factors, counted, grouped, without

Path = tuple[tuple[int, int], ...]
"""Reasons: factors, and which way each spoke (+1, -1)."""


@dataclass(frozen=True)
class Item:
    """One past case."""

    id: str
    request: str
    answer: str
    value: float
    """The answer on the reader's scale, -1 to 1."""
    path: Path | None = None
    """Why she answered so, in factors; None where the reasons do not lead to the answer."""
    why: str = ""
    """The same in words, where a language model wrote them."""


@dataclass(frozen=True, eq=False)
class Memory:
    """Everything of one person. Immutable; phrases stand once, however many items have them."""

    items: tuple[Item, ...]
    phrases: tuple[str, ...]
    vectors: np.ndarray
    """float16 [phrases, dim], unit length."""
    texts: np.ndarray
    """float16 [items, dim], of the requests; for requests without features."""
    features: np.ndarray
    """int32 [rows, 3]: item, phrase, sign."""
    factors: Factors
    skipped: int = 0
    """Items whose features could not be read."""
    _index: dict[str, int] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._index.update({one.id: at for at, one in enumerate(self.items)})

    @property
    def values(self) -> np.ndarray:
        """float64 [items]."""
        return np.array([one.value for one in self.items], np.float64)

    @property
    def contrast(self) -> bool:
        """Whether answers differ at all: otherwise no factor can be told from another."""
        return len({one.answer for one in self.items}) > 1

    def phrases_of(self, item: int) -> np.ndarray:
        """int32, the phrases of an item."""
        return np.asarray(self.features[self.features[:, 0] == item, 1])

    def with_paths(self, paths: Sequence[tuple[Path | None, str]]) -> Memory:
        """The same with the items' reasons."""
        return replace(self, items=tuple(replace(one, path=path, why=why) for one, (path, why) in zip(self.items, paths, strict=True)))

    def forget(self, ids: Sequence[str]) -> Memory:
        """The same without some items; only factors that they touched are counted again. Raises `UnknownId`."""
        memory = self
        for name in ids:
            if name not in memory._index:
                raise UnknownId("there is no such item in the state", id=name, fix="`items` lists what there is")
            memory = memory._less(memory._index[name])
        return memory

    def _less(self, item: int) -> Memory:
        factors, _ = without(self.factors, self.phrases, self.features, self.values, item)
        left = self.features[self.features[:, 0] != item]
        # Nothing stays of phrases and factors that only this item had.
        kept = np.unique(left[:, 1])
        groups = np.unique(factors.labels[kept])
        place, factor = np.full(len(self.phrases), -1, np.int32), np.full(len(factors), -1, np.int32)
        place[kept], factor[groups] = np.arange(kept.size), np.arange(groups.size)
        rows = np.stack([left[:, 0] - (left[:, 0] > item), place[left[:, 1]], left[:, 2]], axis=1).astype(np.int32)
        less = Factors(
            factor[factors.labels[kept]], tuple(factors.names[at] for at in groups), factors.sums[groups], factors.items, factors.total
        )  # fmt: skip

        def moved(path: Path | None) -> Path | None:
            return None if path is None else tuple((int(factor[at]), sign) for at, sign in path if factor[at] >= 0)

        items = tuple(replace(one, path=moved(one.path)) for at, one in enumerate(self.items) if at != item)
        return Memory(
            items, tuple(self.phrases[at] for at in kept), self.vectors[kept], np.delete(self.texts, item, axis=0), rows, less, self.skipped
        )  # fmt: skip

    # --- as arrays

    def arrays(self) -> dict[str, np.ndarray]:
        """As a state holds it: texts as the bytes of JSON."""
        words = {
            "phrases": self.phrases, "names": self.factors.names, "skipped": self.skipped,
            "items": [[one.id, one.request, one.answer, one.path, one.why] for one in self.items],
        }  # fmt: skip
        return {
            "words": np.frombuffer(json.dumps(words, ensure_ascii=False).encode("utf-8", "surrogatepass"), np.uint8).copy(),
            "values": self.values, "vectors": self.vectors, "texts": self.texts, "features": self.features, "labels": self.factors.labels,
            "sums": self.factors.sums,
        }  # fmt: skip

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Memory:
        """The reverse of `arrays`; raises `CorruptFile` for what does not fit together."""
        try:
            words = json.loads(arrays["words"].tobytes().decode("utf-8", "surrogatepass"))
            values, features, labels = arrays["values"], arrays["features"], arrays["labels"]
            items = tuple(
                Item(ident, request, answer, float(value), None if path is None else tuple((int(at), int(sign)) for at, sign in path), why)
                for (ident, request, answer, path, why), value in zip(words["items"], values, strict=True)
            )  # fmt: skip
            factors = Factors(labels, tuple(words["names"]), arrays["sums"], len(items), float(np.sum(values)))
            made = cls(items, tuple(words["phrases"]), arrays["vectors"], arrays["texts"], features, factors, int(words["skipped"]))
        except (KeyError, TypeError, ValueError) as cause:
            raise CorruptFile("this state is none of RPM's", fix="adapt the person again") from cause
        sizes = (len(made.phrases), len(made.vectors), len(labels), len(factors), len(factors.sums), len(made.texts), len(items))
        top = [int(array.max(initial=-1)) for array in (features[:, 0], features[:, 1], labels)]
        bottom = min([0, *(int(array.min(initial=0)) for array in (features[:, :2], labels))])
        cited = [at for one in items for at, _ in one.path or ()]
        whole = sizes[0] == sizes[1] == sizes[2] and sizes[3] == sizes[4] and sizes[5] == sizes[6] and bottom == 0
        if not whole or top[0] >= sizes[6] or top[1] >= sizes[0] or top[2] >= sizes[3] or any(not 0 <= at < sizes[3] for at in cited):
            raise CorruptFile("the parts of this state do not fit together", fix="adapt the person again")
        return made


def remembered(
    items: Sequence[Item], found: Sequence[Sequence[tuple[str, int]]], vectors: Mapping[str, np.ndarray], texts: np.ndarray, *, threshold: float,
    skipped: int = 0, names: Any = None,
) -> Memory:  # fmt: skip
    """A memory of items with their features; phrases are grouped anew.

    Parameters
    ----------
    found: features of each item.
    vectors: of every phrase.
    threshold: mean cosine from which phrases are one factor.
    names: from the phrases of each group (a list of lists) to names; groups that get the same name become one. None takes a phrase.
    """
    phrases = tuple(dict.fromkeys(phrase for own in found for phrase, _ in own))
    number = {phrase: at for at, phrase in enumerate(phrases)}
    rows = [(at, number[phrase], sign) for at, own in enumerate(found) for phrase, sign in own]
    features = np.array(rows, np.int32).reshape(-1, 3)
    dim = texts.shape[1]
    stacked = np.stack([vectors[one] for one in phrases]).astype(np.float16) if phrases else np.zeros((0, dim), np.float16)
    labels = grouped(stacked.astype(np.float32), threshold)
    named = None
    if names is not None and phrases:
        given = names([[phrases[at] for at in np.flatnonzero(labels == group)] for group in range(int(labels.max()) + 1)])
        merged = {name: at for at, name in enumerate(dict.fromkeys(given))}
        labels = np.array([merged[given[label]] for label in labels], np.int32)
        named = list(merged)
    values = np.array([one.value for one in items], np.float64)
    return Memory(tuple(items), phrases, stacked, texts.astype(np.float16), features, counted(labels, phrases, features, values, named), skipped)
