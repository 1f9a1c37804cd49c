"""Method settings from the command line: `--set factors=64`, typed by the method's own fields."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from sartor._fields import hints
from sartor.errors import ConfigError

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the method; repeat for several.", show_default=False)
]

_YES, _NO = ("true", "yes", "1", "on"), ("false", "no", "0", "off")


def build(slug: str, given: Sequence[str] | None, **more: Any) -> Any:
    """An unfitted method with settings such as `["factors=64", "base.epochs=3"]`.

    A setting that is itself a method takes a slug (`base=als`); its own settings follow after a dot. `more` are settings that
    apply only if the method has them, such as the seed, and give way to `given`.
    """
    from sartor.systems import make

    known = hints(_kind(slug))
    own: dict[str, str] = {}
    inner: dict[str, list[str]] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"'{text}' is not NAME=VALUE", fix="for example --set factors=64")
        head, dot, rest = name.strip().partition(".")
        _check(slug, head, known)
        if dot:
            inner.setdefault(head, []).append(f"{rest}={value}")
        else:
            own[head] = value.strip()
    settings: dict[str, Any] = {name: value for name, value in more.items() if name in known}
    for name, value in own.items():
        settings[name] = build(value, inner.pop(name, None)) if _is_method(known[name]) else convert(name, value, known[name])
    if inner:
        name = next(iter(inner))
        raise ConfigError(f"'{name}.…' needs '{name}' itself", fix=f"add --set {name}=SLUG")
    return make(slug, **settings)


def by_method(given: Sequence[str] | None) -> dict[str, list[str]]:
    """Slug -> its settings, of `["als.factors=64"]` for commands that take several methods."""
    out: dict[str, list[str]] = {}
    for text in given or ():
        slug, dot, rest = text.partition(".")
        if not dot or "=" in slug:
            raise ConfigError(f"'{text}' is not METHOD.NAME=VALUE", fix="for example --set als.factors=64")
        out.setdefault(slug, []).append(rest)
    return out


def grid(slug: str, given: Sequence[str] | None, tried: Sequence[str]) -> dict[str, list[Any]]:
    """Setting -> values to try, from `["factors=32,64"]`; fixed settings are tried with their one value."""
    known = hints(_kind(slug))
    out: dict[str, list[Any]] = {}
    for text, single in [*((one, True) for one in given or ()), *((one, False) for one in tried)]:
        name, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not values:
            raise ConfigError(f"'{text}' is not NAME=VALUES", fix="for example --grid factors=32,64")
        _check(slug, name, known)
        out[name] = [convert(name, value.strip(), known[name]) for value in ([values] if single else values.split(","))]
    return out


def _kind(slug: str) -> type:
    from sartor.method import Method
    from sartor.systems import SYSTEMS, find

    system = find(slug)
    kind = system.resolve()
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        methods = ", ".join(one.slug for one in SYSTEMS.values() if one.kind in ("method", "baseline"))
        raise ConfigError(f"{slug} is a {system.kind}, not a method to fit", fix=f"use one of {methods}")
    return kind


def _check(slug: str, name: str, known: dict[str, Any]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    fix = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
    raise ConfigError(f"{slug} has no setting '{name}'", fix=fix)


def _is_method(kind: Any) -> bool:
    from sartor.method import Method

    return any(isinstance(one, type) and issubclass(one, Method) for one in (kind, *get_args(kind)))


def convert(name: str, text: str, kind: Any) -> Any:
    """Text as the type a field wants; raises `ConfigError` with what would do."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if type(None) in inside and text.lower() in ("none", "null", ""):
            return None
        return _first(name, text, [one for one in inside if one is not type(None)])
    if origin is Literal:
        for choice in inside:
            if str(choice) == text:
                return choice
        raise ConfigError(f"{name} is '{text}'", fix=f"use one of {', '.join(map(str, inside))}")
    if origin in (tuple, list) or kind in (tuple, list):
        parts = [part.strip() for part in text.strip("()[]").split(",") if part.strip()]
        wanted = [one for one in inside if one is not Ellipsis] or [Any]
        values = [convert(name, part, wanted[min(number, len(wanted) - 1)]) for number, part in enumerate(parts)]
        return values if (origin or kind) is list else tuple(values)
    if kind is bool:
        if text.lower() in _YES or text.lower() in _NO:
            return text.lower() in _YES
        raise ConfigError(f"{name} is '{text}'", fix="use true or false")
    if kind in (int, float):
        try:
            number = float(text) if kind is float or not text.lstrip("+-").isdigit() else int(text)
        except ValueError:
            number = float("nan")
        if not math.isfinite(number) or (kind is int and not float(number).is_integer()):
            raise ConfigError(f"{name} is '{text}'", fix=f"give {'a whole number' if kind is int else 'a number'}")
        return kind(number)
    return text if kind is str else _as_it_looks(text)


def _first(name: str, text: str, kinds: Sequence[Any]) -> Any:
    problem: ConfigError | None = None
    for kind in sorted(kinds, key=lambda one: one is str):
        try:
            return convert(name, text, kind)
        except ConfigError as mistake:
            problem = mistake
    assert problem is not None
    raise problem


def _as_it_looks(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)
