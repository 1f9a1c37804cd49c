"""PrefEval's cases: preferences, questions that go against them, unrelated talk, from a copy of the published files.

The data (CC BY-NC 4.0) is never part of this package: give the folder of a copy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sartor.errors import BadValue, ConfigError, FileProblem, MissingColumn
from sartor.write.backends.backend import Message

Form = Literal["explicit", "choice", "persona"]
TOPICS = (
    "education_learning_styles", "education_resources", "entertain_games", "entertain_music_book", "entertain_shows", "entertain_sports",
    "lifestyle_beauty", "lifestyle_dietary", "lifestyle_fit", "lifestyle_health", "pet_ownership", "professional_work_location_style",
    "shop_fashion", "shop_home", "shop_motors", "shop_technology", "travel_activities", "travel_hotel", "travel_restaurant",
    "travel_transportation",
)  # fmt: skip
ACKNOWLEDGED = "Thank you for telling me. I will keep that in mind."


@dataclass(frozen=True)
class Case:
    """A preference, and a question whose natural answer goes against it."""

    id: str
    """Topic and number in its file."""
    topic: str
    form: Form
    preference: str
    question: str
    reveal: tuple[Message, ...]
    """How the conversation shows the preference."""
    options: tuple[str, ...] = ()
    """Four answers, exactly one of which respects it; shuffled."""
    right: int = -1
    """Which one."""


def load(folder: str | Path, *, form: Form = "explicit", topics: Sequence[str] | None = None, seed: int = 0) -> list[Case]:
    """Cases of a copy of the published data, with options in an order drawn from `seed` (in the files the right one comes first).

    Raises `ConfigError` for an unknown form or topic, `FileProblem`, and `MissingColumn` or `BadValue` with the case.
    """
    folders = {"explicit": "explicit_preference", "choice": "implicit_preference/choice-based", "persona": "implicit_preference/persona-driven"}
    if form not in folders:
        raise ConfigError(f"there is no form '{form}'", fix=f"use one of {', '.join(folders)}")
    if unknown := sorted(set(topics or ()) - set(TOPICS)):
        raise ConfigError(f"there is no topic {unknown}", fix=f"topics are {', '.join(TOPICS)}")
    rng = np.random.default_rng([seed, 23])
    out = []
    for topic in TOPICS if topics is None else topics:
        options = {_key(one): one for one in _rows(Path(folder) / "mcq_options" / f"{topic}.json", missing_ok=True)}
        for number, row in enumerate(_rows(Path(folder) / folders[form] / f"{topic}.json")):
            ident = f"{topic}/{number}"
            if lost := [name for name in ("preference", "question") if not isinstance(row.get(name), str) or not row[name].strip()]:
                raise MissingColumn(f"a case has no {lost[0]}", fix="take the files of the official repository", case=ident)
            given = options.get(_key(row), {}).get("classification_task_options", [])
            reveal = _reveal(row, form, ident)
            out.append(case(ident, topic, form, row["preference"], row["question"], reveal, given, right=0, order=rng.permutation(4).tolist()))
    return out


def case(
    ident: str, topic: str, form: Form, preference: str, question: str, reveal: Sequence[Message], options: Sequence[str] = (), *,
    right: int | Sequence[int] = 0, order: Sequence[int] = (0, 1, 2, 3),
) -> Case:  # fmt: skip
    """A case with its options in a new order; raises `BadValue` unless there are four different ones (or none), one of them right."""
    if not options:
        return Case(ident, topic, form, preference, question, tuple(reveal))
    marked = [right] if isinstance(right, int) else list(right)
    if len(options) != 4:
        raise BadValue(f"a case has {len(options)} options", fix="give four", case=ident)
    if len(marked) != 1 or not 0 <= marked[0] < 4:
        raise BadValue(f"{len(marked)} options are marked as right", fix="mark one", case=ident)
    return Case(ident, topic, form, preference, question, tuple(reveal), tuple(options[at] for at in order), list(order).index(marked[0]))


def inter_turns(folder: str | Path) -> list[list[Message]]:
    """The unrelated conversations that come with the data."""
    talks = _rows(Path(folder) / "filtered_inter_turns.json")
    return [[{"role": one["role"], "content": one["content"]} for one in talk["conversation"]] for talk in talks]


def _reveal(row: Mapping[str, Any], form: Form, ident: str) -> list[Message]:
    if form == "explicit":
        return [{"role": "user", "content": row["preference"]}, {"role": "assistant", "content": ACKNOWLEDGED}]
    talk = row.get("conversation")
    if not isinstance(talk, dict):
        raise MissingColumn("a case has no conversation", fix="take the files of the official repository", case=ident)
    if form == "choice":
        names = (("user", "query"), ("assistant", "assistant_options"), ("user", "user_selection"), ("assistant", "assistant_acknowledgment"))
        if lost := [name for _, name in names if name not in talk]:
            raise MissingColumn(f"the conversation has no {lost[0]}", fix="take the files of the official repository", case=ident)
        return [{"role": role, "content": str(talk[name])} for role, name in names]
    turns = [talk[name] for name in sorted(talk, key=int)]
    return [{"role": role, "content": str(turn[role])} for turn in turns for role in ("user", "assistant") if role in turn]


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    return str(row.get("preference", "")).strip(), str(row.get("question", "")).strip()


def _rows(path: Path, *, missing_ok: bool = False) -> list[dict[str, Any]]:
    if not path.is_file():
        if missing_ok:
            return []
        raise FileProblem("this file of PrefEval is not there", fix=f"give its folder; topics are {', '.join(TOPICS)}", file=path)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as cause:
        raise FileProblem("the file is not JSON", fix="take it from the official repository again", file=path) from cause
    if not isinstance(rows, list):
        raise FileProblem("the file is no list", fix="take it from the official repository again", file=path)
    return rows
