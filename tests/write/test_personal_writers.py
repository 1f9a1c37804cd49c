"""Writers over the small language model: what all promise, and what each one's state is."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import sartor
from sartor.data.population import Evidence, Population
from sartor.data.world import World
from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, SpaceMismatch, StateMismatch
from sartor.method import State
from sartor.parts.lora import LoraBank
from sartor.represent.small_encoder import SmallEncoder
from sartor.write._base import LMWriter
from sartor.write.in_context import InContext
from sartor.write.parts.causal_lm import CausalLM, LMConfig
from sartor.write.parts.lm_training import Example, Lesson, pack, teach
from sartor.write.parts.pieces import pieces_of, population_pieces
from sartor.write.personal_lora import PersonalLora
from sartor.write.population_lm import PopulationLM, population_lm
from sartor.write.pplug import PPlug

PERSONAS = World(people=60, items=100, seed=7).personas(replies_each=8, dialogues=1)
PEOPLE = PERSONAS.population(PERSONAS.fit_people)
NEW = PERSONAS.population(PERSONAS.new_people)
ANA, BEN = (int(one) for one in PERSONAS.new_people[:2])
CHATS = [[{"role": "user", "content": text}] for text in PERSONAS.requests([ANA], 4).texts()]
SMALL = {"tokens": 40_000, "dim": 32, "vocabulary": 600, "rows": 2, "learning_rate": 1e-2, "seed": 1}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lm")


@pytest.fixture(scope="module")
def lm(cache: Path) -> PopulationLM:
    return population_lm(PEOPLE, cache=cache, **SMALL)


@pytest.fixture(scope="module")
def writers(lm: PopulationLM) -> dict[str, LMWriter]:
    plug = PPlug(lm=lm, steps=20, people=30, batch=8, max_new=20)
    made: list[LMWriter] = [InContext(lm=lm, use=2, max_new=20), PersonalLora(lm=lm, steps=12, rank=2, max_new=20), plug]
    return {type(one).__name__: one.fit(PEOPLE, progress=False) for one in made}


NAMES = ("InContext", "PersonalLora", "PPlug")


@pytest.mark.parametrize("name", NAMES)
def test_what_every_writer_promises(writers: dict[str, LMWriter], lm: PopulationLM, name: str, tmp_path: Path) -> None:
    writer = writers[name]
    before = lm.model.fingerprint
    ana, ben = writer.adapt(NEW[ANA]), writer.adapt(NEW[BEN])
    assert ana.examples == 8
    plain = lm.write_all(CHATS, [None] * 4, max_new=20)
    nobody = writer.adapt(Evidence({}, person=ANA))
    assert nobody.examples == 0
    assert writer.write_all(CHATS, [None] * 4) == plain == writer.write_all(CHATS, [nobody] * 4)
    mixed = writer.write_all(CHATS, [ana, ben, None, ana])
    assert mixed == [writer.write(chat, state) for chat, state in zip(CHATS, [ana, ben, None, ana], strict=True)]
    assert mixed[2] == plain[2]
    assert mixed != plain
    tokens = writer.prompt_tokens(CHATS[:2], [ana, None])
    assert tokens[1] == len(lm.model.tokenizer.chat(CHATS[1]))
    assert tokens[0] >= tokens[1] - 4

    again = sartor.load(writer.save(tmp_path / name))
    assert again.write_all(CHATS, [State.from_bytes(ana.to_bytes()), ben, None, ana]) == mixed
    assert lm.model.fingerprint == before
    assert writer.adapt(Evidence({}, person=ANA), ana).arrays.keys() == ana.arrays.keys()
    newer = writer.adapt(NEW[ANA], ana)
    assert (newer.version, newer.examples) == (2, 16)
    with pytest.raises(StateMismatch):
        writer.write(CHATS[0], lm.adapt(NEW[ANA]))
    with pytest.raises(BadValue, match="among those of"):
        writer.adapt(Evidence(NEW[BEN].frames, person=ANA))
    with pytest.raises(ConfigError, match="2 states for 4"):
        writer.write_all(CHATS, [None, None])


def test_the_population_model_is_learned_once_and_foretells_replies(lm: PopulationLM, cache: Path) -> None:
    assert len(list(cache.iterdir())) == 1
    assert population_lm(PEOPLE, cache=cache, **SMALL).fingerprint_ == lm.fingerprint_
    tokenizer = lm.model.tokenizer
    asked = PERSONAS.requests([ANA], 4)
    prompts = [tokenizer.chat(chat) for chat in CHATS]
    right, other = PERSONAS.replies(asked).to_list(), ["shelf the bye lovely from kisses and me"] * 4
    assert np.mean([np.mean(one) for one in lm.model.log_probs(prompts, tokenizer.encode_all(right))]) > -2.5
    assert np.mean([np.mean(one) for one in lm.model.log_probs(prompts, tokenizer.encode_all(other))]) < -4
    with pytest.raises(EmptyData):
        PopulationLM().fit(Population.from_frames(texts={"person": ["a"], "text": [" "]}))


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    def run(folder: Path | None, until: int = 1 << 30) -> dict[str, torch.Tensor]:
        network, calls = CausalLM(LMConfig(vocabulary=12, dim=8, heads=2, max_tokens=32)), itertools.count()

        def make(rng: np.random.Generator) -> Example:
            if next(calls) == until:
                raise KeyboardInterrupt
            ids = np.concatenate([[2], np.repeat(rng.integers(3, 12), 9)]).astype(np.int32)
            return Example(ids, ids > 2, int(rng.integers(-1, 3)))

        teach(Lesson(network, soft=2, authors=3), make, tokens=3_000, chunk=1_000, width=32, rows=4, checkpoint=folder, key="a")
        return network.state_dict()

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, until=250)
    resumed, whole = run(tmp_path), run(None)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_packing_keeps_every_example_whole() -> None:
    rng = np.random.default_rng(0)
    examples = [Example(np.full(size, number + 1, np.int32), np.ones(size, bool)) for number, size in enumerate(rng.integers(1, 30, 200))]
    found: dict[int, int] = {}
    for batch in pack(examples, 32, 4):
        assert batch.ids.shape[0] <= 4
        assert batch.ids.shape[1] <= 32
        for ids, segments in zip(batch.ids, batch.segments, strict=True):
            for segment in segments.unique().tolist():
                (number,) = ids[segments == segment].unique().tolist()
                assert (number == 0) == (segment == 0)
                if segment:
                    assert number not in found
                    found[number] = int((segments == segment).sum())
    assert found == {number: one.ids.size for number, one in enumerate(examples, 1)}


def test_adapters_foretell_their_own_person_best_and_cost_little(writers: dict[str, LMWriter], lm: PopulationLM) -> None:
    writer = writers["PersonalLora"]
    states = writer.adapt_all(NEW)
    alone = writer.adapt(NEW[BEN])
    for key, array in alone.arrays.items():
        np.testing.assert_allclose(states[BEN][key].astype(np.float32), array.astype(np.float32), atol=2e-2)
    people = list(states)[:6]
    asked = PERSONAS.requests(people, 3)
    replies = PERSONAS.replies(asked).to_list()
    tokenizer, network = lm.model.tokenizer, lm.model.network
    prompts = [tokenizer.chat([{"role": "user", "content": text}]) for text in asked.texts()]
    bank = LoraBank(network, targets=PersonalLora().targets, rank=2, alpha=4)

    def foretold(shift: int | None) -> float:
        """Mean log-probability of each one's unseen replies, with the adapter of the person so far away."""
        out = []
        for number in range(len(people)):
            rows = slice(3 * number, 3 * number + 3)
            with bank.use([-1 if shift is None else (number + shift) % len(people)] * 3):
                out += lm.model.log_probs(prompts[rows], tokenizer.encode_all(replies[rows]))
        return float(np.mean(np.concatenate(out)))

    bank.fill([dict(states[person].arrays) for person in people])
    own, none, swapped = foretold(0), foretold(None), foretold(1)
    bank.detach()
    assert own > none + 0.2
    assert own > swapped + 0.2
    # At the sizes that are the default.
    default = LoraBank(_default_network(), targets=PersonalLora().targets, rank=PersonalLora().rank)
    assert default.adapter_bytes <= 16_384


def _default_network() -> torch.nn.Module:
    return CausalLM(LMConfig(vocabulary=1_000, dim=PopulationLM().dim, layers=PopulationLM().layers, heads=PopulationLM().heads))


def test_an_exported_adapter_is_the_same_in_transformers_and_peft(writers: dict[str, LMWriter], lm: PopulationLM, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="needs peft, which the extra 'dev' installs")
    transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
    writer = writers["PersonalLora"]
    assert isinstance(writer, PersonalLora)
    state = writer.adapt(NEW[ANA])
    base = transformers.AutoModelForCausalLM.from_pretrained(lm.model.save(tmp_path / "lm"))
    theirs = peft.PeftModel.from_pretrained(base, writer.export(state, tmp_path / "ana")).eval()
    prompt = lm.model.tokenizer.chat(CHATS[0])
    done = theirs.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=20, do_sample=False)
    assert lm.model.tokenizer.decode(done[0, len(prompt) :].tolist()) == writer.write(CHATS[0], state)


def test_a_forgotten_piece_leaves_nothing_behind(writers: dict[str, LMWriter]) -> None:
    plug, context = writers["PPlug"], writers["InContext"]
    whole = NEW[ANA]
    kept = Evidence({"texts": whole.frames["texts"].filter(pl.col("text") != pieces_of(whole)[3].text)}, person=ANA)
    state, without = plug.adapt(whole), plug.adapt(kept)
    # Half precision of a batch of another size: sums differ in their last digit.
    np.testing.assert_allclose(np.delete(state["history"], 3, 0).astype(np.float32), without["history"].astype(np.float32), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(state["history"].astype(np.float32), axis=1), 1, atol=1e-2)
    assert context.adapt(kept)["lengths"].size == 7


def test_the_plug_weighs_by_request_and_refuses_what_does_not_fit(lm: PopulationLM) -> None:
    plug = PPlug(lm=lm, steps=10, people=20, batch=4, keep=5).fit(PEOPLE, progress=False)
    state = plug.adapt(NEW[ANA])
    assert state["history"].shape == (5, 2 * lm.dim)
    assert state.notes == {"dropped": 3}
    history = torch.from_numpy(state["history"].astype(np.float32))[None].expand(2, -1, -1)
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[1, 3:] = False
    pooled = PPlug(lm=lm, steps=1, people=5, batch=2, pooled=True).fit(PEOPLE, progress=False)
    asked = plug._requests(["praise the jackets.", ""])
    with torch.no_grad():
        weights, uniform = plug._weights(history, mask, asked), pooled._weights(history, mask, asked)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert not weights[1, 3:].any()
    assert weights[0].std() > 0
    torch.testing.assert_close(uniform, mask / torch.tensor([[5.0], [3.0]]))
    # A person of one vector too many, and an encoder that is not the one of the fit.
    with pytest.raises(CorruptFile, match="shape"):
        plug.write(CHATS[0], State({"history": np.ones((2, 3), np.float16)}, "PPlug", plug.fingerprint_, examples=2))
    plug.encoder_print_ = "0" * 32
    with pytest.raises(SpaceMismatch, match="00000000"):
        plug.adapt(NEW[ANA])


def test_the_plug_reads_histories_by_any_neural_encoder(lm: PopulationLM, tmp_path: Path) -> None:
    words = [piece.text for own in population_pieces(PEOPLE).values() for piece in own]
    folder = SmallEncoder(vocabulary=400, dim=16, layers=1, heads=2).learn_words(words).save(tmp_path / "encoder")
    plug = PPlug(lm=lm, encoder=str(folder), steps=10, people=10, batch=4, max_new=8).fit(PEOPLE, progress=False)
    state = plug.adapt(NEW[ANA])
    assert state["history"].shape == (8, 16)
    again = sartor.load(plug.save(tmp_path / "plug"))
    assert again.write_all(CHATS, [state] * 4) == plug.write_all(CHATS, [state] * 4)
    # The copy for requests was trained, the encoder of the history was not.
    frozen, trained = (dict(one.named_parameters()) for one in (plug._encoder().network, plug.network_.query))
    assert plug._encoder().fingerprint == SmallEncoder.load(folder).fingerprint
    assert any(not torch.equal(frozen[name], trained[name]) for name in frozen)
    SmallEncoder(vocabulary=400, dim=16, layers=1, heads=2, seed=5).learn_words(words).save(folder)
    with pytest.raises(SpaceMismatch):
        sartor.load(tmp_path / "plug").adapt(NEW[ANA])


def test_pieces_are_a_persons_own_writing() -> None:
    texts = {"person": ["a", "a", "a", "b"], "text": ["second", "first", "what a statement", " "], "time": [5, 3, 1, 1],
             "kind": ["reply", "reply", "statement", "reply"], "prompt": ["q2", "q1", None, "q"]}  # fmt: skip
    population = Population.from_frames(texts=texts)
    assert population_pieces(population) == {"a": [("q1", "first"), ("q2", "second")]}
    assert pieces_of(population["b"]) == []


def test_similar_pieces_are_found_by_rare_words(lm: PopulationLM) -> None:
    similar = InContext(lm=lm, use=1, choose="similar", max_new=20).fit(PEOPLE, progress=False)
    state = similar.adapt(NEW[ANA])
    for piece in pieces_of(NEW[ANA])[-3:]:
        prompt = similar._prompt([{"role": "user", "content": piece.prompt}], state)
        assert piece.prompt in similar.lm.model.tokenizer.decode(prompt[: len(prompt) // 2])
    # What does not fit stays out, and the request is never cut.
    long = [{"role": "user", "content": "praise the jackets. " * 36}]
    assert len(similar._prompt(long, state)) == len(lm.model.tokenizer.chat(long))
