"""The API's settings: `OUTBOX_API_*`, each with a default that suits a laptop."""

from __future__ import annotations

import ipaddress
from typing import ClassVar

import limits
from pydantic import Field, SecretStr, field_validator, model_validator

from outbox.errors import SettingsError
from outbox.settings import Family
from outbox.web import keys, listening
from outbox.web.keys import Keys

SILENT_SECONDS = 300.0
"""How long an upload that is removed has shown no sign of life, where it may pause for less than half of that."""


class ApiSettings(Family):
    """How the API listens, what it accepts, and how long it waits."""

    prefix: ClassVar[str] = "OUTBOX_API_"
    old_names: ClassVar[bool] = True

    api_listen: str = Field(
        default="127.0.0.1:8000", description="where to listen, such as [::]:8000; port 0 picks a free one"
    )
    api_workers: int = Field(default=1, ge=1, le=64, description="processes that share the port")
    api_keys: SecretStr | None = Field(
        default=None,
        description="who may do what: lines of `outbox key new`, with spaces between",
        examples=[f"me:read,operate:{'0' * 64}"],
    )
    api_open_to_all: bool = Field(default=False, description="listen beyond this machine without any key")
    api_trusted_proxies: str | None = Field(
        default=None,
        description="proxies before the API, which may say who asks: addresses or networks, with commas between",
        examples=["10.0.0.0/8"],
    )
    api_rate_limit: str = Field(default="1000/second", description="requests of one key, in each process")
    api_session_hours: float = Field(default=12.0, gt=0, description="how long a login to the dashboard lasts")
    api_session_secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="signs sessions; none: a new one at each start, which ends them",
        examples=["of-32-random-letters-or-digits-or-more"],
    )
    api_max_upload_bytes: int = Field(default=2 * 1024**3, ge=1, description="the body of one upload, at most")
    api_max_files: int = Field(default=100, ge=1, le=1000, description="files in one upload, at most")
    api_max_body_bytes: int = Field(default=1024**2, ge=1024, description="any other body, at most")
    api_idle_seconds: float = Field(
        default=60.0, gt=0, description="a body of which no byte comes for so long is refused"
    )
    api_touch_seconds: float = Field(
        default=30.0, gt=0, description="how often an upload under way shows life, at least"
    )
    api_abandoned_seconds: float = Field(
        default=3600.0,
        gt=0,
        description="after which an upload that shows no life is removed; twice `OUTBOX_API_IDLE_SECONDS` or more",
    )
    api_commit_seconds: float = Field(
        default=20.0, gt=0, description="for a transaction, and again for its lost outcome"
    )
    api_read_seconds: float = Field(default=5.0, gt=0, description="for what is asked of MongoDB by one request")
    api_probe_seconds: float = Field(default=2.0, gt=0, description="for the answer of a server in /health/ready")
    api_stop_seconds: float = Field(default=20.0, gt=0, description="from SIGTERM to leaving requests unfinished")

    @field_validator("api_listen")
    @classmethod
    def _a_place(cls, value: str) -> str:
        return str(listening.address(value))

    @field_validator("api_keys")
    @classmethod
    def _readable(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            if value and not keys.read(value.get_secret_value()):
                # Without keys the API is open, which nobody wants who sets this.
                raise ValueError("holds no key; make one with `outbox key new`, or remove it")
        except SettingsError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("api_rate_limit")
    @classmethod
    def _a_rate(cls, value: str) -> str:
        try:
            (rate,) = limits.parse_many(value)
            if not (rate.amount and rate.get_expiry() <= 366 * 86400):
                raise ValueError
        except ValueError:
            raise ValueError("is not a rate, and one alone, such as 1000/second or 50000/minute") from None
        return value

    @field_validator("api_trusted_proxies")
    @classmethod
    def _networks(cls, value: str | None) -> str | None:
        for word in _words(value):
            try:
                ipaddress.ip_network(word)
            except ValueError as error:
                raise ValueError(f"{word!r} is no address or network of a proxy, such as 10.0.0.0/8: {error}") from None
        return value

    @model_validator(mode="after")
    def _uploads_live(self) -> ApiSettings:
        if self.api_abandoned_seconds < 2 * self.api_idle_seconds:
            raise ValueError(
                f"OUTBOX_API_ABANDONED_SECONDS: it is {self.api_abandoned_seconds:g}, and must be twice "
                f"OUTBOX_API_IDLE_SECONDS at least, which is {self.api_idle_seconds:g}: an upload that may still go on "
                f"would be removed. For example OUTBOX_API_ABANDONED_SECONDS={max(3600, 2 * self.api_idle_seconds):g}"
            )
        return self

    @property
    def silent_seconds(self) -> float:
        """For how long an upload must be seen without a new sign of life before it is removed, whatever the server's
        clock says."""
        return min(self.api_abandoned_seconds, max(SILENT_SECONDS, 2 * self.api_idle_seconds))

    @property
    def sign_seconds(self) -> float:
        """How often an upload shows life while its body comes.

        Its body may pause for `api_idle_seconds`, half of what is waited for; with this, a quarter of it is left.
        """
        return min(self.api_touch_seconds, self.silent_seconds / 4)

    @property
    def trusted_proxies(self) -> list[str]:
        """Who may say where a request comes from; none: nobody.

        Whoever listens at `::` sees each IPv4 address as an IPv6 one, such as ::ffff:10.0.0.1.
        """
        networks = [ipaddress.ip_network(word) for word in _words(self.api_trusted_proxies)]
        mapped = [f"::ffff:{one.network_address}/{96 + one.prefixlen}" for one in networks if one.version == 4]
        return [*map(str, networks), *mapped]

    @property
    def keys(self) -> Keys:
        """The keys that are valid; none: everything is open."""
        return keys.read(self.api_keys.get_secret_value() if self.api_keys else "")


def _words(text: str | None) -> list[str]:
    return (text or "").replace(",", " ").split()
