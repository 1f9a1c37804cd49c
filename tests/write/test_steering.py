"""Logits hooks against their closed forms, and prefixes against the tokens they stand for and against peft."""

from __future__ import annotations

import pytest
import torch

from sartor.errors import ConfigError
from sartor.write.parts.causal_lm import CausalLM, LMConfig, llama_config
from sartor.write.parts.decoding import Sampling, Step, generate
from sartor.write.parts.logits import CopyHead, Grammar, OnlyTokens, PersonaBias, Trie, ValueAugmented
from sartor.write.parts.soft_prefix import KeyValuePrefix, NormMatch, in_front

V = 24
NETWORK = CausalLM(LMConfig(vocabulary=V, dim=16, layers=2, heads=2, max_tokens=40), seed=3).eval()
PROMPTS = [[3, 4, 5], [7, 8]]


def first(*hooks: object, prompts: list[list[int]] = PROMPTS) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of the first step before and after hooks."""
    seen: list[torch.Tensor] = []

    def look(logits: torch.Tensor, step: Step) -> torch.Tensor:
        seen.append(logits)
        return logits

    generate(NETWORK, prompts, Sampling(max_tokens=1), hooks=[look, *hooks, look])
    return seen[0], seen[-1]


def test_values_give_the_exponential_tilt_of_the_candidates() -> None:
    table = torch.randn(V, generator=torch.Generator().manual_seed(0))
    beta = torch.tensor([[2.0], [0.5]])
    before, after = first(ValueAugmented([lambda ids, step: table[ids]], beta, k=V))
    wanted = before.softmax(-1) * (beta * table).exp()
    torch.testing.assert_close(after.softmax(-1), wanted / wanted.sum(-1, keepdim=True))
    before, few = first(ValueAugmented([lambda ids, step: table[ids]], beta, k=5))
    changed = before.topk(5).indices
    assert torch.equal((few != before).nonzero()[:, 0].bincount(), torch.tensor([5, 5]))
    torch.testing.assert_close((few - before).gather(1, changed).sum(1), torch.zeros(2), atol=1e-5, rtol=0)
    before, same = first(ValueAugmented([lambda ids, step: table[ids]], torch.zeros(2, 1)))
    assert torch.equal(before, same)
    with pytest.raises(ConfigError, match="1 rewards"):
        ValueAugmented([lambda ids, step: table[ids]], torch.zeros(2, 3))


def test_copying_mixes_probabilities_and_sums_duplicates() -> None:
    ids, weights = torch.tensor([[5, 5, 9], [1, 2, 3]]), torch.tensor([[0.25, 0.25, 0.5], [0.0, 0.0, 0.0]])
    before, after = first(CopyHead(lambda step: (ids, weights, torch.tensor([0.3, 0.3]))))
    copied = torch.zeros(V)
    copied[5], copied[9] = 0.5, 0.5
    torch.testing.assert_close(after[0].softmax(-1), 0.3 * before[0].softmax(-1) + 0.7 * copied, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(after[1].softmax(-1), before[1].softmax(-1), atol=1e-6, rtol=1e-4)


def test_persona_bias_has_a_dial() -> None:
    bias = torch.randn(2, V, generator=torch.Generator().manual_seed(1))
    for strength in (0.0, 0.5, 1.0, 8.0):
        before, after = first(PersonaBias(bias, lambda hidden: torch.full((len(hidden),), 0.6), strength))
        share = min(1.0, strength * 0.4)
        torch.testing.assert_close(after, (1 - share) * before + share * bias)
    with pytest.raises(ConfigError):
        PersonaBias(bias, lambda hidden: hidden[:, 0], -1.0)


def test_grammar_and_masks_leave_only_what_is_legal() -> None:
    legal = [[4, 5, 6], [4, 7], [9]]
    trie = Trie(legal, end=1)
    out = generate(NETWORK, PROMPTS * 20, Sampling(max_tokens=9, temperature=1.0, stop=(1,)), hooks=[Grammar(trie.next, 1)], seeds=range(40))
    assert {tuple(one.ids) for one in out} == {tuple(one) for one in legal}
    assert all(one.finish == "stop" for one in out)
    assert trie.next([5]) == []
    _, after = first(OnlyTokens([2, 3]))
    assert torch.isfinite(after).nonzero()[:, 1].tolist() == [2, 3, 2, 3]
    _, after = first(OnlyTokens([2, 3], forbidden=True))
    assert (after == -torch.inf).nonzero()[:, 1].tolist() == [2, 3, 2, 3]


def test_a_prefix_that_begins_as_tokens_is_those_tokens() -> None:
    prefix = KeyValuePrefix(NETWORK, 3, hidden=8, start=[11, 12, 13])
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        whole = NETWORK(torch.tensor([[11, 12, 13, 3, 4, 5]]))[:, 3:]
        torch.testing.assert_close(NETWORK(ids, past=prefix.past(1)), whole, atol=1e-5, rtol=1e-4)
        vectors = NETWORK.embed(torch.tensor([11, 12, 13]))
        torch.testing.assert_close(NETWORK.words_out(NETWORK.run(embeddings=in_front(NETWORK, vectors, ids[0])[None]).hidden)[:, 3:], whole)
    greedy = generate(NETWORK, [[11, 12, 13, 3, 4], [11, 12, 13, 7]], Sampling(max_tokens=6))
    ahead = generate(NETWORK, [[3, 4], [7]], Sampling(max_tokens=6), past=prefix.past(2))
    given = generate(NETWORK, [[0, 0, 0, 3, 4], [11, 12, 13, 7]], Sampling(max_tokens=6), embeddings=[in_front(NETWORK, vectors, [3, 4]), None])
    assert [one.ids for one in greedy] == [one.ids for one in ahead] == [one.ids for one in given]
    NETWORK(ids, past=prefix.past(1)).sum().backward()
    assert prefix.values.grad is not None
    with torch.no_grad():
        assert prefix.net is not None
        prefix.net[2].weight.normal_()
        before = prefix.flat().clone()
        prefix.settle()
    assert prefix.net is None
    assert torch.equal(prefix.flat(), before)
    with pytest.raises(ConfigError):
        KeyValuePrefix(NETWORK, 2, start=[1])
    with pytest.raises(ConfigError):
        KeyValuePrefix(NETWORK, 40)


def test_a_prefix_is_what_peft_would_read() -> None:
    peft = pytest.importorskip("peft", reason="needs peft, which the extra 'dev' installs")
    transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**llama_config(NETWORK.config))).eval()
    theirs.load_state_dict(NETWORK.state_dict(), strict=False)
    prefix = KeyValuePrefix(NETWORK, 3, start=[11, 12, 13])
    tuned = peft.get_peft_model(theirs, peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    with torch.no_grad():
        tuned.prompt_encoder["default"].embedding.weight.copy_(prefix.flat())
        ids = torch.tensor([[3, 4, 5]])
        torch.testing.assert_close(tuned(input_ids=ids).logits, NETWORK(ids, past=prefix.past(1)), atol=1e-5, rtol=1e-4)


def test_norms_follow_the_words() -> None:
    match = NormMatch.of(NETWORK)
    x = 100 * torch.randn(64, 16, generator=torch.Generator().manual_seed(2))
    words = NETWORK.model.embed_tokens.weight.norm(dim=-1).mean()
    torch.testing.assert_close(match(x).norm(dim=-1).mean(), words.detach(), atol=1e-3, rtol=1e-3)
    match.eval()
    torch.testing.assert_close(match(2 * x).norm(dim=-1).mean(), 2 * words.detach(), atol=1e-3, rtol=1e-3)
