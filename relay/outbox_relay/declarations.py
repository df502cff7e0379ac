"""The streams that this relay drains, as they are registered: read at the start, and before each look at the leases."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from outbox.database import Database, Document
from outbox.errors import SchemaError, SettingsError
from outbox.operations import notices
from outbox.operations.notices import Notice
from outbox.protocol.ownership import own
from outbox.settings import OutboxSettings
from outbox.streams import agreement, pauses, registry
from outbox.streams.pauses import Pauses
from outbox.streams.registry import Registered

log = structlog.get_logger(__name__)


class _None(Registered):
    """No stream at all, which nobody can declare: those that this relay drains have been removed, and may come back."""

    def __init__(self, paused: Pauses) -> None:
        self._streams, self.revisions, self.pauses = {}, {}, paused


class Declarations:
    """`streams` is one object that all parts of the relay share. It changes when the registry does.

    `registered`: also those that other relays drain, for what every relay measures of all.
    """

    def __init__(self, database: Database, settings: OutboxSettings, only: Sequence[str]) -> None:
        """:param only: names of the streams to drain; none: all."""
        self._database = database
        self._settings = settings
        self._only = only
        self._failed = False
        self._known: Sequence[Document] = ()
        self.streams = Registered(settings.streams.declared())
        self.registered = Registered(settings.streams.declared())

    async def check(self) -> None:
        """At the start.

        :raises WrongDeclaration: OUTBOX_STREAMS says something else of a stream than the registry.
        :raises SettingsError: OUTBOX_RELAY_STREAMS names a stream that is not registered.
        """
        declared = self._settings.streams
        registered = await registry.agree(self._database, declared, explicit=self._settings.declares)
        if unknown := [name for name in self._only if name not in registered.families()]:
            raise SettingsError(
                f"OUTBOX_RELAY_STREAMS names {', '.join(unknown)}, which is not registered; registered are: "
                f"{', '.join(registered.families())}. Correct it, or register the stream with `outbox init`"
            )
        if self._settings.declares:
            agreement.warn(declared, registered)
        self.registered.take(registered)
        self.streams.take(self._mine(registered))

    async def read(self) -> Notice:
        """What has been registered, changed or removed since. Programs that run are not stopped by it.

        Returns all that was read.

        :raises SchemaError: the outbox that this relay drains is not there any more, or another one is in its place,
            whose messages would go out in the name of the first.
        """
        ours = await own(self._database)
        notice = await notices.read(self._database)
        if notice.identity != ours.identity:
            raise SchemaError(
                f"the outbox in database {ours.database!r} was made anew meanwhile: start this relay again"
            )
        if notice.streams != self._known:
            self._take(notice.streams)
            self._known = notice.streams
        return notice

    def _take(self, documents: Sequence[Document]) -> None:
        try:
            registered = registry.understood(documents)
        except (SchemaError, SettingsError) as error:  # such as a stream that a later version has registered
            if not self._failed:
                log.error("registered streams cannot be read: those known are kept", reason=str(error))  # noqa: TRY400
            self._failed = True
            self.registered.pauses = pauses.understood(documents)  # what is paused must not seem to wait
            return
        self._failed = False
        if registered is None:
            return
        self.registered.take(registered)
        mine = self._mine(registered)
        # Not by revisions alone: those of a stream that was removed and registered anew begin with 1 again.
        if (mine.revisions, dict(mine)) != (self.streams.revisions, dict(self.streams)):
            log.info("registered streams changed", streams=list(mine.families()))
            self.streams.take(mine)

    def _mine(self, registered: Registered) -> Registered:
        if not self._only:
            return registered
        # Programs that run are not stopped by a removal, not even of the last stream that they drain.
        return registered.only(self._only) if {*self._only} & registered.families().keys() else _None(registered.pauses)
