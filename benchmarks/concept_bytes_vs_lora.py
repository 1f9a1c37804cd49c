"""What is kept of one thing: bytes of a learned word's file (textual inversion) against a LoRA of rank 4 trained through peft (DreamBooth's loss).

Both learn the same held-out critter of the shapes world from the same 4 pictures on the shipped prior, 200 steps of batch 8. Quality is the
mean subject score of 24 prompts (1 the very subject, 0 on average a stranger of the class): higher is better.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

NAME = "concept-bytes-vs-lora"
UNIT = "bytes"
PEER = "peft"
STEPS, BATCH, RANK, PROMPTS = 200, 8, 4, 24


def _start() -> tuple[Any, Any, Any]:
    import torch

    from sartor.data.world.shapes import ShapesWorld
    from sartor.draw.parts.prior import Prior

    torch.set_num_threads(int(os.environ.get("SARTOR_BENCH_THREADS", "1")))
    world = ShapesWorld()
    return Prior.shapes(), world, world.subjects(1, noun="critter", start=200)[0]


def _quality(prior: Any, world: Any, subject: Any, concept: Any, phrase: str) -> float:
    """Mean subject score of what the prior draws, with the word in its place."""
    import torch

    from sartor.data.world.shapes.prompts import concept_prompts
    from sartor.draw.parts.sampler import sample
    from sartor.evaluate.pictures import strangers, subject_score

    texts = concept_prompts(phrase).texts[:PROMPTS]
    with torch.no_grad():
        pictures = prior.images(sample(prior, prior.encode(texts, [concept]), range(len(texts))))
    return float(subject_score(pictures, subject, strangers(world, subject)).mean())


def ours() -> dict[str, Any]:
    from sartor.draw.concepts import concept_of
    from sartor.draw.textual_inversion import TextualInversion
    from sartor.evaluate.drawing import NAME as WORD
    from sartor.evaluate.drawing import shown

    prior, world, subject = _start()
    method = TextualInversion(steps=STEPS, batch=BATCH).fit(on=prior)
    state = method.learn(shown(world, subject))
    with tempfile.TemporaryDirectory() as folder:
        size = concept_of(method, state, WORD).save(Path(folder) / "v.safetensors").stat().st_size
    quality = _quality(prior, world, subject, method.taught(state)[WORD].concept(WORD), WORD)
    return {"value": size, "quality": quality, "size": {"steps": STEPS, "batch": BATCH}}


class _Peft:
    """peft's adapter as what learns (`tuning.Weights`)."""

    def __init__(self, unet: Any) -> None:
        from peft import LoraConfig

        unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
        self.unet = unet

    def parameters(self) -> list[Any]:
        return [one for name, one in self.unet.named_parameters() if ".lora_" in name]

    def use(self, rows: int) -> Any:
        return nullcontext()

    def arrays(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self.unet.delete_adapters("default")


def peer() -> dict[str, Any]:
    import torch
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save

    from sartor.draw.dreambooth import identifier
    from sartor.draw.parts.references import References
    from sartor.draw.parts.tokens import Concept
    from sartor.draw.parts.tuning import tune
    from sartor.evaluate.drawing import NAME as WORD
    from sartor.evaluate.drawing import shown

    prior, world, subject = _start()
    things, word = shown(world, subject), Concept(WORD, identifier(prior, subject.noun, 0))
    weights = _Peft(prior.unet)
    tune(
        prior, References.of(prior, things.images), [word], [f"a {WORD} {subject.noun}"], steps=STEPS, weights=weights, weight_rate=2e-3, batch=BATCH,
    )  # fmt: skip
    # In half precision, as people share them.
    kept = {
        name: value.to(torch.float16).contiguous() for name, value in convert_state_dict_to_diffusers(get_peft_model_state_dict(prior.unet)).items()
    }
    quality = _quality(prior, world, subject, word, f"{WORD} {subject.noun}")
    return {"value": len(save(kept)), "quality": quality, "size": {"steps": STEPS, "batch": BATCH, "rank": RANK}}
