"""What a drained partition looks like to a worker and to MongoDB."""

from __future__ import annotations

from typing import Any, cast

from bson import Timestamp
from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from redis.asyncio import Redis

from outbox.database import OUTBOX, Document
from outbox.protocol.encoding import LARGE
from outbox_relay.ahead import BATCHES
from outbox_relay.drained import Outcome
from tests.relay.world import STREAM, World, a_world


async def test_messages_enter_the_stream_in_the_order_of_their_commits(world: World) -> None:
    ids = await world.append(*(f"file-{n % 3}" for n in range(30)))
    owner = await world.owner(relay_batch_size=7)
    assert await owner.drain_all() == 30
    assert await world.published_ids() == [str(id_) for id_ in ids]


async def test_a_message_whose_transaction_commits_late_is_found(world: World) -> None:
    """Its id and its position are earlier than those of what has been published already (G1)."""
    async with world.client.start_session() as session:
        async with await session.start_transaction():
            late = await world.outbox.append(session, STREAM.name, {"file_id": "late"}, key="late")
            [early] = await world.append("early")
            owner = await world.owner()
            assert await owner.drain_all() == 1
        assert late < early
    assert await owner.drain_all() == 1
    assert await world.published_ids() == [str(early), str(late)]


async def test_an_entry_is_flat_and_carries_message_id_and_attempt(world: World) -> None:
    [id_] = await world.append("f1", filename="a.pdf", folder_id="x")
    await (await world.owner()).drain_all()
    assert await world.entries() == [
        {"file_id": "f1", "filename": "a.pdf", "folder_id": "x", "message_id": str(id_), "attempt": "1"}
    ]


async def test_headers_are_sent_beside_the_fields(world: World) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with world.client.start_session() as session, await session.start_transaction():
        await world.outbox.append(session, STREAM.name, {"file_id": "f"}, key="f", headers={"traceparent": trace})
    await (await world.owner()).drain_all()
    assert (await world.entries())[0]["traceparent"] == trace


async def test_a_published_message_is_marked_with_its_batch(world: World) -> None:
    await world.append("f1", "f2")
    await (await world.owner()).drain_all()
    lease = await world.lease()
    marked = await world.database[OUTBOX].find().to_list()
    first, last = [id_ for id_, _ in await world.stream()]
    for message in marked:
        assert (message["state"], message["attempts"]) == ("published", 1)
        assert (message["batch"], message["tag"]) == (lease["batch"], lease["tag"])
        assert message["entries"] == {"first": first, "last": last}
        assert message["published_at"]


async def test_a_worker_that_starts_late_misses_nothing(world: World) -> None:
    await world.append("f1")
    await (await world.owner()).drain_all()
    [[_, entries]] = cast(Any, await world.redis.xreadgroup("file_parsers", "late", {STREAM.name: ">"}))
    assert len(entries) == 1


async def test_a_batch_is_bounded_by_bytes_too(world: World) -> None:
    await world.append(*(f"f{n}" for n in range(6)), filename="x" * 1000)
    owner = await world.owner(relay_batch_bytes=2048)
    assert (await owner.drain()).published == 1  # how large they are was not known yet
    drained = await owner.drain()
    assert (drained.outcome, drained.published) == (Outcome.MORE, 2)
    assert await owner.drain_all() == 3


async def test_what_cannot_be_sent_is_dead_with_its_reason_and_the_rest_goes_on(world: World) -> None:
    await world.append("before")
    poison: list[Document] = [
        {"_id": "text id", "schema": 1, "fields": {"a": "b"}, "headers": {}, "key": "k", "attempts": 0},
        {"_id": 2, "schema": 99, "fields": {"a": "b"}, "headers": {}, "key": "k", "attempts": 0},
        {"_id": 3, "schema": 1, "fields": {"a": 1}, "headers": {}, "key": "k", "attempts": 0},
        {"_id": 4, "schema": 1, "fields": {}, "headers": {}, "key": "k", "attempts": 0},
        {"_id": 5, "schema": 1, "fields": "no", "headers": {}, "key": "k", "attempts": 0},
        {"_id": 6, "schema": 1, "fields": {"a": "b"}, "headers": {}, "key": None, "attempts": 0},
        {"_id": 7, "schema": 1, "fields": {"a": "b"}, "headers": {}, "key": "k", "attempts": "many"},
        {"_id": 8},
    ]
    for document in poison:
        document |= {"stream": STREAM.name, "partition": 0, "state": "pending"}
        document.setdefault("position", Timestamp(1, document["_id"] if isinstance(document["_id"], int) else 1))
    await world.database[OUTBOX].insert_many(poison, bypass_document_validation=True)
    await world.append("after")
    assert await (await world.owner()).drain_all() == 2
    dead = await world.database[OUTBOX].find({"state": "dead"}).to_list()
    assert {document["_id"] for document in dead} == {document["_id"] for document in poison}
    assert all(document["last_error"] for document in dead)
    assert [entry["file_id"] for entry in await world.entries()] == ["before", "after"]


async def test_an_idle_owner_writes_nothing(world: World) -> None:
    owner = await world.owner(relay_verify_seconds=0.001)
    await owner.drain()
    before = await world.lease()
    offset = (await world.redis.info("replication"))["master_repl_offset"]
    for _ in range(5):
        assert (await owner.drain()).outcome is Outcome.EMPTY
    assert await world.lease() == before
    assert (await world.redis.info("replication"))["master_repl_offset"] == offset


async def test_any_text_arrives_as_it_was_written(world: World) -> None:
    names = [
        "../../etc/passwd",
        "naïve 文件 🗂️.pdf",
        'quote" back\\slash',
        "line\nbreak\r\ttab",
        "nul\x00byte",
        "\u2028\x7f",
        "{}[]",
    ]
    for name in names:
        await world.append("f", filename=name)
    await (await world.owner()).drain_all()
    assert [entry["filename"] for entry in await world.entries()] == names


async def test_long_texts_arrive_as_they_were_written_beside_short_ones(world: World) -> None:
    """They are sent beside the rest of a batch."""
    longest = 'naïve 文件 🗂️\0"\\ ' * 5000
    texts = ["1", "x" * LARGE, "y" * (LARGE + 1), longest, "2", longest + "!", ""]
    for text in texts:
        await world.append("f", filename=text, other=text[::-1])
    await (await world.owner()).drain_all()
    assert [entry["filename"] for entry in await world.entries()] == texts
    assert [entry["other"] for entry in await world.entries()] == [text[::-1] for text in texts]


async def test_a_fetch_is_one_snapshot_and_at_least_as_new_as_the_last_mark(
    mongodb_uri: str, database: str, redis: Redis
) -> None:
    """Not one snapshot: a second transaction without the first. Older: what was published already (G3, G4)."""
    heard: list[Document] = []

    class Listener(CommandListener):
        def started(self, event: CommandStartedEvent) -> None:
            if event.command_name == "find" and event.command["find"] == OUTBOX and "sort" in event.command:
                heard.append(dict(event.command["readConcern"]))

        def succeeded(self, event: CommandSucceededEvent) -> None:
            """Not asked."""

        def failed(self, event: CommandFailedEvent) -> None:
            """Not asked."""

    client: AsyncMongoClient[Document] = AsyncMongoClient(mongodb_uri, w="majority", event_listeners=[Listener()])
    async with client, a_world(client, database, redis) as world:
        await world.append(*(f"f{number}" for number in range(2 * BATCHES)))
        owner = await world.owner(relay_batch_size=1)
        await owner.drain_all()
    assert len(heard) == 3
    assert {concern["level"] for concern in heard} == {"snapshot"}
    times = [concern["afterClusterTime"] for concern in heard]
    assert times == sorted(set(times))
