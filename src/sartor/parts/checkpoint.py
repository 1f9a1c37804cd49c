"""Resumable progress of an iterative fit: a few arrays and facts in one file, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sartor import _storage
from sartor.errors import ConfigError

_FILE = "progress.safetensors"


class Checkpoint:
    """Where a fit leaves its progress; without a folder nothing is kept.

    Parameters
    ----------
    folder: made when needed.
    settings: JSON facts that a resumed run must share (hyperparameters, `data_key`).
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        self.file = None if folder is None else folder / _FILE
        self.settings = json.loads(json.dumps(settings))

    def resume(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Arrays and facts of the last `leave`, or None; raises `ConfigError` when another run left them and `CorruptFile` when they are damaged."""
        if self.file is None or not self.file.exists():
            return None
        arrays, meta = _storage.from_bytes(self.file.read_bytes(), needs=("settings", "facts"))
        if meta["settings"] != self.settings:
            differ = sorted(name for name in {*self.settings, *meta["settings"]} if self.settings.get(name) != meta["settings"].get(name))
            raise ConfigError(
                f"the checkpoint was left by a run with other {', '.join(differ)}",
                fix="use the same settings and data, or another folder",
                file=self.file,
            )
        # Copies: what was read is not writable.
        return {name: array.copy() for name, array in arrays.items()}, meta["facts"]

    def leave(self, arrays: Mapping[str, np.ndarray], **facts: Any) -> None:
        """Replace what was left before."""
        if self.file is not None:
            _storage.write_atomically(self.file, _storage.to_bytes(dict(arrays), {"settings": self.settings, "facts": facts}))

    def done(self) -> None:
        """Remove it: the fit has ended."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)


def data_key(*arrays: np.ndarray) -> str:
    """16 hex digits that tell one data set from another."""
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
