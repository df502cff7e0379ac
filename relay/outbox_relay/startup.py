"""Start: wait for MongoDB, and look whether both servers can do what is asked of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from outbox.database import Database
from outbox.errors import SettingsError
from outbox.message import schema
from outbox.protocol.confirmation import CannotConfirm, Confirm
from outbox.protocol.ownership import own
from outbox.protocol.store import Store
from outbox.servers.outages import classify
from outbox.servers.topology import AnyRedis
from outbox.servers.waiting import abandon
from outbox_relay.declarations import Declarations
from outbox_relay.outage import Outages
from outbox_relay.service import Next, Service

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Checked:
    """The database is set up."""

    @property
    def next(self) -> Next:
        return Next.END


GIVE_UP_SECONDS = 1.0
"""For a start that is given up. The driver may swallow a cancellation, and a name be looked up for long."""


async def unless_stopped(stop: asyncio.Event, start: Coroutine[Any, Any, None]) -> bool:
    """Run `start`; False when `stop` was set before it was done, whatever it waits for. Raises what `start` raises."""
    starting, stopping = asyncio.ensure_future(start), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        abandon(stopping, starting)
    if starting.done() and not starting.cancelled():
        await starting
        return not stop.is_set()
    await asyncio.wait({starting}, timeout=GIVE_UP_SECONDS)
    return False


async def wait_for_schema(database: Database, declarations: Declarations, outages: Outages) -> None:
    """Return when MongoDB answers, schema and streams are as they should be, and messages may be marked.

    :raises SchemaError: the database is not set up; its kind WrongDeclaration, when OUTBOX_STREAMS contradicts it.
    :raises SettingsError: OUTBOX_RELAY_STREAMS names a stream that is not registered.
    """

    async def check() -> Checked:
        await declarations.check()
        await schema.check(database, declarations.streams)
        await own(database)
        await Store(database).try_to_mark()
        return Checked()

    await Service("start", check, outages, interval=1).run()


async def refuse_what_cannot_be_confirmed(redis: AnyRedis, confirm: Confirm) -> None:
    """Raise SettingsError when Redis answers and will never confirm as OUTBOX_RELAY_CONFIRM asks.

    Not when it does not answer: then it is waited for, and if it turns out to be too old, an error is logged then.
    """
    try:
        await confirm.probe(redis)
    except CannotConfirm as error:
        raise SettingsError(str(error)) from error
    except Exception as error:
        # Whoever drains meets a server's errors as well, and logs them.
        if classify(error) is None:
            log.exception("confirmation check failed unexpectedly")
