"""Start: wait for MongoDB, and look whether both servers can do what is asked of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from outbox import schema
from outbox.confirmation import CannotConfirm, Confirm
from outbox.errors import SettingsError, Unreachable
from outbox.outages import classify
from outbox.schema import Database
from outbox.store import Store
from outbox.streams import Streams
from outbox.topology import AnyRedis
from relay.outage import Outages
from relay.service import Next, Service


@dataclass(frozen=True, slots=True)
class Checked:
    """The database is set up."""

    @property
    def next(self) -> Next:
        return Next.END


async def wait_for_schema(
    database: Database, streams: Streams, outages: Outages, stop: asyncio.Event, *, address: str, patience: float | None
) -> None:
    """Return when MongoDB answers, the schema is as it should be and messages may be marked, or when `stop` is set.

    :param patience: seconds until Unreachable is raised; None waits for ever.
    :raises SchemaError: the database is not set up.
    """

    async def check() -> Checked:
        await schema.check(database, streams)
        await Store(database).try_to_mark()
        return Checked()

    service = Service("start", check, outages, interval=1)

    async def quiet_on_stop() -> None:
        await stop.wait()
        service.quiet()

    watch = asyncio.create_task(quiet_on_stop())
    try:
        async with asyncio.timeout(patience):
            await service.run()
    except TimeoutError:
        raise Unreachable("mongodb", address, f"no answer for {patience:.0f} s") from None
    finally:
        watch.cancel()


async def refuse_what_cannot_be_confirmed(redis: AnyRedis, confirm: Confirm) -> None:
    """Raise SettingsError when Redis answers and will never confirm as RELAY_CONFIRM asks.

    Not when it does not answer: then it is waited for, and if it turns out to be too old, that is told then, loudly.
    """
    try:
        await confirm.probe(redis)
    except CannotConfirm as error:
        raise SettingsError(str(error)) from error
    except Exception as error:
        if classify(error) is None:
            raise
        # Whoever drains meets it as well, and tells it.
