"""A concept as a file: its tensors, and what they are of, as one safetensors file of kilobytes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sartor import _storage
from sartor.errors import ConfigError, CorruptFile, FileProblem, StateMismatch

_NEEDS = ("method", "prior", "class_word", "tokens", "n_images", "image_hashes", "consent")


@dataclass(frozen=True, eq=False)
class ConceptFile:
    """What one adaptation has learned, without the pictures it learned from."""

    arrays: Mapping[str, np.ndarray]
    method: str
    """Slug of the method that made it."""
    prior: str
    """Fingerprint of the prior that it belongs to."""
    class_word: str
    """What the subject is: "critter"."""
    tokens: Sequence[str]
    """Its learned words: ["<mug>"]."""
    n_images: int
    image_hashes: Sequence[str]
    """Of the pictures' pixels, so that a withdrawn picture can be traced."""
    consent: str
    """For which purpose the pictures were given."""
    created: float = field(default_factory=time.time)
    """Seconds since 1970 UTC."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters and the record of the run."""

    def __post_init__(self) -> None:
        if not self.tokens or len({*self.tokens}) < len(self.tokens):
            raise ConfigError(f"tokens {list(self.tokens)}", fix="give at least one name, each once")

    @property
    def nbytes(self) -> int:
        """Of the tensors."""
        return sum(array.nbytes for array in self.arrays.values())

    def save(self, path: str | Path) -> Path:
        """Write it, all or nothing."""
        facts = {name: value for name, value in asdict(self).items() if name != "arrays"}
        _storage.write_atomically(Path(path), _storage.to_bytes(dict(self.arrays), {**facts, "kind": "concept"}))
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, *, prior: str | None = None) -> ConceptFile:
        """The reverse of `save`; raises `FileProblem`, `CorruptFile`, and `StateMismatch` when it belongs to another prior."""
        path = Path(path)
        if not path.is_file():
            raise FileProblem("there is no concept here", fix="check the path", file=path)
        try:
            arrays, facts = _storage.from_bytes(path.read_bytes(), needs=_NEEDS)
        except CorruptFile as cause:
            raise CorruptFile(cause.what, fix=cause.fix, file=path) from cause
        if facts.pop("kind", None) != "concept":
            raise CorruptFile("this file is not a concept", fix="give one that a drawing method saved", file=path)
        if prior is not None and facts["prior"] != prior:
            what = f"the concept was learned on prior {str(facts['prior'])[:8]}, this is {prior[:8]}"
            raise StateMismatch(what, fix="adapt to the pictures again with this prior", file=path)
        settings = facts.get("settings", {})
        if not isinstance(settings, dict) or not isinstance(settings.get("method", {}), dict):
            raise CorruptFile("its settings cannot be read", fix="learn it again", file=path)
        if wild := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
            raise CorruptFile(f"{wild[0]} has numbers that are not finite", fix="learn it again, at a lower rate", file=path)
        known = cls.__dataclass_fields__.keys() - {"arrays"}
        return cls(arrays, **{name: value for name, value in facts.items() if name in known})
