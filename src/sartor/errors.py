"""Every mistake a user can make has a name here: what is wrong, where it is, and what to do about it.

Catch `SartorError` to catch them all. Errors about data also inherit `ValueError` and the like where Python users would expect it.
"""

from __future__ import annotations

from typing import Any


class SartorError(Exception):
    """Base of all named errors.

    Parameters
    ----------
    what: one sentence that says what is wrong.
    fix: what the user can do.
    **where: file, row, column, id, ... anything that locates the problem; kept in `.where` for `--json` output.
    """

    def __init__(self, what: str, *, fix: str | None = None, **where: Any) -> None:
        self.what, self.fix, self.where = what, fix, {k: v for k, v in where.items() if v is not None}
        place = ", ".join(f"{name} {value}" for name, value in self.where.items())
        text = f"{place}: {what}" if place else what
        super().__init__(f"{text} ({fix})" if fix else text)

    def as_dict(self) -> dict[str, Any]:
        """The error as plain data, for `--json`."""
        return {"error": type(self).__name__, "what": self.what, "fix": self.fix, "where": {k: str(v) for k, v in self.where.items()}}


class DataError(SartorError, ValueError):
    """Something is wrong with the data that was read."""


class FileProblem(DataError):
    """A file or folder is missing, unreadable, or not what its name promises."""


class UnknownFormat(DataError):
    """No loader recognises this folder or file."""


class EncodingProblem(DataError):
    """Text is not in the encoding the file should have."""


class MissingColumn(DataError):
    """A required column is not there."""


class WrongType(DataError):
    """A column holds values of the wrong type."""


class BadValue(DataError):
    """A value is impossible: NaN rating, negative or far-future time, empty id."""


class DuplicateRows(DataError):
    """The same row occurs more than once where that cannot be meant."""


class EmptyData(DataError):
    """There is nothing to work on."""


class TooLittleEvidence(DataError):
    """Too little is known of somebody to learn from it."""


class UnknownId(DataError, KeyError):
    """An id that the data or the model has never seen."""

    __str__ = Exception.__str__


class UnsafeArchive(DataError):
    """An archive holds a path outside its own folder, a link, or far more data than it should."""


class BadImage(DataError):
    """A picture is corrupt, too small or too large, of the wrong shape or mode, or has values out of range."""


class BadPrompt(DataError):
    """A prompt is longer than the text encoder reads, has words it does not know, or lacks the concept's word."""


class LeakError(SartorError):
    """Held-out rows were touched while fitting."""


class ConfigError(SartorError, ValueError):
    """A setting is out of range or does not fit another one."""


class BudgetTooSmall(ConfigError):
    """A prompt does not fit into the tokens it may have, even with nothing added to it."""


class Infeasible(ConfigError):
    """A budget is smaller than what must be given of it, or what is wanted cannot be reached; `.where` has the nearest that can."""


class BadAnswer(SartorError):
    """A language model does not give what was asked for, however often it is asked."""


class NotFitted(SartorError):
    """The method was asked to work before `fit` or `load`."""


class StateMismatch(SartorError, ValueError):
    """A personal state of one fitted model was given to another."""


class StaleIndex(SartorError, ValueError):
    """An index was built for another version of what it indexes."""


class EndpointFailed(SartorError):
    """A server that we ask (for embeddings, for words) cannot be reached, fails, or answers something else than it should."""


class SpaceMismatch(SartorError, ValueError):
    """Vectors of one encoder were asked of an index of another's."""


class CorruptFile(SartorError, ValueError):
    """A saved model, state or checkpoint is truncated or is not one of ours."""


class Diverged(SartorError, ArithmeticError):
    """Training produced numbers that are not finite."""


class StoreProblem(SartorError):
    """The store of evidence and states cannot be reached, is full, corrupt, too new, or was made with another master key."""


class Unreadable(StoreProblem):
    """Something that is stored of one person is not what was written: it does not open, or its file is gone. The store itself works."""


class AccessDenied(SartorError):
    """A key is unknown, expired, revoked, or does not allow this."""


class NoConsent(SartorError):
    """The person has not agreed to this purpose."""


class ModelRefused(SartorError):
    """A model was not switched to, because people would be served worse."""


class TooLarge(DataError):
    """A record, a request or an answer is larger than it may be."""


class RateLimited(SartorError):
    """Too many requests; `.where` says how many seconds to wait."""


class Conflict(SartorError):
    """Somebody else has changed this in the meantime."""


class MissingExtra(SartorError, ImportError):
    """An optional dependency is needed for this."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package '{package}'", fix=f"pip install 'sartor[{extra}]'")
