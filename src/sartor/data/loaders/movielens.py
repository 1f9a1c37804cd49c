"""MovieLens as GroupLens publishes it: 100K (u.data), 1M and 10M (ratings.dat), 20M, 25M, 32M, latest and latest-small (ratings.csv)."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sartor.data.loaders._format import Format, Loaded, split_genres
from sartor.data.loaders._source import Source
from sartor.data.loaders._text import LATIN, first_line, lines, table
from sartor.errors import BadValue, ConfigError

ID, TIME, VALUE = pl.Int64, pl.Int64, pl.Float32

AGES = {1: "under 18", 18: "18-24", 25: "25-34", 35: "35-44", 45: "45-49", 50: "50-55", 56: "56 and over"}
OCCUPATIONS = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service", "doctor/health care",
    "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer", "retired", "sales/marketing", "scientist",
    "self-employed", "technician/engineer", "tradesman/craftsman", "unemployed", "writer",
)  # fmt: skip


def _is_100k(source: Source) -> bool:
    return source.find("u.data", "u1.base", "ua.base") is not None


def load_100k(source: Source, *, split: str | None = None) -> Loaded:
    """Events with rating and time; items with title, date, genres; people with age, gender, occupation.

    split: "u1" ... "u5", "ua" or "ub" reads that official split instead and adds a column `split` (train, test).
    """
    frames: Loaded = {}
    if split is None:
        frames["events"] = _ratings(source, source.need("u.data"), "\t")
    else:
        parts = {"train": source.need(f"{split}.base"), "test": source.need(f"{split}.test")}
        frames["events"] = pl.concat([_ratings(source, file, "\t").with_columns(split=pl.lit(part)) for part, file in parts.items()])
    if (file := source.find("u.item")) is not None:
        genre_file = source.find("u.genre")
        genres = _GENRES_100K if genre_file is None else lines(genre_file).collect()["line"].str.split("|").list.first().to_list()
        names = ["item", "title", "released", "_video", "url", *[f"_genre{n}" for n in range(len(genres))]]
        flags = [pl.when(pl.col(f"_genre{n}") == "1").then(pl.lit(genre)) for n, genre in enumerate(genres) if genre != "unknown"]
        frames["items"] = (
            table(file, separator="|", names=names, types=dict.fromkeys(names, pl.String) | {"item": ID}, required=["item"],
                  encodings=LATIN, quote=None)
            .select("item", "title", "released", "url", _year(), pl.concat_list(flags).list.drop_nulls().alias("categories"))
        )  # fmt: skip
        source.origin["items"] = file
    if (file := source.find("u.user")) is not None:
        types = {"person": ID, "age": pl.Int64, "gender": pl.String, "occupation": pl.String, "zip": pl.String}
        frames["people"] = table(file, separator="|", names=list(types), types=types, required=["person"], encodings=LATIN, quote=None)
        source.origin["people"] = file
    return frames


_GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Film-Noir",
    "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip


def _ratings(source: Source, file: Path, separator: str) -> pl.LazyFrame:
    source.origin.setdefault("events", file)
    types = {"person": ID, "item": ID, "value": VALUE, "time": TIME}
    return table(file, separator=separator, names=list(types), types=types, required=list(types), quote=None)


def _year() -> pl.Expr:
    """The year at the end of a title such as `Heat (1995)`."""
    return pl.col("title").str.extract(r"\((\d{4})[^)]*\)\s*$").cast(pl.Int64).alias("year")


def _is_1m(source: Source) -> bool:
    file = source.find("ratings.dat")
    return file is not None and first_line(file).count("::") == 3


def load_1m(source: Source) -> Loaded:
    """Events with rating and time; items with title and genres; people (1M only) with gender, age group, occupation; tags (10M) as texts."""
    file = source.need("ratings.dat")
    source.origin["events"] = file
    # polars splits at one character: reading `1::2` at ":" gives an empty column between two full ones, at full speed.
    types = {"person": ID, "_1": pl.String, "item": ID, "_2": pl.String, "value": VALUE, "_3": pl.String, "time": TIME}
    full = ["person", "item", "value", "time"]
    events = table(file, separator=":", names=list(types), types=types, required=full, quote=None, keep=full)
    return {"events": events, **movies_and_people(source)}


def movies_and_people(source: Source) -> Loaded:
    """movies.dat, users.dat and tags.dat, where they are."""
    frames: Loaded = {}
    if (file := source.find("movies.dat")) is not None:
        frames["items"] = _fields(file, ["item", "title", "_genres"]).select("item", "title", _year(), split_genres("_genres"))
        source.origin["items"] = file
    if (file := source.find("users.dat")) is not None:
        frames["people"] = _fields(file, ["person", "gender", "_age", "_job", "zip"]).select(
            "person",
            "gender",
            pl.col("_age").cast(pl.Int64, strict=False).replace_strict(AGES, default=None, return_dtype=pl.String).alias("age_group"),
            pl.col("_job").cast(pl.Int64, strict=False).replace_strict(dict(enumerate(OCCUPATIONS)), default=None, return_dtype=pl.String)
            .alias("occupation"),
            "zip",
        )  # fmt: skip
        source.origin["people"] = file
    if (file := source.find("tags.dat")) is not None:
        frames["texts"] = _fields(file, ["person", "item", "text", "time"]).with_columns(pl.col("item", "time").cast(pl.Int64), kind=pl.lit("tag"))
        source.origin["texts"] = file
    return frames


def _fields(file: Path, names: list[str]) -> pl.LazyFrame:
    """A small file of `a::b::c` lines; the first column is an integer id."""
    rows = lines(file, encodings=LATIN).with_row_index("_row", offset=1).with_columns(pl.col("line").str.split("::").alias("_cells")).collect()
    bad = rows.filter(
        (pl.col("_cells").list.len() != len(names)) | pl.col("_cells").list.first().cast(pl.Int64, strict=False).is_null()
    )  # fmt: skip
    if len(bad):
        row = int(bad["_row"][0])
        what = f"the line has {bad['_cells'].list.len()[0]} fields, not {len(names)}, or does not begin with a number"
        raise BadValue(what, fix="correct or remove the line", file=file, row=row, column=names[0], value=bad["line"][0][:60])
    cells = [pl.col("_cells").list.get(number).alias(name) for number, name in enumerate(names)]
    return rows.select(cells).with_columns(pl.col(names[0]).cast(pl.Int64)).lazy()


def _is_latest(source: Source) -> bool:
    file = source.find("ratings.csv")
    return file is not None and first_line(file).lower().startswith("userid,movieid,rating")


def load_latest(source: Source) -> Loaded:
    """Events with half-star ratings and time; items with title, genres and IMDb and TMDB numbers; tags as texts."""
    file = source.need("ratings.csv")
    source.origin["events"] = file
    types = {"userId": ID, "movieId": ID, "rating": VALUE, "timestamp": TIME}
    ratings = table(file, separator=",", types=types, required=list(types))
    frames: Loaded = {"events": ratings.rename({"userId": "person", "movieId": "item", "rating": "value", "timestamp": "time"})}
    if (films := source.find("movies.csv")) is not None:
        movies = table(films, separator=",", types={"movieId": ID, "title": pl.String, "genres": pl.String}, required=["movieId"], encodings=LATIN)
        frames["items"] = movies.rename({"movieId": "item"}).select("item", "title", _year(), split_genres("genres"))
        source.origin["items"] = films
        if (links := source.find("links.csv")) is not None:
            numbers = table(links, separator=",", types={"movieId": ID, "imdbId": pl.String, "tmdbId": pl.String}, required=["movieId"])
            frames["items"] = frames["items"].join(numbers.rename({"movieId": "item"}), on="item", how="left", maintain_order="left")
    if (given := source.find("tags.csv")) is not None:
        kinds = {"userId": ID, "movieId": ID, "tag": pl.String, "timestamp": TIME}
        tags = table(given, separator=",", types=kinds, required=["userId", "movieId"], encodings=LATIN).filter(pl.col("tag").is_not_null())
        frames["texts"] = tags.rename({"userId": "person", "movieId": "item", "tag": "text", "timestamp": "time"}).with_columns(kind=pl.lit("tag"))
        source.origin["texts"] = given
    return frames


def check_split(split: str | None) -> None:
    """Raise `ConfigError` for a split MovieLens 100K does not have."""
    if split not in (None, "u1", "u2", "u3", "u4", "u5", "ua", "ub"):
        raise ConfigError(f"there is no split '{split}'", fix="MovieLens 100K has u1 to u5, ua and ub")


FORMATS = (
    Format("movielens-100k", "MovieLens 100K: u.data, u.item, u.user", _is_100k, load_100k, ("split",)),
    Format("movielens-1m", "MovieLens 1M and 10M: ratings.dat, movies.dat, users.dat", _is_1m, load_1m),
    Format("movielens-latest", "MovieLens 20M to 32M and latest: ratings.csv, movies.csv", _is_latest, load_latest),
)
