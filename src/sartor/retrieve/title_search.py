"""Normalised job titles for messy ones: by the title, by title and skills, and as one recruiter or job-seeker means it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sartor.errors import BadValue, DuplicateRows
from sartor.method import States
from sartor.represent.vacancysbert import Skills, TitleEncoder, normalised_title
from sartor.retrieve.hits import Hits
from sartor.retrieve.index import ItemIndex


class TitleSearch:
    """A catalogue of normalised titles.

    Parameters
    ----------
    encoder: of titles (`represent.vacancysbert`).
    titles: the normalised ones. Raises `DuplicateRows` when two are the same but for case and punctuation, `BadValue` for an empty one.
    ids: of the titles; the titles themselves by default.
    index: kind of `ItemIndex`.
    """

    def __init__(self, encoder: TitleEncoder, titles: Sequence[str], ids: Sequence[Any] | None = None, *, index: str = "exact") -> None:
        rows: dict[str, int] = {}
        for row, title in enumerate(titles):
            name = normalised_title(title)
            if not name:
                raise BadValue("a normalised title is empty", fix="leave it out", row=row)
            if name in rows:
                raise DuplicateRows(f"this normalised title is in row {rows[name]} already", fix="keep one of them", row=row, id=repr(title))
            rows[name] = row
        self.encoder = encoder
        self.index = ItemIndex.make(index).build(encoder.encode(titles), list(titles) if ids is None else ids, space=encoder.fingerprint)

    def search(self, titles: Sequence[str], skills: Skills | None = None, states: States | None = None, k: int = 10, **more: Any) -> Hits:
        """The k nearest normalised titles of each title.

        Parameters
        ----------
        skills: of the advertisement or person, one list per title; left out, the titles alone are looked at.
        states: of the people who ask, made by the encoder's `adapt`; None, or one per title.
        more: as for `ItemIndex.search`.
        """
        queries = self.encoder.encode(titles, skills)
        if states is not None:
            queries = self.encoder.personal(queries, states)
        return self.index.search(queries, k, space=self.encoder.fingerprint, **more)
