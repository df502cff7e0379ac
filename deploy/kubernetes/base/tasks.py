"""What the worker does with a message: the place of your own."""

from bson import ObjectId

from outbox.worker import GiveUp, Message


async def handle(message: Message, session) -> None:
    files = session.client["outbox"]["files"]
    file = await files.find_one({"_id": ObjectId(message.key)}, session=session)
    if file is None:
        raise GiveUp("the file is gone")
    await files.update_one({"_id": file["_id"]}, {"$set": {"parsing": "parsed"}}, session=session)
