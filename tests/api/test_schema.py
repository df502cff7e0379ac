"""The API keeps to its own OpenAPI document, whatever it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from outbox import schema
from outbox.connections import connect_mongo
from outbox.embedded import Mongod, RedisServer
from outbox.settings import OutboxSettings, load
from tests.api.serving import Api


@pytest.fixture(scope="module")
def api(mongod: Mongod, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    mongod.start()
    redis_server.start()
    own = load(OutboxSettings, mongodb_uri=mongod.uri, redis_url=redis_server.url, mongodb_database="test_openapi")
    asyncio.run(_set_up(own))
    with Api(tmp_path_factory.mktemp("api"), own) as api:
        yield api
        assert "Traceback" not in api.output()
    with mongod.client() as client:
        client.drop_database("test_openapi")


async def _set_up(own: OutboxSettings) -> None:
    async with connect_mongo(own) as mongo:
        await schema.ensure(mongo[own.mongodb_database], own.streams)


@pytest.fixture
def described(api: Api) -> Any:
    return schemathesis.openapi.from_url(f"{api.url}/openapi.json")


operations = schemathesis.pytest.from_fixture("described")


@operations.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_api_keeps_to_its_document(case: schemathesis.Case) -> None:
    case.call_and_validate()
