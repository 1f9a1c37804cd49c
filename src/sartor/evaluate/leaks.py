"""Whether a fitted model has seen what it is about to be judged by."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations
from typing import TYPE_CHECKING

from sartor.data.digest import Digest
from sartor.errors import LeakError
from sartor.method import Method

if TYPE_CHECKING:
    from sartor.data.splits import Split


MAY_BE_SEEN = {"test": ("train", "validation", "evidence", "validation_evidence"), "validation": ("train", "validation_evidence")}
"""What a model may have been fitted on that is judged by a part; people in `test` have the validation events among their evidence."""


def refuse_leaks(method: Method, split: Split, on: str) -> str | None:
    """Raise `LeakError` when the method, or one inside it, was fitted on the held-out part together with any others of the split.

    What a model was fitted on is known by its `fitted_on_` alone, which tells equal events from others and no more: a model fitted on some of
    the held-out events, or on data of another origin, is not found out. For that case a remark is returned.
    """
    strangers = []
    for fitted in filter(None, {getattr(one, "fitted_on_", "") for one in _all(method)}):
        # Most models were fitted on `train`: then the other parts need not be read.
        if fitted == str(split.train.digest()):
            continue
        digests = {name: part.digest() for name, part in split.parts.items()}
        held_out = digests.pop(on)
        if fitted in {str(one) for one in _unions([digests[name] for name in MAY_BE_SEEN[on]])}:
            continue
        if fitted in {str(one + held_out) for one in _unions(list(digests.values()))}:
            raise LeakError(
                f"this {type(method).__name__} was fitted on the {on} events that it is to be judged by",
                fix="fit on split.train", split=split.name, events=held_out.events,
            )  # fmt: skip
        strangers.append(fitted.partition("-")[0])
    if not strangers:
        return None
    return f"fitted on {' and '.join(strangers)} events that are not this split's parts: nobody can tell whether held-out ones are among them"


def _unions(parts: list[Digest]) -> Iterator[Digest]:
    """Digests of every choice of parts, none included."""
    for chosen in chain.from_iterable(combinations(parts, size) for size in range(len(parts) + 1)):
        yield sum(chosen, Digest())


def _all(method: Method) -> Iterator[Method]:
    yield method
    for value in vars(method).values():
        if isinstance(value, Method):
            yield from _all(value)
