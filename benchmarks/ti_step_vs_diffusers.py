"""A step of textual inversion on 4 photos: seconds, ours against the loop of diffusers' `textual_inversion.py`.

Both on the same random Stable Diffusion with a table of 49,408 words. As that script does, the peer's gradient falls on the whole table, whose other
rows are put back after every step, and photos are encoded in every step; ours learns one row beside the table, from photos encoded once.
Quality is the mean denoising error of the last 8 steps: lower is better.
"""

from __future__ import annotations

from typing import Any

from _draw import BATCH, WORDS, diffusers_loss, learned, photos, pipeline

NAME = "ti-step-vs-diffusers"
UNIT = "seconds"
PEER = "diffusers"
RATE = 5e-3
PROMPT = "a photo of <v>"


def ours() -> dict[str, Any]:
    from torch import nn

    from sartor.draw.parts.objectives import denoising, noised
    from sartor.draw.parts.prior import Prior
    from sartor.draw.parts.references import References
    from sartor.draw.parts.tokens import Concept, of_word

    prior = Prior.from_pretrained(pipeline())
    references = References.of(prior, photos(BATCH))
    row = nn.Parameter(of_word(prior.text_encoder, prior.tokenizer, "mug"))

    def loss() -> Any:
        context = prior.encode([PROMPT] * BATCH, [Concept("<v>", row)])
        return denoising(prior, noised(prior, references.latents), context).mean()

    return learned([row], RATE, loss, words=WORDS)


def peer() -> dict[str, Any]:
    import torch

    from sartor.draw.parts.codec import to_tensor

    pipe = pipeline()
    pipe.tokenizer.add_tokens(["<v>"])
    table = pipe.text_encoder.get_input_embeddings().weight
    number, mug = (pipe.tokenizer.convert_tokens_to_ids(word) for word in ("<v>", pipe.tokenizer.tokenize("mug")[0]))
    with torch.no_grad():
        table[number] = table[mug]
    before, others = table.detach().clone(), torch.ones(len(table), dtype=torch.bool)
    others[number] = False
    table.requires_grad_(True)
    pixels = to_tensor(photos(BATCH))

    def loss() -> Any:
        with torch.no_grad():
            latents = pipe.vae.encode(pixels).latent_dist.sample() * pipe.vae.config.scaling_factor
        return diffusers_loss(pipe, latents, PROMPT)

    def put_back() -> None:
        with torch.no_grad():
            table[others] = before[others]

    return learned([table], RATE, loss, put_back, words=WORDS)
