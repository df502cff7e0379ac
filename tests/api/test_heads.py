"""HEAD, wherever GET is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from outbox.database import Database
from outbox.settings import OutboxSettings
from tests.api.connecting import Answer, Raw
from tests.api.serving import Api

MEGABYTE = 1024 * 1024
PATHS = [
    "/files", "/files/{id}", "/files/{id}/content", "/queue", "/outbox/stats", "/outbox/messages", "/outbox/replays",
    "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs", "/docs/static/swagger-ui.css", "/dashboard",
    "/dashboard/login", "/dashboard/dead", "/dashboard/replay", "/dashboard/static/style.css", "/dashboard/events",
    "/nothing", "/files/000000000000000000000000", "/files/000000000000000000000000/content", "/files?limit=0",
]  # fmt: skip


@pytest.fixture
def api(tmp_path: Path, outbox_settings: OutboxSettings, db: Database) -> Iterator[Api]:
    with Api(tmp_path, outbox_settings) as api:
        yield api


def ask(raw: Raw, method: str, path: str) -> Answer:
    raw.send(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return raw.answer(head=method == "HEAD")


def test_head_is_answered_as_get_without_the_body(api: Api) -> None:
    large = ("a.bin", bytes(3 * MEGABYTE))
    uploaded = httpx.post(f"{api.url}/files", files={"file": large}, data={"folderId": "f"}, timeout=60).json()["id"]
    with Raw(api.port) as heads:  # one connection for all: what should not come would be read as the next answer
        for path in (path.replace("{id}", uploaded) for path in PATHS):
            with Raw(api.port) as raw:
                expected = ask(raw, "GET", path)
            found = ask(heads, "HEAD", path)
            assert found.status == expected.status, path
            assert {*found.headers} == {*expected.headers}, path
            assert found.headers.get("content-type") == expected.headers.get("content-type"), path
            if path.endswith("/content"):
                assert found.headers.get("content-length") == expected.headers.get("content-length")
        assert ask(heads, "GET", "/health/live").json == {"status": "live"}
    assert "Traceback" not in api.output()


def test_head_does_no_work_that_get_does_not(api: Api) -> None:
    with Raw(api.port) as raw:
        for path in ("/outbox/replay", "/files/reparse", "/dashboard/logout"):
            refused = ask(raw, "HEAD", path)
            assert refused.status in (404, 405, 422), path
            assert "HEAD" not in refused.headers.get("allow", ""), path


def test_what_a_path_takes_is_said(api: Api) -> None:
    with Raw(api.port) as raw:
        for method in ("DELETE", "OPTIONS", "TRACE", "PATCH"):
            refused = ask(raw, method, "/files")
            assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, POST"), method


def test_metrics_count_heads_as_such(api: Api) -> None:
    httpx.head(f"{api.url}/files", timeout=60)
    assert (
        'api_requests_total{method="HEAD",route="/files",status="200"} 1.0'
        in httpx.get(f"{api.url}/metrics", timeout=60).text
    )
