"""LoCoMo as questions over turns: which turns of a long conversation hold the answer."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

FOLDER = Path("../shared/data/locomo10")
CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}


@dataclass(frozen=True)
class Conversation:
    """One of the ten."""

    name: str
    ids: list[str]
    """Of the turns, as the questions name them: D3:11."""
    texts: list[str]
    """Speaker, words, and the caption of a shared image."""
    times: list[float]
    """Seconds since 1970, of the session."""
    questions: list[tuple[str, frozenset[str], str]]
    """Question, turns that hold the answer, category. Those without any known turn are left out."""


def conversations(folder: Path = FOLDER) -> list[Conversation]:
    """All ten, in the order of their names."""
    with zipfile.ZipFile(folder / "locomo10.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".json"))
        return [_read(Path(name).stem, json.loads(archive.read(name))) for name in names]


def _read(name: str, data: dict[str, object]) -> Conversation:
    ids, texts, times = [], [], []
    session = 1
    while f"session_{session}_date_time" in data or f"session_{session}" in data:
        turns = data.get(f"session_{session}") or []
        when = _time(str(data.get(f"session_{session}_date_time", "")))
        for turn in turns if isinstance(turns, list) else []:
            caption = f" [shares {turn['blip_caption']}]" if turn.get("blip_caption") else ""
            ids.append(turn["dia_id"])
            texts.append(f"{turn['speaker']}: {turn['text']}{caption}")
            times.append(when)
        session += 1
    known = set(ids)
    questions = []
    for one in data["qa"] if isinstance(data["qa"], list) else []:
        # Some evidence is written as "D8:6; D9:17".
        evidence = frozenset(part for given in one.get("evidence", []) for part in given.replace(";", " ").replace(",", " ").split()) & known
        if evidence:
            questions.append((one["question"], evidence, CATEGORIES[one["category"]]))
    return Conversation(name, ids, texts, times, questions)


def _time(text: str) -> float:
    try:
        return datetime.strptime(f"{text} +0000", "%I:%M %p on %d %B, %Y %z").timestamp()
    except ValueError:
        return 0.0
