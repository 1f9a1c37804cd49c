"""JeDi: a denoiser of sets of pictures of one thing fills in the picture that is missing beside the reference pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sartor.data.population import Population
from sartor.draw._base import ConceptMethod, Plan, Strength, Taught, strength_of
from sartor.draw._shown import Shown
from sartor.draw.parts.cutouts import cutouts, looks
from sartor.draw.parts.objectives import noised, weighted
from sartor.draw.parts.others_things import OthersThings, others_things
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.sampler import Guide
from sartor.draw.parts.tap import Edit, Layer, Slots
from sartor.draw.parts.tokens import Concept, of_word
from sartor.draw.parts.weights import Whole, changed
from sartor.errors import BadImage, ConfigError, EmptyData
from sartor.method import Run, learned
from sartor.parts.trainer import Trainer, seeded

STEPS_PER_EPOCH = 50
LAST = 0.3
"""Share of the steps over which the learning rate goes down to nothing."""


@dataclass(kw_only=True, eq=False)
class JeDi(ConceptMethod):
    """Sets of pictures of the same thing are denoised together: in self-attention every picture sees all of its set, and some of them are given, as
    further channels that the denoiser's first layer reads. Nothing is learned for a new thing; its pictures go along whenever it is drawn.

        method = JeDi().fit(population)                    # images (image, path, item, class_word, caption), several of each of many things
        state = method.learn(Shown(name="<mug>", class_word="mug", images=pictures))
        pictures = method.draw(["a <mug> on sand"], [state])

    Source: Zeng et al., JeDi: Joint-Image Diffusion Models for Finetuning-Free Personalized Text-to-Image Generation, CVPR 2024; there is no public
    code, and the form of guidance from two conditions, that the loss leaves given pictures out, and that these are said to be of their class and no
    more, as when they are drawn from, are ours. Pictures of a set are a population's, not made by a language model and a text-to-image model.

    State: `pictures` uint8 [n, H, W, 3] of each thing, the references themselves.
    """

    together: int = 4
    """Pictures in a set: up to one less can be given."""
    steps: int = 800
    batch: int = 4
    """Sets of a step."""
    learning_rate: float = 3e-4
    dropped: float = 0.1
    """How often a set is trained without its texts."""
    picture_guidance: float = 2.0
    """From no pictures given to those given, without text; 1 is none and saves a pass. `guidance` is from there to the text."""
    alike: float = 0.3
    """Least mean cosine between what is cut out of the references of one thing; -1 turns the check off, for photos from all sides."""
    cells: int = 4
    """Latent pixels a side of what is cut out for that check."""

    changes_: dict[str, np.ndarray] = learned()
    """Parameter of the denoiser -> what training has added to it, float16."""
    channels_: list[int] = learned()
    """Of the layer for given pictures, in and out."""
    network_: nn.Module = learned()

    population_frames: ClassVar[tuple[str, ...]] = ("images",)
    alone: ClassVar[bool] = True

    def make_network(self) -> nn.Module:
        """What widens the denoiser's first layer: given pictures and where they are given; it starts at nothing."""
        with seeded(self.seed):
            made = nn.Conv2d(self.channels_[0], self.channels_[1], 3, padding=1, bias=False)
        nn.init.zeros_(made.weight)
        return made

    def _fit(self, population: Population, run: Run) -> None:
        if self.together < 2 or not 0 <= self.dropped <= 1:
            raise ConfigError(f"together is {self.together}, dropped is {self.dropped}", fix="at least 2, and a share from 0 to 1")
        prior = self._prior
        things = others_things(population.frame("images").collect(), prior.size)
        sets = [rows for rows in things.alone.values() if len(rows) >= self.together]
        if not sets:
            raise EmptyData(
                f"nothing is shown alone in {self.together} pictures", fix=f"give {self.together} pictures of each thing, or fewer together"
            )
        with prior.lock, torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            first = prior.unet.conv_in
            self.channels_ = [first.in_channels + 1, first.out_channels]
            self.network_ = self.make_network().to(prior.device)
            self._train(prior, things, sets, run)

    def _train(self, prior: Prior, things: OthersThings, sets: list[np.ndarray], run: Run) -> None:
        network: Any = self.network_
        latents, size, done = prior.latents(things.images), self.together, 0

        def batches(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, Tensor]]:
            nonlocal done
            for _ in range(min(STEPS_PER_EPOCH, self.steps - done)):
                done += 1
                rows = [rng.permutation(sets[one])[:size] for one in rng.integers(len(sets), size=self.batch)]
                given = np.arange(size) < rng.integers(size, size=self.batch)[:, None]
                yield np.concatenate(rows), torch.from_numpy(given.ravel())

        def loss(data: tuple[np.ndarray, Tensor]) -> Tensor:
            rows, given = data
            silent = (torch.rand(self.batch) < self.dropped).repeat_interleave(size).tolist()
            said = [
                f"a {things.classes[things.things[row, 0]]}" if known else things.captions[row]
                for row, known in zip(rows, given.tolist(), strict=True)
            ]
            texts = ["" if none else one for one, none in zip(said, silent, strict=True)]
            # One time for all pictures of a set.
            data_ = noised(prior, latents[rows], at=lambda count, device: torch.randint(len(prior.alphas), (count // size,)).repeat_interleave(size))
            with torch.no_grad():
                context = prior.encode(texts)
            given = given.to(prior.device)
            with shown_beside(prior, network, latents[rows], given):
                output = prior.predict(data_.seen, data_.t, context, slots=Slots(edit=coupled(size)))
            errors = weighted(output, prior.target(data_.clean, data_.noise, data_.t))
            return (errors * ~given).sum() / (~given).sum()

        def rate(epoch: int, number: int) -> float:
            return min(1.0, (self.steps - epoch * STEPS_PER_EPOCH - number) / max(1, LAST * self.steps))

        with Whole(prior) as weights:
            every = nn.ParameterList([*weights.parameters(), *network.parameters()])
            every.requires_grad_(True)
            try:
                Trainer(
                    epochs=-(-self.steps // STEPS_PER_EPOCH), learning_rate=self.learning_rate, optimizer="adamw", clip_norm=1.0, schedule=rate,
                    seed=self.seed, device=str(prior.device),
                ).fit(every, batches, loss, progress=run.progress, description="sets of pictures")  # fmt: skip
            finally:
                every.requires_grad_(False)
            self.changes_ = {name: change.cpu().numpy().astype(np.float16) for name, change in weights.arrays().items()}
        network.eval()

    # --- a thing

    @staticmethod
    def _stored(key: str, value: Tensor) -> np.ndarray:
        """Pictures as they came."""
        return np.ascontiguousarray(value.cpu().numpy().astype(np.uint8 if key == "pictures" else np.float32))

    @torch.no_grad()
    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if len(references) >= self.together:
            what = f"{len(references)} pictures of {shown.name}, {self.together - 1} can be given beside one that is drawn"
            raise ConfigError(what, fix="choose fewer, or fit with more together")
        if self.alike > -1 and len(references) > 1:
            masks = None if references.masks is None else references.masks[:, 0].cpu().numpy()
            seen = torch.nn.functional.normalize(looks(prior, cutouts(prior, references.images, masks, self.cells)))
            same = seen @ seen.T
            if float((same.sum() - len(same)) / (len(same) * (len(same) - 1))) < self.alike:
                matrix = "; ".join(" ".join(f"{value:.2f}" for value in row) for row in same.tolist())
                raise BadImage(f"the pictures of {shown.name} are not of one thing (cosines {matrix})", fix="show one thing, or set alike=-1")
        return {"pictures": torch.from_numpy(references.images)}, {"steps": 0}

    def _plan(self, prior: Prior, prompts: list[str], taught: Mapping[str, Taught], *, strength: Strength = 1.0) -> Plan:
        """`strength`: of how the pictures lead, times `picture_guidance`."""
        ((name, one),) = taught.items()
        lead = self.picture_guidance * strength_of(strength, name)
        given = prior.latents(one.tensors["pictures"].cpu().numpy().astype(np.uint8))
        context = prior.encode(prompts, [Concept(name, of_word(prior.text_encoder, prior.tokenizer, one.class_word))])
        guide = self._guide(prior, context, given, prior.encode([f"a {one.class_word}"]), lead)
        changes = {key: torch.from_numpy(value.astype(np.float32)) for key, value in self.changes_.items()}
        return Plan(context=context, inside=changed(prior, [changes]), options={"guide": guide})

    def _guide(self, prior: Prior, context: Tensor, given: Tensor, about: Tensor, lead: float) -> Guide:
        """Nothing leads to the pictures by `lead`, the pictures to pictures and text by `guidance`."""
        network: Any = self.network_.to(prior.device)
        nothing, size, rows = prior.nothing(), 1 + len(given), len(context)
        to_text = prior.guidance if self.guidance is None else self.guidance
        noise = torch.randn(given.shape, generator=torch.Generator().manual_seed(0)).to(given)
        known = torch.arange(size, device=given.device).repeat(rows) > 0
        clean = torch.cat([torch.zeros_like(given[:1]), given]).repeat(rows, 1, 1, 1)

        def beside(x: Tensor, t: Tensor, own: Tensor, theirs: Tensor) -> Tensor:
            seen = prior.noised(given, noise, t.expand(len(given)))
            whole = torch.cat([x[:, None], seen.expand(rows, *seen.shape)], 1).flatten(0, 1)
            said = torch.cat([own[:, None], theirs.expand(rows, len(given), -1, -1)], 1).flatten(0, 1)
            with shown_beside(prior, network, clean, known):
                return prior.predict(whole, t, said, slots=Slots(edit=coupled(size)))[::size]

        def guide(x: Tensor, t: Tensor) -> Tensor:
            silent = beside(x, t, nothing.expand(rows, -1, -1), nothing)
            out = silent + to_text * (beside(x, t, context, about) - silent)
            if lead != 1:
                plain = prior.predict(x, t, nothing.expand(rows, -1, -1))
                out = out + (lead - 1) * (silent - plain)
            return out

        return guide


def coupled(size: int) -> Edit:
    """In self-attention, keys and values of all `size` pictures of a set for each of them; sets stand one behind the other in a batch."""

    def edit(layer: Layer, key: Tensor, value: Tensor, _context: Tensor) -> tuple[Tensor, Tensor]:
        if layer.cross or size == 1:
            return key, value
        return _of_set(key, size), _of_set(value, size)

    return edit


def _of_set(x: Tensor, size: int) -> Tensor:
    return x.reshape(len(x) // size, -1, x.shape[-1]).repeat_interleave(size, 0)


@contextmanager
def shown_beside(prior: Prior, layer: nn.Module, clean: Tensor, given: Tensor) -> Iterator[None]:
    """While inside, the denoiser's first layer also reads `clean` [B, c, h, w] where `given` bool [B], and a channel of ones there.

    The same as a first layer with so many more input channels.
    """
    there = given.to(clean)[:, None, None, None]
    beside = torch.cat([clean * there, there.expand(-1, 1, *clean.shape[-2:])], 1)
    handle = prior.unet.conv_in.register_forward_hook(lambda _module, _inputs, out: out + layer(beside))
    try:
        yield
    finally:
        handle.remove()
