"""What several rooms' tests share: a throw-away PostgreSQL."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# The same examples on every run, so that a change is judged by what it changed. `HYPOTHESIS_PROFILE=explore make test` looks for new ones.
# No clock decides: on a busy machine an example may take as long as it likes.
_CLOCKLESS: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("fixed", derandomize=True, **_CLOCKLESS)
settings.register_profile("explore", derandomize=False, print_blob=True, **_CLOCKLESS)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL server of this test run, as a user whom row-level security holds; skips where it is not installed."""
    import _postgres

    pytest.importorskip("psycopg", reason="needs the extra 'postgres'")
    if _postgres.binaries() is None:
        pytest.skip("PostgreSQL's server binaries are not installed (Debian: apt-get install postgresql)")
    with _postgres.server() as server:
        yield server.url


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """URL of an empty schema of its own."""
    import psycopg

    schema = f"test_{next(_numbers)}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    return f"{postgresql_server}&options=-csearch_path%3D{schema}"
