"""One file per subject, each with a `router`."""

from __future__ import annotations

SUBJECTS = (
    "recommend", "search", "rerank", "chat", "embeddings", "events", "people", "memories", "items", "states", "consents", "kinds", "models",
    "insight", "decisions", "pictures", "recognition", "access", "imports", "upkeep", "health",
)  # fmt: skip
"""In the order in which they are looked through: what is asked most comes first."""
