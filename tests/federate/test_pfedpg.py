"""pFedPG: prompts reach the model, the generator is pulled to where clients went, heads and the encoder stay where they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import sartor
from sartor.cli import app
from sartor.errors import BadValue, ConfigError, FileProblem, StateMismatch, UnknownId
from sartor.evaluate.federated import PROMPTED, Row, compare
from sartor.federate import datasets
from sartor.federate.federation import Client, Examples, Federation
from sartor.federate.parts import small_vit
from sartor.federate.parts.prompted import FrozenEncoder, digest
from sartor.federate.parts.shards import Shards
from sartor.federate.pfedpg import PFedPG
from sartor.federate.prompted import PromptedFedPer, PromptedLocal
from sartor.method import State

SMALL: dict[str, Any] = {"tokens": 2, "heads": 2, "rounds": 3, "epochs": 2, "batch": 8, "lr": 0.1}


def save_vit(folder: Path, *, width: int = 8, image: int = 8, classes: int = 3, epochs: int = 1) -> str:
    pytest.importorskip("transformers")
    rng = np.random.default_rng(1)
    y = np.arange(12 * classes) % classes
    x = rng.normal(size=(len(y), 1, image, image)).astype(np.float32) * 0.3
    x[:, 0, : image // 2, : image // 2] += y[:, None, None]
    return str(small_vit.learn(x, y, folder, patch=4, width=width, layers=2, heads=2, epochs=epochs))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_vit(tmp_path_factory.mktemp("vit"))


def sites(count: int = 4) -> Federation:
    """Three brightnesses in a corner; each site turns its images another way."""
    rng = np.random.default_rng(0)
    clients = []
    for number in range(count):
        y = rng.integers(0, 3, 24)
        x = rng.normal(size=(24, 1, 8, 8)).astype(np.float32) * 0.3
        x[:, 0, :4, :4] += y[:, None, None]
        x = np.rot90(x, number, (2, 3)).copy()
        clients.append(Client(number, Examples(x[:16], y[:16]), Examples(x[16:], y[16:])))
    return Federation(clients, 3)


@pytest.fixture(scope="module")
def fitted(encoder: str) -> PFedPG:
    return PFedPG(encoder=encoder, **SMALL).fit(sites(), progress=False)


def test_a_prompt_is_tokens_between_the_class_token_and_the_patches(encoder: str) -> None:
    vit = FrozenEncoder.read(encoder)
    x, tokens = torch.from_numpy(sites().clients[0].train.x[:5]), torch.randn(5, 2, 8)
    hidden = vit.model.embeddings(x)
    hidden = torch.cat([hidden[:, :1], tokens, hidden[:, 1:]], dim=1)
    for layer in vit.model.layers:
        hidden = layer(hidden, None)
    torch.testing.assert_close(vit.encode(x, tokens), vit.model.layernorm(hidden)[:, 0])
    assert not torch.allclose(vit.encode(x, tokens), vit.encode(x, None))


def test_clients_at_once_answer_as_each_alone_and_the_first_prompt_is_the_basis(encoder: str, fitted: PFedPG) -> None:
    net, federation = fitted._net, sites()
    table = torch.stack([net.initial(seed) for seed in range(3)])
    x = torch.from_numpy(np.stack([one.train.x for one in federation][:3]))
    together = net.batched(table, x)
    for row in range(3):
        torch.testing.assert_close(together[row], net.logits(table[row], x[row]))
    server = fitted._begin(4)
    sent = fitted._send(server, np.arange(4), 0)["weights"]
    torch.testing.assert_close(sent, server["weights"][: fitted._numbers].expand(4, -1))
    known = FrozenEncoder.read(encoder).head
    assert known is not None
    torch.testing.assert_close(net.split(server["weights"])["head.weight"], known.weight)


def test_one_server_step_lowers_the_mean_loss_at_the_prompts_it_makes(fitted: PFedPG) -> None:
    shards = Shards([one.train for one in sites()])
    server, kept = fitted._begin(4), fitted._fresh(shards)
    rng = torch.Generator().manual_seed(1)
    # Away from the start, where nothing of the attention has a slope yet.
    server["maps"] = torch.randn(server["maps"].shape, generator=rng) * 0.3

    def loss(server: Any) -> float:
        prompts = fitted._send(server, np.arange(4), 0)["weights"]
        batch = shards.whole()
        logits = fitted._net.batched(torch.cat([prompts, kept["head"]], dim=1), *batch.inputs)
        return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.y.flatten()))

    fitted_lr, fitted.lr_head = fitted.lr_head, 1e-9
    try:
        reply, _ = fitted._local(shards, fitted._send(server, np.arange(4), 0), kept, 0)
    finally:
        fitted.lr_head = fitted_lr
    after = fitted._receive(server, np.arange(4), reply, torch.full((4,), 0.25), 0)
    assert loss(after) < loss(server)
    assert all(not torch.equal(after[name], server[name]) for name in ("maps", "descriptors", "weights"))
    torch.testing.assert_close(after["weights"][fitted._numbers :], server["weights"][fitted._numbers :])


def test_only_prompts_travel_and_a_state_is_a_descriptor_and_a_head(fitted: PFedPG, encoder: str, tmp_path: Path) -> None:
    assert fitted.log.sent["weights"]["bytes"] == 2 * 8 * 4
    assert set(fitted.log.sent) == {"weights", "examples"}
    state = State.from_bytes(fitted.states(tuned=False)[1].to_bytes())
    assert {name: one.size for name, one in state.arrays.items()} == {"descriptor": 8, "head": 8 * 3 + 3}
    torch.testing.assert_close(fitted.weights_of(state)[: fitted._numbers].view(2, 8), fitted.prompt_of(1))
    fitted.save(tmp_path / "m")
    x = sites().clients[1].test.x
    np.testing.assert_allclose(sartor.load(tmp_path / "m").predict(x, state), fitted.predict(x, state), atol=1e-6)
    joined = fitted.adapt(sites(5).clients[4].train)
    assert set(joined.arrays) == {"descriptor", "head"}
    with pytest.raises(UnknownId, match="adapt"):
        fitted.prompt_of("nobody")
    loaded = sartor.load(tmp_path / "m")
    loaded.encoder = save_vit(tmp_path / "wide", width=12)
    with pytest.raises(StateMismatch, match="width 8, the encoder of 12"):
        loaded.predict(x, state)


def test_baselines_share_the_encoder_and_differ_in_what_is_sent(encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(datasets.SETS, "digits", lambda seed: sites(5))
    board = tmp_path / "board"
    call = ["federate", "digits", "--encoder", encoder, "--tokens", "2", "--seed", "100", "--rounds", "2", "--epochs", "1", "--board", str(board)]
    result = CliRunner().invoke(app, [*call, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["encoder"], list(found["methods"]), found["settings"]["tokens"]) == (encoder, list(PROMPTED), 2)
    rows = [Row.read(file) for file in board.iterdir()]
    # A prompt of 2 x 8 numbers, a head of 3 x 8 + 3.
    sent = {row.method: row.sent.get("weights", {}).get("shape") for row in rows}
    assert sent == {"head": None, "local": None, "fedavg": [43], "fedper": [16], "pooled": [43], "pfedpg": [16]}
    assert {row.method: row.tuned_bytes // 4 for row in rows} == {**dict.fromkeys(PROMPTED, 43), "head": 27}
    # Another encoder in the same folder is another comparison.
    same, known = tmp_path / "same", len(list(board.iterdir()))
    asked: dict[str, Any] = {"seeds": [100], "settings": found["settings"], "options": {}, "board": board, "progress": False}
    save_vit(same)
    assert digest(same) == digest(encoder)
    compare("digits", ["head"], encoder=str(same), **asked)
    assert len(list(board.iterdir())) == known
    save_vit(same, epochs=2)
    compare("digits", ["head"], encoder=str(same), **asked)
    assert len(list(board.iterdir())) == known + 1
    method = PromptedLocal(encoder=encoder, tokens=2, rounds=1, batch=8).fit(sites(), progress=False)
    state, x = method.states()[0], sites().clients[0].test.x
    method.save(tmp_path / "m")
    np.testing.assert_array_equal(sartor.load(tmp_path / "m").predict(x, state), method.predict(x, state))


def test_a_small_encoder_learns_and_is_read_again(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    x, y = datasets.digits_arrays()
    x, y = x.reshape(-1, 1, 8, 8)[y < 3], y[y < 3]
    vit = FrozenEncoder.read(small_vit.learn(x[:400], y[:400], tmp_path / "vit", patch=4, width=16, layers=1, epochs=20))
    assert vit.head is not None
    with torch.no_grad():
        answers = vit.head(vit.encode(torch.from_numpy(x[400:]), None)).argmax(1).numpy()
    assert (answers == y[400:]).mean() > 0.8


def test_mistakes_of_prompts_have_names(encoder: str, tmp_path: Path) -> None:
    for settings, error, words in (
        ({"encoder": ""}, ConfigError, "no encoder"), ({"encoder": str(tmp_path)}, FileProblem, "no vision model"),
        ({"tokens": 0}, ConfigError, "tokens 0"), ({"heads": 3}, ConfigError, "width of 8"),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            PFedPG(**{"encoder": encoder, **SMALL, **settings}).fit(sites(), progress=False)
    odd = Examples(np.zeros((3, 1, 6, 6), np.float32), np.zeros(3, np.int64))
    with pytest.raises(ConfigError, match=r"\[1, 6, 6\], the encoder reads \[1, 8, 8\]"):
        PFedPG(encoder=encoder, **SMALL).fit(Federation([Client(0, odd, odd)], 3), progress=False)
    table = Examples(np.zeros((3, 5), np.float32), np.zeros(3, np.int64))
    with pytest.raises(ConfigError, match="give images"):
        PromptedFedPer(encoder=encoder).fit(Federation([Client(0, table, table)], 3), progress=False)
    for chosen, encoder_, words in ((["pfedpg"], None, "--encoder"), (["fedcac"], encoder, "with one there are head"), (["head"], None, "head")):
        with pytest.raises(ConfigError, match=words):
            compare("digits", chosen, encoder=encoder_, progress=False)
    with pytest.raises(FileProblem, match="no vision model"):
        compare("digits", ["head"], encoder=str(tmp_path / "nothing"), progress=False)
    cut = Path(save_vit(tmp_path / "cut"), "model.safetensors")
    cut.write_bytes(cut.read_bytes()[:500])
    with pytest.raises(FileProblem, match="no vision model"):
        FrozenEncoder.read(cut.parent)
    for x, y, words in ((odd.x[0], odd.y, "images of shape"), (odd.x, np.full(3, -1), "a class from 0")):
        with pytest.raises(BadValue, match=words):
            small_vit.learn(x, y, tmp_path / "never", patch=3)
    for patch, heads, words in ((4, 4, "patches of 4 in images of 6"), (3, 5, "5 heads")):
        with pytest.raises(ConfigError, match=words):
            small_vit.learn(odd.x, odd.y, tmp_path / "never", patch=patch, heads=heads)
    assert not (tmp_path / "never").exists()
    model = FrozenEncoder.read(encoder).model
    model.config.image_size = 10
    with pytest.raises(ConfigError, match="10 pixels are no multiple of patches of 4"):
        FrozenEncoder(model)
