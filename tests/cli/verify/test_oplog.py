"""An oplog that reaches back too short a time, on a mongod of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from outbox.database import Database
from outbox.embedded import Mongod
from outbox.operations.verify import setup
from outbox.operations.verify.findings import System
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, load


async def test_a_short_oplog(tmp_path: Path) -> None:
    with Mongod(tmp_path / "mongod", extra_args=["--oplogSize", "1"]) as mongod:
        settings = load(OutboxSettings, mongodb_uri=mongod.uri)
        async with connect_mongo(settings) as client:
            nobody = cast(Any, None)  # Redis is not asked
            system = System(Database(client, "outbox"), nobody, settings.streams, datetime.now(UTC), timedelta(days=7))
            assert await setup.oplog(system) == []  # just begun, and not full: nobody knows how far it will reach
            for _ in range(20):
                await client["outbox"]["filling"].insert_one({"text": "x" * 200_000})
            [finding] = await setup.oplog(system)
            assert finding.what == "the oplog reaches back 0.0 hours"
            assert "replSetResizeOplog" in finding.mend
            await client.admin.command("replSetResizeOplog", 1, minRetentionHours=24)
            assert await setup.oplog(system) == []
