"""The settings of a method are the fields of its dataclass: what type each has, and whether a value is of it."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import numpy as np

from sartor.errors import ConfigError

if TYPE_CHECKING:
    from sartor.method import Method

_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", type(None): "None"}


def hints(kind: type) -> dict[str, Any]:
    """Setting -> type; `Any` where the type is imported for type checkers only."""
    return {f.name: _hint(kind, f.name) for f in fields(kind) if f.init}


def check(method: Method) -> None:
    """Raise `ConfigError` with the name of the first setting whose value is of a wrong type, or when the seed is out of range.

    numpy's numbers become Python's, which alone can be saved.
    """
    for name, kind in hints(type(method)).items():
        value = getattr(method, name)
        if not _fits(value, kind):
            raise ConfigError(f"{name} is {value!r}", fix=f"use {_words(kind)}")
        if isinstance(value, np.generic):
            setattr(method, name, value.item())
    if not 0 <= method.seed < 2**32:
        raise ConfigError(f"seed is {method.seed!r}", fix="use a whole number from 0 to 4294967295")


def _hint(kind: type, name: str) -> Any:
    for owner in kind.__mro__:
        if (written := inspect.get_annotations(owner).get(name)) is not None:
            try:
                return eval(written, vars(sys.modules[owner.__module__])) if isinstance(written, str) else written
            except NameError:
                return Any
    return Any


def _fits(value: Any, kind: Any) -> bool:
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in inside)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inside)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        wanted = next((one for one in inside if one is not Ellipsis), Any)
        return isinstance(value, list | tuple | np.ndarray) and all(_fits(one, wanted) for one in value)
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    if kind is int or kind is float:
        # True is a number to Python, but to nobody who sets a number.
        numbers = int | np.integer if kind is int else int | float | np.integer | np.floating
        return isinstance(value, numbers) and not isinstance(value, bool)
    if kind is None:
        return value is None
    if not isinstance(kind, type) or kind is Any:
        return True
    # Which methods will do inside another one, that one says better than its annotation.
    from sartor.method import Method

    return isinstance(value, Method if issubclass(kind, Method) else kind)


def _words(kind: Any) -> str:
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(one) for one in inside)
    if origin is Literal:
        return f"one of {', '.join(map(str, inside))}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list, each {_words(inside[0])}" if inside else "a list"
    return _WORDS.get(type(None) if kind is None else kind, getattr(kind, "__name__", str(kind)))
