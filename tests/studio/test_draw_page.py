"""What somebody has shown, drawn beside what anybody gets: the draw page over a real server and a real model."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="needs the extra 'draw'")

PERSON, WORD = "person-007", "pip"


@pytest.fixture(scope="module")
def drawing(site: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The site, where a small untrained prior draws, and one person has shown a thing."""
    from PIL import Image

    from sartor.data.world.shapes import VOCABULARY, ShapesWorld
    from sartor.draw.dreambooth import DreamBooth
    from sartor.draw.parts.prior import Prior

    folder: Path = tmp_path_factory.mktemp("prior") / "small"
    Prior.small(VOCABULARY, widths=(16, 16), text_width=16).save(folder)
    method = DreamBooth(prior=str(folder), steps=2, batch=2, sampling_steps=2, learning_rate=0.2, class_weight=0).fit()
    site.engine.install(method, verb="draw")
    world, photos = ShapesWorld(), []
    for picture in world.references(world.subjects(1, noun="critter")[0], 5).render():
        Image.fromarray(picture).resize((96, 96), Image.Resampling.NEAREST).save(out := io.BytesIO(), "PNG")
        photos.append(out.getvalue())
    site.engine.show(PERSON, WORD, photos, class_word="critter")
    assert site.engine.catch_up(60)
    return site


def pixels(page: Any, label: str) -> np.ndarray:
    """What stands on the canvases of a list, uint8 [n, H, W, 3]."""
    page.locator(f'[aria-label="{label}"] .picture[data-state="shown"]').first.wait_for()
    from PIL import Image

    urls = page.locator(f'[aria-label="{label}"] canvas').evaluate_all("all => all.map(one => one.toDataURL())")
    return np.stack([np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")) for url in urls])


def test_her_thing_beside_anybodys_and_taken_back(visiting: Callable[..., Any], drawing: Any) -> None:
    engine, visit = drawing.engine, visiting(drawing.url, viewport={"width": 1280, "height": 900})
    page = visit.page
    page.goto(f"/people/{PERSON}")
    page.get_by_role("link", name=f"Draw as {PERSON}").click()
    thing = page.get_by_role("list", name=f"Things of {PERSON}").get_by_role("listitem")
    thing.get_by_text("critter, 5 photos").wait_for()
    thing.get_by_text("learned", exact=True).wait_for()
    # The newest four, as she gave them.
    assert pixels(page, f"Things of {PERSON}").shape == (4, 96, 96, 3)
    page.get_by_label("What").fill("a ")
    page.get_by_role("group", name="Words of their things").get_by_role("button").click()
    page.keyboard.type(" on snow")
    page.get_by_label("Seed").fill("7")
    page.get_by_role("combobox", name="Pictures").select_option("2")
    page.wait_for_url(re.compile(r"/draw\?q=a\+%3Cpip%3E\+on\+snow.*seed=7&n=2"))
    prompt = [f"a <{WORD}> on snow"] * 2
    own, anybody = engine.draw(PERSON, prompt, seed=7), engine.draw(None, ["a critter on snow"] * 2, seed=7)
    page.get_by_text("state v1").wait_for()
    assert (pixels(page, f"Drawn for {PERSON}") == own.pictures).all()
    assert (pixels(page, "Drawn for anybody") == anybody.pictures).all()
    with page.expect_download() as waiting:
        page.get_by_role("button", name=re.compile(rf"^Download a <{WORD}> on snow, seed 8")).click()
    from sartor.draw.parts.picture_files import facts_in

    facts = facts_in(waiting.value.path())
    assert facts is not None
    assert (facts["generated"], facts["seed"]) == (True, 8)

    # The slider draws again, and learns nothing.
    page.get_by_role("slider").press("Home")
    page.wait_for_url("**strength=0*")
    page.get_by_text("Strength: 0 %").wait_for()
    weak = engine.draw(PERSON, prompt, seed=7, strength=0.0)
    page.locator(".pictures[aria-busy=true]").first.wait_for(state="detached")
    assert (pixels(page, f"Drawn for {PERSON}") == weak.pictures).all()

    # Without consent no photo is shown, and everybody's picture is hers.
    engine.store.consent(engine.tenant, PERSON, "draw", False)
    page.reload()
    page.get_by_role("link", name="Drawing is not allowed").wait_for()
    page.get_by_text("not shown").wait_for()
    page.get_by_text("Everybody's picture:").wait_for()
    engine.store.consent(engine.tenant, PERSON, "draw", True)

    page.reload()
    page.get_by_role("button", name=f"Delete <{WORD}>").click()
    page.get_by_role("dialog").get_by_text("5 photos will be deleted for good").wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Delete for good").click()
    page.get_by_text("They have shown nothing yet.").wait_for()
    assert engine.things(PERSON) == []
    visit.check(refused=("422 /v1/images/generations",))


def test_narrow_and_without_a_model(visiting: Callable[..., Any], empty: Any) -> None:
    visit = visiting(empty.url, viewport={"width": 380, "height": 800})
    visit.page.goto("/draw")
    visit.page.get_by_text("Say what to draw.").wait_for()
    visit.page.goto("/draw?q=a+mug")
    visit.page.get_by_text("No model that draws is active.").wait_for()
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visit.check(refused=("404 /v1/images/generations",))
