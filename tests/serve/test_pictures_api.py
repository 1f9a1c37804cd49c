"""Pictures over HTTP, as OpenAI's own client asks for them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serve_shop import Shop, opened

openai = pytest.importorskip("openai", reason="needs the package 'openai' (the extra 'dev')")
pytest.importorskip("diffusers", reason="needs the extra 'draw'")

PROMPT = "a <pip> on snow"


def photo(number: int) -> str:
    from PIL import Image

    from sartor.data.world.shapes import ShapesWorld

    world = ShapesWorld()
    Image.fromarray(world.references(world.subjects(2, noun="critter")[number], 1).render()[0]).save(out := io.BytesIO(), "PNG")
    return base64.b64encode(out.getvalue()).decode()


@pytest.fixture(scope="module")
def draws(tmp_path_factory: pytest.TempPathFactory, model: Any) -> Iterator[Shop]:
    from sartor.data.world.shapes import VOCABULARY
    from sartor.draw.parts.prior import Prior
    from sartor.draw.textual_inversion import TextualInversion

    folder: Path = tmp_path_factory.mktemp("draws")
    Prior.small(VOCABULARY, widths=(16, 16), text_width=16).save(folder / "prior")
    illustrator = TextualInversion(prior=str(folder / "prior"), steps=2, batch=2, sampling_steps=2, learning_rate=0.5).fit()
    with opened(folder, model) as shop:
        shop.engine.install(illustrator, verb="draw")
        for number, person in enumerate(("ana", "ben")):
            body = {"item": "pip", "class_word": "critter", "images": [{"data": photo(number), "id": "one"}]}
            done = shop.call("POST", f"/v1/people/{person}/pictures", json=body)
            assert done.json()["accepted"] == 1, done.text
            assert shop.call("POST", f"/v1/people/{person}/pictures", json=body).json()["duplicates"] == 1
        assert shop.engine.catch_up(60)
        yield shop


def test_the_official_client_draws(draws: Shop) -> None:
    from PIL import Image

    from sartor.draw.parts.picture_files import facts_in

    with openai.OpenAI(base_url=f"{draws.url}/v1", api_key=draws.keys["default"], max_retries=0) as client:

        def ask(user: str, **more: Any) -> Any:
            return client.images.generate(model="sartor", prompt=PROMPT, user=user, extra_body={"seed": 7}, **more)

        made = ask("ana", n=2, size="24x24", response_format="b64_json")
        files = [base64.b64decode(one.b64_json) for one in made.data]
        wanted = draws.engine.draw("ana", [PROMPT] * 2, seed=7).pictures
        assert wanted is not None
        for file, one in zip(files, wanted, strict=True):
            assert (np.asarray(Image.open(io.BytesIO(file))) == one).all()
        facts = facts_in(files[1])
        assert facts is not None
        assert (facts["generated"], facts["seed"], facts["prompt"]) == (True, 8, PROMPT)
        assert b"ana" not in files[0]
        assert made.model_extra["sartor"]["things"] == ["<pip>"]
        assert made.created > 0
        # Her thing, not his.
        assert base64.b64decode(ask("ben").data[0].b64_json) != base64.b64decode(ask("ana").data[0].b64_json)
        for wrong, words in (
            ({"response_format": "url"}, "no address"), ({"size": "1024x1024"}, "24 x 24"), ({"n": 99}, "n"),
            ({"extra_body": {"sartor": {"strength": 0.5}}}, "strength"), ({"extra_body": {"sartor": {"strength": {"pip": 0.5}}}}, "strength"),
            ({"extra_body": {"sartor": {"regions": {"pip": "nowhere"}}}}, "regions"),
            ({"extra_body": {"sartor": {"regions": {"cup": "left"}}}}, "cup"),
        ):  # fmt: skip
            with pytest.raises(openai.UnprocessableEntityError, match=words):
                client.images.generate(**{"model": "sartor", "prompt": PROMPT, "user": "ana"} | wrong)
        with pytest.raises(openai.UnprocessableEntityError, match="'pip'"):
            ask("stranger")
        where = {"pip": [0, 0, 0.5, 1]}
        held = client.images.generate(model="sartor", prompt=PROMPT, user="ana", extra_body={"seed": 7, "sartor": {"regions": where}})
        told = facts_in(base64.b64decode(held.data[0].b64_json))
        assert told is not None
        assert told["regions"] == {"<pip>": [0, 0, 0.5, 1]}
        assert held.data[0].b64_json != made.data[0].b64_json
        plain = client.images.generate(model="sartor", prompt="a critter on snow", user="stranger")
        assert plain.model_extra["sartor"]["fallback"] == "unknown person"


def test_a_key_of_one_person_draws_her_things_alone(draws: Shop, own: Shop) -> None:
    key = draws.key(person="ana", scopes=("read", "write"))
    with openai.OpenAI(base_url=f"{draws.url}/v1", api_key=key, max_retries=0) as client:
        assert client.images.generate(model="sartor", prompt=PROMPT).model_extra["sartor"]["things"] == ["<pip>"]
        with pytest.raises(openai.PermissionDeniedError):
            client.images.generate(model="sartor", prompt=PROMPT, user="ben")
    bad = draws.call("POST", "/v1/people/ana/pictures", key=key, json={"item": "pip", "images": [{"data": "bm90aGluZw=="}]})
    assert (bad.status_code, bad.json()["type"].rpartition(":")[2]) == (422, "bad-image")
    assert draws.call("POST", "/v1/people/ben/pictures", key=key, json={"item": "pip", "images": [{"data": photo(0)}]}).status_code == 403
    strange = draws.call("POST", "/v1/people/ana/pictures", json={"item": "cup", "class_word": "submarine", "images": [{"data": photo(0)}]})
    assert (strange.status_code, strange.json()["type"].rpartition(":")[2]) == (422, "bad-value")
    assert "submarine" in strange.json()["detail"]
    assert "cup" not in draws.call("GET", "/v1/people/ana/pictures").text
    # Another tenant's people, and a server where nobody draws.
    assert draws.call("POST", "/v1/images/generations", key=draws.keys["other"], json={"prompt": PROMPT, "user": "ana"}).status_code == 404
    nobody = own.call("POST", "/v1/images/generations", json={"prompt": PROMPT})
    assert (nobody.status_code, nobody.json()["error"]["code"]) == (404, "no-illustrator")
