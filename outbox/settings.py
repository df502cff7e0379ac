"""Settings: read once at start from the environment and `.env`, checked together, frozen, then passed down."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote, unquote

from bson import json_util
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from outbox.database import MAX_LIMIT, PREFIX, SERVERS_OWN, Place, check_database, check_prefix
from outbox.family import Family as Family
from outbox.family import countable
from outbox.family import load as load
from outbox.streams import limits
from outbox.streams.declaration import FILES, Priority, Retry, Stream, Streams, Subject
from outbox.streams.keys import check_key_prefix

DATABASE = "outbox"


_WITH_ZONES = json_util.JSONOptions(tz_aware=True)


class SubjectSetting(BaseModel):
    """`wanted` and the values of `failure` may be of types that JSON has not, as `{"$oid": ...}` and `{"$date": ...}`:
    MongoDB's Extended JSON."""

    model_config = ConfigDict(extra="forbid")
    collection: str = Subject().collection
    field: str = Subject().field
    wanted: Any = Subject().wanted
    id_type: str | None = None
    failure: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _understood(self) -> SubjectSetting:
        try:
            self._values()
        except Exception as error:  # noqa: BLE001  # what comes depends on the type that is named
            raise ValueError(f"wanted or failure is not Extended JSON: {error}") from None
        return self

    def _values(self) -> dict[str, Any]:
        found: dict[str, Any] = json_util.loads(json.dumps(self.model_dump()), json_options=_WITH_ZONES)
        return found

    def declared(self) -> Subject:
        return Subject(**self._values())


class RetrySetting(BaseModel):
    model_config = ConfigDict(extra="forbid")
    attempts: int = Field(default=Retry().attempts, **limits.RETRY["attempts"].field)
    base_seconds: float = Field(default=Retry().base_seconds, **limits.RETRY["base_seconds"].field)
    cap_seconds: float = Field(default=Retry().cap_seconds, **limits.RETRY["cap_seconds"].field)
    _countable = field_validator("*")(countable)


class StreamSetting(BaseModel):
    """One declared stream in OUTBOX_STREAMS."""

    model_config = ConfigDict(extra="forbid")
    name: str
    group: str
    groups: list[str] = []
    partitions: int = Field(default=FILES.partitions, **limits.STREAM["partitions"].field)
    subject: SubjectSetting | None = None
    retry: RetrySetting = RetrySetting()
    rescue_seconds: float = Field(default=FILES.rescue_seconds, **limits.STREAM["rescue_seconds"].field)
    priorities: list[Literal["high", "low"]] = []
    shards: int = Field(default=1, **limits.STREAM["shards"].field)
    max_undelivered: int = Field(default=FILES.max_undelivered, **limits.STREAM["max_undelivered"].field)
    trim: bool = FILES.trim
    ignore_groups_after_seconds: float | None = Field(
        default=None, **limits.STREAM["ignore_groups_after_seconds"].field
    )
    handler_seconds: float = Field(
        default=FILES.handler_seconds, allow_inf_nan=False, **limits.STREAM["handler_seconds"].field
    )
    gone_is_done: bool = False
    unique_seconds: float = Field(default=FILES.unique_seconds, **limits.STREAM["unique_seconds"].field)
    _countable = field_validator("*")(countable)

    @model_validator(mode="before")
    @classmethod
    def _one_group_is_first(cls, values: Any) -> Any:
        """`groups` alone, or `group` and further ones."""
        groups = values.get("groups") if isinstance(values, dict) else None
        if isinstance(groups, list | tuple) and groups and all(isinstance(group, str) for group in groups):
            first = values.get("group", groups[0])
            return values | {"group": first, "groups": [group for group in dict.fromkeys(groups) if group != first]}
        return values

    def declared(self) -> Stream:
        return Stream(
            self.name,
            self.group,
            self.partitions,
            self.subject.declared() if self.subject else None,
            Retry(**self.retry.model_dump()),
            self.rescue_seconds,
            priorities=tuple(map(Priority, self.priorities)),
            shards=self.shards,
            max_undelivered=self.max_undelivered,
            trim=self.trim,
            ignore_groups_after_seconds=self.ignore_groups_after_seconds,
            handler_seconds=self.handler_seconds,
            gone_is_done=self.gone_is_done,
            unique_seconds=self.unique_seconds,
            groups=tuple(self.groups),
        )


_FILES_SETTING = StreamSetting(
    name=FILES.name, group=FILES.group, partitions=FILES.partitions, subject=SubjectSetting()
)
_EXAMPLE = '[{"name": "exports", "group": "exporters"}]'


class OutboxSettings(Family):
    """What every process needs: where the servers are, and which streams are declared."""

    prefix: ClassVar[str] = "OUTBOX_"

    mongodb_uri: SecretStr = Field(
        default=SecretStr("mongodb://127.0.0.1:27017/?replicaSet=rs0"),
        examples=["mongodb://mongo:27017/outbox?replicaSet=rs0"],
    )
    mongodb_database: str = Field(default=DATABASE)
    outbox_database: str | None = Field(default=None, examples=["orders_outbox"])
    outbox_prefix: str = PREFIX
    redis_host: str = Field(default="127.0.0.1", examples=["redis"])
    redis_port: int = Field(default=6379, ge=1, le=65535)
    redis_username: str | None = Field(default=None, examples=["relay"])
    redis_password: SecretStr | None = Field(default=None, examples=["secret"])
    redis_db: int = Field(default=0, ge=0)
    redis_tls: bool = Field(default=False, examples=["true"])
    redis_url: SecretStr | None = Field(default=None, examples=["redis://redis:6379/0"])

    outbox_redis_prefix: str = Field(default="", examples=["staging:"])
    outbox_streams: Annotated[list[StreamSetting], Field(min_length=1, examples=[_EXAMPLE])] = Field(
        default=[_FILES_SETTING]
    )
    outbox_max_message_bytes: int = Field(default=256 * 1024, ge=1024, le=MAX_LIMIT)
    outbox_retention_days: float = Field(default=7, gt=0, le=365_000)
    outbox_replay_rate: float = Field(default=2000, ge=0.1, le=1_000_000)
    outbox_log_format: Literal["auto", "json", "console"] = "auto"
    outbox_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    outbox_mongod: str | None = Field(default=None, examples=["/usr/bin/mongod"])
    outbox_redis_server: str | None = Field(default=None, examples=["/usr/bin/redis-server"])

    @field_validator("redis_host")
    @classmethod
    def _a_host_or_a_socket(cls, value: str) -> str:
        return redis_host(value)

    @model_validator(mode="before")
    @classmethod
    def _database_of_the_address(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("mongodb_database"):
            uri = values.get("mongodb_uri", "")
            named = database_in(uri.get_secret_value() if isinstance(uri, SecretStr) else str(uri))
            try:
                return values | {"mongodb_database": check_database(named or DATABASE)}
            except ValueError:  # not shown: it may be a part of a password
                raise ValueError(
                    "MONGODB_URI: what follows its hosts cannot be the name of a database. Percent-encode what is not "
                    "a letter or digit in a password; it looks like mongodb://user:password@host/?replicaSet=rs0"
                ) from None
        return values

    @field_validator("mongodb_database", "outbox_database")
    @classmethod
    def _names_a_database(cls, value: str | None) -> str | None:
        return value if value is None else check_database(value)

    @model_validator(mode="after")
    def _no_socket_with_tls(self) -> OutboxSettings:
        if self.redis_tls and self.redis_url is None and self.redis_host.startswith("/"):
            raise ValueError(
                "REDIS_TLS: there is no TLS to a socket, and REDIS_HOST is one; for example REDIS_TLS=false"
            )
        return self

    @field_validator("outbox_redis_prefix")
    @classmethod
    def _begins_keys(cls, value: str) -> str:
        return check_key_prefix(value)

    @field_validator("outbox_prefix")
    @classmethod
    def _begins_names(cls, value: str) -> str:
        return check_prefix(value)

    @property
    def place(self) -> Place:
        """Where the outbox is, and the application's subjects."""
        return Place(self.outbox_database or self.mongodb_database, self.outbox_prefix, self.mongodb_database)

    @property
    def streams(self) -> Streams:
        return Streams(replace(setting.declared(), prefix=self.outbox_redis_prefix) for setting in self.outbox_streams)

    @property
    def declares(self) -> bool:
        """Whether somebody has set OUTBOX_STREAMS: the default is no declaration that could be wrong."""
        return "outbox_streams" in self.model_fields_set

    @property
    def redis_dsn(self) -> str:
        """The URL to connect to, secret included: for the client only, never for a log."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        password = self.redis_password.get_secret_value() if self.redis_password else ""
        user = quote(self.redis_username or "", safe="")
        credentials = f"{user}:{quote(password, safe='')}@" if user or password else ""
        if self.redis_host.startswith("/"):
            return f"unix://{credentials}{quote(self.redis_host)}?db={self.redis_db}"
        host = f"[{quote(self.redis_host, safe=':')}]" if ":" in self.redis_host else self.redis_host
        scheme = "rediss" if self.redis_tls else "redis"
        return f"{scheme}://{credentials}{host}:{self.redis_port}/{self.redis_db}"

    @property
    def redis_address(self) -> str:
        return without_secret(self.redis_dsn)

    @property
    def mongodb_address(self) -> str:
        return without_secret(self.mongodb_uri.get_secret_value())


def database_in(uri: str) -> str | None:
    """The database that the path of a MongoDB address names. Not one of the server's own: such a path says where the
    user is known, and no transaction can write there.
    """
    place = uri.partition("://")[2].partition("?")[0].rpartition("@")[2]
    named = unquote(place.partition("/")[2]).partition(".")[0]
    return None if named in SERVERS_OWN else named or None


def redis_host(value: str) -> str:
    """A host, an IPv6 address without brackets, or a socket's path. Raises ValueError for what would be read as another
    place than was meant; never with the value, which may be an address with a password.
    """
    if value.startswith("/"):
        return value
    host = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    with suppress(ValueError):
        ip_address(host)
        return host
    if "://" in value:
        raise ValueError("is an address, and not a host; set REDIS_URL to it, such as REDIS_URL=redis://redis:6379/0")
    if re.fullmatch(r"[^:]*:\d+|\[.*\]:\d+", value):
        raise ValueError("has a port; set it as REDIS_PORT, such as REDIS_HOST=redis and REDIS_PORT=6379")
    if "," in value:
        example = "REDIS_URL=redis+sentinel://a:26379,b:26379/mymaster/0 or REDIS_URL=redis+cluster://a:6379,b:6379"
        raise ValueError(f"names several hosts; set {example}")
    if not re.fullmatch(r"[\w.-]+", value):
        raise ValueError("is no host; it is such as redis, 10.0.0.5, ::1, or /run/redis.sock for a socket")
    return host


def without_secret(url: str) -> str:
    """`url` without user, password and query, for logs and errors.

    Not parsed: a password with a / or ? that was not percent-encoded would then be taken for something else, and shown.
    What stands between a ? and an @ may be a password or an option, such as `?password=a@b`: then no host is shown.
    """
    scheme, mark, rest = url.partition("://")
    before, _, place = rest.rpartition("@")
    if not mark or "?" in before:
        return scheme + mark if mark else ""
    return scheme + mark + place.partition("?")[0].rstrip("/")
