import pytest
from flask.testing import FlaskClient
from invoices import create_app, send

from outbox.testing import Kit


@pytest.fixture
def http(outbox_kit: Kit) -> FlaskClient:
    return create_app(outbox_kit.client).test_client()


def states(kit: Kit) -> list[str]:
    return [invoice["state"] for invoice in kit.client.office.invoices.find()]


def test_an_invoice_and_its_message_are_written_together(http: FlaskClient, outbox_kit: Kit) -> None:
    reply = http.post("/invoices", json={"to": "ann@home.example"})
    assert reply.status_code == 201
    [message] = outbox_kit.appended("invoices", key=reply.json["id"])
    assert message.fields == {"to": "ann@home.example"}
    assert states(outbox_kit) == ["to send"]


def test_an_invoice_is_sent_once(http: FlaskClient, outbox_kit: Kit) -> None:
    http.post("/invoices", json={"to": "ann@home.example"})
    [message] = outbox_kit.work(send)
    assert message.state == "completed"
    assert states(outbox_kit) == ["sent"]
    assert outbox_kit.work(send) == []


def test_it_is_tried_again_when_the_office_opens(
    http: FlaskClient, outbox_kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    http.post("/invoices", json={"to": "bob@closed.example"})
    [message] = outbox_kit.work(send)
    assert (message.state, states(outbox_kit)) == ("scheduled", ["to send"])

    monkeypatch.setattr("invoices.CLOSED", set())
    outbox_kit.advance(minutes=59)
    assert outbox_kit.work(send) == []
    outbox_kit.advance(minutes=1)
    [message] = outbox_kit.work(send)
    assert (message.state, states(outbox_kit)) == ("completed", ["sent"])
