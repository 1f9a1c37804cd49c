"""One engine over a store of people: observe, recommend, explain, forget."""

from __future__ import annotations

from sartor.engine.answers import Adapting, Answer, Pick, Profile, Status
from sartor.engine.engine import Engine
from sartor.engine.rules import Rules

__all__ = ["Adapting", "Answer", "Engine", "Pick", "Profile", "Rules", "Status"]
