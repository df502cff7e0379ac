"""The servers of a test run: a MongoDB and a Redis that nobody else uses."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import SecretStr

from outbox.database import Place
from outbox.embedded.mongod import Mongod
from outbox.embedded.redis import RedisServer
from outbox.settings import OutboxSettings
from outbox.streams.declaration import Streams
from outbox.testing.kit import Kit


class Servers:
    """Real servers as child processes, which end with this one. OUTBOX_MONGOD and OUTBOX_REDIS_SERVER choose others.

    A context manager, from whose beginning to whose end they run. A test that stops one starts it again.
    """

    def __init__(self, folder: Path) -> None:
        """:param folder: for their data, such as pytest's `tmp_path`."""
        self.mongod = Mongod(folder / "mongod", binary=None)
        self.redis = RedisServer(folder / "redis")
        self._kits: dict[str, Kit] = {}
        self._places: set[Place] = set()
        self._used: dict[tuple[str, str], str] = {}
        """By its database and prefix, the kit whose streams an outbox has registered."""

    def __enter__(self) -> Self:
        """:raises NotStarted, BinaryMissing: a server cannot be started; the text says what to do."""
        self.mongod.start()
        self.redis.start()
        return self

    def __exit__(self, *_: object) -> None:
        for kit in self._kits.values():
            kit.close()
        self.redis.stop()
        self.mongod.stop()

    def kit(self, settings: OutboxSettings, streams: Streams | None = None) -> Kit:
        """An empty outbox as `settings` describe it, on these servers: what the tests before have left is deleted, and
        what they have declared otherwise in the same place.

        Wherever `settings` say that the servers are, those are never reached.

        :param streams: declared in code; by default, those of the settings.
        """
        mongod, redis = SecretStr(self.mongod.uri), SecretStr(self.redis.url)
        here = settings.model_copy(update={"mongodb_uri": mongod, "redis_url": redis})
        declared = here.streams if streams is None else streams
        name = repr((here, sorted(declared.values(), key=lambda stream: stream.name)))
        # The two have one registry, whichever database the application has beside it.
        outbox = (here.place.database, here.place.prefix)
        used = self._used.pop(outbox, "")  # what fails below leaves nothing that could be used as it is
        if name not in self._kits:
            self._kits[name] = Kit(here, declared, places=self._places)
        elif name != used:
            self._kits[name].register()
        self._used[outbox] = name
        self._kits[name].reset()
        return self._kits[name]
