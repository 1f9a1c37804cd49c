"""Implicit profiles: copying beyond the vocabulary, the key-value memory, the method on our model and on transformers' Llama."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sartor
from sartor.data.population import Evidence, Population
from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, StateMismatch
from sartor.method import State
from sartor.write.dhap import DHAP, loss, speaking
from sartor.write.parts.causal_lm import CausalLM, LMConfig
from sartor.write.parts.copy_head import HistoryCopy, foretold, mixture, scattered
from sartor.write.parts.decoding import Sampling, generate
from sartor.write.parts.extended_vocabulary import ExtendedVocabulary, Spelling, Word, padded_ids, words_of
from sartor.write.parts.history_views import Told, sayings, views
from sartor.write.parts.implicit_profile import ImplicitProfile
from sartor.write.parts.memory_attention import KeyValueMemory
from sartor.write.population_lm import PopulationLM

GREETINGS, THINGS = ("hello", "hey", "dear", "yo"), ("lamps", "robots", "boots", "pans", "cards")


def _people(count: int, letters: str, start: int = 0) -> Population:
    """Each has a greeting and a word of her own, which nobody else has."""
    rng = np.random.default_rng(start)
    rows = []
    for number in range(start, start + count):
        greeting, own = GREETINGS[rng.integers(4)], "".join(letters[one] for one in rng.integers(len(letters), size=3)) + "az"
        for _ in range(6):
            thing = THINGS[rng.integers(len(THINGS))]
            rows.append(
                {"person": f"p{number:03}", "prompt": f"order the {thing}.", "text": f"{greeting} {own}, i want the {thing}.", "kind": "reply"}
            )
    return Population.from_frames(texts=pl.DataFrame(rows))


PEOPLE, NEW = _people(60, "bdfgkl"), _people(6, "mnprtv", 900)
ANA, BEN = NEW["p900"], NEW["p901"]
CHAT = [{"role": "user", "content": "order the boots."}]
GIVEN = Evidence({"texts": ANA.frames["texts"][:5]}, person="p900")


@pytest.fixture(scope="module")
def lm() -> PopulationLM:
    return PopulationLM(tokens=30_000, dim=32, vocabulary=281, history=1, rows=4, learning_rate=2e-2).fit(PEOPLE, progress=False)


@pytest.fixture(scope="module")
def method(lm: PopulationLM) -> DHAP:
    return DHAP(lm=lm, steps=60, batch=6, history=4, targets=2, people=40, longest=20, max_new=30).fit(PEOPLE, progress=False)


def _word(evidence: Evidence) -> str:
    return str(evidence.frames["texts"]["text"][0]).split()[1].strip(",")


def test_memory_and_copying_are_attention_over_what_is_there() -> None:
    torch.manual_seed(0)
    memory, copy = KeyValueMemory(5, 4), HistoryCopy(5, 4)
    query, keys, values = torch.randn(2, 3, 5), torch.randn(2, 6, 4), torch.randn(2, 6, 7)
    mask = torch.tensor([[True] * 4 + [False] * 2, [False] * 6])
    found, weights = memory(query, keys, values, mask)
    by_hand = (memory.asks(query[0]) @ keys[0, :4].T / 2).softmax(-1)
    torch.testing.assert_close(found[0], by_hand @ values[0, :4])
    assert not found[1].any()
    assert not weights[1].any()
    copied = copy(query, keys, mask)
    ids = torch.tensor([[9, 2, 9, 11, 0, 0]] * 2)
    spread = scattered(copied, ids, 12)
    torch.testing.assert_close(spread[0].sum(-1), torch.ones(3))
    torch.testing.assert_close(spread[0, :, 9], copied[0, :, 0] + copied[0, :, 2])
    torch.testing.assert_close(foretold(copied, ids, torch.tensor([[9, 11, 5]] * 2))[0], spread[0].gather(1, torch.tensor([[9], [11], [5]]))[:, 0])
    # Without a history everything is generated, whatever the switch says.
    generated = torch.rand(2, 3)
    mixed = mixture(generated, torch.zeros(2, 3), torch.full((2, 3), 0.1), mask.any(1)[:, None])
    torch.testing.assert_close(mixed[1], generated[1])
    torch.testing.assert_close(mixed[0], 0.1 * generated[0])


def test_words_outside_the_vocabulary_get_ids_for_one_request() -> None:
    words = words_of([3, 9, 8, 7, 4, 9, 8], [True, True, False, False, True, True, False])
    assert words == [(3,), (9, 8, 7), (4,), (9, 8)]
    ana, ben = ExtendedVocabulary(10), ExtendedVocabulary(10)
    ids, mask = padded_ids([ana, ben], [[*words, (9, 8, 7)], [(9, 8)]])
    assert ids.tolist() == [[3, 10, 4, 11, 10], [10, 0, 0, 0, 0]]
    assert mask.sum(1).tolist() == [5, 1]
    assert (len(ana), ana.words, ana.find((5, 6)), ana.find((9, 8)), ben.find((9, 8, 7))) == (12, [(9, 8, 7), (9, 8)], None, 11, None)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(4, 6), min_size=2, max_size=3).map(tuple), min_size=1, max_size=4, unique=True), st.integers(0, 1000))
def test_spelling_is_the_exact_marginal_of_whole_words(words: list[Word], seed: int) -> None:
    """Against every sequence of two units, written out: tokens 4 to 6 are all there are, and words begin alike, or are parts of others."""
    own = ExtendedVocabulary(7)
    for word in words:
        own.add(word)
    rng = np.random.default_rng(seed)
    first = rng.dirichlet(np.ones(len(own)))
    # What comes after depends on what is written, as a model's does.
    table: dict[tuple[int, ...], np.ndarray] = {(): first}

    def after(written: Sequence[int]) -> np.ndarray:
        return table.setdefault(tuple(written), np.random.default_rng([seed, *written]).dirichlet(np.ones(len(own))))

    def exact(tokens: Sequence[int], written: tuple[int, ...] = ()) -> float:
        """Probability that units written one after another begin with these tokens."""
        if not tokens:
            return 1.0
        chances, total = after(written), 0.0
        for number, unit in [*((token, (token,)) for token in range(7)), *((7 + at, word) for at, word in enumerate(own.words))]:
            if unit == tuple(tokens[: len(unit)]):
                total += chances[number] * exact(tokens[len(unit) :], (*written, *unit))
            elif tuple(tokens) == unit[: len(tokens)]:
                total += chances[number]
        return total

    network = CausalLM(LMConfig(vocabulary=7, dim=8, heads=2, max_tokens=16))
    hook = Spelling([own], lambda step: torch.tensor(after(step.written[0]))[None])
    done = generate(network, [[1]], Sampling(max_tokens=4, temperature=1.0), hooks=[(seen := _Seen(hook))], seeds=[seed])[0]
    total = float(np.sum([chances[token] for chances, token in zip(seen.log_probs, done.ids, strict=True)]))
    assert total == pytest.approx(np.log(exact(done.ids)), abs=1e-3)


class _Seen:
    def __init__(self, hook: Spelling) -> None:
        self.hook = hook
        self.log_probs: list[np.ndarray] = []

    def __call__(self, logits: torch.Tensor, step: object) -> torch.Tensor:
        out = self.hook(logits.double(), step)  # type: ignore[arg-type]
        self.log_probs.append(out[0].numpy())
        assert float(out.exp().sum()) == pytest.approx(1.0, abs=1e-5)
        return out


def test_own_words_are_copied_from_the_history_of_people_never_seen(method: DHAP, lm: PopulationLM) -> None:
    tokenizer = lm.model.tokenizer
    assert all(len(tokenizer.encode(_word(one))) > 1 for one in (ANA, BEN))
    ana, ben = method.adapt(GIVEN), method.adapt(BEN)
    said = method.write_all([CHAT] * 4, [ana, ben, None, ana])
    assert _word(ANA) in said[0]
    assert _word(BEN) in said[1]
    assert said[2] == lm.write_all([CHAT], [None], max_new=30)[0]
    assert said == [method.write(CHAT, who) for who in (ana, ben, None, ana)]
    text = str(ANA.frames["texts"]["text"][5])
    own, other, none = method.log_probs([CHAT] * 3, [text] * 3, [ana, ben, None])
    assert own > none + 3
    assert own > other + 3


def test_a_state_is_small_kept_and_forgets(method: DHAP, tmp_path: Path) -> None:
    before = method.lm.model.fingerprint
    state = method.adapt(GIVEN)
    assert state.nbytes < 3_000
    again = sartor.load(method.save(tmp_path / "dhap"))
    assert again.write(CHAT, State.from_bytes(state.to_bytes())) == method.write(CHAT, state)
    assert method.lm.model.fingerprint == before
    newer = method.adapt(Evidence({"texts": ANA.frames["texts"][5:]}, person="p900"), state)
    whole = method.adapt(ANA)
    assert (newer.version, newer.examples) == (2, 6)
    assert all(np.array_equal(newer[name], whole[name]) for name in whole.arrays)
    small = DHAP(lm=method.lm, keep=2, steps=1, batch=2, people=4).fit(PEOPLE, progress=False).adapt(ANA)
    assert small["lengths"].shape == (2, 2)
    assert small.notes == {"dropped": 4}
    # Nothing of a pair that is left out stays behind.
    rest = method.adapt(Evidence({"texts": ANA.frames["texts"][1:]}, person="p900"))
    assert np.array_equal(rest["tokens"], whole["tokens"][whole["lengths"][0].sum() :])


def test_bad_histories_are_named(method: DHAP, lm: PopulationLM) -> None:
    with pytest.raises(BadValue, match="among those of"):
        method.adapt(Evidence(BEN.frames, person="p900"))
    nobody = method.adapt(Evidence({}, person="p900"))
    assert method.write(CHAT, nobody) == lm.write_all([CHAT], [None], max_new=30)[0]
    with pytest.raises(StateMismatch):
        method.write(CHAT, lm.adapt(ANA))
    with pytest.raises(CorruptFile):
        method.write(CHAT, State({"tokens": np.zeros(3, np.uint16)}, fingerprint=method.fingerprint_, examples=1))
    mine = method.adapt(ANA)
    foreign = State({**mine.arrays, "tokens": np.full_like(mine["tokens"], 60_000)}, fingerprint=method.fingerprint_, examples=1)
    with pytest.raises(CorruptFile, match="tokens that the model has not"):
        method.write(CHAT, foreign)
    with pytest.raises(EmptyData, match="two pieces"):
        DHAP(lm=lm).fit(Population.from_frames(texts={"person": ["a"], "text": ["hello"], "prompt": ["a"]}), progress=False)
    for wrong in ({"steps": 0}, {"longest": 2}, {"query": "nobody"}):
        with pytest.raises(ConfigError):
            DHAP(lm=lm, **wrong).fit(PEOPLE, progress=False)  # type: ignore[arg-type]


def test_parts_can_be_left_out(lm: PopulationLM) -> None:
    for parts in ({"copies": False}, {"general": False, "dynamic": False}, {"query": "post"}):
        arm = DHAP(lm=lm, steps=4, batch=2, people=10, max_new=20, **parts).fit(PEOPLE, progress=False)  # type: ignore[arg-type]
        hook = arm._hook([lm.model.tokenizer.chat(CHAT)], [arm.adapt(ANA)])
        done = lm.model.generate([lm.model.tokenizer.chat(CHAT)], lm.model.sampling(max_tokens=3), hooks=[hook])
        assert done[0].ids
        assert bool(hook.extended[0].words) is True


def test_a_batch_of_one_person_with_one_pair_is_learned_from(lm: PopulationLM) -> None:
    for query in ("step", "post"):
        alone = DHAP(lm=lm, steps=20, batch=1, history=1, targets=1, people=4, query=query).fit(PEOPLE, progress=False)  # type: ignore[arg-type]
        assert alone.write(CHAT, alone.adapt(ANA))
        assert all(torch.isfinite(one).all() for one in alone.network_.state_dict().values())


def test_the_same_head_on_transformers_llama() -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
    from sartor.write.parts.transformers_network import TransformersNetwork

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64,
        eos_token_id=None, bos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    theirs = transformers.LlamaForCausalLM(config).eval()
    weights = {name: one.clone() for name, one in theirs.state_dict().items()}
    network, ones = TransformersNetwork(theirs), np.ones(3, bool)
    # Every person says one token of her own, after the same start; nobody's is known before.
    histories, targets = [], []
    for own in range(20, 36):
        told = [Told(np.array([5, post]), np.array([6, own, 7]), ones) for post in (8, 9, 10)]
        seen = views(network, told, 3)
        histories.append(seen[:2])
        targets += sayings(network, told[2:], [3], 2)
    heads = ImplicitProfile(40, 16, pieces=4, longest=4)
    optimizer = torch.optim.Adam(heads.parameters(), lr=1e-2)
    for _ in range(40):
        value = loss(heads, network, histories[:12], targets[:12], torch.arange(12))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    heads.eval()
    with torch.no_grad():
        unseen = loss(heads, network, histories[12:], targets[12:], torch.arange(4))
        swapped = loss(heads, network, [histories[15], *histories[12:15]], targets[12:], torch.arange(4))
        assert unseen < swapped - 0.3
        prompts = [[5, 10, 3]] * 4
        done = generate(network, prompts, Sampling(max_tokens=3), hooks=[speaking(heads, network, histories[12:], prompts, range(4))])  # type: ignore[arg-type]
    assert [one.ids[1] for one in done] == [32, 33, 34, 35]
    assert all(torch.equal(weights[name], one) for name, one in theirs.state_dict().items())
