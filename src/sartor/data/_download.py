"""Downloads that show progress, go on where they stopped, and are checked before they count."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from sartor.errors import CorruptFile, FileProblem
from sartor.progress import bar

BLOCK = 2**18


def download(url: str, target: Path, *, md5: str | None = None, progress: bool = True) -> Path:
    """Fetch one file; a partial file beside the target (`name.part`) is completed.

    Raises `FileProblem` when the address cannot be reached or ends early (run it again to go on), `CorruptFile` when the content is not
    what its publisher states.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        _fetch(url, part, progress)
    except urllib.error.HTTPError as cause:
        raise FileProblem(
            f"the server answers {cause.code} {cause.reason}", fix="see the homepage of the data set for a new address", url=url
        ) from cause
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as cause:
        reason = getattr(cause, "reason", cause)
        raise FileProblem(
            f"the file cannot be fetched: {reason}", url=url,
            fix=f"check the network and run it again (it goes on where it stopped), or fetch the file by hand into {target.parent}",
        ) from cause  # fmt: skip
    if md5 is not None and (found := _md5(part)) != md5:
        part.unlink()
        raise CorruptFile(f"the file has MD5 {found}, its publisher states {md5}", fix="run it again", url=url)
    os.replace(part, target)
    return target


def _fetch(url: str, part: Path, progress: bool) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "sartor", **({"Range": f"bytes={have}-"} if have else {})})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as problem:
        # 416: there is nothing after what we have.
        if problem.code == 416 and have:
            return
        raise
    with answer:
        resumed = have > 0 and answer.status == 206
        length = answer.headers.get("Content-Length")
        total = int(length) + (have if resumed else 0) if length else None
        with part.open("ab" if resumed else "wb") as out, bar(part.name.removesuffix(".part"), total, enabled=progress, unit="B") as shown:
            if resumed:
                shown.advance(have)
            while block := answer.read(BLOCK):
                out.write(block)
                shown.advance(len(block))
    if total is not None and part.stat().st_size != total:
        raise ConnectionError(f"{part.stat().st_size:,} of {total:,} bytes came")


def _md5(file: Path) -> str:
    with file.open("rb") as opened:
        # MD5 is what the publishers state: it guards against damage, not against attack.
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
