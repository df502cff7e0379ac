"""An application's own programs, as they run where nothing but the base of our package is installed."""

APPEND = """
import asyncio

import api  # the application's own, and so is `relay`
import relay
from bson import ObjectId

from outbox import Outbox
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, load

assert (api.WHOSE, relay.WHOSE) == ("mine", "mine"), (api, relay)


async def main():
    settings = load(OutboxSettings)
    outbox = Outbox(settings.streams, database=settings.mongodb_database)
    async with connect_mongo(settings) as client, client.start_session() as session:
        async def upload(session):
            key = ObjectId()
            await client[settings.mongodb_database].files.insert_one({"_id": key, "parsing": "queued"}, session=session)
            await outbox.append(session, "file_parsing_queue", {"file_id": str(key)}, key=str(key))
        await session.with_transaction(upload)


asyncio.run(main())
"""

WORK = """
import asyncio

import api
import relay
from bson import ObjectId

from outbox.settings import OutboxSettings, load
from outbox.worker import Consumer

assert (api.WHOSE, relay.WHOSE) == ("mine", "mine"), (api, relay)
settings = load(OutboxSettings)


async def handle(message, session):
    files = session.client[settings.mongodb_database]["files"]
    await files.update_one({"_id": ObjectId(message.key)}, {"$set": {"parsing": "parsed"}}, session=session)
    consumer.stop()


consumer = Consumer(settings, handle)
asyncio.run(consumer.run())
"""
