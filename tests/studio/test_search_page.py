"""One question, two orders: the search page over a real server and a real model."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

QUERY = "mirror red"


@pytest.fixture(scope="module")
def searching(site: Any) -> Any:
    """The site, where searching has a model, whether or not it helps in so small a world."""
    site.engine.fit("personal-search", verb="search", holdout=0.3, min_gain=-1.0, progress=False)
    assert site.engine.catch_up(60)
    return site


def titles(page: Any, label: str) -> list[str]:
    return list(page.get_by_role("list", name=label, exact=True).locator("> li .pick-title").all_inner_texts())


def shown(answer: Any) -> list[str]:
    return [str(one.title) for one in answer.items]


def test_a_question_in_two_orders_with_reasons(visiting: Callable[..., Any], searching: Any) -> None:
    engine, person = searching.engine, "person-004"
    visit = visiting(searching.url, viewport={"width": 1280, "height": 900})
    page = visit.page
    page.goto(f"/people/{person}")
    page.get_by_role("link", name=f"Search as {person}").click()
    page.get_by_text("Ask for something.").wait_for()
    page.get_by_label("What").fill(QUERY)
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=mirror+red*")
    mine = page.get_by_role("list", name=f"Found for {person}")
    mine.get_by_role("listitem").nth(9).wait_for()
    page.get_by_role("list", name="Found for anybody").get_by_role("listitem").nth(9).wait_for()
    own, anybody = engine.search(person, QUERY, 10), engine.search(None, QUERY, 10)
    assert own.personal
    assert titles(page, f"Found for {person}") == shown(own)
    assert titles(page, "Found for anybody") == shown(anybody)

    at = next(place for place, one in enumerate(own.items) if one.reasons)
    mine.locator("> li .pick").nth(at).click()
    told = page.locator(".reasons > li .reason-text").all_inner_texts()
    assert len(told) == len(own.items[at].reasons)
    for text, reason in zip(told, own.items[at].reasons, strict=True):
        assert str(reason.title) in text
        assert f"{reason.contribution:+.3f}".replace("-", "−") in text

    # Not personal at all: everybody's order, asked for with the keyboard.
    page.get_by_role("slider").press("Home")
    page.wait_for_url("**strength=0*")
    page.get_by_text("How personal: 0 %").wait_for()
    page.locator(".own-panel .move:not(.same)").first.wait_for(state="detached")
    assert titles(page, f"Found for {person}") == titles(page, "Found for anybody")
    page.get_by_role("button", name="as learned").click()
    page.get_by_text("(as learned)").wait_for()

    page.get_by_label("Only items where").fill("price <")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_role("alert").first.wait_for()
    page.get_by_label("Only items where").fill("title = 'no such title'")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_text("Nothing was found.").first.wait_for()
    page.get_by_role("button", name="Change").click()
    page.get_by_role("combobox", name="For").fill("nobody-at-all")
    page.keyboard.press("Enter")
    page.get_by_label("Only items where").fill("")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_text("Everybody's order: unknown person.").wait_for()
    with page.expect_download() as waiting:
        page.get_by_role("button", name=re.compile("^Download mirror red for anybody")).click()
    assert waiting.value.suggested_filename == "mirror red for anybody.csv"
    visit.check(refused=("422 /v1/search",))


def test_without_a_model_searching_says_what_to_do(visiting: Callable[..., Any], empty: Any) -> None:
    visit = visiting(empty.url)
    visit.page.goto("/search?q=anything")
    visit.page.get_by_text("No model for searching is active.").wait_for()
    visit.page.get_by_role("link", name="Fit “personal-search”.").click()
    visit.page.get_by_role("combobox", name="For").select_option("search")
    assert visit.page.get_by_role("combobox", name="Method").input_value() == "personal-search"
    visit.check()
