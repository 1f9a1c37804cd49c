"""`sartor serve`: uvicorn around the app, with one process or several that share the store."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from sartor.errors import ConfigError, MissingExtra
from sartor.serve import rate
from sartor.serve.logs import quiet_libraries
from sartor.serve.opening import Opening
from sartor.serve.settings import Settings

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
GRACE = 10
"""Seconds that running requests get to end when the server is told to stop."""


def run(
    url: str = "sqlite:///people.db",
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    dev: bool = False,
    *,
    tenant: str = "default",
    master_key: bytes | str | Path | None = None,
    models: str | Path | None = None,
    settings: Settings | None = None,
) -> None:
    """Serve until told to stop (SIGINT, SIGTERM): then running requests end, and nothing acknowledged is lost.

    Parameters
    ----------
    url: of the store; see `sartor.Engine`.
    workers: processes. Each holds the models; they count rate limits together. A database server serves many writers better than SQLite.
    dev: no keys, on this machine only.
    settings: limits and habits; None: what the SARTOR_SERVE_... variables say.

    Raises `ConfigError` for an address or a number of workers that cannot be, `MissingExtra` without the extra `serve`.
    """
    try:
        import uvicorn
        from uvicorn.supervisors import Multiprocess
    except ImportError:
        raise MissingExtra("uvicorn", "serve") from None

    if dev and host not in LOCAL_HOSTS:
        raise ConfigError(f"without keys the server listens on this machine only, not on {host}", fix="leave out --dev, or --host")
    if workers < 1 or not 0 <= port < 65536:
        raise ConfigError(f"workers is {workers}, port is {port}", fix="use at least one worker, and a port from 0 to 65535")
    opening = Opening(url, tenant, master_key, models, dev, settings or Settings.from_environment())

    def config(opening: Opening) -> uvicorn.Config:
        return uvicorn.Config(
            opening, host=host, port=port, workers=workers, factory=True, access_log=False, log_config=None, server_header=False,
            timeout_graceful_shutdown=GRACE, ws="none",
        )  # fmt: skip

    quiet_libraries()
    if workers == 1:
        uvicorn.Server(config(opening)).run()
        return
    # The first one makes what is not there yet (database, key file), so that workers do not race for it.
    from sartor.profile.store import ProfileStore

    ProfileStore.open(url, master_key=master_key).close()
    folder = tempfile.mkdtemp(prefix="sartor-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    shared = config(replace(opening, rates=Path(folder) / "rates"))
    # Twice as many: one that is replaced may still be ending.
    rate.table(Path(folder) / "rates", 2 * workers)
    try:
        Multiprocess(shared, sockets=[shared.bind_socket()]).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
