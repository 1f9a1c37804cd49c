"""What the fixtures that call the command line are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Call = Callable[..., Any]
