"""What is remembered of a person, in the studio: told, seen with its source, corrected, confirmed, tried, forgotten; by keyboard, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PERSON = "person-007"


def lines(page: Any, panel: str, count: int) -> list[str]:
    """What a panel lists, once it lists so many."""
    found = page.get_by_role("region", name=panel, exact=True).locator(".timeline > li .about")
    found.nth(count - 1).wait_for()
    return list(found.all_inner_texts())


def test_memories_are_told_seen_corrected_confirmed_and_forgotten(visit: Any) -> None:
    page = visit.page
    page.goto(f"/people/{PERSON}")
    page.get_by_role("link", name="Memories").click()
    page.get_by_text("Nothing is remembered.").wait_for()
    words = page.get_by_label("In the person's own words")
    words.fill("I live in Rome. I love <b>green tea</b>. Maybe I like opera.")
    page.get_by_role("button", name="Remember").click()
    page.get_by_text("3 memories kept.").first.wait_for()
    assert sorted(lines(page, "Memories", 2)) == ["I live in Rome.", "I love <b>green tea</b>."]
    assert lines(page, "Waiting for confirmation", 1) == ["Maybe I like opera."]
    entry = page.get_by_role("listitem").filter(has_text="green tea")
    entry.get_by_text("likes", exact=True).wait_for()
    entry.get_by_text("from api:").wait_for()

    page.get_by_role("button", name="Confirm").click()
    page.get_by_role("heading", name="Waiting for confirmation").wait_for(state="detached")
    assert "Maybe I like opera." in lines(page, "Memories", 3)

    # What is said later holds; the older one is history.
    words.fill("I moved to Oslo.")
    page.get_by_role("button", name="Remember").click()
    page.get_by_text("1 memory kept, 1 no longer hold.").first.wait_for()
    page.get_by_role("listitem").filter(has_text="I live in Rome.").wait_for(state="detached")
    page.get_by_label("Also what no longer holds").check()
    page.get_by_text("held until").wait_for()

    # By keyboard: edit, with the focus in the field and back again.
    edit = page.get_by_role("button", name="Edit: I moved to Oslo.")
    edit.focus()
    page.keyboard.press("Enter")
    field = page.get_by_label("What it should say")
    field.wait_for()
    page.wait_for_function("one => one === document.activeElement", arg=field.element_handle())
    page.keyboard.press("Control+a")
    page.keyboard.type("I moved to Bergen.")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("listitem").filter(has_text="I moved to Bergen.").wait_for()
    page.get_by_role("listitem").filter(has_text="I moved to Bergen.").get_by_role("button", name="2 versions").click()
    page.get_by_role("dialog").get_by_text("I moved to Oslo.").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")

    page.get_by_role("textbox", name="Question").fill("Which tea should I buy?")
    page.get_by_role("button", name="Recall").click()
    found = page.get_by_role("region", name="Try a question", exact=True)
    found.get_by_text("meaning").first.wait_for()
    assert "green tea" in found.locator(".about").first.inner_text()

    page.get_by_role("button", name="Forget: I love").click()
    page.get_by_role("dialog").get_by_role("button", name="Forget", exact=True).click()
    page.get_by_text("Forgotten.").first.wait_for()
    page.get_by_role("dialog").wait_for(state="detached")
    page.get_by_role("region", name="Memories", exact=True).locator(".about", has_text="green tea").wait_for(state="detached")
    assert sorted(lines(page, "Memories", 3)) == ["I live in Rome.", "I moved to Bergen.", "Maybe I like opera."]
    visit.check()


def test_without_the_scopes_nothing_can_be_changed(visiting: Callable[..., Any], locked: Any) -> None:
    locked.engine.remember("reader", "I love tea.")
    _, secret = locked.engine.store.create_key("default", label="reader", scopes=("read", "profile"), person="reader")
    visit = visiting(locked.url, viewport={"width": 360, "height": 740})
    page = visit.page
    page.goto("/people/reader/memories")
    page.get_by_label("API key").fill(secret)
    page.get_by_role("button", name="Open the studio").click()
    page.get_by_text("I love tea.").wait_for()
    assert page.get_by_role("button", name="Remember").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
