"""The log of decisions: with which state and at what price each was made, what the population's answer would have been, and what it cost."""

from __future__ import annotations

import json
import math
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.errors import CorruptFile, FileProblem

if TYPE_CHECKING:
    from sartor.decide.decision import Decision, Decisions


def entry(decision: Decision, decisions: Decisions, *, model: str) -> dict[str, Any]:
    """What is kept of one decision, as plain data; `model` is the fingerprint of the method that made it. No budget is none, not infinity."""
    shared = {"model": model, "price": decisions.price, "budget": decisions.budget, "spent": decisions.spent, "budget_unit": decisions.unit}
    return {
        name: value
        for name, value in {**shared, **asdict(decision)}.items()
        if value not in (None, "", ()) and not (isinstance(value, float) and not math.isfinite(value))
    }


class DecisionLog:
    """One JSON object per line, appended and on the disk before `write` returns. For who decides without an engine, which keeps its own.

    It holds what was decided for whom: keep the file as you keep the people's data.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def write(self, decisions: Decisions, *, model: str) -> list[str]:
        """Keep all decisions of one call, all or none; returns their ids."""
        now, ids = time.time(), [secrets.token_hex(8) for _ in decisions]
        lines = [
            {"id": ident, "time": now, "person": person, **entry(decision, decisions, model=model)}
            for ident, (person, decision) in zip(ids, decisions.items(), strict=True)
        ]
        text = "".join(json.dumps(line, allow_nan=False, default=_plain) + "\n" for line in lines)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                # One write: lines of two writers do not mix.
                written = os.write(handle, text.encode())
                if written != len(text.encode()):
                    os.ftruncate(handle, os.fstat(handle).st_size - written)
                    raise OSError("the disk is full")
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as cause:
            raise FileProblem(f"the log cannot be written: {cause}", fix="make room, or choose another place", file=self.path) from cause
        return ids

    def read(self, person: Any = None) -> Iterator[dict[str, Any]]:
        """Oldest first; of one person, or all."""
        if not self.path.is_file():
            return
        for row, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                found = json.loads(line)
            except ValueError as cause:
                raise CorruptFile("this line is no decision", fix="remove the line", file=self.path, row=row) from cause
            if person is None or found["person"] == person:
                yield found


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
