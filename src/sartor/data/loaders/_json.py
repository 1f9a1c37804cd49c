"""One JSON object per file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sartor.errors import FileProblem


def json_object(file: Path) -> dict[str, Any]:
    """A whole file that is one JSON object; raises `FileProblem` otherwise."""
    try:
        content = json.loads(file.read_bytes())
    except ValueError as cause:
        raise FileProblem(f"this is not JSON: {cause}", fix="download it again", file=file) from cause
    if not isinstance(content, dict):
        raise FileProblem("this should be one JSON object", fix="download it again", file=file)
    return content
