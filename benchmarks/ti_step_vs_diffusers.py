"""A step of textual inversion on 4 photos: CPU-seconds, ours against the loop of diffusers' `textual_inversion.py`.

Both on the same random Stable Diffusion with a table of 49,408 words, and an autoencoder whose encoding of a photo is 1.2 times the work of a pass of
the denoiser (of Stable Diffusion 1.5 it is 1.4 times). As that script does, the peer's gradient falls on the whole table, whose other rows are put
back after every step, and photos are encoded in every step; ours (`learn_word`) learns one row beside the table, from photos encoded once. Quality is
the mean denoising error of the photos afterwards, at the same noise for both: lower is better; `size` has what it was before.
"""

from __future__ import annotations

from typing import Any

from _draw import BATCH, STEPS, WARM, WORDS, diffusers_loss, error, photos, pipeline, trained

NAME = "ti-step-vs-diffusers"
UNIT = "CPU-seconds"
PEER = "diffusers"
RATE = 5e-3
CODEC = (24, 48, 96, 96)
PROMPT = "a photo of <v>"


def ours() -> dict[str, Any]:
    import torch

    from sartor.draw.parts.prior import Prior
    from sartor.draw.parts.references import References
    from sartor.draw.parts.tokens import Concept, of_word
    from sartor.draw.parts.word_learning import learn_word

    pipe = pipeline(codec=CODEC)
    prior = Prior.from_pretrained(pipe)
    references = References.of(prior, photos(BATCH))
    start = of_word(prior.text_encoder, prior.tokenizer, "mug")

    @torch.no_grad()
    def graded(word: Concept) -> float:
        return error(pipe, references.latents, prior.encode([PROMPT], [word]))

    before = graded(Concept("<v>", start))
    settings: dict[str, Any] = {"prompts": [PROMPT], "learning_rate": RATE, "batch": BATCH, "weight_decay": 1e-2}
    word, _ = learn_word(prior, references, "<v>", start, steps=WARM, **settings)
    word, run = learn_word(prior, references, "<v>", word.rows, steps=STEPS, seed=1, **settings)
    size = {"steps": STEPS, "batch": BATCH, "words": WORDS, "quality before": before}
    return {"value": run["cpu_seconds"] / STEPS, "quality": graded(word), "size": size}


def peer() -> dict[str, Any]:
    import torch

    from sartor.draw.parts.codec import to_tensor

    pipe = pipeline(codec=CODEC)
    pipe.tokenizer.add_tokens(["<v>"])
    table = pipe.text_encoder.get_input_embeddings().weight
    number, mug = (pipe.tokenizer.convert_tokens_to_ids(word) for word in ("<v>", pipe.tokenizer.tokenize("mug")[0]))
    with torch.no_grad():
        table[number] = table[mug]
    before, others = table.detach().clone(), torch.ones(len(table), dtype=torch.bool)
    others[number] = False
    table.requires_grad_(True)
    pixels = to_tensor(photos(BATCH))

    def latents() -> Any:
        with torch.no_grad():
            return pipe.vae.encode(pixels).latent_dist.sample() * pipe.vae.config.scaling_factor

    def put_back() -> None:
        with torch.no_grad():
            table[others] = before[others]

    seconds = trained([table], RATE, lambda: diffusers_loss(pipe, latents(), PROMPT), put_back)
    ids = pipe.tokenizer([PROMPT], padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        clean = pipe.vae.encode(pixels).latent_dist.mode() * pipe.vae.config.scaling_factor
        context = pipe.text_encoder(ids)[0]
    return {"value": seconds, "quality": error(pipe, clean, context)}
