"""Bad files: each ends in a named error that says which file, line and column, or in a stated behaviour. The table is the documentation."""

from __future__ import annotations

import gzip
import io
import stat
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sartor.data import Population, read
from sartor.errors import (
    BadValue,
    ConfigError,
    DataError,
    DuplicateRows,
    EmptyData,
    EncodingProblem,
    FileProblem,
    MissingColumn,
    SartorError,
    UnknownFormat,
    UnsafeArchive,
    WrongType,
)  # fmt: skip

HEAD = "user,item,rating,time\n"
RATINGS = "userId,movieId,rating,timestamp\n"
REVIEW = '{"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1529193600}\n'


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pl.DataFrame(columns).write_parquet(out)
    return out.getvalue()


# what is wrong: (file name, content, error, where it is, what is done about it)
TABLE: dict[str, tuple[str, str | bytes, type[SartorError], dict[str, Any]]] = {
    # --- encoding
    "Latin-1 read as UTF-8": ("x.csv", "user,item\nann,1\nbj\xf6rn,2\n".encode("iso-8859-1"), EncodingProblem, {"line": 3, "column": 3}),
    "UTF-16": ("x.csv", (HEAD + "1,2,3,4\n").encode("utf-16"), EncodingProblem, {}),
    "bytes in the middle of a number": ("ratings.csv", RATINGS.encode() + b"1,2,3,4\n1,\xff\xfe,3,4\n", EncodingProblem, {"line": 3}),
    # --- columns
    "no person": ("x.csv", "item,rating\n1,2\n", MissingColumn, {"column": "person"}),
    "no item": ("x.parquet", parquet(user=[1], rating=[2.0]), MissingColumn, {"column": "item"}),
    "RecBole without item_id": ("x.inter", "user_id:token\trating:float\n1\t2\n", MissingColumn, {"column": "item"}),
    "RecBole header without types": ("x.inter", "user_id\titem_id\n1\t2\n", BadValue, {"column": 1}),
    "a column too many": ("ratings.csv", RATINGS + "1,2,3,4\n1,2,3,4,5\n", BadValue, {"row": 2, "line": 3}),
    "a column too few": ("ratings.csv", RATINGS + "1,2,3,4\n1,2,3\n", BadValue, {"row": 2, "line": 3}),
    "a field too few in u.data": ("u.data", "196\t242\t3\t881250949\n186\t302\t3\n", BadValue, {"row": 2}),
    # --- types
    "a word as rating": ("ratings.dat", "1::2::5::978300760\n1::3::good::978300761\n", WrongType, {"row": 2, "column": "value", "value": "good"}),
    "a word as time": ("ratings.csv", RATINGS + "1,2,3,yesterday\n", WrongType, {"row": 1, "column": "timestamp", "value": "yesterday"}),
    "a fraction as id": ("u.data", "196\t242.5\t3\t881250949\n", WrongType, {"row": 1, "column": "item"}),
    "an id beyond 64 bits": ("ratings.csv", RATINGS + "99999999999999999999,2,3,4\n", WrongType, {"row": 1, "column": "userId"}),
    "a written time nobody can read": ("x.csv", HEAD + "1,2,3,2020-01-01\n1,2,3,soon\n", BadValue, {"row": 2, "column": "time", "value": "soon"}),
    "a list as person": ("x.parquet", parquet(person=[[1, 2]], item=[1]), WrongType, {"column": "person"}),
    "a fraction as person": ("x.parquet", parquet(person=[1.5], item=[1]), WrongType, {"column": "person"}),
    "texts as ratings": ("x.csv", HEAD + "1,2,5,3\n1,3,high,3\n", WrongType, {"row": 2, "column": "value", "value": "high"}),
    "nan as a word": ("x.csv", HEAD + "1,2,5,3\n1,3,nan,3\n", WrongType, {"row": 2, "column": "value", "value": "nan"}),
    "N/A for a rating": ("ratings.tsv", "user\titem\trating\n1\t2\tN/A\n", WrongType, {"row": 1, "column": "value", "value": "N/A"}),
    "a word as JSON number": ("x.jsonl", '{"user": 1, "item": 2, "rating": "nan"}\n', WrongType, {"row": 1, "column": "value"}),
    "any id beyond 64 bits": ("x.csv", HEAD + "1,2,3,4\n1,18446744073709551615,3,4\n", WrongType, {"row": 2, "column": "item"}),
    "unsigned ids beyond 64 bits": (
        "x.parquet",
        parquet(person=pl.Series([2**63], dtype=pl.UInt64), item=[1]),
        WrongType,
        {"row": 1, "column": "person"},
    ),
    "a time beyond 64 bits": ("x.csv", HEAD + "1,2,3,99999999999999999999\n", BadValue, {"row": 1, "column": "time"}),
    "a word in a list of items": ("Beauty.txt", "1 2 3\n2 4 x 5\n", BadValue, {"row": 2, "column": 3, "value": "x"}),
    "libFM line with a missing field": ("x.libfm", "1 3:1 7:1\n-1 4:1\n", BadValue, {"row": 2}),
    "a check-in without a time": (
        "c.txt",
        "0\t2010-10-19T23:55:27Z\t30.2\t-97.7\t1\n0\tnoon\t30.2\t-97.7\t2\n",
        BadValue,
        {"row": 2, "column": "time"},
    ),
    "an edge to nowhere": ("a.edgelist", "1 2\n3\n", BadValue, {"row": 2}),
    # --- values
    "a negative time": ("ratings.csv", RATINGS + "1,2,3,4\n1,3,3,-5\n", BadValue, {"row": 2, "column": "time", "value": -5}),
    "milliseconds": ("ratings.csv", RATINGS + "1,2,3,978300760000\n", BadValue, {"row": 1, "column": "time"}),
    "a time that is not a number": (
        "x.parquet",
        parquet(person=[1, 1], item=[1, 2], time=[1.0, float("nan")]),
        BadValue,
        {"row": 2, "column": "time"},
    ),
    "NaN as rating": (
        "x.parquet",
        parquet(person=[1, 1, 1], item=[1, 2, 3], value=[1.0, 2.0, float("nan")]),
        BadValue,
        {"row": 3, "column": "value"},
    ),
    "NaN as rating, written": ("ratings.csv", RATINGS + "1,2,NaN,4\n", BadValue, {"row": 1, "column": "value"}),
    "an infinite rating": ("x.csv", HEAD + "1,2,inf,3\n", BadValue, {"row": 1, "column": "value"}),
    "no person in a row": ("x.csv", HEAD + "1,2,3,4\n,2,3,4\n", BadValue, {"row": 2, "column": "person"}),
    "an empty id": ("x.parquet", parquet(person=["ann", ""], item=[1, 2]), BadValue, {"row": 2, "column": "person"}),
    # --- lines and whole files
    "an empty file": ("ratings.csv", "", EmptyData, {}),
    "an empty file that could be anything": ("ratings.dat", "", UnknownFormat, {}),
    "a header and nothing else": ("x.csv", HEAD, EmptyData, {}),
    "an official file with a header only": ("ratings.csv", RATINGS, EmptyData, {}),
    "a broken JSON line": ("r.json", REVIEW + '{"reviewerID": "A2", "asin": \n', BadValue, {"line": 2}),
    "a JSON line without an id": ("r.json", REVIEW + '{"asin": "B1", "overall": 1.0}\n', BadValue, {"line": 2, "column": "reviewerID"}),
    "a text as JSON rating": ("r.json", REVIEW + REVIEW.replace("5.0", '"good"'), WrongType, {"line": 2, "column": "overall"}),
    "half a Parquet file": ("x.parquet", parquet(person=[1], item=[2])[:50], FileProblem, {}),
    "half a gzip file": ("x.csv.gz", gzip.compress((HEAD + "1,2,3,4\n" * 5000).encode())[:60], FileProblem, {}),
    "no gzip file": ("r.json.gz", "hello there", UnknownFormat, {}),
    "half a zip file": ("x.zip", b"PK\x03\x04 and then nothing", FileProblem, {}),
    "no DuckDB file": ("x.duckdb", "hello there", FileProblem, {}),
}


@pytest.mark.parametrize("what", TABLE)
def test_bad_files_end_in_a_named_error(what: str, tmp_path: Path) -> None:
    name, content, error, where = TABLE[what]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error) as caught:
        read(tmp_path / name)
    problem = caught.value
    assert isinstance(problem, DataError)
    assert problem.fix
    assert Path(problem.where["file"]).name == name
    assert {key: problem.where.get(key) for key in where} == where
    assert problem.as_dict()["error"] == error.__name__


def test_the_same_where_the_file_is_too_large_to_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files are scanned; their errors come while reading as well, and say the same."""
    from sartor.data.loaders import _text

    monkeypatch.setattr(_text, "IN_MEMORY", 10)
    for what in ("a word as rating", "a column too few", "a negative time", "NaN as rating, written", "a column too many", "milliseconds"):
        name, content, error, where = TABLE[what]
        folder = tmp_path / what.replace(" ", "-")
        folder.mkdir()
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(error) as caught:
            read(folder / name)
        assert {key: caught.value.where.get(key) for key in where} == where


def test_right_encodings_can_be_named(tmp_path: Path) -> None:
    for encoding in ("iso-8859-1", "utf-16", "cp1252"):
        (tmp_path / "x.csv").write_bytes("user,item\nbjörn,1\n".encode(encoding))
        assert read(tmp_path / "x.csv", encoding=encoding).events.collect()["person"].to_list() == ["björn"]
    with pytest.raises(EncodingProblem, match="no encoding"):
        read(tmp_path / "x.csv", encoding="klingon")


def test_a_file_nobody_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "u.data").write_text("196\t242\t3\t881250949\n")
    opened = Path.open

    def forbidden(self: Path, *given: Any, **named: Any) -> Any:
        if self.name == "u.data":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *given, **named)

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(FileProblem, match="who may read it"):
        read(tmp_path / "u.data")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="no such file"):
        read(tmp_path / "nothing.csv")
    with pytest.raises(FileProblem, match="no files"):
        read(tmp_path)
    (tmp_path / "x.csv").write_text(HEAD + "1,2,3,4\n")
    with pytest.raises(MissingColumn, match="customer"):
        read(tmp_path / "x.csv", columns={"person": "customer"})
    with pytest.raises(ConfigError, match="not a frame"):
        read(tmp_path / "x.csv", frame="orders")
    with pytest.raises(ConfigError, match="time unit"):
        read(tmp_path / "x.csv", time_unit="fortnight")


# --- duplicates: kept by default, counted by describe
TWICE = HEAD + "1,2,3,4\n1,3,3,4\n1,2,3,4\n1,2,3,5\n"


def test_duplicate_rows_are_kept_dropped_or_refused_as_asked(tmp_path: Path) -> None:
    from sartor.data.describe import describe

    (tmp_path / "x.csv").write_text(TWICE)
    kept = read(tmp_path / "x.csv")
    assert kept.events.collect().height == 4
    assert describe(kept)["duplicate_rows"] == 1
    dropped = read(tmp_path / "x.csv", duplicates="drop").events.collect()
    assert list(zip(dropped["item"], dropped["time"], strict=True)) == [(2, 4), (3, 4), (2, 5)]
    with pytest.raises(DuplicateRows) as caught:
        read(tmp_path / "x.csv", duplicates="error")
    assert caught.value.where["row"] == 3
    with pytest.raises(ConfigError):
        read(tmp_path / "x.csv", duplicates="perhaps")  # type: ignore[arg-type]


def test_blank_lines_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("196\t242\t3\t881250949\n\n186\t302\t3\t891717742\n\n")
    assert read(tmp_path / "u.data").events.collect().height == 2


# --- archives
def packed(*entries: tuple[str, bytes], link: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if link:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, content)
    return out.getvalue()


ARCHIVES = {
    "climbs out": packed(("u.data", b"1\t2\t3\t4\n"), ("../escaped.txt", b"x")),
    "climbs out from within": packed(("a/../../escaped.txt", b"x")),
    "absolute path": packed(("/tmp/escaped.txt", b"x")),
    "Windows path": packed(("..\\..\\escaped.txt", b"x")),
    "drive letter": packed(("C:/escaped.txt", b"x")),
    "link": packed(("u.data", b"/etc/passwd"), link=True),
    "bomb": packed(("u.data", b"0" * (80 * 2**20))),
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_unsafe_archives_are_refused_and_write_nothing(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SARTOR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "x.zip").write_bytes(ARCHIVES[what])
    with pytest.raises(UnsafeArchive):
        read(tmp_path / "x.zip")
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["x.zip"]
    assert not Path("/tmp/escaped.txt").exists()


def test_an_archive_that_lies_about_sizes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SARTOR_CACHE", str(tmp_path / "cache"))
    honest = packed(("u.data", b"1\t2\t3\t4\n" * 1000))
    # The uncompressed size stands little-endian in the entry and in the directory.
    lying = honest.replace((8000).to_bytes(4, "little"), (8).to_bytes(4, "little"))
    assert lying != honest
    (tmp_path / "x.zip").write_bytes(lying)
    with pytest.raises((UnsafeArchive, FileProblem)):
        read(tmp_path / "x.zip")
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["x.zip"]


# --- populations made in memory are checked in the same way
@pytest.mark.parametrize(
    ("events", "error"),
    [
        ({"person": [1, None], "item": [1, 2]}, BadValue),
        ({"person": [1, 2], "item": [1, 2], "value": [1.0, float("nan")]}, BadValue),
        ({"person": [1, 2], "item": [1, 2], "time": [1, -1]}, BadValue),
        ({"person": [1, 2], "item": [1, 2], "time": [1, 10**13]}, BadValue),
        ({"person": [1, 2], "item": [1, 2], "time": [1.0, float("inf")]}, BadValue),
        ({"person": [1, 2], "item": [1, 2], "value": ["a", "b"]}, WrongType),
        ({"person": [1, 2]}, MissingColumn),
        ({"person": [], "item": []}, EmptyData),
    ],
)
def test_populations_in_memory(events: dict[str, list[Any]], error: type[SartorError]) -> None:
    with pytest.raises(error):
        Population.from_frames(events=events).interactions()
