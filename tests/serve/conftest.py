from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the extra 'serve'")

from serve_shop import Shop, opened, shop

import sartor


@pytest.fixture(scope="session")
def model() -> Any:
    return sartor.make("ease", regularization=20.0).fit(shop(), progress=False)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, model: Any) -> Iterator[Shop]:
    """For tests that only read, or write about people of their own."""
    with opened(tmp_path_factory.mktemp("shop"), model) as made:
        yield made


@pytest.fixture
def own(tmp_path: Path, model: Any) -> Iterator[Shop]:
    """For tests that change what others would see."""
    with opened(tmp_path, model) as made:
        yield made
