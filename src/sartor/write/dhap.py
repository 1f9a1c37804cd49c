"""Talking like somebody from past replies alone: a general and a dynamic implicit profile, and the person's own words to copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sartor.data.population import Evidence, Population
from sartor.errors import ConfigError, CorruptFile, EmptyData
from sartor.method import Run, State, learned
from sartor.parts.trainer import Trainer, seeded
from sartor.write._base import Conversation, LMWriter
from sartor.write.parts.copy_head import foretold, mixture, scattered
from sartor.write.parts.decoding import Step
from sartor.write.parts.extended_vocabulary import ExtendedVocabulary, Spelling
from sartor.write.parts.history_views import Saying, Told, View, padded, sayings, states, views
from sartor.write.parts.implicit_profile import ImplicitProfile, Profile
from sartor.write.parts.pieces import Piece, pieces_of, population_pieces


@dataclass(kw_only=True, eq=False)
class DHAP(LMWriter):
    """Reads who somebody is from what she has answered so far: in general, for this post, and which of her own words to take.

    For people with a handful of replies and words that only they use: those are copied, also where no tokenizer has them. A profile is read
    anew for every post, in one pass; nothing is trained per person.

    Source: Ma et al., One Chatbot Per Person: Creating Personalized Chatbots based on Implicit User Profiles, 2021, and its code. Differs from
    the paper in: the decoder is a frozen causal language model, to whose logits those of the profiles are added; encoders read that model's
    states beside codes of the words; the memory is asked by the decoder's state with its context (the code asks with the state alone).

    State: `tokens` uint16 or int32 [all], `starts` bool [all], `lengths` int32 [pieces, 2] (post, answer): of the newest `keep` pairs, oldest
    first; 1 to 3 KB. A pair is forgotten by leaving it out.
    """

    keep: int = 15
    """Pairs in a state, at most: the newest."""
    longest: int = 40
    """Words of an answer, tokens of a post, at most (the code has 20 of Chinese)."""
    general: bool = True
    dynamic: bool = True
    copies: bool = True
    query: Literal["step", "post"] = "step"
    """Who asks the memory: see `ImplicitProfile`."""
    history: int = 8
    """Pairs of a person in a training example, at most."""
    targets: int = 4
    """Answers of each that are learned from one history."""
    people: int = 400
    """Of the population, to train on, at most: what the model sees in their pieces is kept in memory meanwhile."""
    steps: int = 150
    batch: int = 8
    """People."""
    learning_rate: float = 4e-3

    network_: ImplicitProfile = learned()

    prefix: ClassVar[int] = 0

    def _learn(self, population: Population, run: Run) -> None:
        if min(self.keep, self.history, self.targets, self.people, self.steps, self.batch) < 1 or self.longest < 3:
            what = "keep, history, targets, people, steps or batch is less than 1, or longest less than 3"
            raise ConfigError(what, fix="use at least so many of each: a post has two marks")
        rng = np.random.default_rng(self.seed)
        everybody = [own for own in population_pieces(population).values() if len(own) > 1]
        if not everybody:
            raise EmptyData("nobody has two pieces to learn from", fix="give more texts")
        people = [everybody[number] for number in sorted(rng.permutation(len(everybody))[: self.people])]
        told = self._told([piece for own in people for piece in own])
        cuts = np.cumsum([0, *(len(own) for own in people)])
        tokenizer, network = self.lm.model.tokenizer, self.lm.model.network
        opening = tokenizer.special["<|assistant|>"]
        seen, said = views(network, told, opening), sayings(network, told, [opening], tokenizer.end)
        with seeded(self.seed):
            self.network_ = self.make_network()

        def batches(rng: np.random.Generator) -> Iterator[_Batch]:
            for _ in range(-(-self.steps // _STAGES)):
                histories, targets, rows = [], [], []
                for row, who in enumerate(rng.integers(len(people), size=self.batch)):
                    order = cuts[who] + rng.permutation(len(people[who]))
                    count = min(self.targets, len(order) - 1)
                    past = np.sort(order[count : count + int(rng.integers(1, self.history + 1))])
                    histories.append([seen[number] for number in past])
                    targets += [said[number] for number in order[:count]]
                    rows += [row] * count
                yield _Batch(histories, targets, torch.tensor(rows))

        trainer = Trainer(epochs=_STAGES, learning_rate=self.learning_rate, lr_decay=0.8, optimizer="adamw", clip_norm=5.0, seed=self.seed)
        trainer.fit(self.network_, batches, self._loss, progress=run.progress, checkpoint=run.checkpoint, key=run.key, description="profiles")

    def make_network(self) -> ImplicitProfile:
        return ImplicitProfile(
            len(self.lm.model.tokenizer), self.lm.model.network.config.dim, pieces=max(self.keep, self.history), longest=self.longest,
            general=self.general, dynamic=self.dynamic, copies=self.copies, query=self.query,
        )  # fmt: skip

    def _loss(self, batch: _Batch) -> Tensor:
        return loss(self.network_, self.lm.model.network, batch.histories, batch.targets, batch.rows)

    def _told(self, pieces: Sequence[Piece]) -> list[Told]:
        """Pieces as tokens, as long as the model and the encoders take them."""
        tokenizer, most = self.lm.model.tokenizer, self.lm.max_tokens // 2 - 2
        posts, answers = tokenizer.encode_all([one.prompt for one in pieces]), tokenizer.encode_words([one.text for one in pieces])
        user, end = tokenizer.special["<|user|>"], tokenizer.end
        made = []
        for post, (said, starts) in zip(posts, answers, strict=True):
            # A piece that answers nothing is behind an empty post.
            whole = np.array([user, *post[-(self.longest - 2) :], end], np.int32)
            made.append(Told(whole, np.array(said[:most], np.int32), np.array(starts[:most], bool)))
        return made

    # --- people

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        self.check_state(state)
        pieces = pieces_of(evidence)
        every = [*(_told_of(state, len(self.lm.model.tokenizer)) if state is not None else []), *self._told(pieces)]
        kept = every[-self.keep :]
        kind = np.uint16 if len(self.lm.model.tokenizer) < 1 << 16 else np.int32
        arrays = {
            "tokens": np.concatenate([np.empty(0, kind), *(part for one in kept for part in one[:2])]).astype(kind),
            "starts": np.concatenate([np.empty(0, bool), *(part for one in kept for part in (np.ones(one.post.size, bool), one.starts))]),
            "lengths": np.array([[one.post.size, one.said.size] for one in kept], np.int32).reshape(-1, 2),
        }
        return self.make_state(arrays, before=state, examples=len(pieces), notes={"dropped": dropped} if (dropped := len(every) - len(kept)) else {})

    # --- writing

    @torch.no_grad()
    def _answers(self, conversations: Sequence[Conversation], prompts: Sequence[list[int]], states: Sequence[State]) -> list[str]:
        model = self.lm.model
        hook = self._hook(prompts, states)
        done = model.generate(prompts, model.sampling(max_tokens=self.max_new), hooks=[hook])
        return [model.tokenizer.decode(one.ids) for one in done]

    def _hook(self, prompts: Sequence[Sequence[int]], people: Sequence[State]) -> Spelling:
        opening = self.lm.model.tokenizer.special["<|assistant|>"]
        # A person who asks several times is read once.
        numbers: dict[int, int] = {}
        rows = [numbers.setdefault(id(state), len(numbers)) for state in people]
        each = [next(state for state in people if numbers[id(state)] == number) for number in range(len(numbers))]
        told = [_told_of(state, len(self.lm.model.tokenizer)) for state in each]
        seen = iter(views(self.lm.model.network, [one for own in told for one in own], opening))
        histories = [[next(seen) for _ in own] for own in told]
        return speaking(self.network_, self.lm.model.network, histories, prompts, rows)

    @torch.no_grad()
    def log_probs(self, conversations: Sequence[Conversation], texts: Sequence[str], states: Sequence[State | None]) -> list[float]:
        """Log-probability in nats of what each person is to say, its end included; a word of several tokens counts as one that may be copied."""
        tokenizer, model = self.lm.model.tokenizer, self.lm.model
        out = []
        for talk, text, state in zip(conversations, texts, self._own(conversations, states), strict=True):
            asked, said = tokenizer.chat(talk), [*tokenizer.encode(text), tokenizer.end]
            if state is None:
                out.append(float(model.log_probs([asked], [said])[0].sum()))
                continue
            hook, total = self._hook([asked], [state]), 0.0
            hidden = model.network.run(torch.tensor([asked + said])).hidden[0, len(asked) - 1 : -1]
            for at, token in enumerate(said):
                step = Step(model.network, torch.zeros(1, dtype=torch.int64), [asked], [said[:at]], hidden[at : at + 1], None)  # type: ignore[arg-type]
                total += float(hook(model.network.words_out(step.hidden), step)[0, token])
            out.append(total)
        return out


_STAGES = 10


class _Batch(NamedTuple):
    histories: list[list[View]]
    targets: list[Saying]
    rows: Tensor
    """int64 [targets], whose they are."""


def loss(heads: ImplicitProfile, network: Any, histories: Sequence[Sequence[View]], targets: Sequence[Saying], rows: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats of the targets' words, a word that is no token as one of the person's extended vocabulary."""
    size = network.model.embed_tokens.weight.shape[0]
    vocabularies = [ExtendedVocabulary(size) for _ in histories]
    profile = heads.read(histories, vocabularies).rows(rows)
    hidden, there = padded([one.states for one in targets])
    context, asked = heads.context_of([one.prompt for one in targets], [one.prompt_states for one in targets])
    said = heads(hidden, context, asked, profile)
    ids = torch.zeros(there.shape, dtype=torch.int64)
    for row, (one, who) in enumerate(zip(targets, rows.tolist(), strict=True)):
        # What is neither a token nor in the history is spelled: its first token stands for it.
        found = (vocabularies[who].find(word) if heads.copies else None for word in one.spelled)
        ids[row, : len(one.spelled)] = torch.tensor([word[0] if number is None else number for word, number in zip(one.spelled, found, strict=True)])
    words = (network.words_out(hidden) + said.words).softmax(-1)
    generated = words.gather(2, ids.clamp(max=size - 1)[:, :, None])[:, :, 0] * (ids < size)
    chances = mixture(generated, foretold(said.copied, profile.ids, ids), said.gate, profile.words.any(1)[:, None])
    total = -(chances + 1e-7).log()[there].sum()
    if heads.copies:
        # What can be copied at all is soon copied only, and the profiles would learn nothing more: they are taught without it, too.
        total = total - (generated + 1e-7).log()[there & (ids < size)].sum()
    count = int(there.sum())
    if heads.copies and any(len(one.inner) for one in targets):
        # In the middle of a word none begins.
        middle, inside = padded([one.inner for one in targets])
        spelled = heads(middle, context, asked, profile)
        total = total - (spelled.gate + 1e-7).log()[inside].sum()
        count += int(inside.sum())
    return total / count


def speaking(
    heads: ImplicitProfile, network: Any, histories: Sequence[Sequence[View]], prompts: Sequence[Sequence[int]], rows: Sequence[int]
) -> Spelling:
    """The hook by which a frozen model answers prompts as people: `rows` says whose history each prompt has.

    For any network with the face of `CausalLM` (`write.parts.transformers_network`).
    """
    size = network.model.embed_tokens.weight.shape[0]
    own = [ExtendedVocabulary(size) for _ in histories]
    profile = heads.read(histories, own)
    longest = max(len(one) for one in own)
    tokens = [np.asarray(one) for one in prompts]
    context, mask = heads.context_of(tokens, states(network, tokens))
    whose = torch.tensor(list(rows))

    def foretell(step: Step) -> Tensor:
        mine: Profile = profile.rows(whose[step.rows])
        said = heads(step.hidden[:, None], context[step.rows], mask[step.rows], mine)
        words = (network.words_out(step.hidden) + said.words[:, 0]).softmax(-1)
        generated = torch.cat([words, words.new_zeros(len(words), longest - size)], 1)
        copied = scattered(said.copied, mine.ids, longest)[:, 0]
        return mixture(generated, copied, said.gate, mine.words.any(1)[:, None])

    return Spelling([own[row] for row in rows], foretell)


def _told_of(state: State, vocabulary: int) -> list[Told]:
    """The pairs of a state, oldest first; raises `CorruptFile`."""
    tokens, starts, lengths = (state.arrays.get(name, np.empty(0)) for name in ("tokens", "starts", "lengths"))
    if lengths.ndim != 2 or lengths.shape[1] != 2 or (lengths < 0).any() or not lengths.sum() == tokens.size == starts.size:
        raise CorruptFile("the state's pairs do not fit together", fix="adapt the person again")
    if ((tokens < 0) | (tokens >= vocabulary)).any():
        raise CorruptFile("the state has tokens that the model has not", fix="adapt the person again")
    cuts = np.cumsum(lengths.ravel())[:-1]
    parts, begins = np.split(tokens, cuts), np.split(starts, cuts)
    return [Told(parts[2 * one], parts[2 * one + 1], begins[2 * one + 1]) for one in range(len(lengths))]
