"""`sartor cite`: BibTeX for exactly what you used."""

from __future__ import annotations

from typing import Annotated

import typer

from sartor.cli import _face


def cite(
    slugs: Annotated[list[str] | None, typer.Argument(metavar="[SLUG]...", help="Methods; none means sartor itself.", show_default=False)] = None,
    as_json: _face.Json = False,
) -> None:
    """BibTeX for the methods you used: sartor cite ease sasrec."""
    from sartor import __version__
    from sartor.systems import find

    facts = {"title": "sartor: one personalization engine", "author": "{The sartor authors}", "version": __version__}
    own = "@software{sartor,\n" + ",\n".join(f"  {name} = {{{value}}}" for name, value in facts.items()) + "\n}"
    entries = {slug: find(slug).citation() for slug in slugs} if slugs else {"sartor": own}
    if as_json:
        _face.emit({"bibtex": entries})
    else:
        typer.echo("\n\n".join(entries.values()))
