"""What the personal chat endpoint adds to a bare upstream: milliseconds to the first token of a stream, for a person with 10,000 memories.

The store holds 1,000,000 memories in all. One client asks one thing after another, the bare upstream and the endpoint in turn, so that both see
the same machine; `value` is the median delay of the endpoint's first token less that of the upstream's. `size` has the 99th percentile, the same
for whole answers, and both encoders: MiniLM, which encodes each question with a network, and hashed n-grams. The peer is LiteLLM's proxy before
the same upstream, which remembers nothing.

Sizes can be made smaller for a try: SARTOR_BENCH_OWN, SARTOR_BENCH_MEMORIES, SARTOR_BENCH_ASKED.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import _serve
from _upstream import serving

NAME = "endpoint-overhead"
UNIT = "ms added to the first token, median"
PEER = "litellm"
OWN = int(os.environ.get("SARTOR_BENCH_OWN", "10000"))
ALL = int(os.environ.get("SARTOR_BENCH_MEMORIES", "1000000"))
ASKED = int(os.environ.get("SARTOR_BENCH_ASKED", "120"))
WARM = 10
PERSON = "ana"
PROXY = os.environ.get("SARTOR_LITELLM", "litellm")
"""LiteLLM's proxy, if it lives in an environment of its own."""

SUBJECTS = [
    "bread", "tea", "jazz", "trains", "novels", "chess", "rain", "gardens", "cycling", "olives", "films", "maps", "boats", "birds", "coffee",
    "opera", "tennis", "markets", "cheese", "museums",
]  # fmt: skip
PLACES = [
    "Lisbon", "Oslo", "Lima", "Kyoto", "Quito", "Turin", "Cork", "Graz", "Bergen", "Porto", "Leeds", "Nice", "Ghent", "Brno", "Split", "Malaga",
    "Tartu", "Trento", "Bath", "Umea",
]  # fmt: skip
WAYS = (
    "I like {a} in the {b} when I am in {c}.", "I never buy {a} before {b}.", "My friend from {c} gave me {a} and {b}.",
    "I prefer {a} over {b} since {c}.", "In {c} I do not look for {a} but for {b}.",
)  # fmt: skip


def text(number: int) -> str:
    """One of many different memories."""
    draw = np.random.default_rng(number)
    a, b = draw.choice(SUBJECTS, 2, replace=False)
    return WAYS[number % len(WAYS)].format(a=a, b=b, c=PLACES[number // 7 % len(PLACES)]) + f" That was visit {number}."


def built() -> Path:
    """Folder of a store with `OWN` memories of one person, encoded, and as many of others as make up `ALL`; made once, some minutes, and kept."""
    folder = Path(tempfile.gettempdir()) / f"sartor-bench-memories-{OWN}-{ALL}-{_serve._version()}"
    if (folder / "done").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    from sartor.engine import Engine
    from sartor.engine.memory_shelf import record_of
    from sartor.profile.records import Record
    from sartor.write.memory import Memory

    with Engine(f"sqlite:///{folder}/people.db", background=False, memory_encoder="minilm") as engine:
        encoder = engine._memories.recall.encoder
        draw = np.random.default_rng(0)

        def records(person: str, first: int, vectors: np.ndarray) -> list[Record]:
            given = (Memory(f"m{first + at}", text(first + at), 1.7e9 + first + at, "preference") for at in range(len(vectors)))
            return [record_of(person, memory, vector, encoder.fingerprint) for memory, vector in zip(given, vectors, strict=True)]

        for start in range(0, OWN, 1_000):
            vectors = encoder.encode([text(number) for number in range(start, min(OWN, start + 1_000))])
            engine.store.append("default", records(PERSON, start, vectors))
        # Nobody reads these: their vectors take their room and mean nothing.
        for start in range(OWN, ALL, 5_000):
            vectors = draw.standard_normal((min(5_000, ALL - start), encoder.dim), dtype=np.float32)
            parts = range(0, len(vectors), 50)
            engine.store.append("default", [one for at in parts for one in records(f"p{(start + at) // 50}", start + at, vectors[at : at + 50])])
    (folder / "done").touch()
    return folder


class Target:
    """Somebody who answers chats, over one connection that stays open."""

    def __init__(self, url: str, key: str = "-") -> None:
        host = url.removeprefix("http://").split("/")[0]
        self.connection = http.client.HTTPConnection(host, timeout=60)
        self.headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}

    def ask(self, question: str, *, stream: bool) -> float:
        """Milliseconds to the first piece of text, or to the whole answer."""
        body = json.dumps({"model": "parrot", "messages": [{"role": "user", "content": question}], "stream": stream, "user": PERSON})
        start = time.perf_counter()
        self.connection.request("POST", "/v1/chat/completions", body, self.headers)
        answer = self.connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {answer.read()[:300]!r}")
        took = 0.0
        if stream:
            for line in answer:
                if b'"content":' in line and b'"content": ""' not in line and b'"content":""' not in line and not took:
                    took = time.perf_counter() - start
        else:
            answer.read()
            took = time.perf_counter() - start
        return took * 1000


def compared(bare: str, other: str, key: str) -> dict[str, float]:
    """What the other adds to the bare one: medians and 99th percentiles, for first tokens and whole answers."""
    # The first question of all reads the memories, and takes as long as idle connections live.
    Target(other, key).ask("SAY hello", stream=False)
    targets = (Target(bare), Target(other, key))
    out: dict[str, float] = {}
    for name, stream in (("first", True), ("whole", False)):
        took: tuple[list[float], list[float]] = ([], [])
        for number in range(WARM + ASKED):
            question = f"SAY tomorrow {SUBJECTS[number % 20]} or {SUBJECTS[(number * 7 + 3) % 20]} near {PLACES[number % 20]}?"
            for target, own in zip(targets, took, strict=True):
                seen = target.ask(question, stream=stream)
                if number >= WARM:
                    own.append(seen)
        for share in (50, 99):
            base, with_it = (float(np.percentile(own, share)) for own in took)
            out |= {f"{name}_p{share}_ms": with_it - base, f"{name}_p{share}_bare_ms": base}
    return out


def ours() -> dict[str, Any]:
    folder = built()
    secret = _serve.key(folder)
    size: dict[str, Any] = {"memories_of_person": OWN, "memories_in_store": ALL, "asked": ASKED}
    found: dict[str, dict[str, float]] = {}
    with serving() as upstream:
        for encoder in ("minilm", "hashed"):
            os.environ["SARTOR_MEMORY_ENCODER"] = encoder
            code = (
                "from sartor.serve.run import run; from sartor.serve import Settings; "
                f"run('sqlite:///{folder}/people.db', port={{port}}, "
                f"settings=Settings(rate='1000000000/minute', log_requests=False, upstream='endpoint:{upstream.url}#parrot'))"
            )
            with _serve.process(code) as (url, _, _):
                found[encoder] = compared(upstream.url, url, secret)
    for encoder, own in found.items():
        size |= {f"{encoder}_{name}": round(value, 2) for name, value in own.items()}
    return {"value": found["minilm"]["first_p50_ms"], "size": size}


@contextlib.contextmanager
def proxy(upstream: str) -> Iterator[str]:
    """LiteLLM's proxy before the upstream."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        params = {"model": "openai/parrot", "api_base": upstream, "api_key": "sk-none"}
        # JSON is YAML.
        config.write_text(json.dumps({"model_list": [{"model_name": "parrot", "litellm_params": params}]}))
        port = 4_000 + os.getpid() % 1_000
        command = [PROXY, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
        child = subprocess.Popen(
            command, env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + 120
            while time.monotonic() < until:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health/liveliness", timeout=5):
                    break
                time.sleep(0.2)
            yield url
        finally:
            child.terminate()
            child.wait(30)


def peer() -> dict[str, Any]:
    with serving() as upstream, proxy(upstream.url) as url:
        found = compared(upstream.url, url, "sk-none")
    return {"value": found["first_p50_ms"], "size": {f"litellm_{name}": round(value, 2) for name, value in found.items()}}


if __name__ == "__main__":
    parts = {"built": lambda: {"folder": str(built())}, "ours": ours, "peer": peer}
    chosen = sys.argv[1:] or ["ours", "peer"]
    print(json.dumps({name: parts[name]() for name in chosen}, indent=2))
