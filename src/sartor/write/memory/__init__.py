"""What is remembered of a person: taken out of what she writes, kept with where it came from, and found when it matters."""

from __future__ import annotations

from sartor.write.memory.agreement import Agreement, agreement
from sartor.write.memory.extraction import Extractor, Found, RuleExtractor, masked
from sartor.write.memory.polarity import Aspect, aspects, polarity
from sartor.write.memory.recall import MemoryIndex, Recall, Recalled
from sartor.write.memory.records import Memory, count_tokens, live, within
from sartor.write.memory.summaries import LeadingSummary, Summariser, outdated
from sartor.write.memory.updates import Settled, settle

__all__ = [
    "Agreement", "Aspect", "Extractor", "Found", "LeadingSummary", "Memory", "MemoryIndex", "Recall", "Recalled", "RuleExtractor", "Settled",
    "Summariser", "agreement", "aspects", "count_tokens", "live", "masked", "outdated", "polarity", "settle", "within",
]  # fmt: skip
