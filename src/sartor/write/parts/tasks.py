"""What a person writes for, as data: which parts of a past piece are searched, for what, how a piece is shown, and what a summary must say.

The seven LaMP tasks have the field maps of the benchmark's own ranking and prompting (Salemi et al., LaMP: When Large Language Models Meet
Personalization, 2023); the words around the fields are ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from sartor.errors import BadValue, ConfigError, MissingColumn
from sartor.write.parts.pieces import Piece

Part = Literal["prompt", "text"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of writing."""

    name: str
    about: str
    """Completes "what this person's past says about ..."; a summary that does not know its task keeps the wrong things."""
    documents: tuple[Part, ...] = ("text", "prompt")
    """What of a piece is searched."""
    query: str = ""
    """Regular expression: its groups are what of a request is searched for, all of them; where it finds nothing, and when empty, the whole."""
    item: str = '"{text}" answers "{prompt}"'
    """How a piece is shown to a language model."""
    fields: tuple[str, str] = ("prompt", "text")
    """In the benchmark's profiles: what was given, "" for nothing, and what was written."""
    labels: tuple[str, ...] = ()
    """All answers there are; empty for free text."""

    def searched(self, request: str) -> str:
        """What of a request to look for."""
        found = re.findall(self.query, request, re.DOTALL) if self.query else []
        return " ".join(one.strip() for one in found).strip() or request

    def document(self, piece: Piece) -> str:
        """What of a piece is searched."""
        return " ".join(getattr(piece, part) for part in self.documents)

    def shown(self, piece: Piece) -> str:
        """A piece in words."""
        return self.item.format(prompt=piece.prompt, text=piece.text) if piece.prompt else piece.text


_TAGS = (
    "sci-fi", "based on a book", "comedy", "action", "twist ending", "dystopia", "dark comedy", "classic", "psychology", "fantasy", "romance",
    "thought-provoking", "social commentary", "violence", "true story",
)  # fmt: skip
_COLON = r"^[^:]*:(.*)"

TASKS = {
    task.name: task
    for task in (
        Task(name="reply", about="how they answer each kind of request: words they always use, and words they use for one kind only",
             documents=("prompt",)),
        Task(name="LaMP-1", about="which papers they cite", query=r'\]:\s*"([^"]*)"', item='they wrote "{text}", about: "{prompt}"',
             fields=("abstract", "title"), labels=("[1]", "[2]")),
        Task(name="LaMP-2", about="which tag they give to which films", documents=("prompt",), query=r"description:(.*)",
             item='they tagged "{prompt}" as "{text}"', fields=("description", "tag"), labels=_TAGS),
        Task(name="LaMP-3", about="how many points they give for what", documents=("prompt",), query=r"review:(.*)",
             item='they gave {text} points in "{prompt}"', fields=("text", "score"), labels=("1", "2", "3", "4", "5")),
        Task(name="LaMP-4", about="how they title news articles", query=r"article:(.*)", item='their title "{text}" is for "{prompt}"',
             fields=("text", "title")),
        Task(name="LaMP-5", about="how they title scholarly papers", query=_COLON, item='their title "{text}" is for "{prompt}"',
             fields=("abstract", "title")),
        Task(name="LaMP-6", about="how they write the subjects of their mails", documents=("prompt",), query=_COLON,
             item='their subject "{text}" is for "{prompt}"', fields=("text", "title")),
        Task(name="LaMP-7", about="how they word short posts", documents=("text",), query=_COLON, item='they posted "{text}"', fields=("", "text")),
    )
}  # fmt: skip


def task(name: str) -> Task:
    """A task by its name; raises `ConfigError`."""
    if name not in TASKS:
        raise ConfigError(f"there is no task '{name}'", fix=f"use one of {', '.join(TASKS)}")
    return TASKS[name]


def lamp_texts(questions: Iterable[Mapping[str, Any]], name: str, *, answers: Mapping[str, str] | None = None) -> pl.DataFrame:
    """LaMP's questions as a population's `texts`: person, prompt, text, kind; each question's profile is one person's past, named by its id.

    Parameters
    ----------
    questions: from the official file: {"id", "input", "profile": [{"id", ...}]}.
    answers: id -> output; with them the question itself is the person's last text.

    Raises `MissingColumn` for a profile of another task, `BadValue` for a question that is none.
    """
    given, written = task(name).fields
    rows = []
    for number, one in enumerate(questions):
        if not isinstance(one.get("profile"), list) or not isinstance(one.get("input"), str) or "id" not in one:
            raise BadValue("this is no question of LaMP", fix='each has "id", "input" and "profile"', row=number)
        for item in one["profile"]:
            if missing := [field for field in (given, written) if field and field not in item]:
                what = f"a profile item has no {missing[0]}"
                raise MissingColumn(what, fix=f"{name} has {given} and {written}: name the right task", row=number, column=missing[0])
            rows.append((str(one["id"]), str(item[given]) if given else "", str(item[written]), "post"))
        if answers is not None and str(one["id"]) in answers:
            rows.append((str(one["id"]), one["input"], answers[str(one["id"])], "answer"))
    return pl.DataFrame(rows, schema={"person": pl.String, "prompt": pl.String, "text": pl.String, "kind": pl.String}, orient="row")
