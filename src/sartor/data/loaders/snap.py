"""SNAP: check-ins (Gowalla, Brightkite) and edge lists, plain or with a weight and a time (Bitcoin OTC)."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

import polars as pl

from sartor.data.loaders._format import Format, Loaded
from sartor.data.loaders._source import Source
from sartor.data.loaders._text import _open, lines, table
from sartor.errors import BadValue, FileProblem

EDGE_ENDINGS = ("*.edgelist", "*.edges", "*.edgelist.gz", "*.edges.gz", "*edges.txt", "*edges.txt.gz", "*.txt", "*.txt.gz", "*.csv", "*.csv.gz")
HEADERS = ("v1,v2,weight,time", "source,target", "source,target,weight", "source,target,rating,time")
_CHECKIN = re.compile(r"\d+\t\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\t[-\d.]+\t[-\d.]+\t\S*\s*")
_EDGE = re.compile(r"-?\d+([\t ,])[\t ]*-?\d+(?:\1[\t ]*-?\d+(?:\.\d+)?){0,2}\s*")


def _checkins(source: Source) -> Path | None:
    return next((file for pattern in ("*.txt", "*.txt.gz") for file in source.matching(pattern) if _CHECKIN.fullmatch(_head(file)[0])), None)


def _head(file: Path) -> tuple[str, bool, str]:
    """The first line that is no remark, whether there were remarks, and a header line if there is one."""
    remarks, header = False, ""
    try:
        with _open(file) as opened:
            for _ in range(50):
                line = opened.readline(10_000).decode("utf-8", errors="replace").strip("\r\n")
                if line.startswith(("#", "%")):
                    remarks = True
                elif line.replace(" ", "").lower() in HEADERS:
                    header = line
                elif line:
                    return line, remarks, header
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return "", remarks, header
    return "", remarks, header


def load_checkins(source: Source) -> Loaded:
    """Events with time, latitude and longitude; items are places; edges are friends, where that file is there.

    Lines without a place are left out.
    """
    file = _checkins(source)
    if file is None:
        raise FileProblem("there is no file of check-ins", fix="lines should be user, time, latitude, longitude, place", file=source.path)
    source.origin["events"] = file
    types = {"person": pl.Int64, "_time": pl.String, "latitude": pl.Float64, "longitude": pl.Float64, "item": pl.String}
    rows = table(file, separator="\t", names=list(types), types=types, required=["person"], quote=None).filter(pl.col("item").is_not_null())
    when = pl.col("_time").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", strict=False)
    numbers = pl.col("item").cast(pl.Int64, strict=False)
    bad, named = rows.select(when.is_null().any().alias("a"), numbers.is_null().any().alias("b")).collect(engine="streaming").row(0)
    if bad:
        first = rows.with_row_index("_row", offset=1).filter(when.is_null()).head(1).collect().row(0, named=True)
        raise BadValue(
            "should be a time such as 2010-10-19T23:55:27Z", fix="correct the line", file=file, row=first["_row"], column="time", value=first["_time"]
        )
    frames: Loaded = {
        "events": rows.select(
            "person", "item" if named else numbers, when.dt.epoch("s").alias("time"), "latitude", "longitude", pl.lit("check-in").alias("kind")
        )
    }  # fmt: skip
    others = [one for pattern in ("*edges.txt", "*edges.txt.gz") for one in source.matching(pattern)]
    if others:
        frames["edges"] = edge_list(others[0])
        source.origin["edges"] = others[0]
    return frames


def _edges(source: Source) -> list[Path]:
    found: list[Path] = []
    for number, pattern in enumerate(EDGE_ENDINGS):
        for file in source.matching(pattern):
            line, remarks, header = _head(file)
            # Under a common ending, two numbers in a line may be anything: only remarks, a header or four columns tell.
            sure = number < 6 or remarks or header or (line.count(",") == 3 and ".csv" in file.name.lower())
            if sure and _EDGE.fullmatch(line) and file not in found:
                found.append(file)
    return found


def edge_list(file: Path) -> pl.LazyFrame:
    """Source, target and, where there are more columns, weight and time; remarks (# or %) and a header are left out."""
    line, _, header = _head(file)
    separator = "," if "," in line else "\t" if "\t" in line else " "
    columns = ["source", "target", "weight", "time"][: len(line.split(separator) if separator != " " else line.split())]
    if separator == " " or header == "":
        rows = lines(file).filter(~pl.col("line").str.contains(r"^[#%]")).with_row_index("_row", offset=1)
        cells = pl.col("line").str.replace_all(r"\s+", " ").str.split(" " if separator != "," else ",")
        types = {"source": pl.Int64, "target": pl.Int64, "weight": pl.Float32, "time": pl.Float64}
        shaped = rows.select(
            "_row", "line", *[cells.list.get(n, null_on_oob=True).cast(types[name], strict=False).alias(name) for n, name in enumerate(columns)]
        )
        bad = shaped.filter(pl.any_horizontal(pl.col(columns).is_null())).head(1).collect()
        if len(bad):
            raise BadValue(
                f"the line is not {' '.join(columns)}", fix="correct or remove it", file=file, row=bad["_row"][0], value=bad["line"][0][:60]
            )
        edges = shaped.select(columns)
    else:
        kinds = {"source": pl.Int64, "target": pl.Int64, "weight": pl.Float32, "time": pl.Float64}
        raw = table(file, separator=separator)
        edges = raw.rename(dict(zip(raw.collect_schema().names(), columns, strict=False))).select(pl.col(name).cast(kinds[name]) for name in columns)
    return edges.with_columns(pl.col("time").floor().cast(pl.Int64)) if "time" in columns else edges


def load_edges(source: Source) -> Loaded:
    """Edges with source and target, and weight and time where the file has them."""
    found = _edges(source)
    if len(found) != 1:
        raise FileProblem(
            f"there are {len(found)} edge lists", fix=f"give one of the files: {', '.join(file.name for file in found)}", file=source.path
        )
    source.origin["edges"] = found[0]
    return {"edges": edge_list(found[0])}


FORMATS = (
    Format(
        "checkins", "SNAP check-ins (Gowalla, Brightkite): user, time, latitude, longitude, place", lambda s: _checkins(s) is not None, load_checkins
    ),
    Format("edges", "edge lists: source, target and perhaps weight and time (SNAP, Bitcoin OTC)", lambda s: bool(_edges(s)), load_edges),
)
