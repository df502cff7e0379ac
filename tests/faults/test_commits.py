"""Commits whose replies are lost, late or not waited for: what is acknowledged is published, once; what never happened
is not (G1, G2, G4).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from bson import ObjectId
from pydantic import SecretStr
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from outbox import CommitUnknown, Outbox
from outbox.database import OUTBOX, Document
from outbox.servers import transaction
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, load
from outbox_api.app import create_app
from outbox_api.settings import ApiSettings
from tests.faults.history import Appended, RolledBack
from tests.faults.proxy import Proxy, Way
from tests.faults.scenario import STREAM, Scenario
from tests.slow import mostly
from tests.waiting import eventually

COMMIT = b"commitTransaction"
FOREVER = 10**6
TIMES = pytest.mark.parametrize("times", mostly([1, 3, FOREVER], but=[1, FOREVER]), ids=["once", "thrice", "always"])
SECONDS = 5
"""For a transaction, and again for its outcome, where the reply never comes; otherwise nobody is to give up."""
PATIENT = 60


def patience(times: int) -> float:
    return SECONDS if times == FOREVER else PATIENT


@pytest.fixture
async def network(scenario: Scenario) -> AsyncIterator[Proxy]:
    """Between the client and MongoDB; the relay has another."""
    async with Proxy(scenario.to_mongo.target) as proxy:
        yield proxy


@pytest.fixture
async def client(network: Proxy) -> AsyncIterator[AsyncMongoClient[Document]]:
    uri = f"mongodb://{network.address}/?directConnection=true"
    async with connect_mongo(load(OutboxSettings, mongodb_uri=uri)) as connected:
        yield connected


class Append:
    """One message by `transaction.run`, and what the caller gets to know of it."""

    def __init__(self, scenario: Scenario, client: AsyncMongoClient[Document], key: str) -> None:
        self._scenario = scenario
        self._client = client
        self._database = client[scenario.database.name]
        self._outbox = Outbox(scenario.settings.streams, database=scenario.database.name)
        self.key = key
        self.messages: list[str] = []
        """One for each run of the body."""

    async def run(self, seconds: float = PATIENT) -> str:
        """How it ended; it is in the history then."""
        try:
            await transaction.run(self._client, self._body, happened=self._happened, seconds=seconds)
        except CommitUnknown:
            self.remember(acknowledged=False)
            return "unknown"
        except PyMongoError:
            self._scenario.history.add(*map(RolledBack, self.messages))
            return "did not happen"
        self.remember()
        return "happened"

    def remember(self, *, acknowledged: bool = True) -> None:
        *before, last = self.messages
        self._scenario.history.add(*map(RolledBack, before), Appended(last, self.key, acknowledged=acknowledged))

    async def _body(self, session: Any) -> None:
        files = self._database.files
        await files.update_one({"_id": self.key}, {"$set": {"parsing": "queued"}}, upsert=True, session=session)
        self.messages.append(str(await self._outbox.append(session, STREAM, {"file_id": self.key}, key=self.key)))

    async def _happened(self) -> bool:
        found = await self._database[OUTBOX].find_one_and_update(
            {"_id": ObjectId(self.messages[-1])}, {"$currentDate": {"asked_at": True}}
        )
        return found is not None


@TIMES
async def test_a_transaction_whose_commit_is_not_answered(
    scenario: Scenario, network: Proxy, client: AsyncMongoClient[Document], times: int
) -> None:
    async with scenario.relay():
        assert await Append(scenario, client, "before").run() == "happened"
        rule = network.rule(Way.LOSE_THE_REPLY, COMMIT, times=times)
        assert await Append(scenario, client, "lost").run(patience(times)) == "happened"
        assert rule.picked >= min(times, 2)
        network.heal()
        assert await Append(scenario, client, "after").run() == "happened"
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def test_a_commit_that_arrives_when_its_client_has_given_up_finds_nothing_to_commit(
    scenario: Scenario, network: Proxy, client: AsyncMongoClient[Document]
) -> None:
    async with scenario.relay():
        assert await Append(scenario, client, "before").run() == "happened"
        network.rule(Way.HOLD, COMMIT, times=FOREVER)
        assert await Append(scenario, client, "late").run(SECONDS) == "did not happen"
        network.heal()
        network.release()
        assert await Append(scenario, client, "late").run() == "happened"
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


@pytest.mark.parametrize("way", [Way.HOLD, Way.HOLD_THE_REPLY], ids=["on its way", "carried out"])
async def test_a_client_is_cancelled_in_the_middle_of_its_commit(
    scenario: Scenario, network: Proxy, client: AsyncMongoClient[Document], way: Way
) -> None:
    """It cannot know what came of it. Whatever did, is whole, and is published once or never."""
    async with scenario.relay():
        assert await Append(scenario, client, "before").run() == "happened"
        rule = network.rule(way, COMMIT)
        append = Append(scenario, client, "cancelled")
        running = asyncio.create_task(append.run())
        await eventually(lambda: rule.picked)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        append.remember(acknowledged=False)
        network.release()
        assert await Append(scenario, client, "cancelled").run() == "happened"
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()
    if way is Way.HOLD_THE_REPLY:
        assert await scenario.database[OUTBOX].count_documents({"key": "cancelled"}) == 2


@TIMES
async def test_an_upload_whose_commit_is_not_answered(scenario: Scenario, network: Proxy, times: int) -> None:
    uri = f"mongodb://{network.address}/?directConnection=true"
    app = create_app(
        load(ApiSettings, api_commit_seconds=patience(times)),
        scenario.settings.model_copy(update={"mongodb_uri": SecretStr(uri)}),
    )
    async with scenario.relay(), app.router.lifespan_context(app) as shared:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = dict(shared or {})
            await app(scope, receive, send)

        transport = httpx.ASGITransport(with_state, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", timeout=60) as api:
            rule = network.rule(Way.LOSE_THE_REPLY, COMMIT, times=times)
            name = uuid4().hex
            answer = await upload(api, name)
            assert rule.picked >= min(times, 2)
            network.heal()
            again = await upload(api, name)
            assert again.status_code == 201
            if answer.status_code == 201:
                assert again.json()["id"] == answer.json()["id"]
            else:
                assert answer.status_code == 503
        [message] = await scenario.database[OUTBOX].find({"key": again.json()["id"]}).to_list()
        assert await scenario.database.files.count_documents({}) == 1
        scenario.history.add(Appended(str(message["_id"]), message["key"]))
        await scenario.comes_to_rest()
    await scenario.stays_at_rest()


async def upload(api: httpx.AsyncClient, name: str) -> httpx.Response:
    return await api.post(
        "/files", files={"file": (f"{name}.txt", b"text")}, data={"folderId": "f"}, headers={"Idempotency-Key": name}
    )
