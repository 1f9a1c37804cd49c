"""People and items as named concepts read from their texts: matched, explained and edited by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.errors import ConfigError, DuplicateRows, EmptyData, MissingColumn, StateMismatch, UnknownId
from sartor.method import Run, State, States, learned
from sartor.parts.named_layer import RecurrentTower, concept_loss
from sartor.parts.samplers import unseen
from sartor.parts.trainer import Trainer, seeded
from sartor.parts.unit import unit
from sartor.recommend._base import ItemRecommender, PersonalArrays, _after
from sartor.recommend._validation import validation
from sartor.represent.text import text_encoder, uncached
from sartor.retrieve.words import tokens

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Evidence, Population

SHARPNESS = 10.0
"""What a difference of cosines is multiplied with before the logistic loss."""


class _Pairs(NamedTuple):
    people: np.ndarray
    wanted: np.ndarray
    other: np.ndarray


@dataclass(kw_only=True, eq=False)
class SESA(ItemRecommender):
    """A text becomes a vector in [0, 1]^S whose coordinates are concepts with names (skills, topics), because each unit is trained to say whether
    its concept is there; people and items match by the cosine of the two, so that a match is a sum over concepts that can be read.

    For people and items described by texts, some of which list their concepts: profiles and jobs, readers and articles. What a text leaves out
    but implies is found, too. A person may pin concepts or strike them out (`edit`), which holds at once and needs no training.

    Reads the columns `text` and `concepts` (lists of names) of the frames `items` and `people`; events say who wanted what.

    Source: Bogdanova and Yazdani, SESA: Supervised Explicit Semantic Analysis, arXiv 2017; its ancestor without supervision is Gabrilovich and
    Markovitch, Explicit Semantic Analysis, IJCAI 2007. Ours are: the weight of rare concepts, cosine and logistic loss for ranking, and edits.

    State: `concepts` uint16 [m] and `strengths` float16 [m], the strongest, and the edits `pinned` and `removed` uint16, beside the items; 256 bytes
    at m = 64.
    """

    encoder: str = "gru"
    """A recurrent encoder learned here, or what `represent.text.text_encoder` takes, frozen, under a learned layer."""
    concept_weight: float = 1.0
    """Of the concept loss beside the ranking loss; 0 makes the coordinates latent and nameless, for comparison."""
    strongest: int = 64
    """Concepts kept of a person."""
    word_dim: int = 64
    hidden: int = 64
    """Of the recurrent encoder, each way."""
    dropout: float = 0.1
    max_tokens: int = 200
    epochs: int = 15
    learning_rate: float = 2e-3
    batch_size: int = 128
    patience: int = 0
    device: str = "cpu"

    concepts_: list[str] = learned()
    """Names, by coordinate."""
    words_: list[str] = learned()
    """The vocabulary of the recurrent encoder; empty with a frozen one."""
    item_vectors_: np.ndarray = learned()
    """float32 [items, S]; zeros for an item whose text has no known word."""
    population_vector_: np.ndarray = learned()
    """float32 [S], the mean of all people."""
    network_: nn.Module = learned()

    population_frames: ClassVar[tuple[str, ...]] = ("events", "items", "people")
    from_items: ClassVar[bool] = False

    def make_network(self) -> nn.Module:
        if self.encoder == "gru":
            return RecurrentTower(len(self.words_), self.word_dim, self.hidden, len(self.concepts_), self.dropout)
        return nn.Linear(text_encoder(self.encoder).dim, len(self.concepts_))

    # --- fitting

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        self._check()
        wanted = pl.DataFrame({"person": data.people.ids})
        rows = population.frame("people").with_columns(pl.col("person").cast(wanted["person"].dtype)).unique("person", keep="first").collect()
        people, items = wanted.join(rows, on="person", how="left", maintain_order="left"), population.item_frame(self.items_)
        for name, frame in (("people", people), ("items", items)):
            if missing := [column for column in ("text", "concepts") if column not in frame.columns]:
                raise MissingColumn(f"{name} have no column {missing}", fix=f"they have {frame.columns}", frame=name, column=missing[0])
        self.concepts_ = _names(pl.concat([people["concepts"], items["concepts"]]))
        texts = [*people["text"].fill_null("").to_list(), *items["text"].fill_null("").to_list()]
        self.words_ = sorted(set(tokens(texts).explode().drop_nulls())) if self.encoder == "gru" else []
        read = self._read(texts)
        labels = _labels(pl.concat([people["concepts"], items["concepts"]]), self.concepts_)
        counts, said = torch.from_numpy(labels.sum(0)).to(self.device), np.asarray(labels.any(1))
        with seeded(self.seed):
            self.network_ = self.make_network().to(self.device)
        offset, known = len(people), np.array([len(one) > 0 for one in read])
        matrix = data.matrix()
        pairs = np.stack([np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)), matrix.indices], 1)
        pairs = pairs[known[pairs[:, 0]] & known[offset + pairs[:, 1]]]
        if not len(pairs):
            raise EmptyData("no event has a person and an item with texts", fix="give texts to people and items", frame="people")

        def batches(rng: np.random.Generator) -> Iterator[_Pairs]:
            for chosen in np.array_split(rng.permutation(len(pairs)), max(1, -(-len(pairs) // self.batch_size))):
                who, what = pairs[chosen].T
                yield _Pairs(who, what, unseen(rng, who, 1, matrix.indptr, matrix.indices, matrix.shape[1])[:, 0])

        def loss(batch: _Pairs) -> Tensor:
            other_known = known[offset + batch.other]
            used, where = np.unique(np.concatenate([batch.people, offset + batch.wanted, offset + batch.other[other_known]]), return_inverse=True)
            logits = self._logits([read[row] for row in used])
            explicit = F.normalize(torch.sigmoid(logits), dim=1)
            person, own, other = np.split(where, [len(batch.people), 2 * len(batch.people)])
            rows = np.flatnonzero(other_known)
            better = (explicit[person[rows]] * explicit[own[rows]]).sum(1) - (explicit[person[rows]] * explicit[other]).sum(1)
            total = F.softplus(-SHARPNESS * better).mean()
            told = said[used]
            if self.concept_weight and told.any():
                given = torch.from_numpy(labels[used[told]]).to(self.device)
                total = total + self.concept_weight * concept_loss(logits[torch.from_numpy(told)], given, counts, int(said.sum()))
            return total

        judge = validation(self, data, run)

        def score() -> float:
            self._export(read, offset)
            return judge() if judge is not None else 0.0

        Trainer(
            epochs=self.epochs, learning_rate=self.learning_rate, patience=self.patience, clip_norm=5.0, seed=self.seed, device=self.device,
        ).fit(
            self.network_, batches, loss, validate=None if judge is None else score, progress=run.progress, checkpoint=run.checkpoint, key=run.key,
            description="SESA",
        )  # fmt: skip
        self.network_.cpu()
        self._export(read, offset)

    def _check(self) -> None:
        if self.concept_weight < 0 or self.strongest < 1 or min(self.word_dim, self.hidden, self.max_tokens, self.batch_size) < 1:
            raise ConfigError("a setting is out of its range", fix="concept_weight >= 0; strongest, word_dim, hidden, max_tokens, batch_size >= 1")

    def _export(self, read: Sequence[np.ndarray], people: int) -> None:
        every = self._explicit(read)
        self.item_vectors_ = every[people:]
        told = np.asarray(every[:people].any(1))
        self.population_vector_ = every[:people][told].mean(0)

    # --- texts to concepts

    def _read(self, texts: Sequence[str]) -> list[np.ndarray]:
        """What the network takes of each text: numbers of known words, or a frozen encoder's vector; empty where there is nothing."""
        if self.encoder == "gru":
            number = {word: at for at, word in enumerate(self.words_)}
            return [np.array([number[word] for word in words if word in number][: self.max_tokens], np.int64) for words in tokens(texts).to_list()]
        # Among them are people's own texts, which no cache may keep.
        vectors = uncached(text_encoder(self.encoder)).encode(list(texts))
        return [row if row.any() else row[:0] for row in vectors]

    def _logits(self, read: Sequence[np.ndarray]) -> Tensor:
        where = next(self.network_.parameters()).device
        if self.encoder == "gru":
            lengths = torch.tensor([len(one) for one in read])
            out: Tensor = self.network_(torch.from_numpy(np.concatenate(read)).to(where), lengths)
        else:
            out = self.network_(torch.from_numpy(np.stack(read)).to(where))
        return out

    def _explicit(self, read: Sequence[np.ndarray]) -> np.ndarray:
        """float32 [texts, S] in [0, 1]; zeros where nothing was read."""
        out = np.zeros((len(read), len(self.concepts_)), np.float32)
        order = [row for row in np.argsort([len(one) for one in read], kind="stable") if len(read[row])]
        self.network_.eval()
        with torch.inference_mode():
            for start in range(0, len(order), 256):
                some = order[start : start + 256]
                out[some] = torch.sigmoid(self._logits([read[row] for row in some])).cpu().numpy()
        return out

    # --- people

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        self.check_state(state)
        fresh = evidence.interactions(self.items_)
        history = _after(state, fresh) if state is not None else fresh
        frame = evidence.frames.get("people")
        texts = [] if frame is None or "text" not in frame.columns else frame["text"].drop_nulls().to_list()
        read = self._read([" ".join(texts)])[0] if texts else np.empty(0)
        arrays: dict[str, np.ndarray] = {"items": history.indices.copy()}
        if len(read):
            arrays |= self._kept(self._explicit([read])[0])
        elif state is not None and state["concepts"].size:
            arrays |= {name: state[name].copy() for name in ("concepts", "strengths")}
        else:
            arrays |= self._kept(np.zeros(len(self.concepts_), np.float32))
        edits = {name: np.empty(0, np.uint16) if state is None else state[name].copy() for name in ("pinned", "removed")}
        notes = {"no_evidence": not arrays["concepts"].size, "concepts": self._table_hash()}
        return self.make_state({**arrays, **edits}, before=state, examples=len(fresh) + len(texts), notes=notes)

    def adapt_all(self, population: Population, *, progress: bool = False) -> dict[Any, State]:
        return super(ItemRecommender, self).adapt_all(population, progress=progress)

    def _encode(self, histories: Interactions) -> PersonalArrays:
        raise ConfigError("a person is read from her text, not from items", fix="call adapt with evidence that has the frame people")

    def _kept(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        best = np.argsort(-vector, kind="stable")[: self.strongest]
        best = np.sort(best[vector[best] > 0]).astype(np.uint16)
        return {"concepts": best, "strengths": vector[best].astype(np.float16)}

    def _table_hash(self) -> str:
        return hashlib.blake2b("\n".join(self.concepts_).encode(), digest_size=8).hexdigest()

    def check_state(self, state: State | None) -> None:
        if state is not None and self.fingerprint_ and (table := state.notes.get("concepts", self._table_hash())) != self._table_hash():
            raise StateMismatch(
                f"the state was made with the concept table {table}, this model has {self._table_hash()}",
                fix="adapt the person again with this model",
            )
        super().check_state(state)

    def edit(self, state: State, *, pin: Sequence[str] = (), remove: Sequence[str] = (), restore: Sequence[str] = ()) -> State:
        """The state with concepts pinned (as if certain), removed (as if not there), or restored to what the text said.

        Raises `UnknownId` for a name that is no concept, with the nearest ones.
        """
        self.check_state(state)
        pinned, removed, back = (self._numbers(names) for names in (pin, remove, restore))
        if clash := pinned & removed:
            raise ConfigError(f"'{self.concepts_[min(clash)]}' is pinned and removed at once", fix="say one of the two")
        new = {
            "pinned": (set(state["pinned"].tolist()) | pinned) - removed - back,
            "removed": (set(state["removed"].tolist()) | removed) - pinned - back,
        }
        arrays = {**state.arrays, **{name: np.array(sorted(numbers), np.uint16) for name, numbers in new.items()}}
        return self.make_state(arrays, before=state, notes=state.notes)

    def _numbers(self, names: Sequence[str]) -> set[int]:
        import difflib

        table = {name: at for at, name in enumerate(self.concepts_)}
        if lost := [name for name in names if name not in table]:
            near = difflib.get_close_matches(lost[0], self.concepts_, n=3)
            raise UnknownId("there is no such concept", id=lost[0], fix=f"did you mean {' or '.join(near)}?" if near else "see concepts_")
        return {table[name] for name in names}

    def vector(self, state: State | None) -> np.ndarray:
        """float32 [S], edits applied; everybody's mean where there is no state, or nothing known of the person."""
        if state is None or not (state["concepts"].size or state["pinned"].size):
            base = self.population_vector_.copy()
        else:
            base = np.zeros(len(self.concepts_), np.float32)
            base[state["concepts"]] = state["strengths"]
        if state is not None:
            base[state["pinned"]], base[state["removed"]] = 1, 0
        return base

    # --- matching

    def _score(self, states: States, items: np.ndarray | None) -> np.ndarray:
        people = np.stack([self.vector(state) for state in states])
        vectors = self.item_vectors_ if items is None else self.item_vectors_[items]
        return unit(people) @ unit(vectors).T

    def explain(self, state: State | None, item: Any, top: int = 5) -> list[tuple[str, float]]:
        """The concepts that make up the score of an item for a person: names and shares, largest first; all shares of all concepts sum to 1."""
        self.check_state(state)
        terms = self.vector(state) * self.item_vectors_[self._known([item])[0]]
        total = float(terms.sum())
        best = np.argsort(-terms, kind="stable")[:top]
        return [(self.concepts_[at], float(terms[at]) / total) for at in best if terms[at] > 0]


def _names(lists: pl.Series) -> list[str]:
    """All concepts there are, sorted; names that differ in case or spaces alone, and empty ones, are mistakes."""
    every = lists.explode().drop_nulls().cast(pl.String).unique().sort().to_list()
    if any(not name.strip() for name in every):
        raise DuplicateRows("a concept has no name", fix="leave empty names out", column="concepts")
    seen: dict[str, str] = {}
    for name in every:
        if (key := " ".join(name.split()).casefold()) in seen:
            raise DuplicateRows(f"the concepts '{seen[key]}' and '{name}' are the same name", fix="write it one way", column="concepts", id=name)
        seen[key] = name
    if not every:
        raise EmptyData("nobody and nothing has a concept", fix="give lists of names in the column concepts", column="concepts")
    if len(every) > np.iinfo(np.uint16).max:
        raise ConfigError(f"{len(every)} concepts", fix="use at most 65,535")
    return every


def _labels(lists: pl.Series, names: Sequence[str]) -> np.ndarray:
    """float32 [texts, S]."""
    number: Mapping[str, int] = {name: at for at, name in enumerate(names)}
    out = np.zeros((len(lists), len(names)), np.float32)
    for row, own in enumerate(lists.to_list()):
        out[row, [number[name] for name in own or ()]] = 1
    return out
