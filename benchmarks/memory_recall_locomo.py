"""LoCoMo: which turns of a conversation of hundreds hold the answer to a question? Share of the evidence among the first 5 and the first 10.

Every turn is kept as a message: who speaks, what, and the caption of a shared picture. All sides have the same vectors (the packaged MiniLM), made
before. The weights of `Recall` were set on five of the ten conversations; the recorded figure is of the other five.

The peer is mem0's open-source `search` as it installs: its keyword search and its entities need models that are downloaded, so only its vectors
speak. What its fusion would give with a keyword index stands in the table: its own `score_and_rank` over BM25 of the same stems.

    python benchmarks/memory_recall_locomo.py          # the table of all ways, both halves
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from _locomo import FOLDER, Conversation, conversations

NAME = "memory-recall-locomo"
UNIT = "recall@5"
HIGHER_IS_BETTER = True
PEER = "mem0ai"
RESULTS = Path(__file__).parent / "memory_recall.jsonl"

Ranker = Callable[[str, np.ndarray], list[int]]
"""From a question and its vector to rows of turns, best first, at least ten."""


def halves() -> dict[str, list[Conversation]]:
    """Conversations for setting weights, and for reporting."""
    every = conversations()
    return {"set": every[::2], "report": every[1::2]}


def vectors_of(texts: list[str]) -> np.ndarray:
    """MiniLM; kept on disk, for these texts are a public data set and nobody's."""
    from sartor.represent.text import text_encoder

    return text_encoder("minilm").encode(texts)


def measure(talks: list[Conversation], way: Callable[[Conversation, np.ndarray], Ranker]) -> dict[str, Any]:
    """Mean over questions, and by category."""
    at5, at10, kinds, seconds = [], [], [], 0.0
    for talk in talks:
        rank = way(talk, vectors_of(talk.texts))
        asked = vectors_of([question for question, _, _ in talk.questions])
        for (question, evidence, kind), vector in zip(talk.questions, asked, strict=True):
            start = time.perf_counter()
            found = [talk.ids[row] for row in rank(question, vector)[:10]]
            seconds += time.perf_counter() - start
            at5.append(len(evidence & set(found[:5])) / len(evidence))
            at10.append(len(evidence & set(found)) / len(evidence))
            kinds.append(kind)
    by = {kind: float(np.mean([one for one, own in zip(at5, kinds, strict=True) if own == kind])) for kind in sorted(set(kinds))}
    return {
        "recall@5": float(np.mean(at5)),
        "recall@10": float(np.mean(at10)),
        "questions": len(at5),
        "ms": 1e3 * seconds / len(at5),
        "by kind @5": by,
    }


# --- the ways


def sartors(**weights: float) -> Callable[[Conversation, np.ndarray], Ranker]:
    """`Recall`, with other weights where given."""

    def way(talk: Conversation, vectors: np.ndarray) -> Ranker:
        from sartor.represent.text import text_encoder
        from sartor.write.memory import MemoryIndex, Recall
        from sartor.write.prefeval import as_memories

        recall = Recall(encoder=text_encoder("minilm"), **weights)
        # Turns of one session are one conversation; all of them are old, so that recency parts only them.
        memories = as_memories(talk.texts)
        index = MemoryIndex(memories, vectors)
        rows = {id(one): row for row, one in enumerate(index.memories)}
        return lambda question, vector: [rows[id(one.memory)] for one in recall.recall(question, index, 10, now=max(talk.times))]

    return way


def plain_bm25(talk: Conversation, vectors: np.ndarray) -> Ranker:
    """BM25 of whole words, k1 0.9 and b 0.4."""
    from sartor.retrieve.bm25 import BM25

    index = BM25().build(talk.texts)
    return lambda question, vector: np.argsort(-index.scores([question])[0], kind="stable")[:10].tolist()


def dense(talk: Conversation, vectors: np.ndarray) -> Ranker:
    """Cosine."""
    return lambda question, vector: np.argsort(-(vectors @ vector), kind="stable")[:10].tolist()


def mem0_as_installed(talk: Conversation, vectors: np.ndarray) -> Ranker:
    """mem0's `Memory.search` over a local Qdrant: turns are kept as they are, so no language model is asked."""
    os.environ["MEM0_TELEMETRY"] = "False"
    folder = tempfile.mkdtemp(prefix="mem0-")
    os.environ["MEM0_DIR"] = folder
    from mem0 import Memory
    from mem0.configs.embeddings.base import BaseEmbedderConfig
    from mem0.embeddings.base import EmbeddingBase

    known = dict(zip(talk.texts, vectors, strict=True))
    asked: dict[str, np.ndarray] = {}

    class Given(EmbeddingBase):
        """The vectors that all sides have."""

        def embed(self, text: str, memory_action: str | None = None) -> list[float]:
            found = known.get(text, asked.get(text))
            return (vectors_of([text])[0] if found is None else found).tolist()

    store = {"provider": "qdrant", "config": {"collection_name": "talk", "path": f"{folder}/qdrant", "embedding_model_dims": vectors.shape[1]}}
    unused = {"provider": "openai", "config": {"api_key": "none"}}
    memory = Memory.from_config({"vector_store": store, "embedder": unused, "llm": unused, "history_db_path": f"{folder}/history.db"})
    memory.embedding_model = Given(BaseEmbedderConfig())
    # Straight into its store, as `add(infer=False)` would one by one: what is compared is how it finds.
    payloads = [{"data": text, "user_id": "person", "row": row} for row, text in enumerate(talk.texts)]
    memory.vector_store.insert(vectors=vectors.tolist(), payloads=payloads, ids=[str(uuid.UUID(int=row + 1)) for row in range(len(payloads))])

    def rank(question: str, vector: np.ndarray) -> list[int]:
        asked[question] = vector
        found = memory.search(question, filters={"user_id": "person"}, top_k=10)
        return [one["metadata"]["row"] for one in found["results"]]

    return rank


def mem0_fusion(talk: Conversation, vectors: np.ndarray) -> Ranker:
    """mem0's own scoring of the 60 nearest, with the BM25 (k1 1.2, b 0.75) that its keyword search would give."""
    from mem0.utils.scoring import get_bm25_params, normalize_bm25, score_and_rank

    from sartor.retrieve.bm25 import BM25
    from sartor.write.memory.words import terms

    index = BM25(k1=1.2, b=0.75).build([" ".join(terms(text)) for text in talk.texts])

    def rank(question: str, vector: np.ndarray) -> list[int]:
        near = vectors @ vector
        stems = " ".join(terms(question))
        words = index.scores([stems])[0]
        middle, slope = get_bm25_params(question, lemmatized=stems)
        semantic = [{"id": str(row), "score": float(near[row]), "payload": {"data": talk.texts[row]}} for row in np.argsort(-near)[:60]]
        keyword = {str(row): normalize_bm25(float(words[row]), middle, slope) for row in np.flatnonzero(words > 0)}
        return [int(one["id"]) for one in score_and_rank(semantic, keyword, {}, threshold=0.1, top_k=10)]

    return rank


# --- one side each


def ours() -> dict[str, Any]:
    return _told(measure(halves()["report"], sartors()))


def peer() -> dict[str, Any]:
    return _told(measure(halves()["report"], mem0_as_installed))


def _told(found: dict[str, Any]) -> dict[str, Any]:
    size = {"conversations": 5, "questions": found["questions"], "embedding": "MiniLM, the same vectors on both sides"}
    return {"value": found["recall@5"], "quality": found["recall@10"], "size": size}


def table() -> None:
    """All ways on both halves, one line each in `memory_recall.jsonl`."""
    ways = {
        "cosine": dense, "BM25": plain_bm25, "mem0 as installed": mem0_as_installed, "mem0's fusion": mem0_fusion,
        "recall without around": sartors(around=0.0), "recall without words": sartors(words=0.0, around=0.0), "recall": sartors(),
    }  # fmt: skip
    for half, talks in halves().items():
        for name, way in ways.items():
            found = measure(talks, way)
            print(f"{half:7} {name:24} recall@5 {found['recall@5']:.3f}  recall@10 {found['recall@10']:.3f}  {found['ms']:.2f} ms", flush=True)
            with RESULTS.open("a") as file:
                file.write(json.dumps({"name": NAME, "half": half, "way": name, **found}) + "\n")


if __name__ == "__main__":
    if not FOLDER.is_dir():
        raise SystemExit(f"{FOLDER} is not here: put a copy of LoCoMo there")
    table()
