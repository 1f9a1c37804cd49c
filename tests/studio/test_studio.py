"""People's journeys through the studio, in a real browser over a real server."""

from __future__ import annotations

import json
import re
import time
import zipfile
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

PAGES = ["/", "/people", "/search", "/draw", "/recognize", "/data", "/population", "/models", "/jobs", "/systems", "/requests", "/keys", "/settings"]
TABS = ["", "/evidence", "/what-if", "/known", "/privacy"]


@pytest.fixture(scope="module")
def someone(site: Any) -> Callable[[], str]:
    """A person with some events, another one at every call."""
    cards = sorted(site.engine.store.people("default", limit=1000), key=lambda card: card.person)
    people = iter([card.person for card in cards if card.person.startswith("person-") and 8 <= card.records <= 40])
    return lambda: next(people)


def titles(page: Any, label: str) -> list[str]:
    """Titles of a ranked list, best first."""
    return page.get_by_role("list", name=label, exact=True).locator("> li .pick-title").all_inner_texts()


def expected(answer: Any) -> list[str]:
    return [str(pick.title) for pick in answer.items]


def test_both_lists_side_by_side(visit: Any, site: Any, someone: Callable[[], str]) -> None:
    person, page = someone(), visit.page
    page.goto("/people")
    page.get_by_label("Search").fill(person)
    row = page.get_by_role("link", name=person)
    row.wait_for()
    page.wait_for_url(f"**/people?query={person}")
    row.click()
    page.get_by_role("heading", name=person, level=1).wait_for()
    page.get_by_role("list", name="Recommended to anybody").wait_for()
    own, anybody = site.engine.recommend(person, 10), site.engine.recommend(person, 10, personal=False)
    assert titles(page, f"Recommended to {person}") == expected(own)
    assert titles(page, "Recommended to anybody") == expected(anybody)
    common = {pick.item for pick in own.items} & {pick.item for pick in anybody.items}
    page.get_by_text(f"{len(own.items) - len(common)} of {len(own.items)}", exact=True).wait_for()
    page.get_by_role("combobox", name="Items", exact=True).select_option("5")
    page.wait_for_url("**?k=5")
    page.locator(".own-panel .ranked > li").nth(5).wait_for(state="detached")
    page.locator(".anybody-panel .ranked > li").nth(5).wait_for(state="detached")
    assert titles(page, f"Recommended to {person}") == expected(own)[:5]
    visit.check()


def test_why_an_item_is_there_and_the_list_without_it(visit: Any, site: Any, someone: Callable[[], str]) -> None:
    person, page = someone(), visit.page
    first = site.engine.recommend(person, 10).items[0]
    told = site.engine.explain(person, first.item)
    page.goto(f"/people/{person}")
    item = page.get_by_role("list", name=f"Recommended to {person}").get_by_role("button").first
    item.click()
    assert item.get_attribute("aria-expanded") == "true"
    page.locator(".reasons > li").first.wait_for()
    shown = page.locator(".reasons > li .reason-text").all_inner_texts()
    assert len(shown) == len(told.reasons) > 0
    for text, reason in zip(shown, told.reasons, strict=True):
        assert str(reason.title) in text
        assert f"+{reason.contribution:.3f}" in text
    page.get_by_role("button", name=re.compile("^The list without (it|these)")).click()
    page.locator(".without .ranked > li").first.wait_for()
    ids = [one for reason in told.reasons for one in reason.ids]
    assert page.locator(".without .pick-title").all_inner_texts() == expected(site.engine.what_if(person, remove=ids, k=10).after)
    assert f"why={first.item}" in page.url
    visit.check()


def test_what_if_changes_the_list_and_stores_nothing(visit: Any, site: Any, someone: Callable[[], str]) -> None:
    person, page = someone(), visit.page
    before = site.engine.store.count("default", person)
    events = site.engine.store.evidence("default", person, newest_first=True)
    page.goto(f"/people/{person}/what-if")
    page.get_by_text("both lists are the same so far").wait_for()
    for box in range(3):
        page.locator(".pick-events input").nth(box).check()
    change = site.engine.what_if(person, remove=[one.id for one in events[:3]], k=10)
    page.locator(".verdict b", has_text=f"{len(change.moved)} item").wait_for()
    assert titles(page, "As it is") == expected(change.before)
    assert titles(page, "As it would be") == expected(change.after)
    field = page.get_by_role("combobox", name="They also chose")
    field.fill("a")
    page.get_by_role("option").first.wait_for()
    field.press("ArrowDown")
    field.press("Enter")
    page.get_by_role("list", name="Added").wait_for()
    assert site.engine.store.count("default", person) == before
    page.get_by_role("button", name="Make it so…").click()
    page.get_by_role("dialog").get_by_text("3 events will be deleted for good.").wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Make it so").click()
    page.get_by_text("both lists are the same so far").wait_for()
    assert site.engine.store.count("default", person) == before - 3 + 1
    visit.check()


def test_an_event_changes_the_list_within_seconds(visit: Any, site: Any, someone: Callable[[], str]) -> None:
    person, page = someone(), visit.page
    page.goto(f"/people/{person}")
    page.get_by_role("list", name=f"Recommended to {person}").get_by_role("button").first.click()
    chosen = titles(page, f"Recommended to {person}")[0]
    page.get_by_role("button", name="Record that they chose it").click()
    page.locator(".notice").get_by_text(re.compile(r"^Recorded\. State v\d+ of \d+ B after .* of 10 changed\.$")).wait_for()
    page.locator(".own-panel .pick-title", has_text=chosen).wait_for(state="detached")
    assert titles(page, f"Recommended to {person}") == expected(site.engine.recommend(person, 10))
    visit.check()


def test_correcting_waits_for_a_change_of_mind(visit: Any, site: Any, someone: Callable[[], str]) -> None:
    person, page = someone(), visit.page
    before, version = site.engine.store.count("default", person), site.engine.history(person)[0].version
    page.goto(f"/people/{person}/evidence")
    entries = page.locator(".timeline > li")
    entries.first.wait_for()
    assert "import:world" in entries.first.inner_text()
    entries.first.get_by_role("button", name=re.compile("^Remove")).click()
    entries.first.get_by_role("button", name="Undo").click()
    entries.first.get_by_role("button", name=re.compile("^Remove")).wait_for()
    assert site.engine.store.count("default", person) == before
    entries.first.get_by_role("button", name=re.compile("^Remove")).click()
    entries.first.get_by_role("button", name="Remove now").click()
    said = page.locator(".notice").get_by_text(re.compile("^Removed, for good"))
    said.wait_for()
    assert re.match(rf"Removed, for good\. State v{version + 1}, \d+ B, .* later\.", said.inner_text())
    assert site.engine.store.count("default", person) == before - 1
    visit.check()


def test_an_old_state_can_be_brought_back_and_let_go(visit: Any, site: Any, someone: Callable[[], str]) -> None:
    person, page = someone(), visit.page
    site.engine.observe(person, [1, 2])
    assert site.engine.catch_up(10)
    newest = site.engine.history(person)[0].version
    page.goto(f"/people/{person}/known")
    page.get_by_role("button", name=f"Restore version {newest - 1} and hold it").click()
    page.get_by_role("button", name="Release the held state").wait_for()
    row = page.get_by_role("row", name=re.compile("held"))
    assert row.count() == 1
    assert "in use" in row.inner_text()
    page.get_by_role("button", name="Release the held state").click()
    page.get_by_role("button", name="Release the held state").wait_for(state="detached")
    visit.check()


def test_without_consent_the_answer_is_everybodys(visit: Any, site: Any, someone: Callable[[], str]) -> None:
    person, page = someone(), visit.page
    page.goto(f"/people/{person}/privacy")
    switch = page.get_by_role("switch", name=re.compile("^recommend"))
    switch.click()
    page.locator(".consents li", has=switch).get_by_text("not allowed").wait_for()
    page.locator(".consents li", has=switch).get_by_text("by studio").wait_for()
    assert not site.engine.store.allowed("default", person, "recommend")
    page.get_by_role("link", name="Recommendations").click()
    page.get_by_text("Population answer: no consent.").wait_for()
    assert titles(page, f"Recommended to {person}") == expected(site.engine.recommend(person, 10, personal=False))
    page.get_by_role("link", name="Privacy").click()
    with page.expect_response(lambda answer: answer.request.method == "PUT" and answer.ok):
        page.get_by_role("switch", name=re.compile("^recommend")).click()
    page.locator(".consents li").first.get_by_text("allowed", exact=True).wait_for()
    assert site.engine.store.allowed("default", person, "recommend")
    visit.check()


def test_export_is_an_archive_of_this_person(visit: Any, site: Any, someone: Callable[[], str]) -> None:
    person, page = someone(), visit.page
    page.goto(f"/people/{person}/privacy")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download the archive").click()
    assert waiting.value.suggested_filename == f"{person}.zip"
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert archive.testzip() is None
        assert any(person in archive.read(name).decode("utf-8", "replace") for name in archive.namelist())
    page.get_by_text(re.compile(r"^Downloaded, .*B\.$")).wait_for()
    visit.check()


def test_forgetting_is_typed_done_and_proved(visit: Any, site: Any, someone: Callable[[], str]) -> None:
    person, other, page = someone(), someone(), visit.page
    kept = expected(site.engine.recommend(other, 10))
    page.goto(f"/people/{person}/privacy")
    page.get_by_role("button", name=f"Forget {person}…").click()
    dialog = page.get_by_role("dialog")
    button = dialog.get_by_role("button", name="Forget for good")
    assert button.is_disabled()
    dialog.get_by_role("textbox").fill(person[:-1])
    assert button.is_disabled()
    dialog.get_by_role("textbox").fill(person)
    button.click()
    page.get_by_role("heading", name=f"{person} is forgotten").wait_for()
    receipt = page.locator(".receipt").inner_text()
    assert "verified" in receipt
    assert "not verified" not in receipt
    assert "nothing found" in receipt
    assert "unknown person" in receipt
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download receipt").click()
    proof = json.loads(waiting.value.path().read_text())
    assert proof["person"] == person
    assert proof["verified"] is True
    assert proof["removed"]["evidence"] > 0
    assert site.engine.store.count("default", person) == 0
    assert expected(site.engine.recommend(other, 10)) == kept
    page.goto(f"/people/{person}")
    page.get_by_text("Population answer: unknown person.").wait_for()
    visit.check(refused=(f"404 /v1/people/{person}",))


def test_population_shows_who_is_helped_and_who_is_hurt(visit: Any, site: Any) -> None:
    page = visit.page
    page.goto("/population")
    card = site.engine.store.active_model("default", "recommend")
    assert card is not None
    gain = card.report["gain"]["mean"]
    charts = page.get_by_role("img", name=re.compile("people, from"))
    charts.first.wait_for()
    assert charts.count() == 2
    assert f"mean {gain:+.3f}".replace("-", "−") in str(charts.first.get_attribute("aria-label"))
    page.locator("figure").first.get_by_text("As a table").click()
    counted = [int(text) for text in page.locator("figure").first.locator("td").all_inner_texts()]
    assert sum(counted) == card.report["people"]
    slices = page.get_by_role("region", name="Slices").get_by_role("row")
    assert slices.count() == 1 + len(card.report["slices"])
    visit.check()


def test_a_model_is_fitted_as_a_job_and_judged(visit: Any) -> None:
    page = visit.page
    page.goto("/models")
    page.get_by_text(re.compile("^Refused: gain")).wait_for()
    page.get_by_role("combobox", name="Method").select_option("item-knn")
    page.get_by_role("button", name="Fit", exact=True).click()
    page.wait_for_url("**/jobs/*")
    job = page.get_by_role("region", name="Fit item-knn")
    job.get_by_text(re.compile("^(done|failed)$")).wait_for(timeout=30_000)
    assert job.get_by_text("done", exact=True).is_visible()
    page.get_by_role("region", name="All jobs").get_by_role("link", name=re.compile("^Fit item-knn")).wait_for()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Models").click()
    page.locator(".card", has_text="ItemKNN").wait_for()
    visit.check()


def test_systems_show_failures_as_failures(visit: Any, site: Any) -> None:
    from sartor.evaluate.claim import last_results

    last = last_results()
    page = visit.page
    page.goto("/systems?show=failed")
    page.locator(".systems > li").first.wait_for()
    failed = {slug for slug, line in last.items() if not line["passed"]}
    assert set(page.locator(".systems b").all_inner_texts()) >= failed
    page.locator(".systems summary").first.click()
    page.get_by_text("The paper says").first.wait_for()
    visit.check()


def test_what_is_copied_runs(visiting: Callable[..., Any], locked: Any, someone: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, admin = locked.engine.store.create_key("default", label="copies", scopes=["read", "profile", "models", "admin"])
    monkeypatch.setenv("SARTOR_KEY", admin)
    person, visit = someone(), visiting(locked.url)
    page = visit.page
    page.add_init_script(f"sessionStorage.setItem('sartor-key', {json.dumps(admin)})")
    event = locked.engine.store.evidence("default", person)[0].id
    question = "/what-if?remove=" + quote(json.dumps([event]))
    for path in ["/", "/people", "/models", "/population", *(f"/people/{person}{tab}" for tab in ("", "/evidence", question, "/known", "/privacy"))]:
        page.goto(path)
        copied = page.locator(".copy-as").first
        copied.locator("summary").click()
        assert admin not in copied.inner_text()
        exec(compile(copied.locator("pre").nth(1).inner_text(), path, "exec"), {})
    visit.check()


def test_a_key_opens_the_studio_and_stays_in_its_tab(visiting: Callable[..., Any], locked: Any) -> None:
    _, admin = locked.engine.store.create_key("default", label="admin", scopes=["read", "write", "profile", "erase", "models", "admin"])
    _, reader = locked.engine.store.create_key("default", label="reader", scopes=["read", "profile"])
    visit = visiting(locked.url)
    page = visit.page
    page.goto("/keys")
    page.get_by_label("API key").fill("sk_sartor_wrong")
    page.get_by_role("button", name="Open the studio").click()
    page.get_by_role("alert").wait_for()
    page.get_by_label("API key").fill(admin)
    page.get_by_role("button", name="Open the studio").click()
    page.get_by_role("heading", name="Keys & access").wait_for()
    assert page.evaluate("JSON.stringify(localStorage)").count(admin) == 0
    assert page.evaluate("document.cookie") == ""
    assert page.evaluate("sessionStorage.getItem('sartor-key')") == admin

    page.get_by_label("Label").fill("shop")
    page.get_by_role("button", name="Make the key").click()
    secret = page.get_by_role("dialog").locator("code").inner_text()
    assert locked.engine.store.check_key(secret).label == "shop"
    page.get_by_role("button", name="I have it").click()
    page.reload()
    page.get_by_role("row", name=re.compile("^shop ")).wait_for()
    assert secret not in page.content()
    page.get_by_role("button", name="Revoke shop").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    page.get_by_role("row", name=re.compile("^shop .*revoked")).wait_for()

    page.evaluate("key => sessionStorage.setItem('sartor-key', key)", reader)
    page.goto("/keys")
    page.get_by_text("This key does not allow it").wait_for()
    page.goto("/people")
    page.get_by_role("link", name="person-000").wait_for()
    assert page.get_by_role("navigation", name="Pages").get_by_role("link").all_inner_texts()[:3] == ["Home", "People", "Search"]

    _, bound = locked.engine.store.create_key("default", label="hers", scopes=["read", "profile"], person="person-000")
    page.evaluate("key => sessionStorage.setItem('sartor-key', key)", bound)
    page.goto("/")
    page.get_by_role("heading", name="Your key is for one person").wait_for()
    page.get_by_role("main").get_by_role("link", name="person-000").click()
    page.get_by_role("list", name="Recommended to person-000").wait_for()
    visit.check(refused=("401 /v1/me", "403 /v1/keys"))


def becomes(page: Any, read: str, wanted: str) -> None:
    """Wait until something of the page has a value: the focus moves a moment after what moves it."""
    end = time.monotonic() + 30
    while (found := page.evaluate(read)) != wanted:
        assert time.monotonic() < end, (read, found, wanted)
        page.wait_for_timeout(30)


def test_with_the_keyboard_alone(visit: Any, someone: Callable[[], str]) -> None:
    person, page = someone(), visit.page
    focused = "document.activeElement.textContent"
    page.goto("/people")
    page.get_by_role("link", name="person-000").wait_for()
    page.keyboard.press("Tab")
    becomes(page, focused, "Skip to the page")
    page.keyboard.press("Enter")
    becomes(page, "document.activeElement.id", "main")
    page.get_by_role("row").nth(1).get_by_role("link").focus()
    first = page.evaluate(focused)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) != first
    page.keyboard.press("Home")
    becomes(page, focused, first)

    page.keyboard.press("/")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    becomes(page, focused, first)
    press = "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'k', ctrlKey: true, bubbles: true, cancelable: true }))"
    assert page.evaluate(f"{press}, document.activeElement.role") == "combobox", "what is typed next would be lost"
    page.keyboard.type(person)
    page.get_by_role("option", name=person).wait_for()
    page.keyboard.press("ArrowDown")
    assert page.get_by_role("combobox").get_attribute("aria-activedescendant")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/people/{person}")
    page.get_by_role("list", name=f"Recommended to {person}").wait_for()
    ring = "getComputedStyle(document.activeElement).outlineStyle"
    for _ in range(40):
        page.keyboard.press("Tab")
        assert page.evaluate(ring) != "none" or page.evaluate("document.activeElement === document.body")
        if page.evaluate("document.activeElement.matches('.pick')"):
            break
    page.keyboard.press("Enter")
    page.locator(".reasons > li").first.wait_for()
    visit.check()


def test_everything_fits_a_phone_in_the_dark(visiting: Callable[..., Any], site: Any, someone: Callable[[], str], nasty: str) -> None:
    visit = visiting(site.url, viewport={"width": 360, "height": 740}, color_scheme="dark")
    page = visit.page
    people = [f"/people/{quote(person, safe='')}" for person in (someone(), nasty)]
    for path in [*PAGES, *(person + tab for person in people for tab in TABS)]:
        page.goto(path)
        page.locator("h1").wait_for()
        page.locator(".skeleton").first.wait_for(state="detached")
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) <= 0, path
        nameless = "[...document.querySelectorAll('button, a')].filter(one => !one.textContent.trim() && !one.ariaLabel).map(one => one.outerHTML)"
        assert page.evaluate(nameless) == [], path
        small = """[...document.querySelectorAll('button, select, input, nav a')].filter(one => {
            const box = one.getBoundingClientRect(); return box.width && (box.height < 16 || box.width < 16)}).map(one => one.outerHTML)"""
        assert page.evaluate(small) == [], path
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="Systems").click()
    page.get_by_role("heading", name="Systems", level=1).wait_for()
    assert not page.get_by_role("link", name="Population").is_visible()
    visit.check()


def test_light_and_dark_can_be_chosen_and_are_kept(visit: Any) -> None:
    page = visit.page
    ground = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)"
    page.goto("/keys")
    assert page.evaluate(ground) > 700
    page.get_by_role("button", name="Theme: auto").click()
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate(ground) < 100
    page.reload()
    page.get_by_role("button", name="Theme: dark").wait_for()
    assert page.evaluate(ground) < 100
    visit.check()


def test_what_people_wrote_is_text(visit: Any, nasty: str) -> None:
    page = visit.page
    page.goto("/people")
    link = page.get_by_role("link", name=nasty)
    link.click()
    page.get_by_role("heading", name=nasty, level=1).wait_for()
    for tab in TABS:
        page.goto(f"/people/{quote(nasty, safe='')}{tab}")
        page.get_by_role("heading", name=nasty, level=1).wait_for()
        page.locator(".skeleton").first.wait_for(state="detached")
        assert page.locator("main img, main script, main i:not(.skeleton i)").count() == 0
    page.goto("/people/person-000/what-if")
    page.get_by_role("combobox", name="They also chose").fill("<b>Bold</b>")
    page.get_by_role("option", name="<b>Bold</b> & <script>alert(1)</script>").wait_for()
    assert "broken into" not in page.title()
    visit.check()


def test_a_lost_connection_is_said_and_found_again(visit: Any) -> None:
    page = visit.page
    page.goto("/people")
    page.get_by_role("link", name="person-000").wait_for()
    visit.context.set_offline(True)
    page.get_by_text("This machine is offline").wait_for()
    page.get_by_role("link", name="Systems").click()
    page.get_by_text("The server does not answer.").wait_for()
    visit.context.set_offline(False)
    page.locator(".systems > li").first.wait_for()
    visit.seen.errors = [one for one in visit.seen.errors if "ERR_INTERNET_DISCONNECTED" not in one]
    visit.check()


def test_an_empty_engine_says_what_to_do_first(visiting: Callable[..., Any], empty: Any) -> None:
    visit = visiting(empty.url)
    visit.page.goto("/")
    visit.page.get_by_role("heading", name="First: tell it what happened").wait_for()
    visit.page.goto("/people")
    visit.page.get_by_text("Nobody yet.").wait_for()
    visit.page.goto("/people/ana")
    visit.page.get_by_text("No model is active.").first.wait_for()
    visit.check(refused=("404 /v1/people/ana",))
