"""A body that is wrong in many places: it costs little, and the answer is no longer than somebody reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from bson import ObjectId

from outbox.settings import OutboxSettings, load
from outbox_api.app import create_app
from outbox_api.settings import ApiSettings

MANY = 60_000
"""Members that fit into the largest body."""

BOUND = 32 * 1024
"""Bytes of an answer."""


def _takes_json() -> Iterator[tuple[str, str]]:
    for path, operations in create_app(load(ApiSettings), load(OutboxSettings)).openapi()["paths"].items():
        for method, operation in operations.items():
            if "application/json" in operation.get("requestBody", {}).get("content", {}):
                yield method.upper(), path.replace("{name}", "file_parsing_queue")


TAKE_JSON = sorted(_takes_json())


def test_there_are_routes_that_take_json() -> None:
    assert len(TAKE_JSON) == 3


async def refused(api: httpx.AsyncClient, method: str, path: str, body: Any) -> dict[str, Any]:
    content = json.dumps(body, separators=(",", ":")).encode()
    assert len(content) < 1024**2, "a larger body is not read at all"
    answer = await api.request(method, path, content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["title"]) == (422, "Invalid request")
    assert len(answer.content) < BOUND
    problem: dict[str, Any] = answer.json()
    return problem


@pytest.mark.parametrize(("method", "path"), TAKE_JSON)
async def test_unknown_members_are_one_fault_however_many(method: str, path: str, api: httpx.AsyncClient) -> None:
    problem = await refused(api, method, path, {f"member{number}": 1 for number in range(MANY)})
    (fault,) = problem["errors"]
    assert fault["where"] == "body"
    assert f"'member0', 'member1', 'member2' and {MANY - 3} more" in fault["message"]
    (fault,) = (await refused(api, method, path, {"folder": 1}))["errors"]
    assert fault["message"].endswith("not known here: 'folder'")


async def test_a_long_list_of_wrong_ids_is_one_fault(api: httpx.AsyncClient) -> None:
    problem = await refused(api, "POST", "/outbox/replay", {"ids": [str(ObjectId()), *["x"] * 9_999]})
    (fault,) = problem["errors"]
    assert (fault["where"], fault["value"]) == ("body.ids.1", "x")


async def test_an_answer_tells_so_many_faults_and_how_many_there_are(api: httpx.AsyncClient) -> None:
    for count, told in ((100, 100), (1000, 100)):
        problem = await refused(api, "PUT", "/files/reparse", {"files_id": ["x"] * count, "folderId": "a"})
        assert len(problem["errors"]) == told
        assert ("1000 faults in all" in problem["detail"]) is (count == 1000)


@pytest.mark.parametrize("item", [{}, [], {"a": {"a": [{}] * 3}}, None, 1, ["x"] * 9])
async def test_wrong_items_are_no_more_than_that(item: Any, api: httpx.AsyncClient) -> None:
    for method, path, name in (
        ("PUT", "/files/reparse", "files_id"), ("POST", "/outbox/replay", "ids"), ("POST", "/outbox/replay", "states"),
    ):  # fmt: skip
        for count in (1, 2, 1000, 20_000):
            await refused(api, method, path, {name: [item] * count})
