"""Who is on a picture: consent, enrolment, names, strangers and deletion on the recognize page, over a real server and a real model."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs the extra 'recognize'")

PERSON, OTHER = "person-011", "person-012"
NUMBER = {PERSON: 500, OTHER: 501}
NAMES = "Who is on them"


def pictures(number: int, each: int, first: int = 0) -> list[dict[str, Any]]:
    """As a browser's file field takes them."""
    from PIL import Image

    from sartor.data.world.identity import IdentityWorld

    world, out = IdentityWorld(5), []
    for at, one in enumerate(world.render(world.shots(np.array([number]), each, first=first, cameras=1, free=0.0, occluded=0.0))):
        Image.fromarray(one).save(file := io.BytesIO(), "PNG")
        out.append({"name": f"{number}-{at}.png", "mimeType": "image/png", "buffer": file.getvalue()})
    return out


@pytest.fixture(scope="module")
def recognizing(site: Any) -> Any:
    from sartor.data.world.identity import IdentityWorld
    from sartor.recognize.nearest_centroid import NearestCentroid

    world = IdentityWorld(5)
    shots = world.shots(np.arange(60), 6, cameras=1, free=0.0, occluded=0.0)
    site.engine.install(NearestCentroid(encoder="pixels").fit_pictures(world.render(shots), shots.person), verb="recognize")
    site.engine.consent(OTHER, "recognize", True)
    site.engine.enrol(OTHER, [one["buffer"] for one in pictures(NUMBER[OTHER], 4)])
    return site


def test_consent_then_pictures_then_a_name_and_all_of_it_taken_back(visiting: Callable[..., Any], recognizing: Any) -> None:
    engine, visit = recognizing.engine, visiting(recognizing.url, viewport={"width": 1280, "height": 900})
    page = visit.page
    page.goto(f"/people/{PERSON}")
    page.get_by_role("link", name=f"Recognize {PERSON}").click()
    # The tenant's default allows it, and does not count.
    page.get_by_text(f"{PERSON} has not agreed to be recognized.").wait_for()
    assert not page.get_by_label("Choose pictures", exact=True).count()
    note = page.get_by_role("button", name="Note the consent")
    assert note.is_disabled()
    page.get_by_label("I have asked").check()
    note.click()
    page.locator(".notice.good", has_text=f"{PERSON} has agreed to be recognized.").wait_for()
    said = engine.store.consents(engine.tenant, PERSON)["recognize"]
    assert (said.granted, said.default) == (True, False)
    assert "vector made from pictures of me" in said.text

    page.get_by_label("Choose pictures", exact=True).set_input_files(pictures(NUMBER[PERSON], 4))
    page.get_by_role("list", name="Chosen pictures").locator('.picture[data-state="shown"]').nth(2).wait_for()
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.locator(".notice.good", has_text="is enrolled from 4 pictures").wait_for()
    assert engine.enrolment(PERSON).pictures == 4

    stranger = next(one for one in (pictures(number, 1) for number in range(700, 730)) if not engine.identify([one[0]["buffer"]])[0].people)
    page.get_by_label("Choose pictures to ask about").set_input_files(
        [*pictures(NUMBER[PERSON], 1, 5), *pictures(NUMBER[OTHER], 1, 4), *stranger]
    )  # fmt: skip
    asked = page.get_by_role("list", name=NAMES).get_by_role("listitem")
    asked.nth(2).wait_for()
    hers, theirs, nobodys = asked.all_inner_texts()
    assert all(word in hers for word in (PERSON, "recognized", f"is {PERSON}"))
    assert all(word in theirs for word in (OTHER, "recognized", f"is not {PERSON}"))
    found = engine.identify([stranger[0]["buffer"]], closest=True)[0]
    assert found.closest is not None
    closest, score = found.closest
    assert all(word in nobodys for word in ("Unknown", f"{found.threshold:.3f}", f"closest: {closest}, " + f"{score:.3f}".replace("-", "−")))
    assert page.get_by_text("Without somebody's own vector").is_visible()

    # Somebody else's pictures are refused in the server's own words, unless she says that it is so.
    page.get_by_label("Choose further pictures").set_input_files(pictures(NUMBER[OTHER], 2, 6))
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.get_by_text("these pictures do not look like who is enrolled under this name").wait_for()
    page.get_by_label(f"They do show {PERSON}").check()
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.locator(".notice.good", has_text="is enrolled from 6 pictures").wait_for()

    page.get_by_role("button", name="Take the consent back").click()
    page.locator(".notice.good", has_text="is named by nobody from now on").wait_for()
    asked.first.get_by_text("no consent: not compared").wait_for()
    assert PERSON not in asked.first.locator("a").all_inner_texts()
    page.get_by_role("button", name="Delete the enrolment…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete for good").click()
    page.locator(".notice.good", has_text=f"of {PERSON} deleted").wait_for()
    assert engine.enrolment(PERSON).state_version == 0
    assert engine.store.history(engine.tenant, PERSON, "recognize") == []
    visit.check(refused=(f"409 /v1/people/{PERSON}/enrolment",))


def test_narrow_and_without_a_model(visiting: Callable[..., Any], empty: Any) -> None:
    visit = visiting(empty.url, viewport={"width": 380, "height": 800})
    visit.page.goto("/recognize")
    visit.page.get_by_text("Show a picture.").wait_for()
    visit.page.get_by_label("Choose pictures to ask about").set_input_files(pictures(500, 1))
    visit.page.get_by_text("no model recognizes yet").wait_for()
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visit.check(refused=("422 /v1/identify",))
