"""Every example of docs/api.md runs against a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from serve_shop import Shop

from sartor.errors import ConfigError
from sartor.serve import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
RUNNERS = {"sh": ["bash", "-euo", "pipefail", "-c"], "py": [sys.executable, "-c"], "js": ["node", "--input-type=module", "-e"]}


@pytest.mark.parametrize("language", RUNNERS)
def test_examples_run(shared: Shop, language: str, tmp_path: Path) -> None:
    needed = {"sh": "curl", "js": "node"}.get(language)
    if needed and not shutil.which(needed):
        pytest.skip(f"{needed} is not installed")
    sources = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert sources
    env = os.environ | {"SARTOR_URL": shared.url, "SARTOR_KEY": shared.keys["default"]}
    for source in sources:
        done = subprocess.run([*RUNNERS[language], source], capture_output=True, text=True, env=env, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr


def test_routes_of_the_page_are_those_of_the_server(shared: Shop) -> None:
    paths = " ".join(shared.get("/openapi.json").json()["paths"])
    for route in re.findall(r"/v1/[\w{}/-]+", PAGE.split("## Routes")[1].split("## Problems")[0]):
        assert route.rstrip("/").replace("/jobs/{id}", "/jobs/{job}") in paths, route


def test_settings_of_the_page_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    named = {name for line in re.findall(r"^\| (`[A-Z_`, ]+) \|", PAGE, re.MULTILINE) for name in re.findall(r"[A-Z_]+", line)}
    assert {name.lower() for name in named} <= set(Settings.__dataclass_fields__)
    for name, value in {"RATE": "none", "BODY_BYTES": "5", "ORIGINS": "https://a.example, https://b.example", "JOBS": "false"}.items():
        monkeypatch.setenv(f"SARTOR_SERVE_{name}", value)
    found = Settings.from_environment()
    assert (found.rate, found.body_bytes, found.origins, found.jobs) == (None, 5, ("https://a.example", "https://b.example"), False)
    monkeypatch.setenv("SARTOR_SERVE_JOBS", "perhaps")
    with pytest.raises(ConfigError, match="SARTOR_SERVE_JOBS"):
        Settings.from_environment()
