"""Ids as people and programs give them, and as a fitted model knows them: the one place where the two meet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import BadValue, WrongType

if TYPE_CHECKING:
    from sartor.data.ids import IdMap

Id = str | int
"""A person's or an item's id. HTTP knows strings only, so 7 and "7" are the same; "007" is another one."""

LONGEST = 512
"""Characters of an id."""


def person_id(person: Any) -> str:
    """A person's id as the store keeps it; raises `WrongType` or `BadValue`."""
    return _text(person, "person")


def item_id(item: Any) -> Id:
    """An item's id as given, checked; raises `WrongType` or `BadValue`."""
    if isinstance(item, np.integer):
        return int(item)
    _text(item, "item")
    return item


def _text(one: Any, what: str) -> str:
    if isinstance(one, bool) or not isinstance(one, str | int | np.integer):
        raise WrongType(f"the {what}'s id is a {type(one).__name__}", fix="ids are strings or integers")
    text = str(one)
    if not text or len(text) > LONGEST or "\0" in text:
        raise BadValue(f"the {what}'s id is empty, longer than {LONGEST} characters, or holds a zero byte", fix="give a shorter, printable id")
    try:
        text.encode()
    except UnicodeEncodeError as cause:
        raise BadValue(f"the {what}'s id is not valid Unicode", fix="give text without lone surrogates") from cause
    return text


class ItemIds:
    """The items of one fitted model by id. Shared by all requests, never changed."""

    def __init__(self, items: IdMap) -> None:
        self.map = items
        self.integers = items.ids.dtype.is_integer()
        self._numbers: dict[Id, int] = dict(zip(items.ids.to_list(), range(len(items)), strict=True))
        # For ids that no item can have: a history column must hold one kind of id, and unknown events are counted, not lost.
        self._nothing: Id = min([0, *(one for one in self._numbers if isinstance(one, int))]) - 1 if self.integers else ""

    def __len__(self) -> int:
        return len(self._numbers)

    def own(self, item: Any) -> Id:
        """The id in the model's kind: "7" becomes 7 for a model of integers, 7 becomes "7" for one of strings.

        What cannot be one of the model's ids ("007" and "x" among integers) becomes an id that no item has.
        """
        if isinstance(item, str):
            if not self.integers:
                return item
            # Only the one way in which an integer is written stands for it.
            return int(item) if len(item) < 20 and item.removeprefix("-").isdecimal() and str(int(item)) == item else self._nothing
        if isinstance(item, int | np.integer) and not isinstance(item, bool):
            return int(item) if self.integers else str(item)
        return self._nothing

    def number(self, item: Any) -> int:
        """The model's number of an item, -1 when it has none."""
        return self._numbers.get(self.own(item), -1)

    def numbers(self, items: Iterable[Any]) -> np.ndarray:
        """int32: the known ones among some items, in their order; unknown ones are left out."""
        found = [number for item in items if (number := self.number(item)) >= 0]
        return np.array(found, np.int32)

    def ids(self, numbers: np.ndarray) -> list[Id]:
        """Ids by number."""
        return self.map.array[numbers].tolist()
