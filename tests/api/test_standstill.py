"""Worker processes that stand still for a while, as on a machine that has too much to do."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from outbox.database import Database
from outbox.settings import OutboxSettings
from tests.api.connecting import FORM, Raw, upload
from tests.api.serving import Api
from tests.processes import is_alive
from tests.waiting import eventually, pass_by

UVICORN_WAITS = 5.0
"""By default, for a worker that does not answer its parent."""


def workers_of(api: Api) -> list[psutil.Process]:
    return [child for child in psutil.Process(api.pid).children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.slow
async def test_an_upload_outlives_a_standstill_of_its_worker(
    tmp_path: Path, outbox_settings: OutboxSettings, db: Database
) -> None:
    with Api(tmp_path, outbox_settings, "--workers", "2") as api, Raw(api.port) as raw:
        raw.send(upload() + FORM[:-9])
        await eventually(lambda: db.files.find_one({"parsing": "uploading"}), what="the upload has begun")
        await eventually(lambda: len(workers_of(api)) == 2)
        workers = workers_of(api)
        try:
            for worker in workers:
                worker.suspend()
            await pass_by(UVICORN_WAITS + 3)
            assert all(is_alive(worker) for worker in workers)
        finally:
            for worker in workers:
                with suppress(psutil.NoSuchProcess):
                    worker.resume()
        raw.send(FORM[-9:])
        assert raw.answer().status == 201
