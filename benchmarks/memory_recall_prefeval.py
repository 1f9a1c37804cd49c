"""PrefEval: is a stated preference found again by a question that hides it, among 20, 200 and 632 unrelated messages? And does it choose rightly?

Recall: the 1,000 explicit pairs; the message with the preference among the first 5 that are recalled for the question. The unrelated
messages are the first 20, 200 and all 632 of the published conversations; all sides' vectors are the packaged MiniLM's. The peer is plain
cosine, as memory layers do it.

Choice: one of four answers respects the preference. Beside ours stand plain cosine, and two controls that cannot know the preference: the
question alone, and somebody else's preference of the same topic.

What parts messages from chatter (`statement`) and likes from dislikes (`polarity`) was written and weighed on the ten topics of "set"; the
recorded figure is of the ten others.

    python benchmarks/memory_recall_prefeval.py          # the table, both halves
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sartor.parts.statistics import wilson

NAME = "memory-recall-prefeval"
UNIT = "recall@5 among 632"
HIGHER_IS_BETTER = True
PEER = "sentence-transformers"
FOLDER = Path("../shared/data/prefeval")
RESULTS = Path(__file__).parent / "memory_recall.jsonl"
DISTRACTORS = (20, 200, 632)
K = 5


def halves() -> dict[str, tuple[str, ...]]:
    """Topics for setting weights, and for reporting."""
    from sartor.write.prefeval import TOPICS

    return {"set": TOPICS[::2], "report": TOPICS[1::2]}


def vectors_of(texts: list[str]) -> np.ndarray:
    """MiniLM; kept on disk, for these texts are a public data set and nobody's."""
    from sartor.represent.text import text_encoder

    return text_encoder("minilm").encode(texts)


def messages() -> list[str]:
    """All 632 unrelated messages."""
    from sartor.write.prefeval import inter_turns

    return [str(one["content"]) for talk in inter_turns(FOLDER) for one in talk]


def recalled(topics: tuple[str, ...], weights: dict[str, float]) -> dict[str, Any]:
    """Share of questions whose preference is among the first 1 and 5, by how many other messages there are."""
    from sartor.represent.text import text_encoder
    from sartor.write.memory import MemoryIndex, Recall
    from sartor.write.prefeval import as_memories, load

    cases = load(FOLDER, topics=topics)
    unrelated = messages()
    recall = Recall(encoder=text_encoder("minilm"), **weights)
    memories, vectors = as_memories(unrelated), vectors_of(unrelated)
    own, stated = [replace(as_memories([one.preference])[0], source="stated") for one in cases], vectors_of([one.preference for one in cases])
    asked = [recall.query_vector(one.question) for one in cases]
    out: dict[str, Any] = {}
    for count in DISTRACTORS:
        places = []
        index = MemoryIndex(memories[:count], vectors[:count])
        for number, case in enumerate(cases):
            row = len(index)
            index.add([own[number]], stated[number : number + 1])
            hits = recall.recall(case.question, index, K, now=0.0, vector=asked[number])
            places.append(next((place for place, one in enumerate(hits) if one.memory is index.memories[row]), K))
            index.drop(row)
        found = int(sum(place < K for place in places))
        out[str(count)] = {
            "recall@1": float(np.mean([place < 1 for place in places])),
            "recall@5": found / len(places),
            "interval": wilson(found, len(places)),
        }
    return out | {"questions": len(cases)}


def chosen(topics: tuple[str, ...]) -> dict[str, Any]:
    """Share of right choices of ours, of cosine, and of the two that cannot know."""
    from sartor.represent.text import text_encoder
    from sartor.write.memory import agreement
    from sartor.write.memory.polarity import aspects
    from sartor.write.prefeval import load

    cases = [one for one in load(FOLDER, topics=topics) if one.options]
    same = {one.id: [other for other in cases if other.topic == one.topic] for one in cases}
    encoder = Known(text_encoder("minilm"))
    encoder.learn(
        [text for one in cases for text in (one.question, one.preference, *one.options, *(found.phrase for found in aspects(one.preference)))]
    )
    ways: dict[str, list[bool]] = {}
    for one in cases:
        others = same[one.id]
        swapped = others[(others.index(one) + 7) % len(others)].preference
        options, asked, said = encoder.encode(list(one.options)), encoder.encode([one.question])[0], encoder.encode([one.preference])[0]
        scores = {
            "polarity": agreement(one.options, [one.preference], encoder, question=one.question).scores,
            "polarity without the question": agreement(one.options, [one.preference], encoder).scores,
            "cosine of the preference": options @ said,
            "cosine of the negated preference": -(options @ said),
            "blind: cosine of the question": options @ asked,
            "blind: somebody else's preference": agreement(one.options, [swapped], encoder, question=one.question).scores,
        }
        for name, values in scores.items():
            ways.setdefault(name, []).append(int(np.argmax(values)) == one.right and float(values.max() - np.delete(values, one.right).max()) > 0)
    return {name: {"accuracy": float(np.mean(right)), "interval": wilson(sum(right), len(right))} for name, right in ways.items()} | {
        "cases": len(cases)
    }


class Known:
    """An encoder that encodes each text once; `agreement` keeps nothing of what people write."""

    def __init__(self, encoder: Any) -> None:
        self.encoder, self.dim, self.fingerprint = encoder, encoder.dim, encoder.fingerprint
        self.kept: dict[str, np.ndarray] = {}

    def learn(self, texts: list[str]) -> None:
        """Encode these now."""
        fresh = list(dict.fromkeys(texts))
        self.kept |= dict(zip(fresh, self.encoder.encode(fresh), strict=True))

    def encode(self, texts: list[str], *, progress: bool = False) -> np.ndarray:
        if missing := [text for text in texts if text not in self.kept]:
            self.learn(missing)
        return np.stack([self.kept[text] for text in texts])


WAYS: dict[str, dict[str, float]] = {
    "cosine": {"words": 0, "around": 0, "recency": 0, "statement": 0, "polarity": 0},
    "cosine and words": {"recency": 0, "statement": 0, "polarity": 0},
    "recall without words": {"words": 0, "around": 0},
    "recall": {},
}


def ours() -> dict[str, Any]:
    found, right = recalled(halves()["report"], {}), chosen(halves()["report"])
    return {"value": found["632"]["recall@5"], "quality": right["polarity"]["accuracy"], "size": _size(found, right)}


def peer() -> dict[str, Any]:
    """Cosine by the peer's own search, over the same vectors."""
    from sentence_transformers import util

    from sartor.write.prefeval import load

    cases = load(FOLDER, topics=halves()["report"])
    unrelated = vectors_of(messages())
    stated, asked = vectors_of([one.preference for one in cases]), vectors_of([one.question for one in cases])
    found = []
    for number in range(len(cases)):
        corpus = np.concatenate([unrelated, stated[number : number + 1]])
        hits = util.semantic_search(asked[number : number + 1], corpus, top_k=K)[0]
        found.append(any(one["corpus_id"] == len(unrelated) for one in hits))
    picks = [(one, vector) for one, vector in zip(cases, stated, strict=True) if one.options]
    options = vectors_of([text for one, _ in picks for text in one.options]).reshape(len(picks), 4, -1)
    right = [int(util.cos_sim(vector, own).argmax()) == one.right for (one, vector), own in zip(picks, options, strict=True)]
    return {"value": float(np.mean(found)), "quality": float(np.mean(right)), "size": {"questions": len(cases)}}


def _size(found: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    controls = {name: round(right[name]["accuracy"], 4) for name in right if name.startswith("blind")}
    among = {f"recall@5 among {count}": found[str(count)]["recall@5"] for count in DISTRACTORS}
    return {"questions": found["questions"], "quality is": "accuracy of the choice of four", **among, **controls}


def table() -> None:
    """All ways on both halves, one line each in `memory_recall.jsonl`."""
    for half, topics in halves().items():
        for name, weights in WAYS.items():
            found = recalled(topics, weights)
            shown = "  ".join(f"{count}: {found[str(count)]['recall@1']:.3f} / {found[str(count)]['recall@5']:.3f}" for count in DISTRACTORS)
            print(f"{half:7} {name:24} recall@1 / @5 among {shown}", flush=True)
            _kept(half, name, found)
        for name, right in chosen(topics).items():
            if isinstance(right, dict):
                low, high = right["interval"]
                print(f"{half:7} {name:40} choice of four {right['accuracy']:.3f} [{low:.3f}, {high:.3f}]", flush=True)
                _kept(half, f"choice, {name}", right)


def _kept(half: str, way: str, found: dict[str, Any]) -> None:
    with RESULTS.open("a") as file:
        file.write(json.dumps({"name": NAME, "half": half, "way": way, **found}) + "\n")


if __name__ == "__main__":
    if not FOLDER.is_dir():
        raise SystemExit(f"{FOLDER} is not here: put a copy of PrefEval there")
    table()
