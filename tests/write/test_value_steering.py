"""Values of what is being written: exact on a chain that can be enumerated, the same around transformers' models, and over an API."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
import torch

from sartor.errors import BadValue, ConfigError, EmptyData
from sartor.parts.value_head import td_lambda
from sartor.write.backends.values import TransformersTrunk, ValueProcessor
from sartor.write.parts.answers import Branch, answer_log_probs
from sartor.write.parts.causal_lm import CausalLM, LMConfig, llama_config
from sartor.write.parts.decoding import Sampling, Step, generate
from sartor.write.parts.logits import ValueAugmented
from sartor.write.parts.preference_tuning import Lessons, Pair, pair_log_probs, tune
from sartor.write.parts.value_model import Lookahead, Sample, ValueModel, teach_values
from sartor.write.remote_values import CompletionEndpoint, rerank_blocks, write_remote

V, STEPS, BETA = 5, 3, 1.5
CHAIN = CausalLM(LMConfig(vocabulary=V, dim=8, layers=1, heads=2, max_tokens=8), seed=1).eval()
REWARDS = np.random.default_rng(0).normal(size=(V,) * STEPS)
TEXTS = list(itertools.product(range(V), repeat=STEPS))
START = 2
END = 1
NETWORK = CausalLM(LMConfig(vocabulary=24, dim=16, layers=2, heads=2, max_tokens=48), seed=3).eval()


def steps_of(network: CausalLM, hooks: Any = ()) -> dict[tuple[int, ...], np.ndarray]:
    """What the sampler itself chooses from after each beginning: beginning -> probabilities float64 [V]."""
    out = {}
    for length in range(STEPS):
        prefixes = list(itertools.product(range(V), repeat=length))
        seen: list[torch.Tensor] = []

        def look(logits: torch.Tensor, step: Step, seen: list[torch.Tensor] = seen) -> torch.Tensor:
            seen.append(logits.double().softmax(-1))
            return logits

        generate(network, [[START, *one] for one in prefixes], Sampling(max_tokens=1), hooks=[*hooks, look])
        out |= dict(zip(prefixes, seen[-1].numpy(), strict=True))
    return out


def texts_of(steps: dict[tuple[int, ...], np.ndarray]) -> np.ndarray:
    """Probability of each text, float64 [V ** STEPS]."""
    return np.array([np.prod([steps[text[:at]][text[at]] for at in range(STEPS)]) for text in TEXTS])


def exact_q(steps: dict[tuple[int, ...], np.ndarray], rewards: np.ndarray) -> dict[tuple[int, ...], float]:
    """Expected reward of each beginning, by enumeration."""
    values = {text: float(rewards[text]) for text in TEXTS}
    for length in reversed(range(STEPS)):
        for prefix in itertools.product(range(V), repeat=length):
            values[prefix] = float(sum(steps[prefix][one] * values[(*prefix, one)] for one in range(V)))
    return values


def closed_form(steps: dict[tuple[int, ...], np.ndarray], rewards: np.ndarray) -> np.ndarray:
    """pi_0 exp(beta Q), normalised at every step."""
    q = exact_q(steps, rewards)
    tilted = {}
    for prefix, chances in steps.items():
        weights = chances * np.exp(BETA * np.array([q[(*prefix, one)] for one in range(V)]))
        tilted[prefix] = weights / weights.sum()
    return texts_of(tilted)


def test_on_a_chain_that_can_be_enumerated_the_sampler_is_the_closed_form() -> None:
    plain = steps_of(CHAIN)
    wanted, chances = closed_form(plain, REWARDS), texts_of(plain)
    # TD(lambda) on all texts, each as often as the frozen model writes it; one number per beginning, until nothing changes.
    table = {text[:at]: 0.0 for text in TEXTS for at in range(STEPS + 1)}
    rewards, mask = torch.zeros(len(TEXTS), STEPS + 1), torch.ones(len(TEXTS), STEPS + 1, dtype=torch.bool)
    rewards[:, -1] = torch.from_numpy(REWARDS.ravel())
    for _ in range(12):
        values = torch.tensor([[table[text[:at]] for at in range(STEPS + 1)] for text in TEXTS])
        returns = td_lambda(values, rewards, mask).numpy()
        total = dict.fromkeys(table, 0.0)
        weight = dict.fromkeys(table, 0.0)
        for text, chance, row in zip(TEXTS, chances, returns, strict=True):
            for at in range(STEPS + 1):
                total[text[:at]] += chance * float(row[at])
                weight[text[:at]] += chance
        table = {prefix: total[prefix] / weight[prefix] for prefix in table}

    def look_up(ids: torch.Tensor, step: Step) -> torch.Tensor:
        rows = zip(step.prompts, step.written, ids.tolist(), strict=True)
        return torch.tensor([[table[(*prompt[1:], *written, one)] for one in own] for prompt, written, own in rows])

    hook = ValueAugmented([look_up], torch.full((V**STEPS, 1), BETA), k=V)
    found = texts_of(steps_of(CHAIN, [hook]))
    assert np.abs(found - wanted).max() <= 1e-3
    assert np.abs(found - chances).max() > 1e-2
    drawn = generate(
        CHAIN, [[START]] * 4_000, Sampling(max_tokens=STEPS, temperature=1.0), hooks=[ValueAugmented([look_up], torch.full((4_000, 1), BETA), V)]
    )
    counts = np.bincount([np.ravel_multi_index(tuple(one.ids), (V,) * STEPS) for one in drawn], minlength=V**STEPS) / 4_000
    assert np.abs(counts - wanted).max() < 0.02


def test_a_value_model_taught_on_samples_comes_close_to_it() -> None:
    plain, worth = steps_of(CHAIN), np.array([1.0, -1.0, 0.5, 0.0, -0.5])
    rewards = worth[:, None, None] + 0 * worth[:, None] + worth
    wanted = closed_form(plain, rewards)
    drawn = generate(CHAIN, [[START]] * 1_000, Sampling(max_tokens=STEPS, temperature=1.0))
    trunk = CausalLM(LMConfig(vocabulary=V, dim=16, layers=1, heads=2, max_tokens=8), seed=2)
    model = ValueModel(trunk, rewards=2, dim=16, seed=1)
    before = {name: one.clone() for name, one in trunk.state_dict().items()}
    # The second reward is the first one turned round.
    made = [Sample([START], one.ids, rewards[tuple(one.ids)] * np.array([1.0, -1.0])) for one in drawn]
    teach_values(model, made, epochs=6, batch=64, learning_rate=1e-2)
    assert all(torch.equal(one, before[name]) for name, one in trunk.state_dict().items())
    beta = torch.tensor([[BETA / 2, -BETA / 2]]).expand(V**STEPS, 2)
    found = texts_of(steps_of(CHAIN, [Fresh(model, beta)]))
    far, near = (np.abs(one - wanted).sum() / 2 for one in (texts_of(plain), found))
    assert near < 0.5 * far
    with pytest.raises(BadValue, match="not finite"):
        teach_values(model, [Sample([START], [1], np.array([np.nan, 0.0]))])
    with pytest.raises(EmptyData):
        teach_values(model, [])
    with pytest.raises(ConfigError, match="0 rewards"):
        ValueModel(CausalLM(CHAIN.config), rewards=0, dim=8)


class Fresh:
    """A hook that begins a look-ahead of its own for every batch."""

    def __init__(self, model: ValueModel, beta: torch.Tensor) -> None:
        self.model, self.beta = model, beta

    def __call__(self, logits: torch.Tensor, step: Step) -> torch.Tensor:
        return ValueAugmented(Lookahead(self.model), self.beta, V)(logits, step)


def valued(trunk: Any = None, rewards: int = 2) -> ValueModel:
    """A value model with weights that are not zero."""
    model = ValueModel(trunk if trunk is not None else CausalLM(NETWORK.config, seed=3), rewards=rewards, dim=16, rank=4)
    random = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for one in model.parameters():
            one.copy_(torch.randn(one.shape, generator=random) * 0.3)
    return model.eval()


def test_looking_ahead_on_a_cache_is_reading_the_whole_text() -> None:
    model, prompts = valued(), [[3, 4, 5, 6], [7], [8, 9]]
    checked = []

    def check(logits: torch.Tensor, step: Step) -> torch.Tensor:
        best = logits.topk(6, -1).indices
        found = ahead(best, step)
        for row, (prompt, written) in enumerate(zip(step.prompts, step.written, strict=True)):
            for place, token in enumerate(best[row].tolist()):
                whole = model.run(torch.tensor([[*prompt, *written, token]]))[0][0, -1]
                torch.testing.assert_close(found[row, place], whole, atol=1e-4, rtol=1e-3)
        checked.append(len(best))
        return logits

    ahead = Lookahead(model)
    # Rows end at different times, so that the cache has to follow.
    generate(NETWORK, prompts, Sampling(max_tokens=7, temperature=1.0), hooks=[check], limits=[3, 7, 5])
    assert checked == [3, 3, 3, 2, 2, 1, 1]


def test_answers_behind_one_context_are_as_likely_as_alone() -> None:
    contexts, branches = [[3, 4, 5, 6], [7]], [Branch(0, [8, 9, 10], 2), Branch(1, [11, 12], 0), Branch(0, [13], 0)]
    found = answer_log_probs(NETWORK, contexts, branches)
    for row, one in enumerate(branches):
        ids = [*contexts[one.context], *one.ids]
        alone = NETWORK(torch.tensor([ids])).log_softmax(-1)[0]
        first = len(contexts[one.context]) + one.read
        torch.testing.assert_close(found[row], sum(alone[at - 1, ids[at]] for at in range(first, len(ids))))
    with pytest.raises(EmptyData):
        answer_log_probs(NETWORK, [[]], branches)


@pytest.mark.parametrize("objective", ["sft", "dpo", "ipo"])
def test_tuning_prefers_what_was_chosen_and_leaves_the_reference(objective: Any) -> None:
    network, reference = CausalLM(NETWORK.config, seed=3), CausalLM(NETWORK.config, seed=3)
    lessons = Lessons([3, 4], [Pair([5], [6, 7, END], [8, 9, END]), Pair([10], [11, END], [12, END])])
    before = pair_log_probs(reference, [lessons])
    weights = {name: one.clone() for name, one in reference.state_dict().items()}
    tune(network, lambda rng: itertools.repeat(lessons), objective, steps=30, batch=1, learning_rate=3e-3, reference=reference, beta=0.1)
    chosen, rejected = pair_log_probs(network, [lessons])
    assert ((chosen - rejected) > (before[0] - before[1]) + 1).all()
    if objective == "ipo":
        torch.testing.assert_close((chosen - rejected) - (before[0] - before[1]), torch.full((2,), 5.0), atol=1.0, rtol=0)
    assert all(torch.equal(one, weights[name]) for name, one in reference.state_dict().items())
    if objective != "sft":
        with pytest.raises(ConfigError, match="no reference"):
            tune(network, lambda rng: itertools.repeat(lessons), objective, steps=1, batch=1, learning_rate=1e-3)


# --- models of transformers


class Vocabulary:
    """A tokenizer as far as its vocabulary goes."""

    def __init__(self, size: int) -> None:
        self.size = size

    def get_vocab(self) -> dict[str, int]:
        return {f"t{number}": number for number in range(self.size)}


def test_around_a_llama_of_transformers_it_is_the_same() -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")

    def llama() -> Any:
        theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**llama_config(NETWORK.config, end=END, pad=0))).eval()
        theirs.load_state_dict(NETWORK.state_dict(), strict=False)
        return theirs

    ours = valued()
    trunk = TransformersTrunk(llama())
    theirs = ValueModel(trunk, rewards=2, dim=trunk.dim, rank=4)
    assert [*theirs.state_dict()] == [*ours.state_dict()]
    theirs.load_state_dict(ours.state_dict())
    beta = torch.tensor([2.0, -3.0])
    prompts = [[3, 4, 5], [7, 8]]
    wanted = generate(NETWORK, prompts, Sampling(max_tokens=8, stop=(END,)), hooks=[ValueAugmented(Lookahead(ours), beta.expand(2, 2), 6)])
    plain = generate(NETWORK, prompts, Sampling(max_tokens=8, stop=(END,)))
    assert [one.ids for one in wanted] != [one.ids for one in plain]
    ids = torch.tensor([[3, 4, 5], [0, 7, 8]])
    steer = ValueProcessor(theirs, beta, tokenizer=Vocabulary(24), policy_tokenizer=Vocabulary(24), k=6, pad=0)
    out = llama().generate(
        ids, attention_mask=(ids > 0).long(), max_new_tokens=8, do_sample=False, logits_processor=[steer], eos_token_id=END, pad_token_id=0
    )
    for row, one in enumerate(wanted):
        assert out[row, 3 : 3 + len(one.ids)].tolist() == one.ids
    taught = ValueModel(TransformersTrunk(llama()), rewards=1, dim=16, rank=2)
    samples = [Sample([3], [token, END], np.array([float(token)])) for token in range(4, 8)]
    losses = teach_values(taught, samples, epochs=6, batch=4, learning_rate=5e-2).losses
    assert losses[-1] < 0.5 * losses[0]
    with pytest.raises(ConfigError, match="tokenizer is not the policy's"):
        ValueProcessor(theirs, beta, tokenizer=Vocabulary(24), policy_tokenizer=Vocabulary(23))
    with pytest.raises(ConfigError, match="2 rewards"):
        ValueProcessor(theirs, torch.ones(3), tokenizer=Vocabulary(24), policy_tokenizer=Vocabulary(24))


# --- a model behind an API


@contextmanager
def served(log_probs: bool = True) -> Iterator[str]:
    """`NETWORK` behind POST /v1/completions, as vLLM has it; texts are numbers with spaces between."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = body["prompt"] if isinstance(body["prompt"], list) else [int(one) for one in body["prompt"].split()]
            bias = torch.zeros(24)
            for number, amount in body.get("logit_bias", {}).items():
                bias[int(number)] += amount
            raw: list[torch.Tensor] = []

            def hook(logits: torch.Tensor, step: Step) -> torch.Tensor:
                raw.append(logits)
                return logits + bias

            count = body.get("n", 1)
            seeds = [body.get("seed", 0) * 100 + one for one in range(count)]
            sampling = Sampling(max_tokens=body["max_tokens"], temperature=body["temperature"], stop=(END,))
            made = generate(NETWORK, [prompt] * count, sampling, hooks=[hook], seeds=seeds)
            choices = []
            for one in made:
                choice: dict[str, Any] = {"text": "".join(f" {token}" for token in one.ids), "finish_reason": one.finish, "logprobs": None}
                if log_probs and "logprobs" in body:
                    best = raw[0][0].log_softmax(-1).topk(body["logprobs"])
                    top = {f"token_id:{int(token)}": float(value) for value, token in zip(*best, strict=True)}
                    choice["logprobs"] = {"tokens": [f"token_id:{token}" for token in one.ids or [END]], "top_logprobs": [top]}
                choices.append(choice)
            data = json.dumps({"choices": choices}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Nothing is said of requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def test_a_model_behind_an_api_is_steered_token_by_token() -> None:
    model, beta, prompt = valued(), [2.0, -3.0], [3, 4, 5]
    with served() as url:
        endpoint = CompletionEndpoint(url, "small")
        found = write_remote(endpoint, model, prompt, beta, end=END, k=6, max_tokens=6, temperature=0.0)
        wanted = generate(NETWORK, [prompt], Sampling(max_tokens=6, stop=(END,)), hooks=[ValueAugmented(Lookahead(model), torch.tensor([beta]), 6)])[
            0
        ]
        assert (found.ids, found.finish) == (wanted.ids, wanted.finish)
        assert found.method == "value-augmented sampling"
        assert found.requests == len(found.ids) + (found.finish == "stop")
        # Drawn with few named tokens, the others come by a second request with a bias against the named ones.
        drawn = write_remote(endpoint, model, prompt, [0.0, 0.0], end=END, k=2, max_tokens=12, temperature=1.0, seed=1)
        assert drawn.requests > len(drawn.ids) + 1
        named = endpoint.top(prompt, 3)[0]
        assert all(endpoint.other(prompt, named, temperature=1.0) not in named for _ in range(5))
        for wrong in ({"temperature": 0.7}, {"k": 21}, {"max_tokens": 0}):
            with pytest.raises(ConfigError):
                write_remote(endpoint, model, prompt, beta, end=END, **wrong)
        with pytest.raises(ConfigError, match="1 dials"):
            write_remote(endpoint, model, prompt, [1.0], end=END)
        endpoint.close()


def test_a_server_without_log_probabilities_is_told_what_it_can_do() -> None:
    model = valued(rewards=1)
    with served(log_probs=False) as url:
        endpoint = CompletionEndpoint(url, "small")
        with pytest.raises(ConfigError, match="rerank_blocks"):
            write_remote(endpoint, model, [3, 4], [1.0], end=END)

        def encode(text: str) -> list[int]:
            return [int(one) for one in text.split()]

        more, told = rerank_blocks(endpoint, model, "3 4", [5.0], encode=encode, n=8, block=8, blocks=2, seed=3)
        less, _ = rerank_blocks(endpoint, model, "3 4", [-5.0], encode=encode, n=8, block=8, blocks=2, seed=3)
        assert told.method == "block re-ranking"
        with torch.no_grad():
            worth = [float(model.run(torch.tensor([encode(f"3 4{text}")]))[0][0, -1, 0]) for text in (more, less)]
        assert worth[0] > worth[1]
        endpoint.close()
