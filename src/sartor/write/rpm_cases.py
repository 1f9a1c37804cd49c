"""Texts as cases of RPM: which rows are answers, and each as a request, an answer and its number."""

from __future__ import annotations

import polars as pl

from sartor.errors import MissingColumn
from sartor.write.rpm_answers import Scale
from sartor.write.rpm_memory import Item


def answers_in(texts: pl.DataFrame, kind: str = "") -> pl.DataFrame:
    """The rows that answer something, oldest first; with `kind`, those of it. Raises `MissingColumn` without a column `prompt`."""
    if "prompt" not in texts.columns:
        raise MissingColumn("the texts have no column prompt", fix="give what each text answers", frame="texts", column="prompt")
    rows = texts.filter(pl.all_horizontal(pl.col("prompt", "text").is_not_null()) & (pl.col("prompt").str.strip_chars() != ""))
    if kind:
        rows = rows.filter(pl.col("kind") == kind) if "kind" in rows.columns else rows.clear()
    return rows.sort("time", maintain_order=True) if "time" in rows.columns else rows


def items_of(rows: pl.DataFrame, scale: Scale, *, start: int = 0) -> list[Item]:
    """Each row as a case, named by its `item`, or else numbered from `start`. Raises `BadValue` for an answer that is not on the scale."""
    names = rows["item"].cast(pl.String).to_list() if "item" in rows.columns else [str(start + at) for at in range(rows.height)]
    return [Item(name, request, answer, scale.value(answer)) for name, request, answer in zip(names, rows["prompt"], rows["text"], strict=True)]
