"""One engine over a store of people: observe, recommend, search, explain, forget."""

from __future__ import annotations

from sartor.engine.answers import Adapting, Answer, Pick, Profile, Status
from sartor.engine.engine import Engine
from sartor.engine.rules import Rules
from sartor.engine.search import Found, SearchAnswer

__all__ = ["Adapting", "Answer", "Engine", "Found", "Pick", "Profile", "Rules", "SearchAnswer", "Status"]
