"""Prefixes and LoRA factors of one person as peft's files, with the model that they were made for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sartor import _storage
from sartor.errors import CorruptFile, FileProblem
from sartor.parts.lora import CONFIG, WEIGHTS, LoraBank, read_adapter
from sartor.write.parts.causal_lm import CausalLM

_PREFIX = "prompt_embeddings"


def save_prefix(folder: str | Path, network: CausalLM, flat: np.ndarray, *, base: str = "") -> Path:
    """Write [places, layers * 2 * kv heads * dim / heads] as peft's prefix tuning, which `PeftModel.from_pretrained(model, folder)` reads."""
    config = network.config
    facts = {
        "peft_type": "PREFIX_TUNING", "task_type": "CAUSAL_LM", "base_model_name_or_path": base or None, "inference_mode": True,
        "num_virtual_tokens": len(flat), "token_dim": config.shared_heads * (config.dim // config.heads), "num_transformer_submodules": 1,
        "num_attention_heads": config.shared_heads, "num_layers": config.layers, "encoder_hidden_size": config.dim, "prefix_projection": False,
    }  # fmt: skip

    def write(fresh: Path) -> None:
        from safetensors.numpy import save

        _storage.write_atomically(fresh / WEIGHTS, save({_PREFIX: np.ascontiguousarray(flat, np.float32)}, {"format": "pt"}))
        _storage.write_atomically(fresh / CONFIG, json.dumps(facts, indent=1).encode())
        fresh.chmod(0o755)

    return _storage.write_folder(Path(folder), write, marker=CONFIG)


def save_factors(folder: str | Path, bank: LoraBank, arrays: Mapping[str, np.ndarray], *, base: str = "") -> Path:
    """Write LoRA factors; the bank is taken off its network afterwards."""
    try:
        return bank.save(folder, bank.add(arrays), base=base)
    finally:
        bank.detach()


def read_tuned(folder: str | Path) -> tuple[str, dict[str, np.ndarray], str]:
    """What such a folder holds: "prefix" or "lora", the arrays, and the model that they were made for ("" where it does not say).

    Raises `FileProblem`, `CorruptFile`, and `ConfigError` for LoRA of another kind.
    """
    from safetensors.numpy import load

    folder = Path(folder)
    if missing := [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]:
        raise FileProblem(f"there is no {missing[0]} here", fix="give the folder of an adapter", file=folder)
    try:
        facts: dict[str, Any] = json.loads((folder / CONFIG).read_bytes())
        if facts["peft_type"] == "PREFIX_TUNING":
            prefix = load((folder / WEIGHTS).read_bytes())[_PREFIX]
            return "prefix", {"prefix": prefix}, str(facts.get("base_model_name_or_path") or "")
    # The safetensors library raises exceptions of its own.
    except Exception as cause:
        raise CorruptFile("this adapter cannot be read", fix="save it again", file=folder) from cause
    facts, arrays = read_adapter(folder)
    return "lora", arrays, str(facts.get("base_model_name_or_path") or "")
