"""Every page for everybody: on a phone, in the dark, read aloud, and with names that mean harm."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from bson import ObjectId
from playwright.sync_api import Page, expect

from outbox.message.document import State
from outbox.streams.declaration import FILES
from tests.browser.conftest import System, Visit, Watched, ago
from tests.waiting import eventually_sync

pytestmark = pytest.mark.browser

IMAGE = "<img src=x onerror=alert(1)>"
FORMULA = "=cmd|' /C calc'!A0"
HOSTILE = [f"""{IMAGE}"><script>alert(2)</script>{{{{7*7}}}}'""", FORMULA]


def planted(system: System, name: str = "a file.pdf", reason: str = "it cannot be sent") -> list[str]:
    """Something on each page; the addresses of all pages."""
    file = system.file(name, folder=name[:200], created_at=ago(1), updated_at=ago(1))
    fields = {"file_id": str(file), "filename": name, "folder_id": name[:200]}
    dead = system.message(State.DEAD, file, last_error=reason, fields=fields)
    published = system.message(State.PUBLISHED, file, fields=fields)
    system.db.outbox_recoveries.insert_one(
        {"at": ago(2), "stream": FILES.name, "number": 1, "owner": "r", "verdict": "lost", "recovered": 3, "settled": 2,
         "kept": 1}
    )  # fmt: skip
    system.db.outbox_outages.insert_one({"server": "redis", "since": ago(3), "until": ago(2.5), "waited": 7})
    system.record_a_day()
    system.worker("stuck-worker", dead, seconds=900)
    job = ObjectId()
    system.db.outbox_jobs.insert_one(
        {"_id": job, "who": "alice", "selection": {"states": ["published"], "key": name}, "before": ago(1),
         "rate": 10.0, "selected": 7, "replayed": 3, "phase": "cancelled", "open": False, "created_at": ago(1)}
    )  # fmt: skip
    system.db.outbox_audit.insert_one(
        {"at": ago(1), "who": "alice", "action": "retry", "count": 1, "details": {"last_error": reason, "key": name}}
    )
    return [
        "/dashboard", "/dashboard/search", "/dashboard/search?q=file", "/dashboard/dead", "/dashboard/audit",
        "/dashboard/replay?since=4h", f"/dashboard/replays/{job}", f"/dashboard/messages/{dead}",
        f"/dashboard/messages/{published}", "/dashboard/messages/000000000000000000000000", "/dashboard/login",
        f"/dashboard/streams/{FILES.name}", "/dashboard/docs", "/dashboard/docs/operations",
    ]  # fmt: skip


def settled(page: Page, path: str) -> None:
    page.goto(path)
    if path == "/dashboard":

        def drawn() -> bool:
            page.goto(path)
            expect(page.locator(".uplot")).to_have_count(8)
            expect(page.locator("[data-plot=pending][data-span=live] [data-value='0']")).not_to_have_text("–")
            return page.locator("[data-plot=pending][data-span=day] [data-value='0']").text_content() != "–"

        # An API that has read the day a few seconds ago, before a test has planted one, shows that for a while.
        eventually_sync(drawn, 20, every=1, what="the recorded day is shown")
        for plot in page.locator("[data-plot] summary").all():
            plot.click()
        for span in ("live", "day"):
            expect(page.locator(f"[data-plot=pending][data-span={span}] tbody tr").first).to_be_visible()


@pytest.fixture
def expected_errors(watched: Watched) -> Any:
    """The page of a message that there is not: the browser tells of its 404."""
    yield
    watched.complaints[:] = [text for text in watched.complaints if "404 (Not Found)" not in text]


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_nothing(system: System, visit: Visit, expected_errors: Any, scheme: Any) -> None:
    pages = planted(system)
    page = visit(color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == (scheme == "dark")
    found = []
    # In the dark, colours alone are new: the pages that have all of them.
    for path in pages if scheme == "light" else [pages[0], *pages[5:9]]:
        settled(page, path)
        # Asked of the browser itself, past the page's own policy, which would not let a stranger's script in.
        result = Axe().run(page)
        found += [f"{path}: {v['id']}: {[node['html'] for node in v['nodes']]}" for v in result.response["violations"]]
    assert found == []


def test_a_phone_shows_all_of_it(system: System, visit: Visit, expected_errors: Any) -> None:
    pages = planted(system, name="a-very-long-name-without-any-place-to-break-" * 5 + ".pdf", reason="x" * 500)
    page = visit(viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True)
    for path in pages:
        settled(page, path)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 320, f"{path} is {wide} wide"
        for button in page.get_by_role("button").all():
            box = button.bounding_box()
            assert box is None or (box["height"] >= 24 and box["x"] >= 0 and box["x"] + box["width"] <= 320), path


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_wherever_they_appear(
    system: System, visit: Visit, watched: Watched, expected_errors: Any, name: str
) -> None:
    pages = planted(system, name, reason=f"{name} cannot be sent")
    with system.redis.client() as redis:
        redis.xgroup_create(FILES.name, name, "0", mkstream=True)
        redis.xgroup_createconsumer(FILES.name, name, name)
    page = visit()
    try:
        for path in [*pages, f"/dashboard/search?q={name}&since={name}"]:
            settled(page, path)
            assert page.locator("img").count() == 0, path
            assert page.locator("script:not([src])").count() == 0, path
            assert page.locator("a[href^='javascript:']").count() == 0, path
            assert "49" not in page.title()
        settled(page, "/dashboard")
        for where in ("#waiting", "#streams"):
            expect(page.locator(where)).to_contain_text(name)
        page.get_by_role("searchbox").fill(name)
        page.get_by_role("button", name="Find").click()
        expect(page.get_by_role("link", name=name, exact=True).first).to_be_visible()
        assert page.get_by_label("File name or part of it").input_value() == name
    finally:
        with system.redis.client() as redis:
            redis.xgroup_destroy(FILES.name, name)
    assert watched.dialogs == []
    watched.complaints[:] = [text for text in watched.complaints if "422" not in text]


def test_nothing_is_exported_where_a_formula_would_act(system: System, visit: Visit, expected_errors: Any) -> None:
    """There is no CSV to open in a spreadsheet: no link to one, and no page that is one."""
    pages = planted(system, FORMULA)
    page = visit()
    kinds = set()
    for path in pages:
        answer = page.goto(path)
        assert answer
        kinds.add(answer.headers["content-type"])
        assert page.locator("a[download]").count() == 0
    assert kinds == {"text/html; charset=utf-8"}


def test_the_page_of_the_api_works_under_its_policy(visit: Visit) -> None:
    """Swagger, from this server alone: the fixture sees to it that nothing strays and nothing complains."""
    page = visit()
    page.goto("/docs")
    expect(page.get_by_text("Upload files").first).to_be_visible()
    expect(page.get_by_role("button", name="Authorize").first).to_be_visible()
