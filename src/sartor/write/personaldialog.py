"""Speaking as a person described by a few declared traits, with a dial for how strongly they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from sartor.data.population import Evidence, Population
from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, MissingColumn, UnknownId
from sartor.method import Run, State, States, learned
from sartor.parts.field_embedding import tensors
from sartor.parts.fields import DEFAULT, FieldCodec, kind_of, says_something
from sartor.parts.trainer import Trainer, seeded
from sartor.write._base import Conversation, LMWriter
from sartor.write.parts.attribute_encoder import Fusion
from sartor.write.parts.lm_training import padded_turns
from sartor.write.parts.persona_network import PersonaNetwork
from sartor.write.parts.pieces import Turn, population_pieces, turns


@dataclass(kw_only=True, eq=False)
class PersonalDialog(LMWriter):
    """Traits as pairs of key and value (city, age band, interests) decide words where the frozen language model leaves a choice.

    For people who say who they are, also in combinations that nobody had before, and from the first word: no history is needed. It says
    nothing of how a person writes; that wants pieces of hers (`write.pplug`, `write.personal_lora`).

    Source: Zheng et al., Personalized Dialogue Generation with Diversified Traits, 2019: attention over the traits at every word and
    persona-aware bias (its best variant). Differs from the paper in: a frozen causal language model in place of a jointly trained encoder
    and decoder, so that no state is the population's answer exactly; persona-aware attention (`attention`) is in the first layer; values begin as
    their words; a dial; vectors in front (`places`) as a third way in.

    State: `codes` int32 [values], some 4 to 20 numbers, and `strength` float32 [1]: under 100 bytes. `traits` reads it, `edit` changes it.
    """

    traits: Sequence[str] = ()
    """Columns of the people's frame, one value or a list each; empty takes all that say something."""
    dim: int = 0
    """Of a trait's vector; 0 is as wide as the language model, and then a value begins as the model's vector of its words, so that rare ones
    (one of many tags) need few examples."""
    fusion: Fusion = "attention"
    bias: bool = True
    attention: bool = False
    places: int = 0
    drop: float = 0.1
    """Share of values that are hidden while it learns."""
    strength: float = 1.0
    """How much traits show, from 0 (not at all) to 2; a state's own dial goes on top."""
    most: int = 10
    """Values of one list."""
    steps: int = 400
    batch: int = 64
    learning_rate: float = 2e-2

    network_: PersonaNetwork = learned()
    facts_: list[dict[str, Any]] = learned()
    """The keys (`FieldCodec.facts`)."""
    vocabulary_: np.ndarray = learned()
    """uint64, hashes of all values."""
    words_: dict[str, list[str]] = learned()
    """Key -> its values, in the order of their codes."""
    columns_: list[str] = learned()
    """Of the people's frame, so that a key nobody has ever had is told from one that is no trait."""

    population_frames = ("texts", "people")

    def _learn(self, population: Population, run: Run) -> None:
        if min(self.steps, self.batch, self.most) < 1 or not 0 <= self.strength <= 2:
            what = f"steps {self.steps}, batch {self.batch}, most {self.most}, strength {self.strength}"
            raise ConfigError(what, fix="use at least 1 of each, and a strength from 0 to 2")
        frame = population.people.collect()
        self.columns_ = frame.columns
        if missing := sorted(set(self.traits) - set(frame.columns)):
            raise MissingColumn(f"the people have no column '{missing[0]}'", fix=f"they have {frame.columns}", frame="people", column=missing[0])
        names = list(self.traits) or [name for name in frame.columns if name != "person" and says_something(frame[name])]
        if numbers := [name for name in names if frame[name].dtype.is_float()]:
            raise ConfigError(f"'{numbers[0]}' is a number", fix="give bands, as texts or whole numbers")
        frame = _one_row_each(frame.select("person", *names))
        codec = FieldCodec.fit(frame, {name: kind_of(frame[name]) for name in names}, max_values=self.most)
        self.facts_, self.vocabulary_ = codec.facts(), codec.flat_vocabulary()
        self.words_ = {name: _in_order(codec, frame[name]) for name in names}
        self.__dict__.pop("_codec", None)
        pieces = population_pieces(population)
        people = pl.DataFrame({"person": pl.Series(list(pieces), dtype=frame["person"].dtype)}).join(
            frame, on="person", how="left", maintain_order="left"
        )
        codes = codec.encode(people)
        owner = np.repeat(np.arange(len(pieces)), [len(own) for own in pieces.values()])
        told = turns(self.lm.model.tokenizer, [one for own in pieces.values() for one in own])
        fits = np.flatnonzero([one.ids.size + self.places <= self.lm.max_tokens for one in told])
        if not fits.size:
            raise EmptyData("no text is short enough for the language model", fix=f"it takes {self.lm.max_tokens} tokens")
        with seeded(self.seed):
            self.network_ = self.make_network()
        if not self.dim:
            tokenizer = self.lm.model.tokenizer
            self.network_.begin_as(self.lm.model.network, {name: tokenizer.encode_all(values) for name, values in self.words_.items()})

        def batches(rng: np.random.Generator) -> Iterator[_Batch]:
            for _ in range(-(-self.steps // _STAGES)):
                rows = fits[rng.integers(fits.size, size=self.batch)]
                yield _Batch(tensors({name: one[owner[rows]] for name, one in codes.items()}), [told[row] for row in rows])

        trainer = Trainer(epochs=_STAGES, learning_rate=self.learning_rate, lr_decay=0.75, optimizer="adamw", clip_norm=1.0, seed=self.seed)
        groups = self.network_.groups(self.learning_rate)
        trainer.fit(
            self.network_, batches, self._loss, parameters=groups, progress=run.progress, checkpoint=run.checkpoint, key=run.key, description="traits"
        )

    def make_network(self) -> PersonaNetwork:
        return PersonaNetwork(
            self.lm.model.network, self._codec.fields, self.dim, fusion=self.fusion, drop=self.drop, bias=self.bias, attention=self.attention,
            places=self.places,
        )  # fmt: skip

    @cached_property
    def _codec(self) -> FieldCodec:
        return FieldCodec.restore(self.facts_, self.vocabulary_)

    def _loss(self, batch: _Batch) -> Tensor:
        return self.network_.loss(self.lm.model.network, batch.codes, *padded_turns(batch.targets, self.lm.model.tokenizer.pad))

    # --- people

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        self.check_state(state)
        if "people" not in evidence.frames:
            return self._state({}, state)
        frame = evidence.frames["people"]
        self._known(frame.columns, self.columns_)
        if "person" in frame.columns and evidence.person is not None:
            others = frame.filter(pl.col("person").cast(pl.String) != str(evidence.person))
            if others.height:
                what = f"traits of {others['person'][0]!r} among those of {evidence.person!r}"
                raise BadValue(what, fix="give each person's own only", column="person")
        rows = _one_row_each(frame.select(one for one in frame.columns if one in self.words_).with_columns(pl.lit(0).alias("person")))
        return self._state(rows.drop("person").row(0, named=True) if rows.height else {}, state)

    def edit(self, state: State | None = None, traits: Mapping[str, Any] | None = None, *, strength: float | None = None) -> State:
        """The state with other traits (None takes one away), or with another dial from 0 to 2; without a state a new one.

        Raises `UnknownId` for a key that is no trait. A value that nobody had is "unspecified", with the warning `UnknownValues`.
        """
        self.check_state(state)
        self._known(traits or {}, self.words_)
        gone = {name for name, value in (traits or {}).items() if value is None}
        return self._state({name: value for name, value in (traits or {}).items() if value is not None}, state, gone, strength)

    def traits_of(self, state: State) -> dict[str, Any]:
        """What a state says, in words: key -> value, list of values, or None where it is unspecified."""
        self.check_state(state)
        out: dict[str, Any] = {}
        for field in self._codec.fields:
            found = [self.words_[field.name][code - 1] for code in self._codes(state)[field.name].ravel() if DEFAULT < code <= field.size]
            out[field.name] = found if field.is_bag and found else found[0] if found else None
        return out

    def _known(self, given: Any, known: Any) -> None:
        if strange := [name for name in given if name not in known]:
            raise UnknownId(f"there is no trait {strange[0]!r}", fix=f"traits are {', '.join(self.words_)}")

    def _state(self, given: Mapping[str, Any], before: State | None, gone: set[str] | None = None, strength: float | None = None) -> State:
        """A state with the values that are given, and what it had beside."""
        given = {name: value for name, value in given.items() if value is not None}
        bags = {field.name: field.is_bag for field in self._codec.fields}
        columns = {
            name: pl.Series(name, [None if (value := given.get(name)) is None else _texts(value) if bag else str(value)],
                            dtype=pl.List(pl.String) if bag else pl.String)
            for name, bag in bags.items()
        }  # fmt: skip
        fresh = self._codec.encode(pl.DataFrame(columns))
        old = self._codes(before) if before is not None else {}
        parts = [fresh[name].ravel() if name in given or name in (gone or ()) or name not in old else old[name].ravel() for name in bags]
        dial = strength if strength is not None else float(before["strength"][0]) if before is not None else 1.0
        if not 0 <= dial <= 2:
            raise ConfigError(f"strength is {dial}", fix="use a number from 0 to 2")
        arrays = {"codes": np.concatenate(parts).astype(np.int32), "strength": np.array([dial], np.float32)}
        unknown = [name for name in given if (np.ravel(fresh[name])[0] == DEFAULT)]
        return self.make_state(arrays, before=before, examples=len(given), notes={"unknown": unknown} if unknown else {})

    def _codes(self, state: State) -> dict[str, np.ndarray]:
        """Key -> int32 [1] or [1, width]; raises `CorruptFile`."""
        fields, flat = self._codec.fields, state.arrays.get("codes")
        widths = [field.width for field in fields]
        if flat is None or flat.shape != (sum(widths),) or "strength" not in state.arrays:
            raise CorruptFile("the state's codes do not fit the traits", fix="adapt the person again")
        parts = np.split(flat, np.cumsum(widths)[:-1])
        if any((part < 0).any() or (part > field.padding).any() for part, field in zip(parts, fields, strict=True)):
            raise CorruptFile("the state has a value that is no trait's", fix="adapt the person again")
        return {field.name: part[None] if field.is_bag else part for field, part in zip(fields, parts, strict=True)}

    def _own(self, conversations: Sequence[Conversation], states: States) -> list[State | None]:
        # Nobody of whom nothing is said, and nobody whose dial is at 0, is anybody but the population.
        own = super()._own(conversations, states)
        return [
            one if one is not None and self.strength * float(one["strength"][0]) > 0 and any(self.traits_of(one).values()) else None for one in own
        ]

    # --- writing

    def _batch(self, states: Sequence[State]) -> tuple[dict[str, Tensor], Tensor]:
        """Codes of people, and their dials float [people]."""
        each = [self._codes(state) for state in states]
        codes = {name: torch.from_numpy(np.concatenate([one[name] for one in each])) for name in each[0]}
        return codes, torch.tensor([self.strength * float(state["strength"][0]) for state in states])

    def _prompt(self, conversation: Conversation, state: State) -> list[int]:
        return [self.lm.model.tokenizer.soft] * self.places + super()._prompt(conversation, state)

    @torch.no_grad()
    def _answers(self, conversations: Sequence[Conversation], prompts: Sequence[list[int]], states: Sequence[State]) -> list[str]:
        model = self.lm.model
        codes, dials = self._batch(states)
        more = self.network_.decoder(model.network, codes, prompts, dials)
        return [model.tokenizer.decode(one.ids) for one in model.generate(prompts, model.sampling(max_tokens=self.max_new), **more)]

    @torch.no_grad()
    def log_probs(self, conversations: Sequence[Conversation], texts: Sequence[str], states: States) -> list[np.ndarray]:
        """Log-probabilities in nats, float32 [tokens + the end], of what each person is to say."""
        tokenizer, network = self.lm.model.tokenizer, self.lm.model.network
        out: list[np.ndarray] = []
        for talk, text, state in zip(conversations, texts, self._own(conversations, states), strict=True):
            asked, said = tokenizer.chat(talk), [*tokenizer.encode(text), tokenizer.end]
            if state is None:
                out += self.lm.model.log_probs([asked], [said])
                continue
            ids, own = torch.tensor([asked + said]), torch.tensor([[False] * len(asked) + [True] * len(said)])
            codes, dials = self._batch([state])
            logits = self.network_.foretold(network, codes, ids, torch.ones_like(own), own, dials)
            out.append(logits.log_softmax(-1).gather(1, ids[own][:, None])[:, 0].numpy())
        return out

    @torch.no_grad()
    def explain(self, messages: Conversation, text: str, state: State) -> pl.DataFrame:
        """Which trait acts at each token of a text: token, share (of the traits' words against the model's own), and a weight per key."""
        self.check_state(state)
        if self.network_.head is None:
            raise ConfigError("there is no share of the traits' words without the bias", fix="fit with bias=True")
        tokenizer = self.lm.model.tokenizer
        asked, said = tokenizer.chat(messages), tokenizer.encode(text)
        hidden = self.lm.model.network.run(torch.tensor([asked + said])).hidden[0, len(asked) - 1 : -1]
        codes, dials = self._batch([state])
        _, weights = self.network_.encoder.fuse(self.network_.encoder.vectors(codes).expand(len(said), -1, -1), hidden)
        share = ((1 - self.network_.head.gate(hidden)) * dials).clamp(max=1)
        each = {name: weights[:, at].numpy() for at, name in enumerate(self.network_.encoder.names)}
        return pl.DataFrame({"token": [tokenizer.decode([one]) for one in said], "share": share.numpy(), **each})


_STAGES = 10


class _Batch(NamedTuple):
    codes: dict[str, Tensor]
    targets: list[Turn]


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, Sequence | pl.Series) and not isinstance(value, str) else [str(value)]


def _one_row_each(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per person, in the order of their first: lists are joined, and single values may be given again but not differ."""
    if frame["person"].is_unique().all():
        return frame
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List | pl.Array)]
    single = [name for name in frame.columns if name != "person" and name not in lists]
    grouped = frame.group_by("person", maintain_order=True)
    for name, count in grouped.agg(pl.col(name).drop_nulls().n_unique() for name in single).max().drop("person").row(0, named=True).items():
        if count > 1:
            raise BadValue("a person has two different values of one trait", fix="keep the one that is true", frame="people", column=name)
    joined = [pl.col(name).explode().drop_nulls().unique(maintain_order=True) for name in lists]
    return grouped.agg(*(pl.col(name).drop_nulls().first() for name in single), *joined).select(frame.columns)


def _in_order(codec: FieldCodec, column: pl.Series) -> list[str]:
    """The values of a key, by their codes."""
    values = (column.explode() if isinstance(column.dtype, pl.List | pl.Array) else column).drop_nulls().cast(pl.String).unique()
    numbers = codec.numbers(column.name, values)
    return [values[int(at)] for at in np.argsort(numbers) if numbers[at] != DEFAULT]
