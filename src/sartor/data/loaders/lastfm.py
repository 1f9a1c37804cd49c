"""Last.fm as published for HetRec 2011: user_artists.dat, artists.dat, tags.dat, user_friends.dat."""

from __future__ import annotations

import polars as pl

from sartor.data.loaders._format import Format, Loaded
from sartor.data.loaders._source import Source
from sartor.data.loaders._text import LATIN, first_line, table


def _is_lastfm(source: Source) -> bool:
    file = source.find("user_artists.dat")
    return file is not None and first_line(file).split() == ["userID", "artistID", "weight"]


def load(source: Source) -> Loaded:
    """Events whose value is the number of plays, without times; items are artists; texts are tags with times; edges are friends."""
    file = source.need("user_artists.dat")
    source.origin["events"] = file
    types = {"userID": pl.Int64, "artistID": pl.Int64, "weight": pl.Float32}
    plays = table(file, separator="\t", types=types, required=list(types), quote=None)
    frames: Loaded = {"events": plays.rename({"userID": "person", "artistID": "item", "weight": "value"}).with_columns(kind=pl.lit("listen"))}
    if (artists := source.find("artists.dat")) is not None:
        rows = table(artists, separator="\t", types={"id": pl.Int64, "name": pl.String}, required=["id"], encodings=LATIN, quote=None)
        frames["items"] = rows.select(pl.col("id").alias("item"), pl.col("name").alias("title"), "url")
        source.origin["items"] = artists
    given, words = source.find("user_taggedartists-timestamps.dat"), source.find("tags.dat")
    if given is not None and words is not None:
        ids = {"userID": pl.Int64, "artistID": pl.Int64, "tagID": pl.Int64, "timestamp": pl.Int64}
        uses = table(given, separator="\t", types=ids, required=list(ids), quote=None)
        tags = table(words, separator="\t", types={"tagID": pl.Int64, "tagValue": pl.String}, required=["tagID"], encodings=LATIN, quote=None)
        frames["texts"] = uses.join(tags, on="tagID", how="inner", maintain_order="left").select(
            pl.col("userID").alias("person"), pl.col("artistID").alias("item"), pl.col("tagValue").alias("text"),
            # A few published times lie before 1970: they are left empty.
            pl.when(pl.col("timestamp") >= 0).then(pl.col("timestamp").floordiv(1000)).alias("time"), pl.lit("tag").alias("kind"),
        ).filter(pl.col("text").is_not_null())  # fmt: skip
        source.origin["texts"] = given
    if (friends := source.find("user_friends.dat")) is not None:
        pairs = table(friends, separator="\t", types={"userID": pl.Int64, "friendID": pl.Int64}, required=["userID", "friendID"], quote=None)
        frames["edges"] = pairs.rename({"userID": "source", "friendID": "target"}).with_columns(kind=pl.lit("friend"))
        source.origin["edges"] = friends
    return frames


FORMATS = (Format("lastfm-hetrec", "Last.fm of HetRec 2011: user_artists.dat, artists.dat, tags.dat, user_friends.dat", _is_lastfm, load),)
