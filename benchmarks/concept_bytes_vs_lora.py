"""What is kept of one thing: bytes of the file of Custom Diffusion at low rank, against a LoRA of rank 4 trained through peft (DreamBooth's loss).

Both learn the same two held-out critters of the shapes world from the same 4 pictures of each on the shipped prior, in the same loop, 150 steps of
batch 8; ours is saved as `sartor draw learn` does, the LoRA in half precision as people share it (its word comes on top). Quality is the mean subject
score of 24 prompts (1 the very subject, 0 on average a stranger of the class): higher is better. `size` has the same of a learned word alone.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

NAME = "concept-bytes-vs-lora"
UNIT = "bytes"
PEER = "peft"
STEPS, BATCH, RANK, PROMPTS, SUBJECTS = 150, 8, 4, 24, 2
# Of the rates tried on other subjects what gave the best likeness, for each.
WORD_RATE, WEIGHT_RATE = 2e-2, 5e-3


def _start() -> tuple[Any, Any, Any]:
    import torch

    from sartor.data.world.shapes import ShapesWorld
    from sartor.draw.parts.prior import Prior

    torch.set_num_threads(int(os.environ.get("SARTOR_BENCH_THREADS", "1")))
    world = ShapesWorld()
    return Prior.shapes(), world, world.subjects(SUBJECTS, noun="critter", start=200)


def _texts(phrase: str) -> list[str]:
    from sartor.data.world.shapes.prompts import concept_prompts

    return concept_prompts(phrase).texts[:PROMPTS]


def _quality(pictures: Any, world: Any, subject: Any) -> float:
    from sartor.evaluate.pictures import strangers, subject_score

    return float(subject_score(pictures, subject, strangers(world, subject)).mean())


def ours() -> dict[str, Any]:
    from sartor.draw.custom_diffusion import CustomDiffusion
    from sartor.draw.textual_inversion import TextualInversion

    kept, quality = _learned(CustomDiffusion(steps=STEPS, batch=BATCH, rank=RANK, word_rate=WORD_RATE))
    word, of_word = _learned(TextualInversion(steps=STEPS, batch=BATCH))
    size = {"steps": STEPS, "batch": BATCH, "rank": RANK, "subjects": SUBJECTS, "a word alone": {"bytes": word, "quality": of_word}}
    return {"value": kept, "quality": quality, "size": size}


def _learned(method: Any) -> tuple[float, float]:
    """Mean bytes of a thing's file, and mean subject score of what is drawn with it."""
    from sartor.draw.concepts import concept_of
    from sartor.evaluate.drawing import NAME as WORD
    from sartor.evaluate.drawing import shown

    prior, world, subjects = _start()
    method.fit(on=prior)
    sizes, scores = [], []
    for subject in subjects:
        state = method.learn(shown(world, subject))
        with tempfile.TemporaryDirectory() as folder:
            sizes.append(concept_of(method, state, WORD).save(Path(folder) / "v.safetensors").stat().st_size)
        texts = _texts(f"{WORD} {subject.noun}" if method.says_class else WORD)
        scores.append(_quality(method.draw(texts, [state] * len(texts)), world, subject))
    return statistics.mean(sizes), statistics.mean(scores)


class _Peft:
    """peft's adapter as what learns (`tuning.Weights`)."""

    def __init__(self, unet: Any) -> None:
        from peft import LoraConfig

        # Starts as ours does, which is peft's own default.
        unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
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
    from sartor.draw.parts.sampler import sample
    from sartor.draw.parts.tokens import Concept
    from sartor.draw.parts.tuning import tune
    from sartor.evaluate.drawing import NAME as WORD
    from sartor.evaluate.drawing import shown

    prior, world, subjects = _start()
    sizes, scores = [], []
    for subject in subjects:
        things, word = shown(world, subject), Concept(WORD, identifier(prior, subject.noun, 0))
        phrase, weights = f"{WORD} {subject.noun}", _Peft(prior.unet)
        tune(prior, References.of(prior, things.images), [word], [f"a {phrase}"], steps=STEPS, weights=weights, weight_rate=WEIGHT_RATE, batch=BATCH)
        kept = convert_state_dict_to_diffusers(get_peft_model_state_dict(prior.unet))
        sizes.append(len(save({name: value.to(torch.float16).contiguous() for name, value in kept.items()})))
        with torch.no_grad():
            pictures = prior.images(sample(prior, prior.encode(_texts(phrase), [word]), range(PROMPTS)))
        scores.append(_quality(pictures, world, subject))
        weights.close()
    return {"value": statistics.mean(sizes), "quality": statistics.mean(scores)}
