"""Texts as words, and the checks of what is given as documents and queries."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from sartor.errors import ConfigError, MissingColumn, WrongType

Documents = Sequence[str] | pl.DataFrame | Mapping[str, Sequence[str]]
FEW = 32
"""Texts up to which plain ASCII is cut into words here: a query on its own would wait a millisecond for the data frame."""
_ASCII_WORDS = re.compile(r"\w+", re.ASCII)


def tokens(texts: Sequence[str] | pl.Series) -> pl.Series:
    """The words of each text: runs of letters, digits and underscores, case folded and in Unicode's compatibility form. list[str] [texts]."""
    if isinstance(texts, list) and len(texts) <= FEW and all(isinstance(one, str) and one.isascii() for one in texts):
        return pl.Series("text", [_ASCII_WORDS.findall(one.lower()) for one in texts], dtype=pl.List(pl.String))
    series = texts.alias("text") if isinstance(texts, pl.Series) else pl.Series("text", texts, dtype=pl.String)
    text = pl.col("text").fill_null("")
    frame = series.to_frame().select(text.str.to_lowercase(), plain=text.str.len_bytes() == text.str.len_chars())
    if not frame["plain"].all():
        # Lower case is not enough beyond ASCII: STRASSE and straße are one word, and so are the two forms of a small sigma.
        rows = np.flatnonzero(~frame["plain"].to_numpy())
        given = series.gather(rows).to_list()
        folded = [unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", one).casefold()) for one in given]
        frame = frame.with_columns(frame["text"].scatter(rows, folded))
    return frame.select(pl.col("text").str.extract_all(r"\w+"))["text"]


def checked_queries(queries: Sequence[str]) -> list[str]:
    """A batch of queries as a list; raises `ConfigError` for what is no list of texts, and for an empty query."""
    if isinstance(queries, str) or not hasattr(queries, "__iter__"):
        raise ConfigError("queries is not a list of texts", fix="give a list: [query]")
    asked = list(queries)
    for row, one in enumerate(asked):
        if not isinstance(one, str) or not one.strip():
            raise ConfigError("a query is empty, or not a text", fix="write what to look for; without a query, recommend", row=row)
        if not one.isascii() and re.search("[\ud800-\udfff]", one):
            raise ConfigError("a query is not valid Unicode", fix="give text without lone surrogates", row=row)
    return asked


def columns(documents: Documents, fields: Sequence[str] | None) -> list[pl.Series]:
    """One column of texts per field; all joined into one when `fields` is None."""
    if isinstance(documents, pl.DataFrame | Mapping):
        frame = documents if isinstance(documents, pl.DataFrame) else pl.DataFrame(dict(documents))
        from sartor.represent.text import item_texts

        if fields is None:
            return [pl.Series(item_texts(frame, frame.columns), dtype=pl.String)]
        if missing := [name for name in fields if name not in frame.columns]:
            raise MissingColumn(f"the documents have no column {missing}", fix=f"they have {frame.columns}", column=missing[0])
        return [pl.Series(item_texts(frame, [name]), dtype=pl.String) for name in fields]
    if isinstance(documents, str) or not hasattr(documents, "__len__"):
        raise WrongType(f"documents are a {type(documents).__name__}", fix="give a list of texts, or a table")
    if fields is not None:
        raise WrongType(f"single texts have no fields {list(fields)}", fix="give a table with these columns")
    try:
        return [pl.Series(documents, dtype=pl.String)]
    except (TypeError, UnicodeEncodeError, pl.exceptions.PolarsError) as cause:
        raise WrongType("a document is not a text, or not valid Unicode", fix="give a list of texts") from cause
