"""Servers with users and TLS: each program works with the rights that docs/security.md gives it, and has no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId
from pymongo.errors import OperationFailure
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ResponseError

from outbox.database import OUTBOX, Database
from outbox.message import schema
from outbox.message.schema import COLLECTIONS
from outbox.operations import replay, stats
from outbox.servers.connections import connect_mongo, connect_redis
from outbox.settings import OutboxSettings, load
from outbox.worker import Consumer, locks
from outbox.worker.locks import Locks, connection_name
from outbox_api.app import create_app
from outbox_api.collections import FILES_APPLICATION
from outbox_api.settings import ApiSettings
from tests.faults.elsewhere import Elsewhere, elsewhere
from tests.faults.history import Appended, Lost, Settled
from tests.faults.rights import ANYBODY, CHECKPOINT, MUST_NOT, MUST_NOT_WRITE
from tests.faults.scenario import STREAM
from tests.faults.secured import DATABASE, GuardedMongod, GuardedRedis, behind_tls, roles
from tests.waiting import eventually

As = Callable[[str], OutboxSettings]


@pytest.fixture(scope="module")
def mongo_of_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedMongod]:
    with GuardedMongod(tmp_path_factory.mktemp("guarded")) as server:
        server.guard()
        yield server


@pytest.fixture(scope="module")
def redis_of_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    with GuardedRedis(tmp_path_factory.mktemp("guarded") / "redis") as server:
        yield server


@pytest.fixture
async def as_(mongo_of_users: GuardedMongod, redis_of_users: GuardedRedis, tmp_path: Path) -> AsyncIterator[As]:
    """The settings of one of the users."""
    with redis_of_users.client() as root:
        root.flushall()
    with mongo_of_users.client() as root_of_mongo:
        root_of_mongo.drop_database(DATABASE)  # its users are elsewhere, in `admin`
    async with behind_tls((redis_of_users.host, redis_of_users.port), tmp_path) as (port, authority):

        def settings(user: str) -> OutboxSettings:
            at_redis = "api" if user == "operator" else user
            return load(
                OutboxSettings,
                mongodb_uri=mongo_of_users.uri_of(user),
                mongodb_database=DATABASE,
                redis_url=f"rediss://{at_redis}:{at_redis}@127.0.0.1:{port}/0?ssl_ca_certs={authority}",
            )

        yield settings


@pytest.fixture
async def scenario(as_: As, tmp_path: Path) -> AsyncIterator[Elsewhere]:
    operator = as_("operator").model_dump(include={"mongodb_uri", "mongodb_database", "redis_url"})
    async with elsewhere(tmp_path, **operator) as made:
        made.let_relays_be(as_("relay"))
        yield made


async def test_each_program_works_with_its_own_rights(
    scenario: Elsewhere, as_: As, redis_of_users: GuardedRedis
) -> None:
    handled = []

    async def handle(message: Any, session: Any) -> None:
        handled.append(message.key)
        files = session.client[DATABASE].files
        await files.update_one({"_id": ObjectId(message.key)}, {"$set": {"parsing": "parsed"}}, session=session)

    async with scenario.relay():
        consumer = Consumer(as_("worker"), handle, name="one", silent_seconds=1)
        working = asyncio.create_task(consumer.run())
        app = create_app(load(ApiSettings, api_probe_seconds=30), as_("api"))
        async with app.router.lifespan_context(app) as shared:

            async def with_state(scope: Any, receive: Any, send: Any) -> None:
                scope["state"] = dict(shared or {})
                await app(scope, receive, send)

            transport = httpx.ASGITransport(with_state, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://api", timeout=60) as api:
                await use(api, scenario)
        await eventually(lambda: len(handled) >= 3, 20)
        consumer.stop()
        await working
        assert not scenario.told("no change stream")
        scenario.history.add(*map(Settled, handled))
        with redis_of_users.client() as root:
            before = [(fields["message_id"], int(fields["attempt"])) for _, fields in root.xrange(STREAM)]
            root.delete(STREAM)
        scenario.history.add(Lost((), tuple(before)))
        await scenario.append_many(10)
        await scenario.comes_to_rest()
        assert scenario.told("redis data loss recovered")
        assert not scenario.told("unavailable", "error"), scenario.everything_told()


async def use(api: httpx.AsyncClient, scenario: Elsewhere) -> None:
    """Each kind of thing that the API does."""
    files = [("file", (f"{name}.txt", name.encode())) for name in "abc"]
    uploaded = await api.post("/files", files=files, data={"folderId": "f"}, headers={"Idempotency-Key": "once"})
    assert uploaded.status_code == 201, uploaded.text
    ids = [file["id"] for file in uploaded.json()["files"]]
    async for message in scenario.database[OUTBOX].find():
        scenario.history.add(Appended(str(message["_id"]), message["key"]))
    assert (await api.get(f"/files/{ids[0]}/content")).content == b"a"
    for path in (
        "/files",
        "/queue",
        "/outbox/stats",
        "/outbox/messages",
        "/outbox/audit",
        "/health/ready",
        "/metrics",
        "/dashboard",
    ):
        answer = await api.get(path)
        assert answer.status_code == 200, answer.text

    async def is_ready() -> bool:  # within two seconds, which a busy machine may take once
        answer = (await api.get("/health/ready")).json()
        assert answer["status"] == "ready", answer
        return True

    await eventually(is_ready)
    await scenario.database[OUTBOX].insert_one(
        {"_id": (dead := ObjectId()), "stream": STREAM, "key": "k", "state": "dead", "last_error": "x"},
        bypass_document_validation=True,
    )
    assert (await api.post(f"/outbox/messages/{dead}/retry")).status_code == 200
    await scenario.database[OUTBOX].delete_one({"_id": dead})
    asked = await api.post("/outbox/replay", json={"ids": [str(ObjectId())]}, headers={"Idempotency-Key": "once"})
    assert asked.status_code in (200, 202), asked.text


async def test_a_relay_that_may_not_mark_publishes_nothing_until_it_may(
    scenario: Elsewhere, mongo_of_users: GuardedMongod
) -> None:
    [role] = [role for role in roles() if role["role"] == "outboxRelay"]

    def may_not(*actions: str) -> None:
        [privilege] = role["privileges"]
        allowed = [action for action in privilege["actions"] if action not in actions]
        with mongo_of_users.client() as root:
            root[DATABASE].command("updateRole", "outboxRelay", privileges=[{**privilege, "actions": allowed}])

    async def drain() -> None:
        async with scenario.relay():
            await scenario.comes_to_rest()

    await scenario.append_many(3)
    may_not("bypassDocumentValidation")
    try:
        draining = asyncio.create_task(drain())
        await eventually(lambda: scenario.told("mongodb unavailable", "error"))
        assert not any((await scenario.everything()).values())
    finally:
        may_not()
    await draining


async def test_an_operator_sets_up_looks_and_replays(scenario: Elsewhere, as_: As) -> None:
    async with scenario.relay():
        messages = await scenario.append_many(5)
        await scenario.comes_to_rest()
        settings = as_("operator")
        async with connect_mongo(settings) as client, connect_redis(settings) as redis:
            database = Database(client, DATABASE)
            assert await schema.ensure(database, settings.streams, FILES_APPLICATION) == []

            async def reaches_it() -> bool:  # within two seconds, which a busy machine may take once
                status = await stats.collect(database, redis, settings.streams)
                assert status.queue.cause is None, status.queue.cause
                return status.queue.reachable

            await eventually(reaches_it)
            await replay.replay(database, replay.Selection(ids=(ObjectId(messages[0]),)))


async def refuses(redis: Any, command: list[str]) -> bool:
    """Whether it is for want of a right. A script is refused as a whole, or where it asks for what is not allowed."""
    try:
        await redis.execute_command(*command)
    except NoPermissionError:
        return True
    except ResponseError as error:
        return any(words in str(error).lower() for words in ("permission", "can't run this command"))
    return False


@pytest.mark.parametrize("user", MUST_NOT)
async def test_redis_refuses_the_rest(as_: As, redis_of_users: GuardedRedis, user: str) -> None:
    with redis_of_users.client() as root:
        root.xadd(STREAM, {"a": "b"})
        root.xgroup_create(STREAM, "g", "0")
        root.hset(CHECKPOINT, "token", "1")
    async with connect_redis(as_(user)) as redis:
        assert await redis.ping()
        done = [command for command in [*ANYBODY, *MUST_NOT[user]] if not await refuses(redis, command)]
        assert done == []
    with redis_of_users.client() as root:
        assert root.xlen(STREAM) == 1
        (group,) = root.xinfo_groups(STREAM)
        assert (group["pending"], group["lag"]) == (0, 1), "the entry still waits for a worker"


OTHER = {"_id": 0}


@pytest.mark.parametrize("user", MUST_NOT_WRITE)
async def test_mongodb_refuses_the_rest(scenario: Elsewhere, as_: As, user: str) -> None:
    known = {collection.name for collection in (*COLLECTIONS, *FILES_APPLICATION.collections)}
    async with connect_mongo(as_(user)) as client:
        database, others = client[DATABASE], client["another"]
        refused: list[Callable[[], Any]] = [
            lambda: others.things.find_one(),
            lambda: others.things.insert_one({}),
            lambda: others.command("dropDatabase"),
            lambda: client.admin.command("createUser", "x", pwd="x", roles=["root"]),
            lambda: database.command("grantRolesToUser", user, roles=["root"]),
            lambda: database.command("createUser", "x", pwd="x", roles=["readWrite"]),
            lambda: client.admin.command("replSetStepDown", 1),
            lambda: client.admin.command("shutdown"),
            lambda: client.admin.command("setParameter", 1, logLevel=0),
            lambda: client["local"]["oplog.rs"].find_one(),
            lambda: client.admin["system.users"].find_one(),
        ]
        if user != "operator":
            refused += [
                lambda: database.drop_collection(OUTBOX),
                lambda: database.command("collMod", OUTBOX, validator={}),
                lambda: database[OUTBOX].create_index("x"),
                lambda: database[OUTBOX].drop_index("pending"),
                lambda: database[OUTBOX].rename("x"),
            ]
        for kind, names in MUST_NOT_WRITE[user].items():
            assert names <= known
            for name in sorted(names):
                collection = database[name]
                match kind:
                    case "insert":
                        refused.append(partial(collection.insert_one, {"_id": ObjectId()}))
                    case "update":
                        refused.append(partial(collection.update_one, OTHER, {"$set": {"a": 1}}))
                    case "remove":
                        refused.append(partial(collection.delete_one, OTHER))
        for ask in refused:
            with pytest.raises(OperationFailure, match="not authorized"):
                await ask()


async def test_a_worker_frees_what_a_dead_one_has_locked(
    as_: As, scenario: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "TIMEOUT_SECONDS", 30)  # tried once here, and not again while there are conflicts
    settings = as_("worker")
    name = connection_name("outbox:dead", settings.place)
    async with connect_mongo(settings, name=name) as dead, connect_mongo(settings) as client:
        async with dead.start_session() as session, await session.start_transaction():
            await dead[DATABASE]["files"].update_one(OTHER, {"$set": {"parsing": "parsed"}}, session=session)
            await Locks(Database(client, DATABASE), "outbox:own", silent_seconds=0).end_of("outbox:dead")
            with pytest.raises(OperationFailure, match="aborted"):
                await session.commit_transaction()


async def test_a_server_that_nobody_vouches_for_is_not_spoken_to(as_: As) -> None:
    settings = as_("relay")
    stranger = load(OutboxSettings, redis_url=settings.redis_dsn.partition("?")[0])
    async with connect_redis(stranger) as redis:
        with pytest.raises(RedisConnectionError, match="certificate verify failed"):
            await redis.ping()
