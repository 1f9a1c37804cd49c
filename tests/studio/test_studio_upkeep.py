"""Journeys of whoever looks after the data: files in, the catalogue, tables out, settings; in a real browser over a server that begins empty."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ITEMS = 240
KINDS = ("view", "purchase")


def downloaded(page: Any, name: str) -> list[dict[str, str]]:
    """The rows of the table's CSV file, as a strict reader has them."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"Download {name} as CSV").click()
    assert waiting.value.suggested_filename == f"{name}.csv"
    text = Path(waiting.value.path()).read_bytes().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def until(page: Any, holds: str) -> None:
    """Wait for something of the page; the content policy lets no waiting inside of it be evaluated."""
    end = time.monotonic() + 30
    while not page.evaluate(holds):
        assert time.monotonic() < end, holds
        page.wait_for_timeout(30)


def choose(page: Any, name: str, text: str) -> None:
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "text/plain", "buffer": text.encode()})


def settled(page: Any, status: str) -> None:
    page.locator(".job .badge", has_text=status).wait_for()


def test_files_are_mapped_checked_and_stored_once(visiting: Callable[..., Any], empty: Any) -> None:
    visit = visiting(empty.url, viewport={"width": 1000, "height": 800})
    page, store = visit.page, empty.engine.store
    rows = [f'ana-{n % 7},"a, book {n}",{1_700_000_000_000 + n},{KINDS[n % 2]},phone' for n in range(300)]
    content = "\n".join(["user_id,sku,bought,event,device", *rows, 'ana-1,,soon,view,"<b>x</b>"', ""])
    page.goto("/data")
    page.get_by_text("The catalogue is empty.").wait_for()
    choose(page, "notes.docx", "x")
    page.get_by_text("This kind of file is not read").wait_for()
    choose(page, "events.csv", content)
    import_ = page.get_by_role("button", name="Check and import")
    import_.wait_for()
    # Common names are found, what is not known is left out, and what is needed is asked for.
    assert page.get_by_label("user_id").input_value() == "person"
    assert (page.get_by_label("event", exact=True).input_value(), page.get_by_label("device").input_value()) == ("kind", "")
    page.get_by_label("sku").select_option("")
    page.get_by_text("Say which column is the item.").wait_for()
    assert import_.is_disabled()
    page.get_by_label("sku").select_option("item")
    page.get_by_label("bought").select_option("time")
    page.get_by_label("device").select_option("keep")
    page.get_by_label("Times are numbers of").select_option("ms")
    page.locator(".first-rows summary").click()
    assert page.get_by_role("region", name="The first rows").get_by_role("row").count() == 21

    import_.click()
    settled(page, "failed")
    wrong = page.get_by_role("region", name="Rows that could not be taken").get_by_role("row")
    assert [cell.strip() for cell in wrong.nth(1).locator("th, td").all_inner_texts()] == ["302", "sku", "the cell is empty"]
    assert store.counts("default")["records"] == 0
    page.get_by_label("Leave out rows that cannot be taken").check()
    for stored, there in (("300", "0"), ("0", "300")):
        import_.click()
        settled(page, "done")
        facts = page.locator(".job dl")
        facts.get_by_text("There already").locator("xpath=..").get_by_text(there, exact=True).wait_for()
        assert facts.get_by_text("Stored", exact=True).locator("xpath=..").locator("b").inner_text() == stored
    assert store.counts("default")["records"] == 300
    one = store.evidence("default", "ana-0")[0]
    assert (one.content["item"], one.content["context"], one.time) == ("a, book 0", {"device": "phone"}, 1_700_000_000.0)
    kinds = page.get_by_role("region", name="Kinds of records")
    kinds.get_by_role("row", name=re.compile(r"view 150 7")).wait_for()

    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Jobs").click()
    jobs = page.get_by_role("region", name="Jobs: rows", exact=True)
    jobs.get_by_role("link", name="Import of events").first.click()
    page.get_by_text("Log, 2 lines").click()
    page.get_by_text("0 new, 300 there already").wait_for()
    assert [one["Status"] for one in downloaded(page, "jobs")] == ["done", "done", "failed"]
    page.goto("/people")
    page.get_by_role("link", name="ana-3").wait_for()
    visit.check()


def test_a_long_catalogue_is_moved_through_changed_and_taken_away(visiting: Callable[..., Any], empty: Any) -> None:
    store = empty.engine.store
    store.put_items("default", [{"item": f"i{n:04}", "title": f"Item {n}", "year": 1900 + n} for n in range(ITEMS)])
    store.put_items("default", [{"item": "i0001", "title": '=HYPERLINK("http://x")'}, {"item": "-7", "title": 'says "hello"\n, twice'}])
    visit = visiting(empty.url, viewport={"width": 900, "height": 800})
    page = visit.page
    page.goto("/data")
    box = page.get_by_role("region", name="Catalogue").last
    box.get_by_role("row").nth(2).wait_for()
    assert box.get_by_role("table").get_attribute("aria-rowcount") == str(ITEMS + 2)
    assert box.locator("tbody:not(.gap) tr").count() < 60, "only rows in sight are in the page"

    box.get_by_role("button").first.focus()
    row = "Number(document.activeElement.closest('tr').ariaRowIndex)"
    page.keyboard.press("ArrowDown")
    until(page, f"{row} === 3")
    page.keyboard.press("PageDown")
    until(page, f"{row} > 8")
    page.keyboard.press("End")
    until(page, f"{row} >= 201")  # the end of the first page; the next ones follow
    until(page, "document.querySelector('.long').closest('section').textContent.includes('241 rows')")
    page.keyboard.press("End")
    until(page, f"{row} === {ITEMS + 2}")
    page.keyboard.press("Home")
    until(page, f"{row} === 2")

    rows = {one["Item"]: one["Title"] for one in downloaded(page, "catalogue")}
    assert len(rows) == ITEMS + 1
    # Nothing that a spreadsheet would run; what only looks like it stays a number.
    assert (rows["i0001"], rows["-7"]) == ('\'=HYPERLINK("http://x")', 'says "hello"\n, twice')

    page.get_by_label("Search the catalogue").fill("item 23")
    page.wait_for_url("**/data?items=item+23")
    until(page, "document.querySelectorAll('.long tbody tr').length === 11")
    page.get_by_role("button", name="Hide: Item 231").click()
    page.get_by_role("button", name="Show again: Item 231").wait_for()
    page.get_by_role("button", name="Delete: Item 232").click()
    with page.expect_response(lambda answer: answer.request.method == "DELETE" and answer.ok):
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete: Item 232").wait_for(state="detached")
    assert store.hidden_items("default") == {"i0231", "i0232"}
    page.get_by_role("button", name="Add an item").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Id").fill("i0232")
    form.get_by_label("Title").fill("Item 23 again")
    form.get_by_label("Categories").fill("a, b")
    form.get_by_role("button", name="Add").click()
    box.get_by_text("Item 23 again").wait_for()
    assert store.items("default", ["i0232"]).row(0, named=True)["categories"] == ["a", "b"]
    visit.check()


def test_settings_are_asked_about_kept_and_audited(visiting: Callable[..., Any], empty: Any) -> None:
    empty.engine.observe("ana", [{"item": "x", "time": 1_000_000_000, "kind": "view"}])
    visit = visiting(empty.url, viewport={"width": 1000, "height": 800})
    page, store = visit.page, empty.engine.store
    page.goto("/settings")
    train = page.get_by_role("switch", name=re.compile("^train"))
    train.click()
    page.get_by_role("dialog").get_by_role("button", name="Leave it").click()
    assert not train.is_checked()
    assert "train" not in store.default_consent("default")
    train.click()
    page.get_by_role("dialog").get_by_role("button", name="Allow it").click()
    page.get_by_role("switch", name=re.compile("^train .* allowed"), checked=True).wait_for()
    assert "train" in store.default_consent("default")

    page.get_by_label("Delete after days").fill("30")
    page.get_by_role("button", name="Set the rule…").click()
    page.get_by_text("1 record would be deleted for good").wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Set it").click()
    rules = page.get_by_role("region", name="Retention rules")
    rules.get_by_role("row", name=re.compile("everything else 30 days")).wait_for()

    page.get_by_label("view", exact=True).fill("0.5")
    page.get_by_role("button", name="Set the weights…").click()
    page.get_by_role("dialog").get_by_role("button", name="Set them").click()
    page.get_by_text("set here").wait_for()
    told = page.evaluate("fetch('/v1/kinds').then(answer => answer.json())")
    assert told["weights"]["view"] == 0.5

    page.get_by_label("dark", exact=True).check()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.get_by_role("button", name="Theme: dark").wait_for()
    page.get_by_text("500 MB").wait_for()
    actions = [one["Action"] for one in downloaded(page, "audit")]
    assert {"default consent", "retention"} <= set(actions)
    visit.check()
