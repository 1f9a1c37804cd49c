"""lambda-ECLIPSE: a small network turns a prompt with pictures in it into the embedding of a picture, which a decoder paints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.data.population import Population
from sartor.draw._base import ConceptMethod, Plan, Strength, Taught
from sartor.draw._shown import Shown
from sartor.draw.parts.cutouts import cutouts
from sartor.draw.parts.dual_encoder import DualEncoder, contrast, states_of, train_dual
from sartor.draw.parts.interleaved import Interleaved
from sartor.draw.parts.objectives import even, noised, noisier, weighted
from sartor.draw.parts.others_things import OthersThings, others_things
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.projector import projector
from sartor.draw.parts.references import References
from sartor.draw.parts.tokens import Concept, numbers, of_word
from sartor.draw.parts.weights import Whole, changed
from sartor.errors import BadImage, BadPrompt, ConfigError
from sartor.method import Run, State, learned
from sartor.parts.trainer import Trainer, seeded

STEPS_PER_EPOCH = 50
LAST = 0.3
"""Share of the decoder's steps over which its learning rate goes down to nothing."""
NOISY, HEAVIEST = 0.5, 2.0
"""Of the decoder's times, as priors learn words: `objectives.noisier`, `objectives.even`."""
MOST = 4
"""Things in a prompt."""
EMPTY = 0.1
"""How often the decoder is trained without an embedding."""


@dataclass(kw_only=True, eq=False)
class LambdaEclipse(ConceptMethod):
    """Pictures and prompts become vectors of one space, and a decoder paints a vector. What is learned for prompts with things in them is the small
    network between: by the distance to the true picture's vector (things), and a contrast with the prompt's (composition). Each of the three is
    trained by itself.

        method = LambdaEclipse().fit(population)           # images (image, path, item, class_word, caption), also some of no thing
        state = method.learn(Shown(name="<mug>", class_word="mug", images=pictures, masks=masks))
        pictures = method.draw(["a <mug> on sand"], [state])

    Source: Patel et al., lambda-ECLIPSE, TMLR 2024, and its inference code. Differs from the paper in: encoder and decoder, which are CLIP and
    Kandinsky 2.2 there, are trained on the population over the prior; a vector goes to the decoder as tokens behind those of no prompt; the noise
    that the authors' network reads, too, is left out.

    State: `embedding` float32 [dim] of each thing.
    """

    dim: int = 64
    cells: int = 4
    """Latent pixels a side of a thing that is cut out; 16 for a Stable Diffusion."""
    tokens: int = 4
    """That the decoder reads an embedding as."""
    encoder_steps: int = 300
    decoder_steps: int = 600
    decoder_rate: float = 1e-3
    batch: int = 8
    """Pictures of a step of the decoder; the other two take 128."""
    steps: int = 400
    """Of the network for prompts with things."""
    learning_rate: float = 1e-3
    contrast: float = 0.2
    """Weight of the contrast with the prompt's embedding (lambda); 0 is the distance alone."""
    with_edges: float = 0.01
    """How often training gives the edge map of the picture, too."""
    average: bool = True
    """Several pictures of a thing are one mean embedding; else they are refused."""
    start: LambdaEclipse | None = None
    """A fitted one whose encoder and decoder are used."""

    changes_: dict[str, np.ndarray] = learned()
    """Parameter of the denoiser -> what training as a decoder has added to it, float16."""
    sizes_: list[int] = learned()
    """Channels of latents, width of words, tokens of a prompt."""
    network_: nn.Module = learned()

    population_frames: ClassVar[tuple[str, ...]] = ("images",)

    def make_network(self) -> nn.Module:
        made, (channels, width, longest) = nn.ModuleDict(), self.sizes_
        made["encoder"] = DualEncoder(channels, width, dim=self.dim)
        made["projector"] = projector("global", self.dim, width, tokens=self.tokens, seed=self.seed)
        with seeded(self.seed):
            made["prior"] = Interleaved(width, self.dim, longest)
        return made

    # --- what others' pictures teach

    def _fit(self, population: Population, run: Run) -> None:
        prior = self._prior
        things = others_things(population.frame("images").collect(), prior.size)
        with prior.lock, torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            latents = prior.latents(things.images)
            states, ends = states_of(prior, things.captions)
            self.sizes_ = [int(latents.shape[1]), int(states.shape[2]), int(states.shape[1])]
            network: Any = self.make_network()
            pictures = np.concatenate([*things.alone.values()])
            cut_out = prior.latents(cutouts(prior, things.images[pictures], None, self.cells))
            if self.start is not None:
                self.start.check_fitted()
                network.load_state_dict(
                    {key: one for key, one in self.start.network_.state_dict().items() if not key.startswith("prior.")}, strict=False
                )
                self.changes_ = self.start.changes_
            else:
                network["encoder"] = train_dual(
                    latents, ends, cut_out, _pairs(things, pictures, np.random.default_rng(self.seed)), dim=self.dim, steps=self.encoder_steps,
                    seed=self.seed, progress=run.progress,
                )  # fmt: skip
            self.network_ = network.to(prior.device).requires_grad_(False)
            whole = network["encoder"].pictures(latents)
            if self.start is None:
                self._train_decoder(prior, latents, whole, run)
            self._train_prior(prior, things, states, network["encoder"].prompts(ends), whole, (pictures, network["encoder"].pictures(cut_out)), run)
        network.eval().requires_grad_(False)

    def _train_decoder(self, prior: Prior, latents: Tensor, whole: Tensor, run: Run) -> None:
        """A denoiser that hears an embedding in place of a prompt."""
        network: Any = self.network_
        done = 0

        def batches(rng: np.random.Generator) -> Iterator[np.ndarray]:
            nonlocal done
            for _ in range(min(STEPS_PER_EPOCH, self.decoder_steps - done)):
                done += 1
                yield rng.integers(len(latents), size=self.batch)

        def loss(rows: np.ndarray) -> Tensor:
            data = noised(prior, latents[rows], at=noisier(len(prior.alphas), NOISY))
            there = (torch.rand(len(rows), 1) >= EMPTY).to(whole)
            output = prior.predict(data.seen, data.t, self._context(prior, whole[rows] * there))
            return (even(prior, data.t, heaviest=HEAVIEST) * weighted(output, prior.target(data.clean, data.noise, data.t))).mean()

        def rate(epoch: int, number: int) -> float:
            return min(1.0, (self.decoder_steps - epoch * STEPS_PER_EPOCH - number) / max(1, LAST * self.decoder_steps))

        with Whole(prior) as weights:
            every = nn.ParameterList([*weights.parameters(), *network["projector"].parameters()])
            every.requires_grad_(True)
            try:
                Trainer(
                    epochs=-(-self.decoder_steps // STEPS_PER_EPOCH), learning_rate=self.decoder_rate, optimizer="adamw", clip_norm=1.0,
                    schedule=rate, seed=self.seed, device=str(prior.device),
                ).fit(every, batches, loss, progress=run.progress, description="decoder")  # fmt: skip
            finally:
                every.requires_grad_(False)
            self.changes_ = {name: change.cpu().numpy().astype(np.float16) for name, change in weights.arrays().items()}

    def _train_prior(
        self, prior: Prior, things: OthersThings, states: Tensor, said: Tensor, whole: Tensor, alone: tuple[np.ndarray, Tensor], run: Run
    ) -> None:
        """Only the small network learns; encoder and decoder stay."""
        network: Any = self.network_
        known, number_of = things.alone, {int(row): number for number, row in enumerate(alone[0])}
        places = places_of(prior, things)
        edges = network["encoder"].pictures(prior.latents(edge_maps(things.images)))
        done = 0

        def batches(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, Tensor]]:
            nonlocal done
            for _ in range(min(STEPS_PER_EPOCH, self.steps - done)):
                done += 1
                rows = rng.choice(len(states), min(128, len(states)), replace=False)
                shown = [[number_of[things.other_picture(rng, one, row, known)] if one >= 0 else 0 for one in things.things[row]] for row in rows]
                yield rows, torch.tensor(shown)

        def loss(data: tuple[np.ndarray, Tensor]) -> Tensor:
            rows, shown = data
            given = (torch.rand(len(rows), 1) < self.with_edges).to(edges)
            found = network["prior"](states[rows], alone[1][shown], places[rows], said[rows], edges[rows] * given)
            value = F.mse_loss(found, whole[rows])
            return value + self.contrast * contrast(found, said[rows]) if self.contrast else value

        network["prior"].requires_grad_(True)
        Trainer(
            epochs=-(-self.steps // STEPS_PER_EPOCH), learning_rate=self.learning_rate, optimizer="adamw", seed=self.seed, device=str(prior.device)
        ).fit(network["prior"], batches, loss, progress=run.progress, description="prompts with pictures")

    def _context(self, prior: Prior, embedding: Tensor) -> Tensor:
        """What the decoder reads: the tokens of no prompt, and those of embeddings [n, dim]; zero is no embedding."""
        network: Any = self.network_
        nothing = prior.nothing().expand(len(embedding), -1, -1)
        return torch.cat([nothing, network["projector"](embedding)], 1)

    # --- a thing

    @torch.no_grad()
    def embed(self, images: np.ndarray, masks: np.ndarray | None = None) -> Tensor:
        """float [n, dim], of pictures as they are, or with masks of things cut out of them."""
        prior = self.bundle
        network: Any = self.network_.to(prior.device)
        seen = images if masks is None else cutouts(prior, images, masks, self.cells)
        found: Tensor = network["encoder"].pictures(prior.latents(seen))
        return found

    @torch.no_grad()
    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if len(references) > 1 and not self.average:
            raise ConfigError(f"{len(references)} pictures for the one word {shown.name}", fix="give one, or use average=True")
        masks = None if references.masks is None else references.masks[:, 0].cpu().numpy()
        network: Any = self.network_.to(prior.device)
        own = network["encoder"].pictures(prior.latents(cutouts(prior, references.images, masks, self.cells))).mean(0)
        return {"embedding": F.normalize(own, dim=0) * self.dim**0.5}, {"steps": 0}

    def mixed(self, states: Sequence[State], name: str, weights: Sequence[float]) -> State:
        """A thing between those that several states have of one name: weighted sums of their embeddings, at their length."""
        for one in states:
            self.check_state(one)
        if not states or len(states) != len(weights):
            raise ConfigError(f"{len(states)} states, {len(weights)} weights", fix="give one weight each")
        total = sum(weight * one[f"{name}/embedding"] for one, weight in zip(states, weights, strict=True))
        total = np.asarray(total / max(1e-12, float(np.linalg.norm(total))) * self.dim**0.5, np.float32)
        return self.make_state({f"{name}/embedding": total}, notes={"concepts": {name: dict(states[0].notes["concepts"][name])}})

    # --- drawing

    def _plan(
        self, prior: Prior, prompts: list[str], taught: Mapping[str, Taught], *, strength: Strength = 1.0,
        edges: np.ndarray | None = None,
    ) -> Plan:  # fmt: skip
        """`edges`: bool [H, W], lines that pictures should have. `strength` must be one for all things: 0 imagines things of their classes."""
        if len(taught) > MOST:
            raise BadPrompt(f"{len(taught)} things in one prompt", fix=f"name {MOST} at most")
        if isinstance(strength, Mapping):
            raise ConfigError("one strength for each thing", fix="give one number: all things are in one embedding")
        whole = self.imagined(prior, prompts, taught, edges=edges)
        if strength != 1:
            plain = self.imagined(prior, prompts, taught, edges=edges, seen=False)
            whole = plain + strength * (whole - plain)
        return self.painted(prior, whole)

    @torch.no_grad()
    def imagined(
        self, prior: Prior, prompts: list[str], taught: Mapping[str, Taught], *, edges: np.ndarray | None = None, seen: bool = True
    ) -> Tensor:  # fmt: skip
        """float [n, dim], what the small network makes of prompts with things in them; not `seen`, of their class words."""
        network: Any = self.network_.to(prior.device)
        concepts = [Concept(name, of_word(prior.text_encoder, prior.tokenizer, one.class_word)) for name, one in taught.items()]
        words = prior.words(prompts, concepts)
        states = prior.tokens(prior.encode_words(words, concepts))
        place = torch.full(words.ids.shape, -1)
        for number, one in enumerate(concepts):
            place = torch.where(words.places[one.name] >= 0, number if seen else -1, place)
        own = torch.stack([one.tensors["embedding"] for one in taught.values()])
        ends = states[torch.arange(len(prompts)), words.end()]
        outline = torch.zeros(1, self.dim) if edges is None else network["encoder"].pictures(prior.latents(_lines(edges, prior.size)))
        rows = len(prompts)
        found: Tensor = network["prior"](
            states, own.expand(rows, *own.shape), place.to(states.device), network["encoder"].prompts(ends), outline.to(states).expand(rows, -1)
        )
        return found

    def painted(self, prior: Prior, embedding: Tensor) -> Plan:
        """How the decoder paints embeddings; of true ones, the ceiling of everything that goes through them."""
        changes = {key: torch.from_numpy(value.astype(np.float32)) for key, value in self.changes_.items()}
        with torch.no_grad():
            context, without = self._context(prior, embedding), self._context(prior, torch.zeros_like(embedding[:1]))
        return Plan(context=context, inside=changed(prior, [changes]), options={"negative": without})


def places_of(prior: Prior, things: OthersThings) -> Tensor:
    """int64 [n, T]: which of a caption's things stands at a token; -1 elsewhere. Things stand in their captions in order."""
    words = prior.words(things.captions)
    out = torch.full(words.ids.shape, -1)
    kinds = {kind: torch.tensor(numbers(prior.tokenizer, kind)) for kind in {*things.classes}}
    for row, inside in enumerate(things.things):
        start = 1
        for place, thing in enumerate(inside[inside >= 0]):
            own = kinds[things.classes[thing]]
            while not torch.equal(words.ids[row, start : start + len(own)], own):
                start += 1
            out[row, start : start + len(own)] = place
            start += len(own)
    return out.to(prior.device)


def _pairs(things: OthersThings, pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int64 [m, 2]: pictures of a thing alone, and of each another one that is cut out, by its number."""
    number_of, alone = {int(row): number for number, row in enumerate(pictures)}, things.alone
    return np.array([(row, number_of[things.other_picture(rng, int(things.things[row, 0]), int(row), alone)]) for row in pictures])


def edge_maps(images: np.ndarray, *, least: float = 0.12) -> np.ndarray:
    """uint8 [n, H, W, 3], white where neighbours differ by `least` (of values in [0, 1]) or more, else black."""
    grey = images.astype(np.float32).mean(-1) / 255
    down, right = (np.abs(np.diff(grey, axis=axis, append=np.take(grey, [-1], axis))) for axis in (1, 2))
    return np.repeat((np.maximum(down, right) >= least)[..., None], 3, -1).astype(np.uint8) * 255


def _lines(edges: np.ndarray, size: int) -> np.ndarray:
    edges = np.asarray(edges)
    if edges.shape != (size, size) or not np.isin(edges, (0, 1)).all():
        raise BadImage(
            f"an edge map of shape {list(edges.shape)} with values from {edges.min()} to {edges.max()}", fix=f"give 0 and 1, [{size}, {size}]"
        )
    return np.repeat(edges.astype(np.uint8)[None, ..., None], 3, -1) * 255
