"""Finding data sets on the machine and getting them from their publishers, against a server of our own."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sartor.data import _known, datasets, read
from sartor.data._known import Known
from sartor.errors import CorruptFile, FileProblem, UnknownId, UnsafeArchive

RATINGS = b"1::1193::5::978300760\n1::661::3::978302109\n"


def archive(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(name.replace("__", "."), content)
    return out.getvalue()


class Publisher(http.server.BaseHTTPRequestHandler):
    """Serves `files`; understands ranges; cuts the connection after `cut` bytes once."""

    files: dict[str, bytes] = {}
    cut: int | None = None
    asked: list[str | None] = []

    def do_GET(self) -> None:
        content = self.files.get(self.path)
        asked = self.headers.get("Range")
        Publisher.asked.append(asked)
        if content is None:
            self.send_error(404, "Not Found")
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(content):
            self.send_error(416, "Range Not Satisfiable")
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.cut is not None:
            self.wfile.write(content[start : self.cut])
            Publisher.cut = None
            self.close_connection = True
            return
        self.wfile.write(content[start:])

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setenv("SARTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SARTOR_DATA", raising=False)
    Publisher.files, Publisher.cut, Publisher.asked = {}, None, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def offer(monkeypatch: pytest.MonkeyPatch, url: str, name: str, *files: tuple[str, bytes], md5: str | None = None) -> None:
    Publisher.files |= {f"/{file}": content for file, content in files}
    entry = Known(name, "A test set", "none", "http://home", tuple(f"{url}/{file}" for file, _ in files), md5)
    monkeypatch.setitem(_known.KNOWN, name, entry)


def test_get_unpacks_and_is_found_and_is_not_fetched_twice(publisher: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = archive(ratings__dat=RATINGS)
    offer(monkeypatch, publisher, "films", ("films.zip", content), md5=hashlib.md5(content, usedforsecurity=False).hexdigest())
    folder = datasets.get("films", progress=False)
    assert datasets.find("films") == folder
    assert len(datasets.dataset("films").interactions()) == 2
    assert datasets.get("films", progress=False) == folder
    assert len(Publisher.asked) == 1


def test_several_files_go_into_one_folder(publisher: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    checkins = b"0\t2010-10-19T23:55:27Z\t30.2\t-97.7\t22847\n"
    offer(monkeypatch, publisher, "places", ("totalCheckins.txt", checkins), ("edges.txt", b"0\t1\n"))
    folder = datasets.get("places", tmp_path / "mine", progress=False)
    assert folder == tmp_path / "mine" / "places"
    assert set(read(folder).frames) == {"events", "edges"}


def test_a_broken_download_goes_on_where_it_stopped(publisher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = archive(ratings__dat=RATINGS * 1000)
    offer(monkeypatch, publisher, "films", ("films.zip", content))
    Publisher.cut = 70
    with pytest.raises(FileProblem, match="run it again"):
        datasets.get("films", progress=False)
    with pytest.raises(FileProblem, match="in none of"):
        datasets.find("films")
    folder = datasets.get("films", progress=False)
    assert Publisher.asked == [None, "bytes=70-"]
    assert (folder / "ratings.dat").read_bytes() == RATINGS * 1000


def test_content_that_is_not_the_publishers_is_refused(publisher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, publisher, "films", ("films.zip", archive(ratings__dat=RATINGS)), md5="0" * 32)
    with pytest.raises(CorruptFile, match="its publisher states"):
        datasets.get("films", progress=False)
    with pytest.raises(FileProblem):
        datasets.find("films")


def test_a_climbing_archive_writes_nothing(publisher: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bad = archive(**{"ratings__dat": RATINGS, "../../../escaped__txt": b"x"})
    offer(monkeypatch, publisher, "films", ("films.zip", bad))
    with pytest.raises(UnsafeArchive, match="outside its own folder"):
        datasets.get("films", progress=False)
    assert not list(tmp_path.rglob("escaped.txt"))
    assert not list(tmp_path.rglob("ratings.dat"))


def test_what_somebody_put_there_is_left_alone(publisher: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offer(monkeypatch, publisher, "films", ("films.zip", archive(ratings__dat=RATINGS)))
    mine = tmp_path / "data" / "films" / "notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("my own")
    with pytest.raises(FileProblem, match="not downloaded by this command"):
        datasets.get("films", tmp_path / "data", progress=False)
    assert mine.read_text() == "my own"
    assert Publisher.asked == []


def test_no_such_file_and_no_network(publisher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, publisher, "gone", ("films.zip", b""))
    Publisher.files.clear()
    with pytest.raises(FileProblem, match="404"):
        datasets.get("gone", progress=False)
    monkeypatch.setitem(_known.KNOWN, "offline", Known("offline", "x", "x", "http://home", ("http://127.0.0.1:9/x.zip",)))
    with pytest.raises(FileProblem, match="check the network"):
        datasets.get("offline", progress=False)


def test_names_that_are_not_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SARTOR_CACHE", str(tmp_path))
    monkeypatch.setenv("SARTOR_DATA", str(tmp_path))
    with pytest.raises(UnknownId, match="did you mean ml-100k"):
        datasets.get("ml-100")
    with pytest.raises(FileProblem, match="by hand"):
        datasets.get("criteo")
    (tmp_path / "own").mkdir()
    assert datasets.find("own") == tmp_path / "own"


def test_every_entry_says_how_to_get_it_and_under_which_terms() -> None:
    from sartor.data.loaders import formats

    for name, entry in datasets.KNOWN.items():
        assert entry.name == name
        assert entry.title
        assert entry.terms
        assert entry.homepage.startswith("http")
        assert entry.format is None or entry.format in formats()
        assert all(url.startswith("https://") for url in entry.urls)
        assert entry.md5 is None or len(entry.md5) == 32
