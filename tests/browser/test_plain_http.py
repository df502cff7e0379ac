"""The dashboard where there is no HTTPS, and the machine is not called localhost: browsers trust such pages less."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import ARGUMENTS, CHROMIUM, SECRET, System

HOSTS = ["outbox.example", "127.0.0.2.nip.example"]


@pytest.fixture
def page(system: System, browser: Browser) -> Iterator[Page]:
    """Not that of the other tests: this one goes to a name of its own."""
    rules = "--host-resolver-rules=" + ",".join(f"MAP {host} 127.0.0.1" for host in HOSTS)
    with browser.browser_type.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rules]) as named:
        yield named.new_page()


@pytest.mark.parametrize("host", HOSTS)
def test_one_logs_in_acts_and_logs_out_over_plain_http(host: str, system: System, page: Page) -> None:
    base = system.url.replace("127.0.0.1", host)
    page.goto(f"{base}/dashboard")
    assert not page.evaluate("window.isSecureContext")
    page.get_by_label("Your key").fill(SECRET)
    for button, leads_to in (("Log in", "/dashboard"), ("Log out", "/dashboard/login")):
        with page.expect_request(lambda request: request.method == "POST") as posted:
            page.get_by_role("button", name=button).click()
        page.wait_for_url(f"{base}{leads_to}")
        assert posted.value.all_headers().get("origin") == base


def test_a_page_of_another_site_logs_nobody_in_over_plain_http(system: System, page: Page) -> None:
    target = system.url.replace("127.0.0.1", HOSTS[0])
    key = f'<input name=key value="{SECRET}"><button>Go</button>'
    form = f'<form method=post action="{target}/dashboard/login">{key}</form>'
    for where in ("http://elsewhere.example/", "http://elsewhere.example/same"):
        page.route(where, lambda route: route.fulfill(content_type="text/html", body=form))
        page.goto(where)
        with page.expect_response("**/dashboard/login") as answer:
            page.get_by_role("button", name="Go").click()
        assert answer.value.status == 403
