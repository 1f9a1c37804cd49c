"""32 persons' LoRA adapters in one batch: seconds of a forward pass over 32 x 64 tokens, ours against peft's `adapter_names`.

Both on the same LlamaForCausalLM of 1.1 million weights, rank 8 on q_proj and v_proj, every row another adapter, the same adapter files.
Quality is the time as a multiple of the same batch through the network alone, measured in turn with it: lower is better, at most 1.2 asked.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAME = "lora-batch32"
UNIT = "seconds"
PEER = "peft"
PERSONS, TOKENS, RANK, ROUNDS = 32, 64, 8, 40
TARGETS = ("q_proj", "v_proj")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _network() -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(int(os.environ.get("SARTOR_BENCH_THREADS", "1")))
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=1024, hidden_size=128, intermediate_size=448, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4,
        max_position_embeddings=256, tie_word_embeddings=True, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(shape).eval()


def _files(folder: Path) -> None:
    """The 32 adapters, as files."""
    import numpy as np

    from sartor.parts.lora import LoraBank

    bank = LoraBank(_network(), targets=TARGETS, rank=RANK, alpha=16, slots=PERSONS)
    random = np.random.default_rng(0)
    for number in range(PERSONS):
        bank.put(number, {key: 0.05 * random.normal(size=array.shape) for key, array in bank.get(number).items()})
        bank.save(folder / f"p{number}", number)


def _measure(plain: Callable[[], Any], adapted: Callable[[], Any]) -> dict[str, Any]:
    """Medians of runs in turn."""
    import torch

    times: dict[str, list[float]] = {"plain": [], "adapted": []}
    with torch.inference_mode():
        moved = float((adapted().logits - plain().logits).abs().max())
        for number in range(ROUNDS + 5):
            for name, run in (("plain", plain), ("adapted", adapted)) if number % 2 else (("adapted", adapted), ("plain", plain)):
                start = time.perf_counter()
                run()
                if number >= 5:
                    times[name].append(time.perf_counter() - start)
    if moved < 1e-3:
        raise RuntimeError(f"the adapters change nothing: {moved}")
    middle = {name: statistics.median(own) for name, own in times.items()}
    size = {"persons": PERSONS, "tokens": TOKENS, "rank": RANK}
    return {"value": middle["adapted"], "quality": middle["adapted"] / middle["plain"], "size": size}


def _ids() -> Any:
    import torch

    return torch.randint(1, 1024, (PERSONS, TOKENS), generator=torch.Generator().manual_seed(0))


def ours() -> dict[str, Any]:
    from sartor.parts.lora import LoraBank

    network, ids = _network(), _ids()
    with tempfile.TemporaryDirectory() as folder:
        _files(Path(folder))
        bank = LoraBank(network, targets=TARGETS, rank=RANK, alpha=16)
        rows = [bank.read(Path(folder) / f"p{number}") for number in range(PERSONS)]

    def adapted() -> Any:
        with bank.use(rows):
            return network(ids, use_cache=False)

    return _measure(lambda: network(ids, use_cache=False), adapted)


def peer() -> dict[str, Any]:
    from peft import PeftModel

    ids, base = _ids(), _network()
    names = [f"p{number}" for number in range(PERSONS)]
    with tempfile.TemporaryDirectory() as folder:
        _files(Path(folder))
        network = PeftModel.from_pretrained(_network(), Path(folder) / "p0", adapter_name="p0")
        for name in names[1:]:
            network.load_adapter(Path(folder) / name, adapter_name=name)
    network.eval()
    return _measure(lambda: base(ids, use_cache=False), lambda: network(ids, adapter_names=names, use_cache=False))
