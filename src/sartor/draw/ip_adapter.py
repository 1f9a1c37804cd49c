"""IP-Adapter: a picture of a thing becomes a few tokens that a branch of attention reads; nothing is tuned for a new thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from sartor import _fields
from sartor.data.population import Population
from sartor.draw._base import ConceptMethod, Plan, Strength, Taught, open_prior, strength_of
from sartor.draw._shown import Shown
from sartor.draw.parts.cutouts import clip_looks, cut, cutouts, looks
from sartor.draw.parts.image_branch import PictureTokens, joined, merging, summed
from sartor.draw.parts.ip_adapter_files import TOKENS, read_ip_adapter, write_ip_adapter
from sartor.draw.parts.objectives import noised, weighted
from sartor.draw.parts.others_things import OthersThings, others_things
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.projector import projector
from sartor.draw.parts.references import References
from sartor.draw.parts.tap import KeysValues, Layer, Merge, Slots, layers_of
from sartor.draw.parts.tokens import Concept, of_word
from sartor.errors import ConfigError, StateMismatch
from sartor.method import Run, learned
from sartor.parts.trainer import Trainer

STEPS_PER_EPOCH = 50
LAST = 0.3
"""Share of the steps over which the learning rate goes down to nothing."""


@dataclass(kw_only=True, eq=False)
class IPAdapter(ConceptMethod):
    """The base of methods that draw a thing from its pictures without training for it.

        method = IPAdapter().fit(population)               # images (image, path, item, class_word, caption) of many others' things
        state = method.learn(Shown(name="<mug>", class_word="mug", images=pictures, masks=masks))
        pictures = method.draw(["a <mug> on sand"], [state])

    Prompts are read with the class word in a thing's place. Pictures of things are cut out (by their masks, or by `cutouts.foreground`).

    Source: Ye et al., IP-Adapter, 2023. Differs from it in: a picture is seen as the latents of what is cut out of it, in place of CLIP's embedding,
    which small pictures do not have; dropping a picture leaves its branch out.

    State: `tokens` float32 [pictures, tokens, d] of each thing.
    """

    tokens: int = 4
    cells: int = 4
    """Latent pixels a side of what is cut out; 16 for a Stable Diffusion."""
    steps: int = 600
    batch: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    scale: float = 1.0
    dropped: float = 0.05
    """How often training leaves out the text, the pictures, and both: this share each."""
    jitter: float = 0.05
    """Standard deviation of the noise that training adds to what is cut out, of latents in [-1, 1]."""
    several: Literal["sum", "joined"] = "sum"
    """Several things in one prompt: the sum of what attention to each gives, or one attention to all their tokens."""
    encoder: str = ""
    """Folder of a `CLIPVisionModelWithProjection` by which pictures are seen, as published adapters do; empty: by the prior's own latents."""
    start: IPAdapter | None = None
    """A fitted one to go on from, of the same prior and sizes."""

    looks_: int = learned(0)
    """Numbers of what is seen of a thing."""
    layers_: list[list[Any]] = learned()
    """Attention layers that have a branch, as `tap.Layer`."""
    dim_: int = learned(0)
    network_: nn.Module = learned()

    population_frames: ClassVar[tuple[str, ...]] = ("images",)

    # --- what others' things teach

    def make_network(self) -> nn.Module:
        made = nn.ModuleDict()
        made["projector"] = projector("global", self.looks_, self.dim_, tokens=self.tokens, seed=self.seed)
        made["branch"] = KeysValues([Layer(*one) for one in self.layers_], self.dim_)
        return made

    def _fit(self, population: Population, run: Run) -> None:
        if not 0 <= 3 * self.dropped <= 1:
            raise ConfigError(f"dropped is {self.dropped}", fix="a share from 0 to a third")
        prior = self._prior
        things = others_things(population.frame("images").collect(), prior.size)
        with prior.lock, torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            pictures = np.concatenate([*things.alone.values()])
            own = self._looks(prior, things.images[pictures], None)
            # References are pictures of one thing; others have a row, too, so that numbers stay.
            seen = torch.zeros(len(things.images), own.shape[1])
            seen[torch.from_numpy(pictures)] = own.cpu()
            self._open(prior, int(seen.shape[1]))
            self._train(prior, things, seen, run)

    def _open(self, prior: Prior, size: int) -> None:
        """An untrained network, or that of `start`."""
        self.looks_, self.dim_ = size, prior.dim
        self.layers_ = [list(one) for one in layers_of(prior.unet, cross=True)]
        network: Any = self.make_network()
        own: Any = network["branch"]
        if self.start is None:
            own.load_state_dict(KeysValues([Layer(*one) for one in self.layers_], prior.dim, like=prior.unet).state_dict())
        else:
            self.start.check_fitted()
            if (self.start.prior_fingerprint_, self.start.looks_, self.start.tokens) != (prior.fingerprint, size, self.tokens):
                raise StateMismatch("the adapter to start from is of another prior or other sizes", fix="fit it on this prior, with the same sizes")
            network.load_state_dict(self.start.network_.state_dict(), strict=False)
        self.network_ = network.to(prior.device)

    def _train(self, prior: Prior, things: OthersThings, seen: Tensor, run: Run) -> None:
        network: Any = self.network_
        network.requires_grad_(True)
        latents, alone, done = prior.latents(things.images), things.alone, 0
        known = np.flatnonzero(things.things[:, 0] >= 0)
        phrases, said = phrase_states(prior, things.classes)

        def batches(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            nonlocal done
            for _ in range(min(STEPS_PER_EPOCH, self.steps - done)):
                done += 1
                rows = rng.choice(known, self.batch, replace=len(known) < self.batch)
                shown = [[things.other_picture(rng, thing, row, alone) if thing >= 0 else row for thing in things.things[row]] for row in rows]
                yield rows, np.array(shown)

        def loss(data: tuple[np.ndarray, np.ndarray]) -> Tensor:
            rows, shown = data
            which = torch.from_numpy(things.things[rows])
            chance = torch.rand(len(rows))
            no_text, no_picture = chance < 2 * self.dropped, (chance >= self.dropped) & (chance < 3 * self.dropped)
            texts = ["" if none else things.captions[row] for row, none in zip(rows, no_text.tolist(), strict=True)]
            look = seen[torch.from_numpy(shown)]
            look = (look + self.jitter * torch.randn(look.shape)).to(prior.device)
            tokens = network["projector"](look.flatten(0, 1)).unflatten(0, look.shape[:2])[:, :, None]
            there = ((which >= 0) & ~no_picture[:, None]).to(tokens)
            own = PictureTokens(tokens, there, phrases[which.clamp(min=0)], said[which.clamp(min=0)])
            data_ = noised(prior, latents[rows])
            with torch.no_grad():
                context = prior.encode(texts)
            output = prior.predict(data_.seen, data_.t, context, slots=Slots(merge=self._merge(own, self.scale)))
            return weighted(output, prior.target(data_.clean, data_.noise, data_.t)).mean()

        def rate(epoch: int, number: int) -> float:
            return min(1.0, (self.steps - epoch * STEPS_PER_EPOCH - number) / max(1, LAST * self.steps))

        Trainer(
            epochs=-(-self.steps // STEPS_PER_EPOCH), learning_rate=self.learning_rate, weight_decay=self.weight_decay, optimizer="adamw",
            schedule=rate, seed=self.seed, device=str(prior.device),
        ).fit(network, batches, loss, progress=run.progress, description="pictures of things")  # fmt: skip
        network.eval().requires_grad_(False)

    def _merge(self, seen: PictureTokens, scale: float) -> Merge:
        """How what several things give is put together; the idea of a method."""
        network: Any = self.network_
        return merging(network["branch"], seen, scale, summed if self.several == "sum" else joined)

    # --- a thing

    @torch.no_grad()
    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        masks = None if references.masks is None else references.masks[:, 0].cpu().numpy()
        network: Any = self.network_.to(prior.device)
        return {"tokens": network["projector"](self._looks(prior, references.images, masks).to(prior.device))}, {"steps": 0}

    def _looks(self, prior: Prior, images: np.ndarray, masks: np.ndarray | None) -> Tensor:
        """float [n, looks_], what is seen of pictures of one thing each."""
        if not self.encoder:
            return looks(prior, cutouts(prior, images, masks, self.cells))
        return clip_looks(self.encoder, images if masks is None else cut(images, masks, images.shape[1]))

    def _plan(self, prior: Prior, prompts: list[str], taught: Mapping[str, Taught], *, strength: Strength = 1.0) -> Plan:
        """`strength`: how much the pictures of each thing count, times `scale`."""
        words = [Concept(name, of_word(prior.text_encoder, prior.tokenizer, one.class_word)) for name, one in taught.items()]
        context = prior.encode(prompts, words)
        phrases, said = phrase_states(prior, [one.class_word for one in taught.values()])
        longest = max(len(one.tensors["tokens"]) for one in taught.values())
        # Things with fewer pictures show theirs again, so that each counts the same as far as it goes.
        tokens = torch.stack([one.tensors["tokens"][torch.arange(longest) % len(one.tensors["tokens"])] for one in taught.values()])
        rows = len(prompts)
        counts = [strength_of(strength, name) for name in taught]
        there = torch.tensor(counts, dtype=tokens.dtype, device=tokens.device).expand(rows, -1)
        own = PictureTokens(tokens.expand(rows, *tokens.shape), there, phrases.expand(rows, *phrases.shape), said.expand(rows, *said.shape))
        self.network_.to(prior.device)
        return Plan(context=context, slots=Slots(merge=self._merge(own, self.scale)))

    # --- files

    def write_adapter(self, path: str | Path) -> Path:
        """As people exchange it: a safetensors file that diffusers' `load_ip_adapter` reads; raises `ConfigError` for other than 4 tokens."""
        self.check_fitted()
        return write_ip_adapter(path, self.bundle.unet, self.network_)

    def open_adapter(self, path: str | Path, *, on: Prior | None = None) -> Self:
        """Fitted by such a file in place of a population.

        Raises `FileProblem`, `CorruptFile`, and `ConfigError` for an adapter of another base model or one that sees pictures otherwise.
        """
        prior = self._prior = on if on is not None else open_prior(self.prior)
        self.prior_fingerprint_ = prior.fingerprint
        picture, branch = read_ip_adapter(path, prior.unet)
        look = np.full((1, prior.size, prior.size, 3), 128, np.uint8)
        size, wanted = int(self._looks(prior, look, np.ones(look.shape[:3], bool)).shape[1]), int(picture["image_embeds.weight"].shape[1])
        if size != wanted:
            fix = (
                "give its image encoder: encoder=folder of a CLIPVisionModelWithProjection"
                if not self.encoder
                else "use the encoder it was made with"
            )
            raise ConfigError(f"the adapter sees {wanted} numbers of a picture, this method {size}", fix=fix, file=Path(path))
        if self.tokens != TOKENS:
            raise ConfigError(f"tokens is {self.tokens}, the file has {TOKENS}", fix=f"use tokens={TOKENS}")
        self._open(prior, size)
        network: Any = self.network_
        network["projector"].load_state_dict(picture)
        network["branch"].load_state_dict(branch.state_dict())
        network.eval().requires_grad_(False)
        _fields.check(self)
        self._seal()
        return self


def phrase_states(prior: Prior, phrases: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Of each phrase by itself, without its begin and end: float [n, T, d], what the text encoder says, and float [n, T], 1 at its words."""
    words = prior.words(phrases)
    with torch.no_grad():
        states = prior.tokens(prior.encode_words(words))[:, 1 : max(words.lengths) - 1]
    said = torch.arange(states.shape[1])[None] < torch.tensor(words.lengths)[:, None] - 2
    return states, said.to(states)
