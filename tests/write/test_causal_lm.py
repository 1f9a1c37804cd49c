"""The small language model against transformers, itself uncached, and itself alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, FileProblem, TooLarge
from sartor.write.parts.causal_lm import CausalLM, LMConfig, Past, top_log_probs
from sartor.write.parts.decoding import Sampling, generate
from sartor.write.parts.language_model import LanguageModel
from sartor.write.parts.tokenizer import SPECIAL, Tokenizer

TEXTS = ["the cat sat on the mat", "where is the cat?", "a dog, a cat and a mat", "hello there, where is the dog?"] * 2


@pytest.fixture(scope="module", params=["word", "bpe"])
def tokens(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer.learn(TEXTS, kind=request.param, vocabulary=300)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    tokenizer = Tokenizer.learn(TEXTS, kind="word", vocabulary=300)
    return LanguageModel(CausalLM(LMConfig(vocabulary=len(tokenizer), dim=32, heads=4, kv_heads=2, max_tokens=48), seed=1).eval(), tokenizer)


@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from([*SPECIAL, f" {SPECIAL[1]}x", "\ufffd", "\0", "e\u0301"]))
@settings(max_examples=60, deadline=None)
def test_any_text_round_trips_and_spells_no_special_token(tokens: Tokenizer, text: str) -> None:
    ids = tokens.encode(text)
    assert tokens.decode(ids) == text
    assert not {*ids} & {*tokens.special.values()}
    assert Tokenizer(tokens.to_text()).encode(text) == ids


def test_words_are_single_tokens_wherever_they_stand() -> None:
    tokens = Tokenizer.learn(TEXTS, kind="word", vocabulary=300, more=["<|null|>"])
    assert tokens.encode("cat the cat") == [tokens.number("Ġcat"), tokens.number("Ġthe"), tokens.number("Ġcat")]
    assert tokens.number("<|null|>") < len(tokens)
    with pytest.raises(ConfigError):
        tokens.number("Ġzebra")
    with pytest.raises(EmptyData):
        Tokenizer.learn([" ", ""])
    with pytest.raises(ConfigError):
        Tokenizer.learn(TEXTS, vocabulary=100)
    with pytest.raises(CorruptFile):
        Tokenizer("{}")


def test_equal_to_transformers_from_the_same_folder(model: LanguageModel, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
    folder = model.save(tmp_path / "lm")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.randint(6, len(model.tokenizer), (3, 20), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 20, dtype=torch.bool)
    mask[1, :7] = False
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask.long(), position_ids=positions).logits
        torch.testing.assert_close(model.network(ids, mask=mask)[mask], expected[mask], atol=2e-5, rtol=1e-4)
    messages = [{"role": "user", "content": "where is the cat"}]
    chat = transformers.AutoTokenizer.from_pretrained(folder).apply_chat_template(messages, add_generation_prompt=True)
    assert list(chat["input_ids"] if hasattr(chat, "keys") else chat) == model.tokenizer.chat(messages)


def test_cache_packing_and_padding_change_nothing(model: LanguageModel) -> None:
    network = model.network
    ids = torch.randint(6, len(model.tokenizer), (2, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = network(ids)
        first = network.run(ids[:, :5])
        second = network.run(ids[:, 5:11], past=first.past)
        last = network.run(ids[:, 11:], past=second.past)
        cached = network.words_out(torch.cat([first.hidden, second.hidden, last.hidden], 1))
        torch.testing.assert_close(cached, whole, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(network.words_out(network.run(embeddings=network.embed(ids)).hidden), whole)

        packed = torch.cat([ids[0, :5], ids[1, :7], torch.zeros(2, dtype=torch.int64)])[None]
        segments = torch.tensor([[1] * 5 + [2] * 7 + [0] * 2])
        out = network.words_out(network.run(packed, segments=segments).hidden)
        torch.testing.assert_close(out[0, :5], whole[0, :5], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(out[0, 5:12], whole[1, :7], atol=1e-5, rtol=1e-4)

        # Keys and values of some tokens, given as a prefix, are those tokens.
        past = Past(tuple(k[:, :, :5] for k in first.past.keys), tuple(v[:, :, :5] for v in first.past.values))
        padded = torch.cat([torch.zeros(2, 3, dtype=torch.int64), ids[:, 5:]], 1)
        mask = torch.tensor([[False] * 3 + [True] * 7] * 2)
        torch.testing.assert_close(network(padded, mask=mask, past=past)[:, 3:], whole[:, 5:], atol=1e-5, rtol=1e-4)
        assert len(network.run(ids, states=True).states) == network.config.layers
    values, numbers = top_log_probs(whole[0], 5)
    assert values.shape == numbers.shape == (12, 5)
    torch.testing.assert_close(values[:, 0], whole[0].log_softmax(-1).max(-1).values)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_batch_writes_what_each_prompt_alone_would(model: LanguageModel, temperature: float) -> None:
    prompts = [model.tokenizer.encode(text) for text in ("the cat", "where is the dog and the mat", "a")]
    sampling = Sampling(max_tokens=12, temperature=temperature, top_p=0.9, stop=(model.tokenizer.end,))
    together = generate(model.network, prompts, sampling, seeds=[5, 6, 7])
    alone = [generate(model.network, [one], sampling, seeds=[seed])[0] for one, seed in zip(prompts, (5, 6, 7), strict=True)]
    assert [one.ids for one in together] == [one.ids for one in alone]
    # Also where a longer prompt beside it leaves less room.
    crowd = model.generate([prompts[0], prompts[1] * 6], Sampling(max_tokens=40, temperature=temperature), seeds=[5, 6])
    assert len(crowd[1].ids) == 48 - 6 * len(prompts[1])
    assert crowd[0].ids == model.generate([prompts[0]], Sampling(max_tokens=40, temperature=temperature), seeds=[5])[0].ids
    known = model.log_probs(prompts, [one.ids for one in together])
    for one, own in zip(together, known, strict=True):
        np.testing.assert_allclose(one.log_probs, own, atol=1e-4)


def test_sampling_draws_the_models_own_distribution(model: LanguageModel) -> None:
    prompt = model.tokenizer.encode("the cat")
    drawn = generate(model.network, [prompt] * 3000, Sampling(max_tokens=1, temperature=0.5, top_p=0.6), seeds=range(3000))
    counts = np.bincount([one.ids[0] for one in drawn], minlength=len(model.tokenizer)) / 3000
    with torch.no_grad():
        wanted = (model.network(torch.tensor([prompt]))[0, -1].double() / 0.5).softmax(-1).numpy()
    order = np.argsort(-wanted)
    kept = order[: int((wanted[order].cumsum() < 0.6).sum()) + 1]
    inside = np.zeros_like(wanted)
    inside[kept] = wanted[kept] / wanted[kept].sum()
    assert not counts[inside == 0].any()
    assert abs(counts - inside).sum() / 2 < 0.06


def test_hooks_stops_and_streams(model: LanguageModel) -> None:
    cat, mat = model.tokenizer.number("Ġcat"), model.tokenizer.number("Ġmat")
    steps = []

    def only(logits: torch.Tensor, step: object) -> torch.Tensor:
        steps.append(step.rows.tolist())  # type: ignore[attr-defined]
        out = torch.full_like(logits, -torch.inf)
        for place, written in enumerate(step.written):  # type: ignore[attr-defined]
            out[place, cat if len(written) < 2 else (mat if step.rows[place] == 0 else model.tokenizer.end)] = 0  # type: ignore[attr-defined]
        return out

    chats = [[{"role": "user", "content": "hello"}], [{"role": "user", "content": "where is the dog?"}]]
    assert model.write(chats, model.sampling(max_tokens=4), hooks=[only]) == ["cat cat mat mat", "cat cat"]
    assert steps == [[0, 1]] * 3 + [[0]]
    assert model.write(chats[:1], model.sampling(["t m"], max_tokens=4), hooks=[only]) == ["cat cat mat"]
    for seed in range(3):
        # Bytes of half characters are among what an untrained model writes.
        sampling = model.sampling(max_tokens=20, temperature=1.5)
        assert "".join(model.stream(chats[0], sampling, seeds=[seed])) == model.write(chats[:1], sampling, seeds=[seed])[0]


def test_folders_and_bad_input(model: LanguageModel, tmp_path: Path) -> None:
    folder = model.save(tmp_path / "lm")
    again = LanguageModel.load(folder)
    assert again.fingerprint == model.fingerprint
    with pytest.raises(TooLarge, match="48"):
        model.write([[{"role": "user", "content": "cat " * 60}]])
    with pytest.raises(EmptyData):
        model.generate([[]])
    with pytest.raises(ConfigError, match="role"):
        model.tokenizer.chat([{"role": "tool", "content": ""}])
    for messages in ("hello", [{"role": "user", "content": 5}], [{"content": "cat"}], [None]):
        with pytest.raises(BadValue):
            model.write([messages])  # type: ignore[list-item]
    assert model.tokenizer.chat([{"role": "user", "content": [{"type": "text", "text": "cat"}]}]) == model.tokenizer.chat(
        [{"role": "user", "content": "cat"}]
    )
    with pytest.raises(ConfigError):
        Sampling(top_p=0.0)
    with pytest.raises(FileProblem):
        LanguageModel.load(tmp_path)
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**facts, "attention_bias": True}))
    with pytest.raises(ConfigError, match="attention_bias"):
        LanguageModel.load(folder)
    (folder / "config.json").write_text(json.dumps({**facts, "hidden_size": 64, "head_dim": 16}))
    with pytest.raises(CorruptFile, match="do not fit"):
        LanguageModel.load(folder)
    (folder / "model.safetensors").write_bytes(b"half")
    (folder / "config.json").write_text(json.dumps(facts))
    with pytest.raises(CorruptFile):
        LanguageModel.load(folder)
