"""The same five techniques on any causal language model of the transformers library, kept as transformers and peft keep them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sartor import _storage
from sartor.errors import ConfigError, CorruptFile, FileProblem, MissingExtra, TooLittleEvidence
from sartor.parts.cost_meter import CostMeter
from sartor.parts.lora import CONFIG
from sartor.parts.trainable_subset import Subset, everything, last_block, token_tables
from sartor.parts.trainer import Trainer, seeded
from sartor.write.parts.tuning import TECHNIQUES, Technique

_WEIGHTS = {"full": everything, "light-embed": token_tables, "light-last": last_block}


def tune_transformers(
    folder: str | Path, files: Mapping[str, str], out: str | Path, *, technique: Technique = "lora", steps: int = 200, batch: int = 4,
    width: int = 256, learning_rate: float = 1e-4, rank: int = 8, places: int = 32, hidden: int = 512, least: int = 4_096, seed: int = 0,
    device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Personalise a model that `save_pretrained` wrote to a project's files; nothing is downloaded.

    Parameters
    ----------
    folder: model as safetensors, and tokenizer.
    files: path -> text.
    out: where the result goes, all or nothing: peft's adapter for "lora" and "prefix" (the network that a prefix is learned behind is left
        out), a whole model for the others, without the tokenizer.
    technique, steps, batch, learning_rate, rank, places, hidden, seed: as in `PersonalCode`.
    width: tokens of a window.
    least: bytes of text that a project must have.
    device: as torch names it.

    Returns the cost (`parts.cost_meter.Cost`), `bytes` of what is kept, and the mean loss of the first and the last tenth of the steps.
    Raises `TooLittleEvidence`, `FileProblem`, `CorruptFile`, and `MissingExtra` without transformers and peft.
    """
    if technique not in TECHNIQUES or min(steps, batch, rank, places, hidden) < 1 or width < 2:
        what = f"technique '{technique}', steps {steps}, batch {batch}, width {width}, rank {rank}, places {places}, hidden {hidden}"
        raise ConfigError(what, fix=f"technique one of {', '.join(TECHNIQUES)}; width at least 2, the others at least 1")
    if (size := sum(len(text.encode()) for text in files.values())) < least:
        what = f"the project has {size} bytes of text, {least} are needed to learn from"
        raise TooLittleEvidence(what, fix="give more files, or search them and put what is found into the prompt")
    model, tokenizer = _opened(Path(folder))
    model.to(device).requires_grad_(False)
    windows = _windows(tokenizer, files, width)
    with seeded(seed):
        tuned, trained, kept = _tuned(model, technique, rank, places, hidden)
    meter = CostMeter(weights=_multiplied(model), trained=sum(one.numel() for one in trained))
    losses: list[float] = []

    def batches(rng: np.random.Generator) -> Iterator[Tensor]:
        order = itertools.chain.from_iterable(rng.permutation(len(windows)).tolist() for _ in itertools.count())
        for _ in range(steps):
            yield torch.from_numpy(np.stack([windows[next(order)] for _ in range(batch)])).to(device)

    def loss(ids: Tensor) -> Tensor:
        meter.train(ids.numel())
        found: Tensor = tuned(input_ids=ids, labels=ids, use_cache=technique == "prefix").loss
        losses.append(float(found.detach()))
        return found

    with meter.running():
        Trainer(epochs=1, learning_rate=learning_rate, optimizer="adamw", clip_norm=1.0, seed=seed, device=device).fit(
            tuned, batches, loss, parameters=trained
        )
    _storage.write_folder(Path(out), lambda fresh: kept(str(fresh)), marker=CONFIG if technique in ("prefix", "lora") else "config.json")
    tenth = max(1, steps // 10)
    nbytes = sum(one.stat().st_size for one in Path(out).glob("*.safetensors"))
    return {**meter.cost.to_dict(), "bytes": nbytes, "first_loss": float(np.mean(losses[:tenth])), "last_loss": float(np.mean(losses[-tenth:]))}


def _opened(folder: Path) -> tuple[Any, Any]:
    if not (folder / "config.json").is_file():
        raise FileProblem("there is no model of the transformers library", fix="name a folder with config.json and model.safetensors", folder=folder)
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as missing:
        raise MissingExtra("transformers", "text") from missing
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    # Whatever the library finds wrong with a folder.
    except Exception as cause:
        raise CorruptFile("this model does not open", fix="save model and tokenizer again with save_pretrained", folder=folder) from cause
    return model, tokenizer


def _windows(tokenizer: Any, files: Mapping[str, str], width: int) -> np.ndarray:
    """int64 [windows, width]: each file's own, the last of a file reaching back so that it is whole."""
    out = []
    for text in files.values():
        ids = np.array(tokenizer(text, add_special_tokens=False).input_ids, np.int64)
        starts = [*range(0, ids.size - width, width), max(0, ids.size - width)]
        out += [ids[start : start + width] for start in starts if ids.size >= width]
    if not out:
        raise TooLittleEvidence(f"no file has {width} tokens", fix="use a smaller width, or give longer files")
    return np.stack(out)


def _tuned(model: Any, technique: Technique, rank: int, places: int, hidden: int) -> tuple[Any, Sequence[Any], Any]:
    """The module to train, what of it, and how it is written to a folder."""
    if technique in _WEIGHTS:
        subset = Subset(model, _WEIGHTS[technique](model))
        return subset.network, subset.parameters(), subset.network.save_pretrained
    try:
        import peft
    except ImportError as missing:
        raise MissingExtra("peft", "dev") from missing
    config: Any
    if technique == "lora":
        config = peft.LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, lora_dropout=0.0)
    else:
        config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=places, prefix_projection=True, encoder_hidden_size=hidden)
    made: Any = peft.get_peft_model(model, config)
    return made, [one for one in made.parameters() if one.requires_grad], made.save_pretrained


def _multiplied(model: Any) -> int:
    """Weights that one token is multiplied with; a table of words counts where it is the layer of words out as well."""
    inside = {id(one.weight) for one in (model.get_output_embeddings(),) if one is not None}
    tables = {id(one.weight) for one in model.modules() if isinstance(one, torch.nn.Embedding)} - inside
    return sum(one.numel() for one in model.parameters() if one.ndim > 1 and id(one) not in tables)
