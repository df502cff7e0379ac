"""What somebody on call does with the dashboard, in a browser, from the first look to the end."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from outbox.message.document import State
from outbox_api.dashboard.lately import OPENED_SECONDS
from tests.browser.conftest import READER, SECRET, System, Visit, Watched, ago
from tests.waiting import eventually_sync

pytestmark = pytest.mark.browser


def test_find_a_stuck_file_by_name_read_its_story_and_retry_it(system: System, page: Page) -> None:
    file = system.file("Quarterly report (final).pdf")
    message = system.message(State.DEAD, file, last_error="field 'x' holds no text", headers={
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})  # fmt: skip

    verdict = page.get_by_label("Is all well")
    expect(verdict).to_contain_text("1 message could not be delivered")  # without a reload

    page.get_by_role("searchbox").fill("report (fin")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="Quarterly report (final).pdf").click()

    where = page.get_by_label("Where it is")
    expect(where).to_contain_text("It is dead: field 'x' holds no text. Retry or discard it.")
    story = page.get_by_role("main")
    for told in (
        "Its file began to come in",
        "Appended",
        "Died",
        "0af7651916cd43dd8448eb211c80319c",
        "parsing: queued",
    ):
        expect(story).to_contain_text(told)

    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("status")).to_contain_text("Done: retried")
    eventually_sync(lambda: system.state(message) == "published", 15)
    page.reload()
    expect(where).to_contain_text("no worker has been given it yet")
    expect(story).to_contain_text("Retried by an operator")
    expect(story).to_contain_text("In the stream as entry")

    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("row", name=re.compile("alice retry 1"))).to_be_visible()


def test_replay_a_range_after_counting_it(system: System, visit: Visit) -> None:
    inside = [system.message(State.PUBLISHED, at=ago(3)) for _ in range(7)]
    before, after = (system.message(State.PUBLISHED, at=ago(hours)) for hours in (5, 1))
    page = visit("/dashboard/replay")
    page.get_by_label("Appended since").fill("4h")
    page.get_by_label("Until").fill("2h")
    page.get_by_role("button", name="Count").click()
    expect(page.get_by_label("What would be replayed")).to_contain_text("7 messages would be replayed")
    assert {system.state(message) for message in inside} == {"published"}, "a dry run"

    page.get_by_role("button", name="Replay 7 messages").click()
    expect(page.locator("#jobs")).to_contain_text("7 of 7 replayed")
    expect(page.locator("#jobs")).to_contain_text("done")
    fields = ["_id", "state", "attempts", "batch", "tag"]
    again = {"state": "published", "attempts": 2}

    def published_again() -> bool:
        found = list(system.db.outbox.find({"_id": {"$in": inside}}, fields))
        assert [message for message in found if not again.items() <= message.items()] == []
        return len(found) == 7

    eventually_sync(published_again, 15)
    for message in (before, after):
        assert system.db.outbox.count_documents({"_id": message, "attempts": 1}) == 1


def test_discard_is_asked_about_first(system: System, visit: Visit, watched: Watched) -> None:
    message = system.message(State.DEAD)
    page = visit(f"/dashboard/messages/{message}")
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_role("status")).to_contain_text("Done: discarded")
    assert watched.dialogs == ["Delete this message for good?"]
    assert system.state(message) == "gone"


def test_dead_messages_are_grouped_by_reason(system: System, visit: Visit) -> None:
    for number in range(3):
        system.message(State.DEAD, last_error=f"handler failed: row {number} of 17 is empty")
    system.message(State.DEAD, last_error="fields are 300000 bytes; at most 262144")
    page = visit("/dashboard/dead")
    expect(page.get_by_role("row", name=re.compile("^3 handler failed: row … of … is empty"))).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^1 fields are … bytes"))).to_be_visible()


def test_an_outage_begins_and_ends_before_ones_eyes(system: System, page: Page, watched: Watched) -> None:
    verdict, timeline = page.get_by_label("Is all well"), page.get_by_label("Outages and recoveries")
    expect(verdict).to_contain_text("All is well")
    system.redis.kill()
    try:
        expect(verdict).to_contain_text("Redis cannot be reached")
        expect(verdict).to_contain_text("Nothing is lost")
        expect(timeline).to_contain_text("Redis did not answer: not back yet")
        waiting = system.message(State.PENDING)
        expect(verdict).to_contain_text("1 message waits in MongoDB")
    finally:
        system.redis.start()
    expect(timeline).to_contain_text(re.compile(r"Redis did not answer for \d"))
    expect(verdict).not_to_contain_text("Redis cannot be reached")
    eventually_sync(lambda: system.state(waiting) == "published", 15)


def test_the_first_words_tell_what_is_wrong_and_what_to_do(system: System, page: Page) -> None:
    """A file whose entry was acknowledged without a result: nothing waits anywhere, and yet it is stuck."""
    system.file("forgotten.pdf", created_at=ago(2), updated_at=ago(2))
    verdict = page.get_by_label("Is all well")
    expect(verdict).to_contain_text("A file is queued, and nothing is on its way to a worker")
    expect(verdict).to_contain_text("Read its story")
    verdict.get_by_role("link", name="Show me").click()
    expect(page.get_by_role("link", name="forgotten.pdf")).to_be_in_viewport()


def test_the_keyboard_is_enough(system: System, page: Page) -> None:
    file = system.file("keyboard.pdf")
    message = system.message(State.DEAD, file, last_error="no")

    here = "`${document.activeElement.tagName} ${document.activeElement.innerText}`"

    def tab_to(role_and_name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if role_and_name == page.evaluate(here):
                return
        pytest.fail(f"{role_and_name} cannot be reached with Tab")

    page.reload()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    tab_to("A Search")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search")
    page.keyboard.press("Tab")
    for _ in range(30):
        if page.evaluate("document.activeElement.id") == "q":
            break
        page.keyboard.press("Tab")
    page.keyboard.type("keyboard")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="keyboard.pdf")).to_be_visible()
    tab_to("A keyboard.pdf")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "it can be seen where one is"
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{message}")
    tab_to("BUTTON Retry")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Done: retried")


def test_who_may_only_look_is_offered_nothing_else(system: System, visit: Visit) -> None:
    message = system.message(State.DEAD, last_error="no")
    page = visit(f"/dashboard/messages/{message}", secret=READER)
    expect(page.get_by_label("Where it is")).to_contain_text("It is dead")
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    page.get_by_role("button", name="Log out bob").click()
    expect(page.get_by_label("Your key")).to_be_visible()
    page.goto("/dashboard")
    expect(page.get_by_label("Your key")).to_be_visible()


def test_what_happened_before_the_page_was_opened_is_there(system: System, visit: Visit) -> None:
    system.record_a_day()
    system.db.outbox_outages.insert_one({"server": "redis", "since": ago(3), "until": ago(2.5), "waited": 900})
    page = visit()
    page.wait_for_timeout(OPENED_SECONDS * 1000)  # so soon after another, the day is shown as it was then
    page.reload()
    day = page.get_by_label("The last 24 hours", exact=True)
    expect(day).to_contain_text("8,460 messages appended")
    expect(day).to_contain_text("at most 900 pending")
    expect(day).to_contain_text(re.compile(r"a server was away, \d+ times?, for 30 min"))
    page.locator("[data-plot=pending][data-span=day] summary").click()
    rows = page.locator("[data-plot=pending][data-span=day] tbody tr")
    expect(rows.filter(has_text="900").first).to_be_visible()
    expect(rows.filter(has_text="–").first).to_be_visible()  # five minutes of which nothing is on record


def test_a_stuck_worker_is_named_first_and_its_section_is_read(system: System, visit: Visit) -> None:
    file = system.file("stuck.pdf")
    message = system.message(State.PUBLISHED, file, batch=0)
    system.worker("parser-1", message, seconds=900)
    page = visit()
    verdict = page.get_by_label("Is all well")
    expect(verdict).to_contain_text(f"The worker parser-1 (process 7 on here) has worked on message {message}")
    verdict.get_by_role("link", name="Show me: The worker parser-1").click()
    row = page.get_by_role("row", name=re.compile("parser-1 stuck"))
    expect(row).to_be_in_viewport()
    expect(row.get_by_role("link")).to_have_text(str(file))
    verdict.get_by_role("link", name="What it means: The worker parser-1").click()
    page.wait_for_url("**/docs/operations#worker-stuck")
    expect(page.get_by_role("heading", name="worker-stuck")).to_be_in_viewport()


def test_a_stream_is_paused_and_resumed(system: System, page: Page, watched: Watched) -> None:
    page.get_by_role("link", name="Pause file_parsing_queue").click()
    page.get_by_label("Why, for those who find it paused").fill("the disk is full")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_label("Is it paused")).to_contain_text("by alice: the disk is full")
    assert watched.dialogs == ["Pause file_parsing_queue, until somebody resumes it?"]
    page.goto("/dashboard")
    expect(page.get_by_label("Is all well")).to_contain_text("Stream file_parsing_queue has been paused")
    page.get_by_role("link", name="Resume file_parsing_queue").click()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_label("Is it paused")).to_contain_text("It runs.")


def test_a_button_pressed_after_the_session_ended_leads_back_to_its_page(system: System, visit: Visit) -> None:
    message = system.message(State.DEAD, last_error="no")
    page = visit(f"/dashboard/messages/{message}")
    page.context.clear_cookies()
    page.get_by_role("button", name="Retry").click()
    page.get_by_label("Your key").fill(SECRET)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"**/dashboard/messages/{message}")
    assert system.state(message) == "dead"
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("status")).to_contain_text("Done: retried")
