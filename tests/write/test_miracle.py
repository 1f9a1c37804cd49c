"""Latent dials: the parts against closed forms and other solvers, and the method on a small model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.integrate import solve_ivp
from torch.distributions import Normal, kl_divergence

import sartor
from sartor.data.population import Evidence, Population
from sartor.data.world import World
from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, MissingColumn, StateMismatch, UnknownId
from sartor.method import State
from sartor.parts.trainer import seeded
from sartor.write.miracle import Miracle
from sartor.write.parts.causal_lm import CausalLM, LMConfig
from sartor.write.parts.decoding import Sampling, generate
from sartor.write.parts.latent import (
    CommonCentre,
    Gaussian,
    LatentClassifiers,
    LatentInjector,
    RowOffsets,
    active_units,
    cyclic_beta,
    divergence,
    free_bits,
)  # fmt: skip
from sartor.write.parts.latent_dialogue import Batch, LatentDialogue, Weights
from sartor.write.parts.latent_sampler import LatentEnergy, dormand_prince, langevin, ode_sample
from sartor.write.population_lm import PopulationLM, population_lm

NETWORK = CausalLM(LMConfig(vocabulary=24, dim=16, layers=2, heads=2, max_tokens=40), seed=3).requires_grad_(False).eval()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- parts


def test_gaussians_and_what_keeps_them_alive() -> None:
    a, b = Gaussian(random(5, 3), random(5, 3, seed=1)), Gaussian(random(5, 3, seed=2), random(5, 3, seed=3))
    each = divergence(a, b)
    torch.testing.assert_close(each, kl_divergence(Normal(a.mean, (a.log_var / 2).exp()), Normal(b.mean, (b.log_var / 2).exp())))
    assert float(free_bits(each, 0.0)) == pytest.approx(float(each.sum(1).mean()))
    assert float(free_bits(each, 1e9)) == 0
    assert float(free_bits(torch.tensor([[1.0, 0.5], [0.2, 2.0]]), 0.9)) == pytest.approx(1.5)
    torch.testing.assert_close(a.sample(torch.zeros(5, 3)), a.mean)
    assert [cyclic_beta(step, 40) for step in (0, 7, 8, 39, 40, 48)] == [0, 0, 1, 1, 0, 1]
    means = random(100, 4) * torch.tensor([1.0, 0.5, 0.01, 0.0])
    assert active_units(means) == 2


def test_centres_meet() -> None:
    centre = CommonCentre(2, 3)
    first, second = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 2.0], [0.0, 4.0]], requires_grad=True)
    assert float(centre(first, 0)) == 0
    loss = centre(second, 1)
    assert float(loss.detach()) == pytest.approx(((0 - 1) ** 2 + 3**2) / 2)
    loss.backward()
    assert second.grad is not None
    assert float(centre(first, 0)) == pytest.approx(5.0)


def test_the_injected_vector_is_the_same_for_words_at_once_and_one_by_one() -> None:
    with seeded(1):
        injector = LatentInjector.of(NETWORK, 4)
    z = random(2, 4)
    with torch.no_grad():
        past, offsets = injector.past(z), RowOffsets(NETWORK.model.embed_tokens, injector.embed(z))
        assert all(torch.equal(key, value) for key, value in zip(past.keys, past.values, strict=True))
        done = generate(NETWORK, [[3, 4, 5], [7, 8]], Sampling(max_tokens=6), past=past, adapters=(offsets, [0, 1]))
        for row, prompt in enumerate(([3, 4, 5], [7, 8])):
            ids = torch.tensor([[*prompt, *done[row].ids]])
            own = NETWORK.embed(ids) + injector.embed(z[row : row + 1])[:, None]
            logits = NETWORK.words_out(NETWORK.run(embeddings=own, past=injector.past(z[row : row + 1])).hidden)
            assert logits[0, len(prompt) - 1 : -1].argmax(-1).tolist() == done[row].ids
        plain = NETWORK(torch.tensor([[3, 4, 5]]))
        with pytest.raises(ConfigError, match="rows"), offsets.use([0, 1]):
            NETWORK(torch.tensor([[3, 4, 5]]))
        assert torch.equal(NETWORK(torch.tensor([[3, 4, 5]])), plain)
        offsets.detach()


def test_the_solver_agrees_with_scipys_and_rows_do_not_touch_each_other() -> None:
    rates = torch.tensor([[0.5, -2.0], [30.0, 1.0], [0.0, 5.0]], dtype=torch.float64)
    start = torch.tensor([[1.0, 2.0], [1.0, -1.0], [3.0, 0.1]], dtype=torch.float64)

    def slope(t: torch.Tensor, z: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return -rates[rows] * z + torch.cos(5 * t)[:, None], z.sum(1)

    def value(z: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return z.sum(1)

    found = dormand_prince(slope, start, 1.0, 0.0, atol=1e-8, rtol=1e-8, most=2_000, value=value)
    assert bool(found.reached.all())
    for row in range(3):
        rate = rates[row].numpy()
        theirs = solve_ivp(lambda t, z, rate=rate: -rate * z + np.cos(5 * t), (1, 0), start[row].numpy(), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(found.z[row].numpy(), theirs.y[:, -1], rtol=1e-5, atol=1e-6)
    alone = dormand_prince(
        lambda t, z, rows: slope(t, z, rows + 1), start[1:2], 1.0, 0.0, atol=1e-8, rtol=1e-8, most=2_000, value=lambda z, rows: value(z, rows)
    )
    torch.testing.assert_close(alone.z[0], found.z[1])
    assert alone.steps[0] == found.steps[1]
    short = dormand_prince(slope, start, 1.0, 0.0, atol=1e-8, rtol=1e-8, most=2, value=value)
    assert not bool(short.reached.any())
    assert bool((short.energy <= value(start, torch.arange(3))).all())


@pytest.mark.parametrize("how", ["ode", "normal", "langevin"])
def test_samplers_go_where_the_classifiers_agree(how: str) -> None:
    with seeded(4):
        classifiers = LatentClassifiers(3, [2, 3], hidden=16).requires_grad_(False)
    aspects, weights = torch.tensor([[0, 2], [1, -1], [-1, -1]]), torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    energy = LatentEnergy(classifiers, aspects, weights)
    start = random(3, 3, seed=5)
    likely = classifiers(start, 1).log_softmax(-1)[0, 2] + classifiers(start, 0).log_softmax(-1)[0, 0]
    assert float(energy(start)[0]) == pytest.approx(-float(likely), abs=1e-5)
    prior = Gaussian(torch.zeros(3, 3), torch.zeros(3, 3)) if how == "normal" else None
    if how == "langevin":
        found = langevin(energy, start, torch.zeros(200, 3, 3))
    else:
        found = ode_sample(energy, start, prior=prior)
    assert bool((found.energy[:2] < energy(start)[:2]).all())
    torch.testing.assert_close(found.energy, energy(found.z))
    # What nobody wants anything of stays where it is; a standard normal prior does not move it either.
    if how != "langevin":
        torch.testing.assert_close(found.z[2], start[2])
    noisy = langevin(energy, torch.zeros(3, 3), random(400, 3, 3, seed=9), step=0.01)
    assert float(noisy.z[2].abs().max()) > 0.2
    with pytest.raises(ConfigError):
        LatentEnergy(classifiers, aspects, weights[:1])


# --- the method

PERSONAS = World(people=80, items=100, seed=7).personas(replies_each=12)
MARKS = {"length": {"short": "word", "long": "matters"}, "opening": {"plain": "hello", "formal": "dear"}}


def labelled() -> Population:
    """Replies, half of them labelled for their length and half for their opening."""
    texts = PERSONAS.population(PERSONAS.fit_people).texts.collect().filter(pl.col("kind") == "reply").with_row_index()
    long = pl.when(pl.col("text").str.contains("matters")).then(pl.lit("long")).otherwise(pl.lit("short"))
    formal = pl.when(pl.col("text").str.contains("^(dear|greetings|esteemed|honoured)")).then(pl.lit("formal")).otherwise(pl.lit("plain"))
    for_length = pl.col("index") % 2 == 0
    return Population.from_frames(
        texts=texts.with_columns(
            attribute=pl.when(for_length).then(pl.lit("length")).otherwise(pl.lit("opening")), aspect=pl.when(for_length).then(long).otherwise(formal)
        ).drop("index")
    )


PEOPLE = labelled()
CHATS = [[{"role": "user", "content": text}] for text in PERSONAS.requests(PERSONAS.new_people[:2], 3).texts()]
SMALL: dict[str, Any] = {"tokens": 60_000, "dim": 32, "vocabulary": 600, "rows": 4, "learning_rate": 1e-2, "seed": 1, "history": 0, "max_tokens": 64}
FEW: dict[str, Any] = {"latent": 8, "steps": 60, "batch": 32, "learning_rate": 5e-3, "classes": 0.3, "warm": 30, "max_new": 30}


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> PopulationLM:
    return population_lm(PEOPLE, cache=tmp_path_factory.mktemp("lm"), **SMALL)


@pytest.fixture(scope="module")
def miracle(lm: PopulationLM) -> Miracle:
    return Miracle(lm=lm, **FEW).fit(PEOPLE, progress=False)


def test_dials_move_the_latent_vector_and_the_words(miracle: Miracle, lm: PopulationLM, tmp_path: Path) -> None:
    assert miracle.attributes_ == {"length": ["long", "short"], "opening": ["formal", "plain"]}
    assert miracle.active_units_ > 0
    before = lm.model.fingerprint
    long, short = (miracle.choose({"length": one, "opening": "formal"}) for one in ("long", "short"))
    prompts = [miracle._prompt(chat, long) for chat in CHATS]
    free = miracle.choose({"length": "long", "opening": "plain"}, {"length": 0.0, "opening": 0.0})
    placed, start = miracle.place(prompts, [long] * 6), miracle.place(prompts, [free] * 6)
    assert bool(placed.reached.all())
    read = miracle.network_.classifiers(placed.z, 0).softmax(-1)[:, 0]
    assert bool((read > miracle.network_.classifiers(start.z, 0).softmax(-1)[:, 0]).all())
    assert long.nbytes == 2 * (1 + 4)
    assert lm.model.fingerprint == before

    mixed = miracle.write_all(CHATS, [long, short, None, long, short, None])
    assert mixed == [miracle.write(chat, state) for chat, state in zip(CHATS, [long, short, None, long, short, None], strict=True)]
    assert miracle.write_all(CHATS, [None] * 6) == lm.write_all(CHATS, [None] * 6, max_new=30)
    assert miracle.write_all(CHATS, [long] * 6) != miracle.write_all(CHATS, [short] * 6)
    again = sartor.load(miracle.save(tmp_path / "miracle"))
    assert again.write_all(CHATS, [State.from_bytes(long.to_bytes()), short, None, long, short, None]) == mixed
    with pytest.raises(StateMismatch):
        miracle.write(CHATS[0], lm.adapt(Evidence({})))


def test_what_is_declared_counts_and_the_rest_is_read_off_own_texts(miracle: Miracle) -> None:
    texts = PEOPLE.texts.collect()
    own = texts.filter(pl.col("text").str.contains("matters")).head(8).with_columns(person=pl.lit("ana"))
    read = miracle.adapt(Evidence({"texts": own}, person="ana"))
    assert read["aspects"][0] == 0
    assert set(read.notes["read"]) == {"length", "opening"}
    declared = miracle.adapt(Evidence({"texts": own, "people": pl.DataFrame({"person": ["ana"], "length": ["short"]})}, person="ana"))
    assert declared["aspects"].tolist() == [1, read["aspects"][1]]
    nobody = miracle.adapt(Evidence({}, person="ana"))
    assert nobody.examples == 0
    assert miracle.write(CHATS[0], nobody) == miracle.write(CHATS[0], None)
    newer = miracle.choose({"opening": "plain"}, state=declared)
    assert (newer.version, newer["aspects"].tolist()) == (2, [1, 1])
    personal = Miracle(**{**vars_of(miracle), "personal": True})
    personal.__dict__ |= {name: value for name, value in vars(miracle).items() if name.endswith("_")}
    kept = personal.adapt(Evidence({"texts": own}, person="ana"))
    assert kept["mean"].shape == (8,)
    assert personal.write(CHATS[0], kept)


def vars_of(method: Miracle) -> dict[str, Any]:
    return {"lm": method.lm, **FEW}


def test_bad_input_is_named(miracle: Miracle, lm: PopulationLM) -> None:
    with pytest.raises(UnknownId, match="long, short"):
        miracle.choose({"length": "endless"})
    with pytest.raises(UnknownId, match="length, opening"):
        miracle.choose({"mood": "sad"})
    with pytest.raises(BadValue, match="both"):
        miracle.choose([("length", "long"), ("length", "short")])
    assert miracle.choose([("length", "long"), ("length", "long")])["aspects"].tolist() == [0, -1]
    with pytest.raises(BadValue, match="weight"):
        miracle.choose({"length": "long"}, {"length": -1.0})
    two = Evidence({"people": pl.DataFrame({"person": ["a", "a"], "length": ["long", "short"]})}, person="a")
    with pytest.raises(BadValue, match="declared"):
        miracle.adapt(two)
    with pytest.raises(CorruptFile):
        miracle.write(CHATS[0], miracle.make_state({"aspects": np.array([5, 0], np.int8), "weights": np.ones(2, np.float32)}, examples=1))
    with pytest.raises(ConfigError):
        Miracle(lm=lm, steps=0).fit(PEOPLE, progress=False)
    texts = PEOPLE.texts.collect()
    with pytest.raises(MissingColumn, match="attribute"):
        Miracle(lm=lm).fit(Population.from_frames(texts=texts.drop("attribute")), progress=False)
    with pytest.raises(EmptyData, match="one aspect"):
        Miracle(lm=lm).fit(Population.from_frames(texts=texts.filter(pl.col("aspect") != "long")), progress=False)

    # A solver at its limit gives the best place that it has seen, and says so.
    hasty = Miracle(**{**vars_of(miracle), "most_steps": 1})
    hasty.__dict__ |= {name: value for name, value in vars(miracle).items() if name.endswith("_")}
    state = hasty.choose({"length": "long"})
    with pytest.warns(UserWarning, match="6 of 6"):
        hasty.write_all(CHATS, [state] * 6)


def test_gpt2_and_bert_are_trained_by_the_same_loss() -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
    from sartor.write.miracle_transformers import TransformersDialogue

    with seeded(0):
        decoder = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=30, n_positions=32, n_embd=16, n_layer=2, n_head=2))
        shape = transformers.BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
        dialogue: LatentDialogue = TransformersDialogue(decoder, transformers.BertModel(shape), 4, [2, 2], Weights(classes=0.5))
    ids = torch.randint(3, 30, (12, 9), generator=torch.Generator().manual_seed(0))
    tags = torch.arange(12) % 2
    # What the answer begins with tells its aspect, and nothing in the question does.
    ids[:, 4] = tags + 1
    mask, own = torch.ones(12, 9, dtype=torch.bool), torch.zeros(12, 9, dtype=torch.bool)
    mask[0, 7:] = False
    own[:, 4:] = True
    own &= mask
    batch = Batch(ids, mask, own, 0, tags)
    optimizer = torch.optim.Adam(dialogue.parameters(), lr=1e-2)
    dialogue.train()
    with seeded(1):
        first = dialogue.judge([batch])[0]
        for _ in range(60):
            loss = dialogue.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    dialogue.eval()
    assert dialogue.judge([batch])[0] < 0.6 * first
    with torch.no_grad():
        posterior = dialogue.gaussians(batch)[0].mean
        hidden = dialogue.hidden_states(ids[1:2], mask[1:2], posterior[1:2])
        wanted = dialogue.words_out(hidden)[0, 3].argmax()
        assert isinstance(dialogue, TransformersDialogue)
        assert dialogue.write(ids[1:2, :4], posterior[1:2], most=1) == [[int(wanted)]] == [[2]]
        energy = LatentEnergy(dialogue.classifiers, torch.tensor([[1, -1]]), torch.ones(1, 2))
        moved = ode_sample(energy, posterior[:1])
        assert dialogue.write(ids[:1, :4], moved.z, most=1) == [[2]]
        assert dialogue.write(ids[:1, :4], posterior[:1], most=1) == [[1]]
        # Words one by one are those that one pass over all of them foretells.
        long = dialogue.write(ids[1:2, :4], posterior[1:2], most=4)[0]
        whole = torch.cat([ids[1:2, :4], torch.tensor([long])], 1)
        again = dialogue.words_out(dialogue.hidden_states(whole, torch.ones_like(whole, dtype=torch.bool), posterior[1:2]))
        assert again[0, 3:-1].argmax(-1).tolist() == long
