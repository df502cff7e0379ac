"""`outbox init` in a database where others are: it creates what is missing, and leaves alone what it did not make."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pymongo import AsyncMongoClient, IndexModel

from outbox import NotOurs, SchemaError, Streams
from outbox.database import FILES, IDEMPOTENCY, META, OUTBOX, RELAYS, Database, Document, Place
from outbox.message import meta, schema
from outbox.message.collection import digest, index
from outbox.message.schema import VALIDATOR
from outbox_api.collections import FILES_APPLICATION
from tests.outbox.shelf import a_document

Client = AsyncMongoClient[Document]


@pytest.fixture
def bare(mongo: Client, database: str) -> Database:
    """A database in which nothing is."""
    return Database(mongo, database)


async def picture(database: Database) -> dict[str, Any]:
    """All that is in a database: collections with their options, indexes and documents."""
    plain = database.client[database.name]
    return {
        each["name"]: (
            each.get("options"),
            await plain[each["name"]].index_information() if each["type"] == "collection" else None,
            await plain[each["name"]].find().sort("_id").to_list() if each["type"] == "collection" else None,
        )
        async for each in await database.list_collections()
    }


async def make_foreign(database: Database, name: str, how: str) -> None:
    plain = database.client[database.name]
    match how:
        case "documents":
            await plain[name].insert_one({"_id": 1, "theirs": True})
        case "an index":
            await plain[name].create_index("theirs")
        case "a validator":
            await plain.create_collection(name, validator={"theirs": {"$exists": True}})
        case "a view":
            await plain.create_collection(name, viewOn="things", pipeline=[])
        case "our index by another definition":
            await plain[name].create_index("theirs", name="expiry")


FOREIGN = ["documents", "an index", "a validator", "a view", "our index by another definition"]


@pytest.mark.parametrize("how", FOREIGN)
@pytest.mark.parametrize("name", [OUTBOX, "outbox_relays", META])
async def test_a_collection_of_somebody_else_is_refused_by_name_and_nothing_is_changed(
    bare: Database, streams: Streams, name: str, how: str
) -> None:
    await make_foreign(bare, name, how)
    before = await picture(bare)
    with pytest.raises(NotOurs, match=rf"{bare.name}\.{name}, which .*OUTBOX_PREFIX") as caught:
        await schema.ensure(bare, streams)
    assert "Nothing was changed" in str(caught.value)
    assert await picture(bare) == before


@pytest.mark.parametrize("name", [FILES, IDEMPOTENCY, "fs.files", "fs.chunks"])
async def test_the_files_application_refuses_them_too(bare: Database, streams: Streams, name: str) -> None:
    await make_foreign(bare, name, "documents")
    await schema.ensure(bare, streams)  # the core does not mind
    before = await picture(bare)
    with pytest.raises(NotOurs, match=rf"{bare.name}\.{name}, which holds documents.*MONGODB_DATABASE"):
        await schema.ensure(bare, streams, FILES_APPLICATION)
    assert await picture(bare) == before


async def test_a_collection_of_the_system_before_is_adopted_when_it_is_named(bare: Database, streams: Streams) -> None:
    await make_foreign(bare, FILES, "documents")
    await make_foreign(bare, FILES, "an index")
    await make_foreign(bare, OUTBOX, "documents")
    with pytest.raises(NotOurs, match=r"\.outbox, which holds"):  # never the core's
        await schema.ensure(bare, streams, FILES_APPLICATION, adopt=[FILES, OUTBOX])
    await bare[OUTBOX].drop()
    with pytest.raises(NotOurs, match="files, which holds"):
        await schema.ensure(bare, streams, FILES_APPLICATION, adopt=[IDEMPOTENCY])
    await schema.ensure(bare, streams, FILES_APPLICATION, adopt=[FILES])
    assert await bare[FILES].find_one({"_id": 1}) == {"_id": 1, "theirs": True}
    assert {"theirs_1", "parsing"} <= set(await bare[FILES].index_information())
    await schema.check(bare, streams, FILES_APPLICATION)


async def test_an_empty_collection_without_anything_is_taken(bare: Database, streams: Streams) -> None:
    await bare.create_collection(OUTBOX)
    await schema.ensure(bare, streams)
    await schema.check(bare, streams)


async def test_the_core_makes_nothing_outside_its_prefix(bare: Database, streams: Streams) -> None:
    await schema.ensure(bare, streams)
    assert all(name.startswith("outbox") for name in await bare.list_collection_names())


async def test_two_outboxes_in_one_database_do_not_touch_each_other(
    mongo: Client, database: str, streams: Streams
) -> None:
    first, second = Database(mongo, database), Database(mongo, Place(database, "second"))
    await schema.ensure(first, streams, FILES_APPLICATION)
    before = await picture(first)
    await schema.ensure(second, streams)
    assert await meta.identity(first) != await meta.identity(second)
    await schema.check(second, streams)
    with pytest.raises(NotOurs, match="files, which"):  # they are the first one's
        await schema.ensure(second, streams, FILES_APPLICATION)
    assert {name: each for name, each in (await picture(first)).items() if not name.startswith("second")} == before


async def test_what_another_program_claims_and_fills_meanwhile_is_ours(
    bare: Database, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two programs set up one database, and one of them has begun to append when the other looks."""
    known, answers = meta.known, [meta.Known()]

    async def late(database: Database) -> meta.Known:
        return answers.pop() if answers else await known(database)

    await schema.ensure(bare, streams)
    await bare[OUTBOX].insert_one({"_id": 1}, bypass_document_validation=True)
    monkeypatch.setattr(meta, "known", late)
    assert await schema.ensure(bare, streams) == []
    assert not answers


async def test_a_prefix_that_begins_like_another_one_is_refused(mongo: Client, database: str, streams: Streams) -> None:
    await schema.ensure(Database(mongo, database), streams)
    with pytest.raises(NotOurs, match="outbox_jobs, which"):
        await schema.ensure(Database(mongo, Place(database, "outbox_jobs")), streams)


async def test_a_dry_run_says_what_would_be_done_and_changes_nothing(bare: Database, streams: Streams) -> None:
    planned = await schema.ensure(bare, streams, FILES_APPLICATION, dry_run=True)
    assert await picture(bare) == {}
    assert planned == await schema.ensure(bare, streams, FILES_APPLICATION)
    assert "created collection outbox" in planned
    await bare[RELAYS].drop_index("expiry")
    before = await picture(bare)
    assert await schema.ensure(bare, streams, dry_run=True) == ["built index outbox_relays.expiry"]
    assert await picture(bare) == before


NEW = {collection.name for collection in schema.COLLECTIONS if collection.since > 1}


async def version_1(database: Database, streams: Streams) -> None:
    """What the version before the meta document has made."""
    await schema.ensure(database, streams, FILES_APPLICATION)
    for collection in NEW:
        await database[collection].drop()


async def test_what_version_1_made_is_taken_over(bare: Database, streams: Streams) -> None:
    await version_1(bare, streams)
    await bare[OUTBOX].insert_one(a_document())
    await bare[FILES].insert_one({"_id": 1, "parsing": "queued"})
    with pytest.raises(SchemaError, match="no identity"):
        await schema.check(bare, streams)
    assert await schema.is_set_up(bare, FILES_APPLICATION)
    before = await picture(bare)
    done = await schema.ensure(bare, streams, FILES_APPLICATION)
    assert "took over collection files" in done
    await schema.check(bare, streams, FILES_APPLICATION)
    assert before == {name: each for name, each in (await picture(bare)).items() if name not in NEW}


async def test_a_collection_of_somebody_else_beside_version_1_is_refused(bare: Database, streams: Streams) -> None:
    await version_1(bare, streams)
    await bare[IDEMPOTENCY].drop()
    await make_foreign(bare, IDEMPOTENCY, "documents")
    before = await picture(bare)
    await schema.ensure(bare, streams, dry_run=True)
    with pytest.raises(NotOurs, match="idempotency_keys, which holds documents"):
        await schema.ensure(bare, streams, FILES_APPLICATION)
    assert await picture(bare) == before


async def test_several_at_once_take_over_what_version_1_made(bare: Database, streams: Streams) -> None:
    await version_1(bare, streams)
    await bare[OUTBOX].insert_one(a_document())
    await asyncio.gather(*(schema.ensure(bare, streams, FILES_APPLICATION) for _ in range(4)))
    await schema.check(bare, streams, FILES_APPLICATION)


async def test_an_index_of_an_operator_is_left_alone(db: Database, streams: Streams) -> None:
    await db[OUTBOX].create_index("fields.tenant", name="by_tenant")
    assert await schema.ensure(db, streams) == []
    await schema.check(db, streams)
    assert "by_tenant" in await db[OUTBOX].index_information()


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ([("stream", 1)], {"partialFilterExpression": {"state": "pending"}}),
        ([("state", 1), ("stream", 1), ("partition", 1), ("position", 1)], {}),
        ([("state", 1), ("position", 1), ("stream", 1), ("partition", 1)], {}),
    ],
    ids=["other keys", "not partial", "other order"],
)
async def test_an_index_that_somebody_has_changed_is_refused(
    keys: list[tuple[str, int]], options: dict[str, Any], db: Database, streams: Streams
) -> None:
    await db[OUTBOX].drop_index("pending")
    await db[OUTBOX].create_index(keys, name="pending", **options)
    with pytest.raises(SchemaError, match=r"index outbox\.pending differs"):
        await schema.check(db, streams)
    before = await picture(db)
    with pytest.raises(NotOurs, match=r"index outbox\.pending differs.*dropIndex"):
        await schema.ensure(db, streams)
    assert await picture(db) == before
    await db[OUTBOX].drop_index("pending")
    assert await schema.ensure(db, streams) == ["built index outbox.pending"]


async def test_a_time_to_live_that_somebody_has_changed_is_refused(db: Database, streams: Streams) -> None:
    await db.command("collMod", "outbox_relays", index={"name": "expiry", "expireAfterSeconds": 7})
    with pytest.raises(NotOurs, match=r"outbox_relays\.expiry differs"):
        await schema.ensure(db, streams)


async def test_an_index_with_the_keys_of_ours_is_refused_before_anything_is_changed(
    db: Database, streams: Streams
) -> None:
    await db[OUTBOX].drop_index("key")
    await db[OUTBOX].create_index([("key", 1), ("position", 1)], name="theirs")
    await db[RELAYS].drop_index("expiry")
    before = await picture(db)
    with pytest.raises(NotOurs, match=r"index outbox\.theirs has the keys of key"):
        await schema.ensure(db, streams)
    assert await picture(db) == before


async def test_a_validator_that_somebody_has_changed_is_refused(db: Database, streams: Streams) -> None:
    await db.command("collMod", OUTBOX, validator={"theirs": 1})
    with pytest.raises(NotOurs, match="validator of outbox differs"):
        await schema.ensure(db, streams)
    await db.command("collMod", OUTBOX, validator={})
    assert await schema.ensure(db, streams) == ["set the validator of outbox"]


async def test_what_an_earlier_version_made_is_replaced(
    db: Database, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    (outbox, *others) = schema.CORE.collections
    newer = {"$jsonSchema": {**VALIDATOR["$jsonSchema"], "description": "newer"}}
    changed = replace(
        outbox,
        indexes=(index("key", ("key", 1), ("position", 1), ("_id", 1)), *others_of(outbox, "key")),
        earlier=tuple(each for each in outbox.indexes if each.document["name"] == "key"),
        validator=newer,
        earlier_validators=(digest(VALIDATOR),),
    )
    monkeypatch.setattr(schema, "CORE", replace(schema.CORE, collections=(changed, *others)))
    assert await schema.ensure(db, streams) == ["set the validator of outbox", "built index outbox.key"]
    assert await schema.ensure(db, streams) == []
    await schema.check(db, streams)


def others_of(collection: schema.Collection, name: str) -> list[IndexModel]:
    return [each for each in collection.indexes if each.document["name"] != name]


@pytest.mark.parametrize(("there", "works"), [(1, True), (3, True), (0, False), (4, False)])
async def test_programs_one_version_of_the_schema_apart_work_side_by_side(
    db: Database, streams: Streams, there: int, works: bool
) -> None:
    await db[META].update_one({}, {"$set": {"schema": there}})
    before = await picture(db)
    if works:
        await schema.check(db, streams)
        await schema.ensure(db, streams)
        return
    for each in (schema.check, schema.ensure):
        with pytest.raises(SchemaError, match=rf"version {there} of the schema.*(Install|install)"):
            await each(db, streams)
    assert await picture(db) == before


async def test_an_older_program_leaves_alone_what_a_newer_one_has_made(db: Database, streams: Streams) -> None:
    await db[META].update_one({}, {"$set": {"schema": meta.VERSION + 1}})
    await db[OUTBOX].drop_index("dead")
    await db[OUTBOX].create_index("state", name="dead")
    before = await picture(db)
    await schema.check(db, streams)
    assert await schema.ensure(db, streams) == []
    assert await picture(db) == before


async def test_the_api_needs_the_files_application(db: Database, streams: Streams) -> None:
    with pytest.raises(SchemaError, match=r"collection files is missing.*Run: outbox init --files"):
        await schema.check(db, streams, FILES_APPLICATION)
