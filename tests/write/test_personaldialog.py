"""Declared traits: the encoder's three fusions, the trained head, the method on our model and on transformers' Llama."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import sartor
from sartor.data.population import Evidence, Population
from sartor.errors import BadValue, ConfigError, CorruptFile, MissingColumn, StateMismatch, UnknownId
from sartor.method import State
from sartor.parts.field_embedding import tensors
from sartor.parts.fields import FieldCodec, UnknownValues
from sartor.write.parts.attribute_encoder import AttributeEncoder
from sartor.write.parts.decoding import Sampling, generate
from sartor.write.parts.logits import drawn
from sartor.write.parts.mixture_head import MixtureHead
from sartor.write.parts.persona_network import PersonaNetwork
from sartor.write.parts.query_shift import QueryShift
from sartor.write.personaldialog import PersonalDialog
from sartor.write.population_lm import PopulationLM

CITIES, JOBS, LOVES = ("oslo", "rome", "lima"), ("baker", "nurse"), ("chess", "jazz", "tea")
POSTS = ("where do you live?", "what do you do?", "what do you love?", "how are you?")


def _people(count: int) -> Population:
    rng = np.random.default_rng(0)
    people, texts = [], []
    for number in range(count):
        city, job, loves = CITIES[number % 3], JOBS[rng.integers(2)], [str(one) for one in rng.permutation(LOVES)[: 1 + number % 2]]
        people.append({"person": f"p{number:02}", "city": city, "job": job, "loves": loves, "shoe": 40 + number % 3})
        said = (f"i live in {city}.", f"i am a {job}.", f"i love {loves[rng.integers(len(loves))]}.", "fine thanks.")
        texts += [{"person": f"p{number:02}", "prompt": post, "text": text, "kind": "reply"} for post, text in zip(POSTS, said, strict=True)]
    return Population.from_frames(people=pl.DataFrame(people), texts=pl.DataFrame(texts))


PEOPLE = _people(60)
TRAITS = ("city", "job", "loves")
CHATS = [[{"role": "user", "content": post}] for post in POSTS]
ANA = {"city": "lima", "job": "nurse", "loves": ["jazz"]}


@pytest.fixture(scope="module")
def lm() -> PopulationLM:
    return PopulationLM(tokens=30_000, dim=32, history=0, vocabulary=330, rows=4, learning_rate=2e-2, soft=0.1).fit(PEOPLE, progress=False)


@pytest.fixture(scope="module")
def method(lm: PopulationLM) -> PersonalDialog:
    return PersonalDialog(lm=lm, traits=TRAITS, steps=80, batch=32, max_new=10).fit(PEOPLE, progress=False)


def test_fusions_are_what_they_say() -> None:
    frame = PEOPLE.people.collect().select(TRAITS)
    codec = FieldCodec.fit(frame)
    codes = tensors(codec.encode(frame[:4]))
    torch.manual_seed(0)
    for fusion, query in (("average", 0), ("concat", 0), ("attention", 5)):
        encoder = AttributeEncoder(codec.fields, 8, fusion=fusion, query=query).eval()  # type: ignore[arg-type]
        vectors = encoder.vectors(codes)
        assert vectors.shape == (4, 3, 8)
        # A list is the mean of its tags: the order says nothing, and of one tag it is that tag.
        flipped = codes | {"loves": codes["loves"].flip(1)}
        torch.testing.assert_close(encoder.vectors(flipped), vectors)
        asked = torch.randn(4, 5)
        fused, weights = encoder.fuse(vectors, asked if query else None)
        assert fused.shape == (4, 8)
        torch.testing.assert_close(weights.sum(-1), torch.ones(4))
        if fusion == "average":
            torch.testing.assert_close(fused, vectors.mean(1))
        if fusion == "attention":
            score = torch.stack([encoder.score(torch.tanh(encoder.asks(asked) + encoder.keys(vectors[:, key])))[:, 0] for key in range(3)], 1)
            torch.testing.assert_close(fused, torch.einsum("bk,bkd->bd", score.softmax(1), vectors))
            several, _ = encoder.fuse(vectors[:, None], asked[:, None].expand(-1, 2, -1))
            torch.testing.assert_close(several, fused[:, None].expand(-1, 2, -1))
    hidden = AttributeEncoder(codec.fields, 8, fusion="average", drop=0.99)
    nothing = hidden.vectors({name: torch.zeros_like(one) for name, one in codes.items()})
    torch.testing.assert_close(hidden.train().vectors(codes)[0], nothing[0])
    for wrong in ({"fusion": "sum"}, {"fusion": "attention"}, {"fusion": "average", "query": 3}, {"fusion": "average", "drop": 1.0}):
        with pytest.raises(ConfigError):
            AttributeEncoder(codec.fields, 8, **wrong)  # type: ignore[arg-type]


def test_the_head_is_the_papers_mixture_and_off_at_zero() -> None:
    torch.manual_seed(1)
    head, logits, hidden, persona = MixtureHead(6, 4, 9), torch.randn(5, 9), torch.randn(5, 6), torch.randn(5, 4)
    torch.nn.init.normal_(head.weigh.weight)
    own = torch.sigmoid(hidden @ head.weigh.weight[0] + head.weigh.bias)[:, None]
    torch.testing.assert_close(head(logits, hidden, persona), own * logits + (1 - own) * head.words(persona))
    assert torch.equal(head(logits, hidden, persona, 0.0), logits)
    torch.testing.assert_close(drawn(logits, head.bias(persona), torch.full((5,), 7.0)), head.bias(persona))


def test_traits_decide_words_where_they_are_asked_for(method: PersonalDialog, lm: PopulationLM) -> None:
    ana, ben = method.edit(None, ANA), method.edit(None, {"city": "rome", "job": "baker", "loves": ["chess", "tea"]})
    said = method.write_all(CHATS, [ana] * 4)
    assert said[:3] == ["i live in lima.", "i am a nurse.", "i love jazz."]
    assert said[3] == lm.write_all(CHATS[3:], [None])[0]
    assert method.write_all(CHATS[:2], [ben] * 2) == ["i live in rome.", "i am a baker."]
    assert method.write_all(CHATS, [ana, ben, None, ana]) == [method.write(chat, who) for chat, who in zip(CHATS, [ana, ben, None, ana], strict=True)]
    own, other, none = (one.sum() for one in method.log_probs([CHATS[0]] * 3, ["i live in lima."] * 3, [ana, ben, None]))
    assert own > none > other
    acting = method.explain(CHATS[0], "i live in lima.", ana)
    at = acting["token"].to_list().index("lima")
    assert acting["city"][at] > 0.5
    assert acting["share"][at] > acting["share"][0]


def test_nothing_said_and_a_dial_at_zero_are_the_population(method: PersonalDialog, lm: PopulationLM) -> None:
    plain = lm.write_all(CHATS, [None] * 4, max_new=10)
    ana = method.edit(None, ANA)
    off = method.edit(ana, strength=0.0)
    silent = method.edit(ana, dict.fromkeys(TRAITS))
    for state in (None, off, silent, method.adapt(Evidence({}, person="ana"))):
        assert method.write_all(CHATS, [state] * 4) == plain
    codes, _ = method._batch([ana] * 4)
    prompts = [lm.model.tokenizer.chat(chat) for chat in CHATS]
    with torch.no_grad():
        zero = method.network_.decoder(lm.model.network, codes, prompts, torch.zeros(4))
        assert [lm.model.tokenizer.decode(one.ids) for one in lm.model.generate(prompts, lm.model.sampling(max_tokens=10), **zero)] == plain


def test_a_state_is_read_edited_and_kept(method: PersonalDialog, tmp_path: Path) -> None:
    before = method.lm.model.fingerprint
    rows = PEOPLE["p01"]
    state = method.adapt(rows)
    assert state.nbytes < 100
    truth = rows.frames["people"].row(0, named=True)
    assert {name: sorted(value) if name == "loves" else value for name, value in method.traits_of(state).items()} == {
        name: sorted(truth[name]) if name == "loves" else truth[name] for name in TRAITS
    }
    moved = method.edit(state, {"city": "lima"}, strength=1.5)
    assert (moved.version, method.traits_of(moved)["city"], method.traits_of(moved)["job"]) == (2, "lima", truth["job"])
    newer = method.adapt(Evidence({"people": pl.DataFrame({"person": ["p01"], "job": ["nurse"], "city": [None]})}, person="p01"), moved)
    assert method.traits_of(newer)["city"] == "lima"
    assert float(newer["strength"][0]) == 1.5
    again = sartor.load(method.save(tmp_path / "traits"))
    assert again.write_all(CHATS, [State.from_bytes(moved.to_bytes())] * 4) == method.write_all(CHATS, [moved] * 4)
    assert again.traits_of(moved) == method.traits_of(moved)
    assert method.lm.model.fingerprint == before
    with pytest.raises(StateMismatch):
        method.write(CHATS[0], method.lm.adapt(PEOPLE["p01"]))


def test_bad_traits_are_named(method: PersonalDialog, lm: PopulationLM) -> None:
    with pytest.raises(UnknownId, match=r"no trait 'hair' \(traits are city, job, loves\)"):
        method.edit(None, {"hair": "red"})
    with pytest.raises(UnknownId, match="no trait 'hair'"):
        method.adapt(Evidence({"people": pl.DataFrame({"person": ["x"], "hair": ["red"]})}, person="x"))
    with pytest.warns(UnknownValues, match="city 1"):
        state = method.edit(None, {"city": "atlantis", "job": "nurse"})
    assert method.traits_of(state) == {"city": None, "job": "nurse", "loves": None}
    assert state.notes == {"unknown": ["city"]}
    twice = pl.DataFrame({"person": ["x", "x"], "city": ["oslo", "rome"], "job": ["nurse", None]})
    with pytest.raises(BadValue, match="two different values"):
        method.adapt(Evidence({"people": twice}, person="x"))
    agreed = method.adapt(Evidence({"people": twice.with_columns(city=pl.lit("oslo"))}, person="x"))
    assert method.traits_of(agreed) == {"city": "oslo", "job": "nurse", "loves": None}
    contradictory = PEOPLE.people.collect()
    contradictory = pl.concat([contradictory, contradictory[:1].with_columns(city=pl.lit("rome"))])
    with pytest.raises(BadValue, match="city"):
        PersonalDialog(lm=lm, traits=TRAITS).fit(PEOPLE.replace(people=contradictory), progress=False)
    with pytest.raises(BadValue, match="among those of"):
        method.adapt(Evidence({"people": twice}, person="y"))
    with pytest.raises(MissingColumn, match="hair"):
        PersonalDialog(lm=lm, traits=("hair",)).fit(PEOPLE, progress=False)
    with pytest.raises(CorruptFile):
        method.traits_of(State({"codes": np.zeros(2, np.int32)}, fingerprint=method.fingerprint_))
    with pytest.raises(ConfigError, match="from 0 to 2"):
        method.edit(None, ANA, strength=3.0)
    for wrong in ({"bias": False}, {"places": 2}, {"steps": 0}):
        with pytest.raises(ConfigError):
            PersonalDialog(lm=lm, traits=TRAITS, **wrong).fit(PEOPLE, progress=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings", [{"bias": False, "attention": True}, {"attention": True, "fusion": "concat"}, {"bias": False, "places": 2, "fusion": "average"}]
)
def test_other_ways_in_learn_too_and_batches_do_not_mix(lm: PopulationLM, settings: dict[str, object]) -> None:
    arm = PersonalDialog(lm=lm, traits=TRAITS, steps=60, batch=32, max_new=10, learning_rate=1e-2, **settings).fit(PEOPLE, progress=False)  # type: ignore[arg-type]
    ana, ben = arm.edit(None, ANA), arm.edit(None, {"city": "rome", "job": "baker"})
    own, other = (one.sum() for one in arm.log_probs([CHATS[0]] * 2, ["i live in lima."] * 2, [ana, ben]))
    assert own > other
    talk = [ana, ben, None, ana]
    assert arm.write_all(CHATS, talk) == [arm.write(chat, who) for chat, who in zip(CHATS, talk, strict=True)]
    assert arm.prompt_tokens(CHATS[:2], [ana, None])[0] == len(lm.model.tokenizer.chat(CHATS[0])) + arm.places


def test_the_same_heads_on_transformers_llama() -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
    from sartor.write.parts.transformers_network import TransformersNetwork

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64, eos_token_id=None, bos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    theirs = transformers.LlamaForCausalLM(config).eval()
    weights = {name: one.clone() for name, one in theirs.state_dict().items()}
    network, codec = TransformersNetwork(theirs), FieldCodec.fit(pl.DataFrame({"city": ["a", "b"]}))
    codes = tensors(codec.encode(pl.DataFrame({"city": ["a", "b"] * 4})))
    ids = torch.tensor([[5, 6, 30, 31], [5, 6, 34, 35]] * 4)
    own = torch.tensor([[False, False, True, True]]).expand(8, -1)
    prompts = [[5, 6], [9, 5, 6]]
    sampling = Sampling(max_tokens=5)
    greedy = [
        theirs.generate(torch.tensor([one]), attention_mask=torch.ones(1, len(one)), max_new_tokens=5, do_sample=False)[0, len(one) :].tolist()
        for one in prompts
    ]
    assert [one.ids for one in generate(network, prompts, sampling)] == greedy  # type: ignore[arg-type]
    for settings in ({}, {"attention": True}, {"bias": False, "fusion": "concat", "places": 2}):
        heads = PersonaNetwork(network, codec.fields, 8, drop=0.0, **settings)  # type: ignore[arg-type]
        optimizer = torch.optim.Adam(heads.parameters(), lr=3e-2)
        losses = []
        for _ in range(40):
            loss = heads.loss(network, codes, ids, torch.ones_like(own), own)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        # Vectors in front of a model that has learned nothing can say little.
        assert losses[-1] < (0.5 if heads.head is not None else 1.0) * losses[0]
        heads.eval()
        two = {"city": codes["city"][:2]}
        filler = [[0] * settings.get("places", 0) + one for one in prompts]  # type: ignore[operator]
        with torch.no_grad():
            said = generate(network, filler, sampling, **heads.decoder(network, two, filler, torch.ones(2)))  # type: ignore[arg-type]
            if "places" not in settings:
                off = generate(network, filler, sampling, **heads.decoder(network, two, filler, torch.zeros(2)))  # type: ignore[arg-type]
                assert [one.ids for one in off] == greedy
                assert said[0].ids != greedy[0]
                own_words, others = (
                    heads.loss(network, {"city": one}, ids, torch.ones_like(own), own) for one in (codes["city"], codes["city"].flip(0))
                )
                assert own_words < others - 0.1
            else:
                front = heads.front(heads.encoder.vectors(two))
                assert front is not None
                read = torch.cat([front[:1], network.embed(torch.tensor([prompts[0]]))], 1)
                wanted = theirs.generate(inputs_embeds=read, attention_mask=torch.ones(read.shape[:2]), max_new_tokens=5, do_sample=False)
                assert said[0].ids == wanted[0].tolist()
    wide = PersonaNetwork(network, codec.fields, 0)
    wide.begin_as(network, {"city": [[30], [34, 35]]})
    with torch.no_grad():
        persona = wide.encoder.vectors({"city": torch.tensor([1, 2])})[:, 0]
        bias = wide.head.bias(persona) if wide.head is not None else torch.empty(0)
    assert bias.argmax(1)[0] == 30
    torch.testing.assert_close(bias[0, 30], torch.tensor(10.0))
    torch.testing.assert_close(bias[1, 34:36].mean(), torch.tensor(10.0))
    with pytest.raises(ConfigError, match="use dim 0"):
        PersonaNetwork(network, codec.fields, 8).begin_as(network, {"city": [[30], [34]]})
    assert all(torch.equal(weights[name], one) for name, one in theirs.state_dict().items())


def test_a_shift_of_queries_is_a_term_of_every_score(lm: PopulationLM) -> None:
    network, ids = lm.model.network, torch.tensor([[7, 8, 9, 10]] * 2)
    plain = network(ids)
    shift = QueryShift(network, lambda rows: lambda x: rows[:, None, None].float() * torch.ones_like(x))
    elsewhere: list[torch.Tensor] = []
    with shift.use([0, 3]):
        moved = network(ids)
        # Nobody else's request on the same network is touched meanwhile.
        other = threading.Thread(target=lambda: elsewhere.append(network(ids)))
        other.start()
        other.join()
    assert torch.equal(elsewhere[0], plain)
    torch.testing.assert_close(moved[0], plain[0])
    assert not torch.allclose(moved[1, 1:], plain[1, 1:], atol=1e-3)
    # One key alone has all the weight, whatever its score.
    torch.testing.assert_close(moved[1, 0], plain[1, 0])
    assert torch.equal(network(ids), plain)
