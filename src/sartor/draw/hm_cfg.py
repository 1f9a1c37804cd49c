"""HM-CFG: one forward pass turns a picture into low-rank weights, and the untouched model keeps the composition while they supply the identity."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sartor.data.population import Population
from sartor.draw._base import ConceptMethod, Plan, Taught
from sartor.draw._shown import Shown
from sartor.draw.dreambooth import identifier
from sartor.draw.parts.cutouts import cutouts, foreground
from sartor.draw.parts.fitting import Phase, adapt
from sartor.draw.parts.objectives import denoising, noised
from sartor.draw.parts.others_things import OthersThings, others_things
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.sampler import Guide
from sartor.draw.parts.supplied import Factors, linears, supplied
from sartor.draw.parts.tokens import NAME, Concept
from sartor.errors import BadImage, ConfigError
from sartor.method import Run, learned
from sartor.parts.trainer import Trainer, seeded

ID = "<id>"
"""The word that stands before the class of whatever is shown, in training."""
STEPS_PER_EPOCH = 50
SECOND = 0.5
"""Of the first thing's pixels: from here on a picture shows two."""


@dataclass(kw_only=True, eq=False)
class HMCFG(ConceptMethod):
    """A hypernetwork of the prior, learned once from many others' things, and guidance that mixes both models.

        method = HMCFG().fit(population)                   # images (image, path, item, class_word, caption) of many others' things
        state = method.learn(Shown(name="<mug>", class_word="mug", images=pictures))       # a forward pass
        pictures = method.draw(["a <mug> on sand"], [state], identity=2.0)

    Patches of what is cut out of a picture are read by a transformer with one query for each adapted matrix and rank, which starts from the picture
    as a whole; heads give its rows of A and B.
    It learns end to end from the denoising error of another picture of the same thing, with the squared length of what it predicts as its only
    regulariser: no weights of tuned models are copied. Each step of drawing is
    e_base(nothing) + text (e_base(class) - e_base(nothing)) + identity (e_own(<mug> class) - e_base(class)).

    Source: Finetuning-Free Personalization of Text to Image Generation via Hypernetworks, 2025. No code is published: the decoder's sizes, the
    patches (the codec's latents of a thing that is cut out, in place of a large encoder's) and the exact guidance are our reading of it.
    State: the word's row, and weights.<layer>.{A, B} [rank, in], [out, rank] in half precision.
    """

    targets: str = r".*attn2\.(to_q|to_k|to_v|to_out\.0)"
    rank: int = 2
    width: int = 96
    depth: int = 2
    cells: int = 4
    """Latent pixels a side of what is cut out; 16 for a Stable Diffusion."""
    steps: int = 500
    batch: int = 8
    learning_rate: float = 2e-3
    length_weight: float = 1e-4
    """Of the squared length of the predicted factors; 0 overfits the things of training."""
    text: float | None = None
    """How strongly pictures are led to what the prompt says; None: what suits the prior."""
    identity: float = 2.0
    """How strongly they are led from the class to the very thing."""
    refine_steps: int = 0
    """Of tuning the predicted factors on the pictures shown, afterwards."""
    refine_rate: float = 1e-3

    patch_: int = learned(0)
    """Numbers of a patch."""
    shapes_: dict[str, list[int]] = learned()
    """Adapted layer -> in, out."""
    network_: nn.Module = learned()

    says_class: ClassVar[bool] = True
    population_frames: ClassVar[tuple[str, ...]] = ("images",)

    # --- what others' things teach

    def make_network(self) -> nn.Module:
        with seeded(self.seed):
            shapes = {name: (size[0], size[1]) for name, size in self.shapes_.items()}
            return Decoder(shapes, self.cells**2, self.patch_, self.rank, self.width, self.depth)

    def _fit(self, population: Population, run: Run) -> None:
        prior = self._prior
        things = others_things(population.frame("images").collect(), prior.size)
        with prior.lock, torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            patches = self._patches(prior, things.images, None)
            self.patch_ = int(patches.shape[-1])
            self.shapes_ = {name: [layer.in_features, layer.out_features] for name, layer in linears(prior.unet, self.targets).items()}
            self.network_ = self.make_network().to(prior.device)
            self._train(prior, things, patches, run)

    def _train(self, prior: Prior, things: OthersThings, patches: Tensor, run: Run) -> None:
        network, alone, latents, done = self.network_.requires_grad_(True), things.alone, prior.latents(things.images), 0
        rows_of = np.concatenate([*alone.values()])
        words = {kind: self._word(prior, ID, kind).rows for kind in {*things.classes}}

        def batches(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            nonlocal done
            for _ in range(min(STEPS_PER_EPOCH, self.steps - done)):
                done += 1
                rows = rng.choice(rows_of, self.batch)
                yield rows, np.array([things.other_picture(rng, int(things.things[row, 0]), row, alone) for row in rows])

        def loss(data: tuple[np.ndarray, np.ndarray]) -> Tensor:
            rows, seen = data
            factors = network(patches[seen].to(prior.device))
            kinds = [things.classes[int(things.things[row, 0])] for row in rows]
            texts = [things.captions[row].replace(kind, f"{ID} {kind}", 1) for row, kind in zip(rows, kinds, strict=True)]
            with torch.no_grad():
                context = prior.encode(texts, [Concept(ID, torch.stack([words[kind] for kind in kinds]))])
            with supplied(prior.unet, factors):
                error = denoising(prior, noised(prior, latents[rows]), context).mean()
            return error + self.length_weight * squared_length(factors)

        Trainer(
            epochs=-(-self.steps // STEPS_PER_EPOCH), learning_rate=self.learning_rate, optimizer="adamw", clip_norm=1.0, seed=self.seed,
            schedule=lambda epoch, number: rate_at(epoch * STEPS_PER_EPOCH + number, self.steps), device=str(prior.device),
        ).fit(network, batches, loss, progress=run.progress, description="things to weights")  # fmt: skip
        network.eval().requires_grad_(False)

    def _word(self, prior: Prior, name: str, class_word: str) -> Concept:
        # The same row for everybody's things of a class: what is their own is in the weights.
        return Concept(name, identifier(prior, class_word, self.seed, ID))

    # --- a thing

    def _patches(self, prior: Prior, images: np.ndarray, masks: np.ndarray | None) -> Tensor:
        """float [n, cells * cells, channels]."""
        return prior.latents(cutouts(prior, images, masks, self.cells)).flatten(2).transpose(1, 2).float()

    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        masks = None if references.masks is None else references.masks[:, 0].cpu().numpy()
        if masks is None:
            check_single(references.images)
        word, network = self._word(prior, shown.name, shown.class_word), self.network_.to(prior.device)
        with torch.no_grad():
            # Several pictures of one thing are one set of patches.
            factors = network(self._patches(prior, references.images, masks).flatten(0, 1)[None].to(prior.device))
        one: Factors = {name: (a[0], b[0]) for name, (a, b) in factors.items()}
        record: dict[str, Any] = {"steps": []}
        if self.refine_steps:
            one, record = self._refined(prior, references, one, word, self.captions(shown), seed, progress)
        weights = {f"weights.{name}.{part}": value for name, pair in one.items() for part, value in zip("AB", pair, strict=True)}
        return {"rows": word.rows, **weights}, record

    def _refined(
        self, prior: Prior, references: References, factors: Factors, word: Concept, prompts: list[str], seed: int, progress: bool
    ) -> tuple[Factors, dict[str, Any]]:
        live = {name: (nn.Parameter(a.clone()), nn.Parameter(b.clone())) for name, (a, b) in factors.items()}
        context = prior.encode(prompts, [word]).detach()

        def loss(numbers: Tensor) -> Tensor:
            with supplied(prior.unet, live):
                return denoising(prior, noised(prior, references.latents[numbers]), context[:1].expand(len(numbers), -1, -1)).mean()

        every = [part for pair in live.values() for part in pair]
        phase = Phase(steps=self.refine_steps, parameters=[(every, self.refine_rate)], loss=loss, batch=self.batch)
        record = adapt(references, [phase], lock=prior.lock, seed=seed, progress=progress)
        return {name: (a.detach(), b.detach()) for name, (a, b) in live.items()}, record

    # --- drawing

    def _plan(  # type: ignore[override]  # it has two sliders in place of a strength
        self, prior: Prior, prompts: list[str], taught: Mapping[str, Taught], *, text: float | None = None, identity: float | None = None,
        mixed: bool = True,
    ) -> Plan:  # fmt: skip
        """`text`, `identity`: the two sliders, in place of the settings; without `mixed`, usual guidance of the personal model, by `guidance`."""
        text = next(one for one in (text, self.text, prior.guidance) if one is not None)
        identity = self.identity if identity is None else identity
        if min(text, identity) < 0:
            raise ConfigError(f"text is {text}, identity is {identity}", fix="use 0 or more")
        factors = together([one.changes() for one in taught.values()])
        context = prior.encode(prompts, [one.concept(name) for name, one in taught.items()])
        if not mixed:
            return Plan(context=context, inside=supplied(prior.unet, factors))
        plain = prior.encode([" ".join(NAME.sub("", one).split()) for one in prompts])
        return Plan(context=context, options={"guide": mixture(prior, context, plain, factors, text, identity)})


def mixture(prior: Prior, own: Tensor, of_class: Tensor, factors: Factors, text: float, identity: float) -> Guide:
    """Three looks at every step: the base at nothing and at the class, the personal model at the thing."""
    nothing = prior.encode([""]).expand(len(own), -1, -1)

    def guide(x: Tensor, t: Tensor) -> Tensor:
        base, said = prior.predict(torch.cat([x, x]), t, torch.cat([nothing, of_class])).chunk(2)
        with supplied(prior.unet, factors):
            personal = prior.predict(x, t, own)
        return base + text * (said - base) + identity * (personal - said)

    return guide


def together(things: list[dict[str, Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
    """The factors of several things side by side, which adds their changes."""
    made = {}
    for name in sorted({key[:-2] for one in things for key in one}):
        own = [one for one in things if f"{name}.A" in one]
        made[name] = (torch.cat([one[f"{name}.A"] for one in own]), torch.cat([one[f"{name}.B"] for one in own], 1))
    return made


def squared_length(factors: Factors) -> Tensor:
    """Of all predicted numbers of a picture, the mean over pictures."""
    return torch.stack([part.square().flatten(1).sum(1) for pair in factors.values() for part in pair]).sum(0).mean()


def rate_at(step: int, steps: int) -> float:
    """A short warm-up, then down to nothing along a cosine."""
    warm = max(1, steps // 20)
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))


def check_single(images: np.ndarray) -> None:
    """Raise `BadImage` for a picture with two things."""
    first = foreground(images)
    rest = images.copy()
    for number, image in enumerate(images):
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        rest[number][first[number]] = Counter(map(tuple, border.tolist())).most_common(1)[0][0]
    sizes = [part.sum((1, 2)) for part in (first, foreground(rest))]
    if (two := np.flatnonzero((sizes[1] > SECOND * sizes[0]) & (sizes[0] > 0))).size:
        raise BadImage(f"picture {two[0]} shows two things", fix="give masks of the one that is meant", image=int(two[0]))


class Decoder(nn.Module):
    """From patches float [B, n, patch] to factors: A [B, rank, in] and B [B, out, rank] of each layer. At the start B is zero: nothing is changed."""

    def __init__(
        self, shapes: Mapping[str, tuple[int, int]], places: int, patch: int, rank: int, width: int, depth: int, heads: int = 4
    ) -> None:  # fmt: skip
        super().__init__()
        if width % heads or rank < 1 or depth < 1:
            raise ConfigError(f"width {width}, rank {rank}, depth {depth}", fix=f"width a multiple of {heads}, the others at least 1")
        self.layers, self.rank = list(shapes), rank
        self.look, self.places = nn.Linear(patch, width), nn.Parameter(torch.randn(places, width) / width**0.5)
        # Queries start from the picture as a whole: by their attention alone, hundreds of steps went by without a difference between things.
        self.queries, self.whole = nn.Parameter(torch.randn(len(shapes) * rank, width) / width**0.5), nn.Linear(places * patch, width)
        self.read = nn.ModuleList(
            nn.TransformerDecoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True) for _ in range(depth)
        )
        self.among = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(width)
        self.below, self.above = (nn.ModuleList(nn.Linear(width, size[end]) for size in shapes.values()) for end in (0, 1))
        for head in self.above:
            linear: Any = head
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, patches: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        # Those of several pictures stand one picture behind the other.
        count = patches.shape[1] // len(self.places)
        seen = self.among(self.look(patches) + self.places.repeat(count, 1))
        asked = self.queries + self.whole(patches.unflatten(1, (count, -1)).flatten(2)).mean(1, keepdim=True)
        for layer in self.read:
            asked = layer(asked, seen)
        rows = self.norm(asked).unflatten(1, (len(self.layers), self.rank)).unbind(1)
        return {
            name: (below(row), above(row).transpose(1, 2)) for name, row, below, above in zip(self.layers, rows, self.below, self.above, strict=True)
        }
