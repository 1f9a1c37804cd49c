"""Recognition over HTTP: her own consent first, names for those who are entitled to them, and nothing after forgetting."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serve_shop import Shop, opened

from sartor.serve.client import Client

pytest.importorskip("PIL", reason="needs the extra 'recognize'")


def files(number: int, each: int, first: int = 0) -> list[bytes]:
    from PIL import Image

    from sartor.data.world.identity import IdentityWorld

    world, out = IdentityWorld(5), []
    for one in world.render(world.shots(np.array([number]), each, first=first, cameras=1, free=0.0, occluded=0.0)):
        Image.fromarray(one).save(file := io.BytesIO(), "PNG")
        out.append(file.getvalue())
    return out


def body(images: list[bytes], **more: Any) -> dict[str, Any]:
    return {"images": [base64.b64encode(one).decode() for one in images], **more}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, model: Any) -> Iterator[Shop]:
    from sartor.data.world.identity import IdentityWorld
    from sartor.recognize.nearest_centroid import NearestCentroid

    folder: Path = tmp_path_factory.mktemp("recognize")
    world = IdentityWorld(5)
    shots = world.shots(np.arange(60), 6, cameras=1, free=0.0, occluded=0.0)
    with opened(folder, model) as shop:
        recognizer: Any = NearestCentroid(encoder="pixels").fit_pictures(world.render(shots), shots.person)
        shop.engine.install(recognizer, verb="recognize")
        yield shop


def test_enrol_identify_verify_forget(place: Shop) -> None:
    refused = place.call("POST", "/v1/people/ana/enrolment", json=body(files(500, 3)))
    assert (refused.status_code, refused.json()["type"].split("/")[-1].split(":")[-1]) == (403, "no-consent")
    for person, number in (("ana", 500), ("ben", 501)):
        assert place.call("PUT", f"/v1/people/{person}/consents", json={"purposes": {"recognize": True}}).status_code < 300
        done = place.call("POST", f"/v1/people/{person}/enrolment", json=body(files(number, 4)))
        assert (done.status_code, done.json().get("pictures")) == (200, 4), done.text
    with Client(place.url, place.keys["default"]) as client:
        found = client.identify([*files(500, 1, 4), *files(501, 1, 4)]).images
        assert [[one.person for one in image.people] for image in found] == [["ana"], ["ben"]]
        assert [one.same for one in client.verify("ana", [*files(500, 1, 5), *files(501, 1, 5)]).images] == [True, False]
        assert client.enrol("ana", files(500, 1, 6)).pictures == 5
        assert client.enrolment("ana").pictures == 5
        assert client.identify(files(700, 1), closest=True).images[0].closest is not None
        assert client.unenrol("ben").removed == 1
        assert (client.enrolment("ben").state_version, client.enrolment("ben").agreed) == (0, True)
    assert place.call("POST", "/v1/people/ana/enrolment", json=body(files(501, 2))).status_code == 409
    # A key of one person learns nothing of others, and may ask about herself.
    bound = place.key(person="ana")
    assert place.call("POST", "/v1/identify", key=bound, json=body(files(500, 1, 4))).status_code == 403
    assert place.call("POST", "/v1/people/ben/verify", key=bound, json=body(files(501, 1, 4))).status_code == 403
    assert place.call("POST", "/v1/people/ana/verify", key=bound, json=body(files(500, 1, 4))).json()["images"][0]["same"]
    # Another tenant knows nobody here.
    assert place.call("POST", "/v1/identify", key=place.keys["other"], json=body(files(500, 1, 4))).status_code == 422
    assert place.call("DELETE", "/v1/people/ana").status_code < 300
    assert place.call("POST", "/v1/identify", json=body(files(500, 1, 4))).json()["images"][0]["people"] == []
    assert place.call("POST", "/v1/people/ana/verify", json=body(files(500, 1, 4))).json()["images"][0]["score"] is None


@pytest.mark.parametrize("sent", [{}, {"images": []}, {"images": ["no base64!"]}, {"images": ["aGVsbG8="]}, {"images": ["aGVsbG8="], "k": 0}])
def test_what_is_no_picture_is_a_problem(place: Shop, sent: dict[str, Any]) -> None:
    answer = place.call("POST", "/v1/identify", json=sent)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"]
