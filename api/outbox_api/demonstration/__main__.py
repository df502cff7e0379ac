"""`python -m outbox_api.demonstration [CONSUMER]`: one demonstration worker, with the settings of the
environment.
"""

from __future__ import annotations

import signal
import sys

from outbox import logs
from outbox.settings import OutboxSettings, load
from outbox_api.demonstration.worker import Worker, connect


def main(consumer: str = "demo-1") -> None:
    settings = load(OutboxSettings)
    logs.configure(settings)
    mongo, redis = connect(settings)
    with mongo, redis:
        worker = Worker(mongo, redis, settings, consumer)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        worker.run()


if __name__ == "__main__":
    main(*sys.argv[1:2])
