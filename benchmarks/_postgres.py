"""A throw-away PostgreSQL on a socket of its own; its files lie in one folder and go with it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


def binaries() -> Path | None:
    """Where initdb and pg_ctl are: on the path, or where Debian puts them."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0)
    return places[-1].parent if places else None


@dataclass(frozen=True)
class Server:
    """A running server."""

    binaries: Path
    folder: Path

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "data"

    @property
    def url(self) -> str:
        """Of its one database, as its owner; no superuser, whom row-level security would not hold."""
        return f"postgresql:///people?host={self.folder}&user=app"

    def run(self, program: str, *arguments: str) -> None:
        """One of its programs; the server refuses to be run by root."""
        user = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        done = subprocess.run([str(self.binaries / program), *arguments], capture_output=True, text=True, cwd=self.folder, check=False, **user)
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr or done.stdout}")

    def start(self) -> None:
        """Start it and wait until it answers."""
        # What a crash leaves is synced by one call for the whole disk, not file by file: seconds less at every start after one.
        settings = f"listen_addresses= unix_socket_directories={self.folder} max_connections=100 fsync=on recovery_init_sync_method=syncfs"
        options = " ".join(f"-c {setting}" for setting in settings.split(" "))
        # Its words go to a file: a pipe that stays open would keep us waiting.
        self.run("pg_ctl", "-D", str(self.data), "-l", str(self.folder / "log"), "-w", "-o", options, "start")

    def settle(self) -> None:
        """Write everything to the data files and begin a new log, as an administrator would."""
        for statement in ("CHECKPOINT", "SELECT pg_switch_wal()", "CHECKPOINT"):
            self.run("psql", "-q", "-h", str(self.folder), "-U", "owner", "-c", statement, "people")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: "fast" ends connections in order, "immediate" is a crash that the next start recovers from."""
        self.run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Start one; raises `RuntimeError` when PostgreSQL is not installed here."""
    place = binaries()
    if place is None:
        raise RuntimeError("PostgreSQL's server binaries are not installed")
    with tempfile.TemporaryDirectory(prefix="sartor-pg.", dir="/tmp") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody", pwd.getpwnam("nobody").pw_gid)
        folder.chmod(0o755)
        one = Server(place, folder)
        one.run("initdb", "-D", str(one.data), "-U", "owner", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        one.start()
        try:
            one.run("createuser", "-h", name, "-U", "owner", "--no-superuser", "app")
            one.run("createdb", "-h", name, "-U", "owner", "-O", "app", "people")
            yield one
        finally:
            one.stop()
