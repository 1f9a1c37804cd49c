"""League of Legends professional matches: who picked which champion (matchinfo.csv), and what was banned (bans.csv)."""

from __future__ import annotations

import polars as pl

from sartor.data.loaders._format import Format, Loaded
from sartor.data.loaders._source import Source
from sartor.data.loaders._text import LATIN, first_line, table

ROLES = ("Top", "Jungle", "Middle", "ADC", "Support")


def _is_drafts(source: Source) -> bool:
    file = source.find("matchinfo.csv")
    return file is not None and first_line(file).startswith("League,Year,Season,Type,blueTeamTag")


def load(source: Source) -> Loaded:
    """Events of kind pick: a player (person) picked a champion (item) in a match (`session`), with league, year, season, type, side, role, team,
    game length in minutes and `won`. Order inside a side is by role. Cells without a player or champion are left out.

    Bans are edges from the match to the champion, in order: kind ban-blue or ban-red.
    """
    file = source.need("matchinfo.csv")
    source.origin["events"] = file
    matches = table(file, separator=",", types={"Year": pl.Int64, "bResult": pl.Int8, "rResult": pl.Int8, "gamelength": pl.Int64}, encodings=LATIN)
    matches = matches.with_row_index("_match")
    sides = []
    for side, result in (("blue", "bResult"), ("red", "rResult")):
        for place, role in enumerate(ROLES):
            sides.append(
                matches.select(
                    "_match", pl.lit(place + (5 if side == "red" else 0)).alias("_place"),
                    pl.col(f"{side}{role}").str.strip_chars().alias("person"), pl.col(f"{side}{role}Champ").str.strip_chars().alias("item"),
                    pl.col("Address").alias("session"), pl.lit("pick").alias("kind"), pl.col(result).cast(pl.Boolean).alias("won"),
                    pl.lit(side).alias("side"), pl.lit(role.lower()).alias("role"), pl.col(f"{side}TeamTag").alias("team"),
                    pl.col("League").alias("league"), pl.col("Year").alias("year"), pl.col("Season").alias("season"), pl.col("Type").alias("type"),
                    pl.col("gamelength").alias("minutes"),
                )
            )  # fmt: skip
    named = pl.col("person").is_not_null() & pl.col("item").is_not_null() & (pl.col("person") != "") & (pl.col("item") != "")
    picks = pl.concat(sides).filter(named).sort("_match", "_place").drop("_match", "_place").collect()
    champions = picks.select(pl.col("item").unique().sort()).with_columns(pl.col("item").alias("title"))
    frames: Loaded = {"events": picks.lazy(), "items": champions.lazy()}
    if (bans := source.find("bans.csv")) is not None:
        source.origin["edges"] = bans
        columns = [f"ban_{number}" for number in range(1, 6)]
        rows = table(bans, separator=",", types=dict.fromkeys(columns, pl.String), encodings=LATIN).with_row_index("_row")
        long = rows.unpivot(columns, index=["_row", "Address", "Team"], variable_name="_order", value_name="target").sort("_row", "_order")
        kind = pl.when(pl.col("Team") == "blueBans").then(pl.lit("ban-blue")).otherwise(pl.lit("ban-red"))
        frames["edges"] = long.filter(pl.col("target").is_not_null()).select(
            pl.col("Address").alias("source"), "target", kind.alias("kind"), pl.col("_order").str.slice(4).cast(pl.Int8).alias("order")
        )  # fmt: skip
    return frames


FORMATS = (Format("lol-drafts", "League of Legends matches: matchinfo.csv, bans.csv", _is_drafts, load),)
