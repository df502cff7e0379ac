"""Which MongoDB is sent `bulkWrite`, and what is done when it refuses or its reply is lost."""

from __future__ import annotations

from typing import cast

import pytest
from pymongo.errors import OperationFailure
from pymongo.hello import Hello
from pymongo.server_description import ServerDescription
from pymongo.synchronous.settings import TopologySettings
from pymongo.topology_description import TOPOLOGY_TYPE, TopologyDescription

from outbox import Outbox
from outbox import writes as module
from tests.outbox.shop import STREAMS, Client, Shop
from tests.outbox.stand_in import OF_6_0, OF_8_0

only_with_bulk_write = pytest.mark.parametrize("version", [OF_8_0], ids=["8.0"])


@only_with_bulk_write
async def test_a_lost_reply_has_the_transaction_run_again(shop: Shop) -> None:
    shop.server.lose = 1
    await shop.append([shop.insert({"_id": 1})])
    assert shop.server.sent.count("bulkWrite") == 2
    assert await shop.counts() == (1, 1)


@only_with_bulk_write
@pytest.mark.parametrize("code", [59, 115])
async def test_a_server_that_refuses_the_command_gets_the_writes_one_by_one(shop: Shop, code: int) -> None:
    """As MongoDB 8.0 does until its feature compatibility version is 8.0: once a client, and none is lost."""
    shop.server.refusal = {"ok": 0.0, "code": code, "errmsg": "not now", "codeName": "refused"}
    for order in range(3):
        # A new Outbox each time: what is known of the server outlasts it.
        shop.outbox = Outbox(STREAMS, database=shop.database.name)
        await shop.append([shop.insert({"_id": order})])
    assert shop.server.sent.count("bulkWrite") == 1
    assert await shop.counts() == (3, 3)


@only_with_bulk_write
async def test_another_error_of_the_whole_command_is_raised_as_it_is(shop: Shop) -> None:
    shop.server.refusal = {"ok": 0.0, "code": 13, "errmsg": "not authorized", "codeName": "Unauthorized"}
    with pytest.raises(OperationFailure, match="not authorized") as error:
        await shop.append([shop.insert({})])
    assert error.value.code == 13


@only_with_bulk_write
async def test_an_older_server_takes_over(shop: Shop) -> None:
    """Half way through an upgrade, or back from one."""
    await shop.append([shop.insert({"_id": 1})])
    shop.server.wire_version = OF_6_0
    await shop.server.disconnect()
    shop.server.sent.clear()
    await shop.append([shop.insert({"_id": 2})])
    assert shop.server.sent[-3:] == ["insert", "insert", "commitTransaction"]
    assert await shop.counts() == (2, 2)


@pytest.mark.parametrize("version", [OF_6_0], ids=["6.0"])
async def test_an_older_primary_than_was_known_gets_the_writes_one_by_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyMongo refuses to send it the command; nothing has been sent then."""
    monkeypatch.setattr("outbox.writes._has_bulk_write", lambda _: True)
    await shop.append([shop.insert({"_id": 1})])
    assert shop.server.sent == ["insert", "insert", "commitTransaction"]
    assert await shop.counts() == (1, 1)


@pytest.mark.parametrize(
    ("versions", "sent"), [((OF_8_0, OF_8_0), True), ((OF_8_0, OF_6_0), False), ((OF_6_0,), False), ((), False)]
)
def test_while_a_member_is_older_the_command_is_not_sent(versions: tuple[int, ...], sent: bool) -> None:
    """It may be the primary next. Without any that is known, nothing is known."""
    hosts = [("a", 1), ("b", 2)]
    names = [f"{name}:{port}" for name, port in hosts]
    members: dict[tuple[str, int | None], ServerDescription] = {
        host: ServerDescription(
            host, Hello({"ok": 1, "setName": "rs", "hosts": names, "secondary": True, "maxWireVersion": version})
        )
        for host, version in zip(hosts, versions, strict=False)
    }

    class Known:
        topology_description = TopologyDescription(
            TOPOLOGY_TYPE.ReplicaSetNoPrimary, members, "rs", None, None, TopologySettings(seeds=hosts)
        )

    assert module._has_bulk_write(cast(Client, Known())) is sent
