"""What an archive of one person is: the names inside it, its manifest, and safe reading of one that came from outside.

An archive is a zip file:

- `README.txt`: what is in it, in plain words;
- `manifest.json`: format, version, when, of whom, and bytes and SHA-256 of every other file;
- `evidence/<frame>.jsonl` (one record per line) and the same as `.parquet`;
- `states/<verb>-<version>.safetensors` and a card in words, `.json`;
- `consents.jsonl`, `audit.jsonl`, `models.json`, `keys.json`, `jobs.json`.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sartor.data.schema import FRAMES
from sartor.errors import CorruptFile, FileProblem, UnsafeArchive

FORMAT, VERSION = "sartor person archive", 1
MANIFEST = "manifest.json"
LIMIT = 4 << 30
"""Bytes that an archive may unpack to, unless more are allowed."""
MOST_FILES = 10_000

_FRAME = "|".join(FRAMES)
_NAME = re.compile(
    rf"README\.txt|manifest\.json|(evidence/({_FRAME})\.(jsonl|parquet))|(states/\w{{1,40}}-[0-9]{{1,10}}\.(safetensors|json))"
    r"|(consents|audit)\.jsonl|(models|keys|jobs)\.json"
)


def iso(seconds: float | None) -> str | None:
    """A time in words that sort: ISO 8601, UTC."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return None  # outside the years that a calendar has; the number itself stands beside it


class ArchiveWriter:
    """Writes the files of an archive one after the other and their hashes last."""

    def __init__(self, target: io.IOBase | Any) -> None:
        self._zip = zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        self.files: dict[str, dict[str, Any]] = {}

    def add(self, name: str, data: bytes, **facts: Any) -> None:
        """One whole file; `facts` stand beside its hash in the manifest."""
        self._zip.writestr(name, data)
        self.files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **facts}

    def add_json(self, name: str, value: Any) -> None:
        """One JSON document."""
        self.add(name, json.dumps(value, indent=1, ensure_ascii=False).encode())

    def add_lines(self, name: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """One JSON object per line; returns how many."""
        digest, nbytes, count = hashlib.sha256(), 0, 0
        with self._zip.open(name, "w", force_zip64=True) as file:
            for row in rows:
                line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
                file.write(line)
                digest.update(line)
                nbytes += len(line)
                count += 1
        self.files[name] = {"bytes": nbytes, "sha256": digest.hexdigest(), "rows": count}
        return count

    def close(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest and end the zip file."""
        self._zip.writestr(
            MANIFEST, json.dumps({"format": FORMAT, "version": VERSION, **manifest, "files": self.files}, indent=1, ensure_ascii=False)
        )
        self._zip.close()


class Archive:
    """An archive that was checked: names, sizes, hashes. Nothing is unpacked to disk.

    Raises `UnsafeArchive` for paths, links, doubled or unknown names and for more data than allowed; `CorruptFile` when it is not whole or
    not an archive of a person; `FileProblem` when it cannot be read.
    """

    def __init__(self, source: str | Path | bytes, *, limit: int = LIMIT) -> None:
        self.file = None if isinstance(source, bytes) else Path(source)
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source)
        except OSError as cause:
            raise FileProblem("this archive cannot be read", fix="give the zip file that export wrote", file=self.file) from cause
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as cause:
            raise CorruptFile("this is not a whole zip file", fix="export again, or copy it again", file=self.file) from cause
        self._check_names(limit)
        self.manifest = self._read_manifest()
        self.names = [name for name in self._zip.namelist() if name != MANIFEST]
        self._check_contents()

    def _check_names(self, limit: int) -> None:
        entries = self._zip.infolist()
        if len(entries) > MOST_FILES:
            raise UnsafeArchive(f"it holds {len(entries):,} files, at most {MOST_FILES:,} are read", file=self.file)
        if len({entry.filename for entry in entries}) != len(entries):
            raise UnsafeArchive("a name occurs twice in it", fix="export again", file=self.file)
        for entry in entries:
            if not _NAME.fullmatch(entry.filename) or stat.S_ISLNK(entry.external_attr >> 16):
                raise UnsafeArchive(
                    "this has no place in an archive of a person",
                    fix="only archives that export wrote are read",
                    file=self.file,
                    entry=repr(entry.filename),
                )
        if (size := sum(entry.file_size for entry in entries)) > limit:
            raise UnsafeArchive(f"it unpacks to {size:,} bytes, at most {limit:,} are allowed", fix="allow more, if you trust it", file=self.file)

    def read(self, name: str) -> bytes:
        """One file, no more of it than its entry promised."""
        try:
            entry = self._zip.getinfo(name)
            with self._zip.open(entry) as file:
                data = file.read(entry.file_size + 1)
        except (KeyError, OSError, RuntimeError, NotImplementedError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as cause:
            raise CorruptFile("this part of the archive cannot be read", fix="export again, or copy it again", file=self.file, entry=name) from cause
        if len(data) != entry.file_size:
            raise CorruptFile("this part of the archive has another length than promised", file=self.file, entry=name)
        return data

    def _read_manifest(self) -> dict[str, Any]:
        manifest = self.json(MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or not isinstance(manifest.get("files"), dict):
            raise CorruptFile("the manifest is not that of a person's archive", fix="give the zip file that export wrote", file=self.file)
        if manifest.get("version") != VERSION:
            raise CorruptFile(f"it has version {manifest.get('version')!r}, this sartor reads {VERSION}", fix="use a newer sartor", file=self.file)
        if not isinstance(manifest.get("person"), str):
            raise CorruptFile("the manifest does not say whose it is", file=self.file)
        return manifest

    def _check_contents(self) -> None:
        promised = self.manifest["files"]
        if strange := sorted(set(promised) ^ set(self.names)):
            raise CorruptFile(f"files and manifest differ: {', '.join(strange[:5])}", fix="export again, or copy it again", file=self.file)
        for name in self.names:
            facts = promised[name]
            if not isinstance(facts, dict) or hashlib.sha256(self.read(name)).hexdigest() != facts.get("sha256"):
                raise CorruptFile("its content is not what was exported", fix="export again, or copy it again", file=self.file, entry=name)

    def json(self, name: str) -> Any:
        """One JSON document."""
        return self._parse(self.read(name), name)

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The JSON objects of one file; none when the file is not there."""
        if name not in self.names:
            return
        for number, line in enumerate(self.read(name).splitlines(), 1):
            value = self._parse(line, name, number)
            if not isinstance(value, dict):
                raise CorruptFile("this line is not a record", file=self.file, entry=name, line=number)
            yield value

    def _parse(self, data: bytes, name: str, line: int | None = None) -> Any:
        try:
            return json.loads(data.decode(), parse_constant=_no_constant)
        except (ValueError, RecursionError) as cause:
            raise CorruptFile("this is not JSON", fix="export again, or copy it again", file=self.file, entry=name, line=line) from cause


def _no_constant(text: str) -> Any:
    raise ValueError(text)
