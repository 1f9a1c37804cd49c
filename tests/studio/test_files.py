"""The built studio as files and as answers of the server: complete, up to date, closed to the outside. No browser is needed."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from sartor.serve import studio
from sartor.serve.app import create_app

SOURCES = Path(__file__).parents[2] / "studio"


@pytest.fixture
def client(engine: Any) -> TestClient:
    return TestClient(create_app(engine, dev=True))


def _source_hash() -> str:
    """As studio/vite.config.js makes it."""
    digest = hashlib.sha256()
    for name in ("index.html", "package-lock.json", "public", "src", "vite.config.js"):
        top = SOURCES / name
        files = [top] if top.is_file() else sorted((file for file in top.rglob("*") if file.is_file()), key=lambda file: file.relative_to(top).parts)
        for file in files:
            digest.update(file.relative_to(SOURCES).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@pytest.mark.skipif(not SOURCES.is_dir(), reason="no source of the studio here")
def test_the_built_files_belong_to_the_sources() -> None:
    assert (studio.DIST / "source.sha256").read_text().strip() == _source_hash(), "run `make studio`"


def test_it_is_small_and_names_nobody_else() -> None:
    import gzip

    files = [file for file in studio.DIST.rglob("*") if file.suffix in (".js", ".css")]
    assert sum(len(gzip.compress(file.read_bytes(), 9)) for file in files) < 70_000
    for file in studio.DIST.rglob("*.*"):
        named = set(re.findall(r"https?://([\w.-]+)", file.read_text()))
        assert named <= {"www.w3.org", "github.com"}, file  # names of XML formats; an address inside a message of a library
        assert "//# sourceMappingURL" not in file.read_text()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/people",
        "/people/ana",
        "/people/a%2Fb/what-if",
        "/population",
        "/models/jobs/1",
        "/jobs/1",
        "/search?q=a",
        "/draw?q=a",
        "/recognize",
        "/data",
        "/systems",
        "/keys",
        "/settings",
    ],
)
def test_every_page_has_its_own_address(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.text == (studio.DIST / "index.html").read_text()
    assert answer.headers["cache-control"] == "no-cache"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_has_no_inline_code(client: TestClient) -> None:
    page = client.get("/").text
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|<style|\son\w+=|\sstyle=", page) == []


def test_files_with_a_hash_are_kept_and_the_others_asked_for_again(client: TestClient) -> None:
    named = re.findall(r'"(/assets/[^"]+)"', client.get("/").text)
    assert len(named) == 4
    for path in named:
        answer = client.get(path)
        assert answer.status_code == 200
        assert ("immutable" in answer.headers["cache-control"]) == ("/index-" in path)
        again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
    script = next(path for path in named if path.endswith(".js") and "/index-" in path)
    assert client.get(script).headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("path", ["/v1/nothing", "/nothing", "/assets/nothing.js", "/assets/..%2f..%2fstudio.py", "/assets/%2e%2e/index.html"])
def test_what_is_not_a_page_is_a_problem(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (400, 404)
    assert answer.headers["content-type"] == "application/problem+json"


def test_pages_are_only_read(client: TestClient) -> None:
    assert client.post("/people").status_code in (404, 405)
    assert client.post("/assets/theme.js").status_code in (404, 405)
