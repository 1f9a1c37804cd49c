"""The studio: built pages out of the package, served beside the API. How they are made: studio/ in the repository."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Scope

DIST = Path(__file__).parent / "studio" / "dist"

PAGES = ("", "people", "search", "draw", "recognize", "data", "population", "models", "jobs", "systems", "requests", "keys", "settings")
"""First parts of the addresses that are pages; the script in the page knows the rest."""

# No inline code, nothing from elsewhere, no frame around it.
CSP = "; ".join(
    [
        "default-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ]
)

_YEAR = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"


class _Assets(StaticFiles):
    """Files with a hash in their name never change; the others are asked for again."""

    def file_response(self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = _YEAR if Path(full_path).name.startswith("index-") else _ASK_AGAIN
        response.headers["Content-Security-Policy"] = CSP
        return response


def mount(app: FastAPI) -> None:
    """Add the studio's pages and files to an app that has its other routes already."""
    app.mount("/assets", GZipMiddleware(_Assets(directory=DIST / "assets"), minimum_size=1000))

    async def page() -> Response:
        return FileResponse(DIST / "index.html", headers={"Content-Security-Policy": CSP, "Cache-Control": _ASK_AGAIN})

    for first in PAGES:
        app.add_api_route(f"/{first}", page, include_in_schema=False)
        if first:
            app.add_api_route(f"/{first}/{{rest:path}}", page, include_in_schema=False)
