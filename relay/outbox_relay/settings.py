"""The relay's settings: `OUTBOX_RELAY_*`, each with a default that suits one relay beside one MongoDB and one Redis."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from outbox.protocol.confirmation import Confirm
from outbox.settings import Family
from outbox.web import listening


class RelaySettings(Family):
    """How one relay drains, holds its leases, and stops."""

    prefix: ClassVar[str] = "OUTBOX_RELAY_"
    old_names: ClassVar[bool] = True
    without_old_name: ClassVar[frozenset[str]] = frozenset({"relay_streams"})

    relay_batch_size: int = Field(default=500, ge=1, le=5000, description="messages in one publish call, at most")
    relay_batch_bytes: int = Field(default=1024 * 1024, ge=1024, description="bytes in one publish call, about")
    relay_confirm: Confirm = Field(default=Confirm.NONE, description="who must have a batch: none, aof or replica")
    relay_streams: str | None = Field(
        default=None, description="the streams to drain, such as orders,invoices; else all"
    )
    relay_poll_seconds: float = Field(default=1.0, gt=0, description="how often to look without a change stream")
    relay_verify_seconds: float = Field(default=1.5, gt=0, description="how often an idle owner checks its checkpoints")
    relay_lease_seconds: float = Field(default=10.0, ge=2, description="how long a dead relay's partitions stand still")
    relay_stop_seconds: float = Field(default=25.0, gt=0, description="from SIGTERM to leaving whatever is unfinished")
    relay_stage_seconds: float = Field(default=1.0, gt=0, description="how often scheduled messages are looked at")
    relay_prune_seconds: float = Field(default=600.0, gt=0, description="how often old messages are deleted")
    relay_trim_seconds: float = Field(default=10.0, gt=0, description="how often acknowledged entries leave Redis")
    relay_abandoned_seconds: float = Field(
        default=3600.0, gt=0, description="without effect: `OUTBOX_API_ABANDONED_SECONDS`"
    )
    relay_listen: str = Field(
        default="127.0.0.1:8001",
        description="where /healthz, /readyz and /metrics are served, such as [::]:8001; port 0 picks a free one",
    )

    @property
    def drains(self) -> list[str]:
        """The names in OUTBOX_RELAY_STREAMS; none: all streams."""
        return [name for name in map(str.strip, (self.relay_streams or "").split(",")) if name]

    @field_validator("relay_listen")
    @classmethod
    def _a_place(cls, value: str) -> str:
        return str(listening.address(value))
