"""Invoices, with Flask and plain PyMongo.

export MONGODB_DATABASE=office OUTBOX_STREAMS='[{"name": "invoices", "group": "senders", "subject":
    {"collection": "invoices", "field": "state", "wanted": "to send", "id_type": "objectId"}}]'
outbox init && outbox relay &
flask --app invoices run &
outbox worker --handler invoices:send --stream invoices
"""

from http import HTTPStatus

from bson import ObjectId
from flask import Flask, request
from pymongo import MongoClient
from pymongo.client_session import ClientSession

from outbox import Outbox, Stream, Streams, Subject
from outbox.settings import OutboxSettings, load
from outbox.worker import Message, RetryAfter

STREAMS = Streams(
    [
        # A message is wanted as long as its invoice is "to send": what Redis loses is published again until then.
        Stream("invoices", "senders", subject=Subject("invoices", "state", "to send", id_type="objectId"))
    ]
)
outbox = Outbox(STREAMS, database="office")
CLOSED = {"closed.example"}


def create_app(client: MongoClient | None = None) -> Flask:
    client = client or MongoClient(load(OutboxSettings).mongodb_uri.get_secret_value())
    outbox.check(client)
    app = Flask(__name__)

    @app.post("/invoices")
    def create() -> tuple[dict[str, str], HTTPStatus]:
        invoice = {"_id": ObjectId(), "to": request.json["to"], "state": "to send"}

        def write(session: ClientSession) -> None:
            client.office.invoices.insert_one(invoice, session=session)
            outbox.append(session, "invoices", {"to": invoice["to"]}, key=str(invoice["_id"]))

        with client.start_session() as session:
            session.with_transaction(write)
        return {"id": str(invoice["_id"])}, HTTPStatus.CREATED

    return app


def send(message: Message, session: ClientSession) -> None:
    """The handler: called in a thread, with a session of PyMongo's plain client."""
    if message.fields["to"].rpartition("@")[2] in CLOSED:
        raise RetryAfter(3600, "the office is closed")
    sent = {"$set": {"state": "sent"}, "$currentDate": {"sent_at": True}}
    session.client.office.invoices.update_one({"_id": message.subject_id}, sent, session=session)
