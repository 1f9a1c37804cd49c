"""The chat endpoint under clients that know nothing of it: OpenAI's own, LangChain and LiteLLM, each with nothing changed but the address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from serve_shop import Shop, opened

from _upstream import Upstream, serving

openai = pytest.importorskip("openai", reason="needs the package 'openai' (the extra 'dev')")

TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "of a city", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.fixture(scope="module")
def parrot() -> Iterator[Upstream]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory, model: Any, parrot: Upstream) -> Iterator[Shop]:
    with opened(tmp_path_factory.mktemp("clients"), model, upstream=f"endpoint:{parrot.url}#parrot") as shop:
        shop.engine.remember("ana", "I am allergic to peanuts.")
        yield shop


def seen(parrot: Upstream, mark: str) -> str:
    """The system message that the upstream got with a marked request."""
    found = [one["body"]["messages"] for one in parrot.asked() if mark in str(one.get("body", {}).get("messages", ""))]
    return str(found[-1][0]["content"])


def test_the_official_client(chats: Shop, parrot: Upstream) -> None:
    with openai.OpenAI(base_url=f"{chats.url}/v1", api_key=chats.keys["default"], max_retries=0) as client:
        said: list[Any] = [{"role": "user", "content": "SAY official snacks with peanuts"}]
        made = client.chat.completions.create(model="parrot", messages=said, user="ana")
        assert made.choices[0].message.content == "official snacks with peanuts"
        assert made.model_extra["sartor"]["personal"]
        assert "allergic to peanuts" in seen(parrot, "official")
        raw = client.chat.completions.with_raw_response.create(model="parrot", messages=said, user="ana")
        assert raw.headers["x-sartor-personal"] == "true"
        assert raw.parse().usage.total_tokens > 0
        pieces = list(client.chat.completions.create(model="parrot", messages=said, user="ana", stream=True, stream_options={"include_usage": True}))
        assert "".join(one.choices[0].delta.content or "" for one in pieces if one.choices) == "official snacks with peanuts"
        assert pieces[-1].usage.total_tokens > 0
        call = client.chat.completions.create(model="parrot", messages=[{"role": "user", "content": "TOOL"}], tools=[TOOL], tool_choice="auto")
        assert call.choices[0].message.tool_calls[0].function.name == "weather"
        assert [one.id for one in client.models.list()] == ["parrot"]
        assert client.models.retrieve("parrot").id == "parrot"
        assert client.embeddings.create(model="parrot", input=["ab"], encoding_format="float").data[0].embedding == [2.0, 1.0]
        for wrong, error in ((lambda: client.chat.completions.create(model="parrot", messages=[]), openai.UnprocessableEntityError),):
            with pytest.raises(error) as raised:
                wrong()
            assert raised.value.code == "invalid-request"
            assert raised.value.type == "invalid_request_error"
    with openai.OpenAI(base_url=f"{chats.url}/v1", api_key="sk_sartor_wrong", max_retries=0) as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_a_broken_stream_is_an_error_of_the_official_client(tmp_path: Any, model: Any) -> None:
    with serving("break") as server, opened(tmp_path, model, upstream=f"endpoint:{server.url}#parrot") as shop:
        client = openai.OpenAI(base_url=f"{shop.url}/v1", api_key=shop.keys["default"], max_retries=0)
        pieces = client.chat.completions.create(model="parrot", messages=[{"role": "user", "content": "SAY a b c"}], stream=True)
        with pytest.raises(openai.APIError, match="too early"):
            list(pieces)


def test_embeddings_of_this_process_as_the_official_client_asks_for_them(tmp_path: Any, model: Any) -> None:
    from sartor.represent.hashed_ngrams import HashedNgrams
    from sartor.write.parts.causal_lm import CausalLM, LMConfig
    from sartor.write.parts.language_model import LanguageModel
    from sartor.write.parts.tokenizer import Tokenizer

    tokenizer = Tokenizer.learn(["the cat"], vocabulary=300)
    folder = LanguageModel(CausalLM(LMConfig(vocabulary=len(tokenizer), max_tokens=64)), tokenizer).save(tmp_path / "lm")
    with opened(tmp_path, model, upstream=f"tiny:{folder}", embeddings="hashed:16") as shop:
        with openai.OpenAI(base_url=f"{shop.url}/v1", api_key=shop.keys["default"]) as client:
            # It asks for base64 by itself.
            made = client.embeddings.create(model="hashed:16", input=["soap", "a pan"]).data
        np.testing.assert_allclose([one.embedding for one in made], HashedNgrams(16).encode(["soap", "a pan"]), atol=1e-6)


def test_langchain(chats: Shop, parrot: Upstream) -> None:
    langchain = pytest.importorskip("langchain_openai", reason="needs the package 'langchain-openai' (the extra 'dev')")
    chat = langchain.ChatOpenAI(
        model="parrot", base_url=f"{chats.url}/v1", api_key=chats.keys["default"], max_retries=0, model_kwargs={"user": "ana"}
    )
    assert chat.invoke("SAY chained peanuts").content == "chained peanuts"
    assert "allergic to peanuts" in seen(parrot, "chained")
    assert "".join(str(piece.content) for piece in chat.stream("SAY streamed peanuts")) == "streamed peanuts"
    assert chat.bind_tools([TOOL]).invoke("TOOL").tool_calls[0]["name"] == "weather"


def test_litellm(chats: Shop, parrot: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without this it asks the network for prices when it is imported.
    monkeypatch.setitem(os.environ, "LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = pytest.importorskip("litellm", reason="needs the package 'litellm' (the extra 'dev')")
    about = {"model": "openai/parrot", "api_base": f"{chats.url}/v1", "api_key": chats.keys["default"], "num_retries": 0}
    # Of models that it does not know it passes on only what it is told to.
    about |= {"user": "ana", "allowed_openai_params": ["user"]}
    made = litellm.completion(messages=[{"role": "user", "content": "SAY light peanuts"}], **about)
    assert made.choices[0].message.content == "light peanuts"
    assert "allergic to peanuts" in seen(parrot, "light")
    pieces = litellm.completion(messages=[{"role": "user", "content": "SAY light stream"}], stream=True, **about)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == "light stream"
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(messages=[{"role": "user", "content": "hi"}], **about | {"api_key": "sk_sartor_wrong"})
