"""Several dials of personality at once, by moving a latent vector: no training for a new combination."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from sartor.data.population import Evidence, Population
from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, MissingColumn, UnknownId
from sartor.method import Run, State, learned
from sartor.parts.trainer import Trainer, seeded
from sartor.write._base import Conversation, LMWriter
from sartor.write.parts.answers import right_padded
from sartor.write.parts.latent import Gaussian
from sartor.write.parts.latent_dialogue import Batch, SmallDialogue, Weights
from sartor.write.parts.latent_sampler import LatentEnergy, Sampled, langevin, ode_sample
from sartor.write.parts.lm_training import padded_turns
from sartor.write.parts.pieces import Piece, Turn, pieces_of, turns


@dataclass(kw_only=True, eq=False)
class Miracle(LMWriter):
    """Writes with chosen aspects of several attributes (plain or lyrical, optimistic or pessimistic, ...), each learned from texts of its own.

    A text is labelled for one attribute only. A variational latent variable stands behind every answer; classifiers read the attributes off
    it, and a further loss pulls what was learned for each attribute onto one space. To write, a draw from the prior of the question is moved
    to where all the wanted classifiers agree, and the answer is decoded from there.

    Source: Lu et al., MIRACLE: Towards Personalized Dialogue Generation with Latent-Space Multiple Personal Attribute Control, EMNLP 2023.
    Differs from it in: encoder and decoder begin as the population's own small model, and all of both is trained; the decoder reads the
    question, too, so that the latent vector is narrow (`kl_ratio`, `free`) and begins faint; noise begins after `warm` steps, and smaller than
    the means.

    State: `aspects` int8 [attributes], -1 is free, `weights` float32 [attributes]: 15 bytes for three; with `personal`, `mean` float16 [latent].

    Reads `texts` with the columns `attribute` and `aspect` (empty where a text is labelled for nothing), and of a person's `people` row the
    columns that are called like attributes.
    """

    latent: int = 32
    """Dimensions of the latent variable."""
    steps: int = 240
    batch: int = 48
    learning_rate: float = 1.5e-3
    """The paper's 5e-5 is for a decoder of 350 million weights."""
    kl_ratio: float = 0.01
    """The released 0.001 is for a decoder that reads no question: there the vector has to say everything, here only how."""
    free: float = 0.1
    """Nats of a dimension's divergence that do not count. The paper's 0.9 would leave room for the whole answer in 32 dimensions."""
    period: int = 40
    """Steps of the divergence's cycle: without it for a fifth, with it for the rest."""
    warm: int = 20
    """Steps before the first cycle, without it: what the decoder has not learned to read it would learn to do without."""
    classes: float = 1.0
    """Weight of the classifiers' loss; 20 times the paper's, for some hundred steps in place of twenty epochs."""
    centre: float = 0.04
    """Weight of the loss that pulls the attributes together: to that of the classifiers as in the paper."""
    prior_classes: bool = False
    """Whether the classifiers learn from draws of the prior, too."""
    start: Literal["mean", "draw"] = "draw"
    """Where the latent vector begins: at a draw from the question's prior, or at its mean, as in the authors' code, which varies less."""
    strength: float = 4.0
    """Of the energy: with 1, the published one, a vector that begins far away stops where the classifiers are in doubt."""
    sampler: Literal["ode", "langevin"] = "ode"
    towards: Literal["standard", "normal"] = "standard"
    """Whether the equation also pulls towards the question's prior ("normal"), or not."""
    most_steps: int = 200
    """Tries of the solver."""
    langevin_steps: int = 200
    langevin_step: float = 0.01
    personal: bool = False
    """Whether a person's own texts also say where the latent vector begins."""
    keep: int = 200
    """Texts of a person that are read, at most: the newest."""

    network_: SmallDialogue = learned()
    attributes_: dict[str, list[str]] = learned()
    """Attribute -> its aspects, in order of the alphabet."""
    active_units_: int = learned(0)
    """Dimensions of the latent variable that the decoder uses, on held-out texts."""
    held_out_: float = learned(0.0)
    """Loss of the held-out texts."""

    # --- fit

    def _learn(self, population: Population, run: Run) -> None:
        self._check()
        records = _records(population)
        names = sorted({one.attribute for one in records})
        self.attributes_ = {name: sorted({one.aspect for one in records if one.attribute == name}) for name in names}
        if short := [name for name, aspects in self.attributes_.items() if len(aspects) < 2]:
            raise EmptyData(f"the attribute '{short[0]}' has one aspect only", fix="give texts of two or more", attribute=short[0])
        order = np.random.default_rng([self.seed, 1]).permutation(len(records))
        held = max(len(self.attributes_), min(len(records) // 10, 40 * len(self.attributes_)))
        taught, kept = (self._grouped([records[one] for one in part]) for part in (order[held:], order[:held]))
        if empty := [name for name, own in zip(self.attributes_, taught, strict=True) if not own[0]]:
            raise EmptyData(f"there are too few texts of the attribute '{empty[0]}'", fix="give more", attribute=empty[0])
        with seeded(self.seed):
            self.network_ = self.make_network()
        self.network_.standardise([self._batch(own, number, np.arange(min(200, len(own[0])))) for number, own in enumerate(taught)])
        judged = [self._batch(own, number, np.arange(len(own[0]))) for number, own in enumerate(kept) if own[0]]

        def batches(rng: np.random.Generator) -> Iterator[Batch]:
            for number in range(-(-self.steps // _STAGES)):
                own = taught[attribute := number % len(taught)]
                yield self._batch(own, attribute, rng.integers(len(own[0]), size=self.batch))

        trainer = Trainer(epochs=_STAGES, learning_rate=self.learning_rate, lr_decay=0.8, optimizer="adamw", clip_norm=1.0, seed=self.seed)
        trainer.fit(
            self.network_, batches, self.network_.loss, validate=lambda: -self.network_.judge(judged)[0], progress=run.progress,
            checkpoint=run.checkpoint, key=run.key, description="latent dialogue",
        )  # fmt: skip
        self.held_out_, self.active_units_ = self.network_.judge(judged)
        self.network_.requires_grad_(False)

    def _check(self) -> None:
        if min(self.latent, self.steps, self.batch, self.period, self.most_steps, self.langevin_steps, self.keep) < 1:
            raise ConfigError("latent, steps, batch, period, most_steps, langevin_steps or keep is less than 1", fix="use at least 1 of each")
        if self.start not in ("mean", "draw"):
            raise ConfigError(f"start is {self.start!r}", fix='use "mean" or "draw"')
        if min(self.kl_ratio, self.free, self.classes, self.centre, self.warm) < 0 or min(self.langevin_step, self.strength) <= 0:
            what = f"kl_ratio {self.kl_ratio}, free {self.free}, classes {self.classes}, centre {self.centre}, langevin_step {self.langevin_step}, "
            raise ConfigError(f"{what}strength {self.strength}", fix="weights at least 0, langevin_step and strength above 0")

    def make_network(self) -> SmallDialogue:
        weights = Weights(
            divergence=self.kl_ratio, free=self.free, period=self.period, warm=self.warm, classes=self.classes, centre=self.centre,
            prior_classes=self.prior_classes,
        )  # fmt: skip
        encoder, decoder = (copy.deepcopy(self.lm.model.network).requires_grad_(True) for _ in range(2))
        counts = [len(aspects) for aspects in self.attributes_.values()]
        return SmallDialogue(encoder, decoder, self.latent, counts, weights).eval()

    def _turns(self, pieces: Sequence[Piece]) -> list[Turn]:
        # One place is the latent vector's.
        most = self.lm.max_tokens - 1
        return [Turn(one.ids[:most], one.own[:most]) for one in turns(self.lm.model.tokenizer, pieces)]

    def _grouped(self, records: Sequence[_Record]) -> list[tuple[list[Turn], np.ndarray]]:
        """For each attribute its texts and the number of each one's aspect."""
        out = []
        for name, aspects in self.attributes_.items():
            own = [one for one in records if one.attribute == name]
            out.append((self._turns([one.piece for one in own]), np.array([aspects.index(one.aspect) for one in own], np.int64)))
        return out

    def _batch(self, own: tuple[list[Turn], np.ndarray], attribute: int, chosen: np.ndarray) -> Batch:
        some = [own[0][place] for place in chosen]
        return Batch(*padded_turns(some, self.lm.model.tokenizer.pad), attribute, torch.from_numpy(own[1][chosen]))

    # --- a person

    def choose(
        self, aspects: Mapping[str, str] | Sequence[tuple[str, str]], weights: Mapping[str, float] | None = None, state: State | None = None
    ) -> State:  # fmt: skip
        """A state that wants these aspects, attribute -> aspect; attributes that are not named stay free, or as `state` has them.

        `weights`: how strongly, 1 by default; 0 frees an attribute. Raises `UnknownId` for an attribute or an aspect that there is none of,
        and `BadValue` when an attribute is named twice with different aspects.
        """
        self.check_state(state)
        pairs = list(aspects.items()) if isinstance(aspects, Mapping) else list(aspects)
        wanted = self._empty(state)
        named: dict[str, str] = {}
        for name, aspect in pairs:
            if named.setdefault(name, aspect) != aspect:
                raise BadValue(f"'{name}' is to be both '{named[name]}' and '{aspect}'", fix="name each attribute once", attribute=name)
            number = self._attribute(name)
            wanted["aspects"][number], wanted["weights"][number] = self._aspect(name, aspect), 1.0
        for name, weight in (weights or {}).items():
            if not 0 <= weight < float("inf"):
                raise BadValue(f"the weight of '{name}' is {weight}", fix="give a number of at least 0", attribute=name)
            wanted["weights"][self._attribute(name)] = weight
        return self.make_state(wanted, before=state, examples=len(pairs))

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """What is declared of a person counts; of the other attributes, what the classifiers read off the person's own texts."""
        self.check_state(state)
        declared, pieces = self._declared(evidence), pieces_of(evidence)[-self.keep :]
        wanted = self._empty(state)
        notes: dict[str, Any] = {}
        if pieces:
            batch = Batch(*padded_turns(self._turns(pieces), self.lm.model.tokenizer.pad), 0, torch.zeros(len(pieces), dtype=torch.int64))
            with torch.no_grad():
                means = self.network_.gaussians(batch)[0].mean
                read = [self.network_.classifiers(means, number).log_softmax(-1).mean(0) for number in range(len(self.attributes_))]
            wanted["aspects"][:] = [int(one.argmax()) for one in read]
            wanted["weights"][:] = 1.0
            notes["read"] = {name: round(float(one.softmax(-1).max()), 3) for name, one in zip(self.attributes_, read, strict=True)}
            if self.personal:
                wanted["mean"] = means.mean(0).numpy().astype(np.float16)
        for name, aspect in declared.items():
            number = self._attribute(name)
            wanted["aspects"][number], wanted["weights"][number] = self._aspect(name, aspect), 1.0
        return self.make_state(wanted, before=state, examples=len(pieces) + len(declared), notes=notes)

    def _empty(self, state: State | None) -> dict[str, np.ndarray]:
        if state is not None:
            return {name: array.copy() for name, array in state.arrays.items()}
        return {"aspects": np.full(len(self.attributes_), -1, np.int8), "weights": np.zeros(len(self.attributes_), np.float32)}

    def _declared(self, evidence: Evidence) -> dict[str, str]:
        frame = evidence.frames.get("people")
        out: dict[str, str] = {}
        for name in [] if frame is None else [one for one in frame.columns if one in self.attributes_]:
            values = frame[name].drop_nulls().unique(maintain_order=True).to_list() if frame is not None else []
            if len(values) > 1:
                raise BadValue(f"'{name}' is declared as both '{values[0]}' and '{values[1]}'", fix="declare it once", attribute=name)
            out |= {name: str(values[0])} if values else {}
        return out

    def _attribute(self, name: str) -> int:
        if name not in self.attributes_:
            raise UnknownId("there is no attribute of this name", id=name, fix=f"attributes are {', '.join(self.attributes_)}")
        return list(self.attributes_).index(name)

    def _aspect(self, name: str, aspect: str) -> int:
        known = self.attributes_[name]
        if aspect not in known:
            raise UnknownId(f"'{name}' has no such aspect", id=aspect, fix=f"aspects are {', '.join(known)}")
        return known.index(aspect)

    def check_state(self, state: State | None) -> None:
        super().check_state(state)
        if state is None:
            return
        aspects, weights, mean = (state.arrays.get(name) for name in ("aspects", "weights", "mean"))
        counts = np.array([len(one) for one in self.attributes_.values()])
        fits = aspects is not None and weights is not None and aspects.shape == weights.shape == counts.shape
        fits = fits and (mean is None or (mean.shape == (self.latent,) and bool(np.isfinite(mean).all())))
        if not fits or (aspects >= counts).any() or not np.isfinite(weights).all():  # type: ignore[arg-type]
            raise CorruptFile("the state's aspects and weights are not of these attributes", fix="choose or adapt again")

    # --- write

    def place(self, prompts: Sequence[Sequence[int]], states: Sequence[State]) -> Sampled:
        """Where the latent vectors of these prompts come to; warns of rows for which the solver used up its steps."""
        ids, mask = right_padded(prompts, self.lm.model.tokenizer.pad)
        with torch.no_grad():
            prior = self.network_.before(self.network_.pooled(ids, mask))
        means = [torch.from_numpy(state["mean"].astype(np.float32)) if "mean" in state.arrays else None for state in states]
        prior = Gaussian(torch.stack([own if own is not None else one for own, one in zip(means, prior.mean, strict=True)]), prior.log_var)
        noise = [self._noise(prompt) for prompt in prompts]
        start = prior.mean if self.start == "mean" else prior.sample(torch.from_numpy(np.stack([one[0] for one in noise])))
        aspects, weights = (torch.from_numpy(np.stack([state[name] for state in states])) for name in ("aspects", "weights"))
        energy = LatentEnergy(self.network_.classifiers, aspects.long(), self.strength * weights)
        if self.sampler == "langevin":
            return langevin(energy, start, torch.from_numpy(np.stack([one[1:] for one in noise], 1)), step=self.langevin_step)
        found = ode_sample(energy, start, prior=prior if self.towards == "normal" else None, most=self.most_steps)
        if late := int((~found.reached).sum()):
            warnings.warn(f"{late} of {len(prompts)} latent vectors were not at their end after {self.most_steps} steps", stacklevel=4)
        return found

    def _noise(self, prompt: Sequence[int]) -> np.ndarray:
        """float32 [draws, latent]: the same for the same question, whatever else is in the batch."""
        digest = hashlib.blake2b(np.asarray(prompt, np.int64).tobytes(), digest_size=8).digest()
        draws = 1 + (self.langevin_steps if self.sampler == "langevin" else 0)
        return np.random.default_rng([self.seed, int.from_bytes(digest, "little")]).standard_normal((draws, self.latent)).astype(np.float32)

    def _answers(self, conversations: Sequence[Conversation], prompts: Sequence[list[int]], states: Sequence[State]) -> list[str]:
        return self.decode(prompts, self.place(prompts, states).z)

    def decode(self, prompts: Sequence[Sequence[int]], z: Tensor) -> list[str]:
        """The likeliest answers from latent vectors, float [prompts, latent]."""
        model = copy.copy(self.lm.model)
        model.network = self.network_.decoder
        with torch.no_grad():
            offsets, past = self.network_.offsets(z), self.network_.injector.past(z)
            try:
                done = model.generate(prompts, model.sampling(max_tokens=self.max_new), past=past, adapters=(offsets, range(len(prompts))))
            finally:
                offsets.detach()
        return [model.tokenizer.decode(one.ids) for one in done]

    def prior_states(self, conversations: Sequence[Conversation]) -> list[str]:
        """Answers from draws of the prior alone, no aspect wanted: what the energy is compared with."""
        drawn = copy.copy(self)
        drawn.start = "draw"
        free = self.make_state(self._empty(None), examples=1)
        return drawn.write_all(conversations, [free] * len(conversations))


_STAGES = 10


@dataclass(frozen=True)
class _Record:
    """A text that is labelled for one attribute."""

    piece: Piece
    attribute: str
    aspect: str


def _records(population: Population) -> list[_Record]:
    frame = population.texts.collect()
    if missing := [name for name in ("attribute", "aspect", "prompt") if name not in frame.columns]:
        raise MissingColumn(f"the texts have no column {missing[0]}", fix="label each text for one attribute", frame="texts", column=missing[0])
    frame = frame.filter(pl.all_horizontal(pl.col("attribute", "aspect", "prompt", "text").is_not_null()))
    if not frame.height:
        raise EmptyData("no text with a prompt is labelled", fix="give attribute and aspect of some texts", frame="texts")
    return [
        _Record(Piece(prompt, text), str(attribute), str(aspect))
        for prompt, text, attribute, aspect in frame.select("prompt", "text", "attribute", "aspect").iter_rows()
    ]
