"""Approximate search over 100,000 generated vectors of 768 dimensions at recall@10 0.99: CPU-seconds per query, LeanVec against the fastest peer.

Peers: scalable-vs Vamana float16, faiss exact, HNSW in float32, float16 and 8 bits and refined IVF-PQ fast-scan, hnswlib, usearch; one thread,
built once and kept, each at its least setting that reaches the recall. See `_ann.py` for the whole table.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
_ann = importlib.import_module("_ann")

NAME = "ann-recall99"
UNIT = "seconds"
PEER = "scalable-vs"
DIM, RECALL = 768, 0.99


def ours() -> dict[str, Any]:
    return _ann.side(DIM, RECALL, "ours")


def peer() -> dict[str, Any]:
    return _ann.side(DIM, RECALL, "peer")
