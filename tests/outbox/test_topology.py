"""Addresses of Redis, and what the clients made of them do by themselves: nothing."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from outbox.errors import SettingsError
from outbox.servers.cluster import Cluster
from outbox.servers.topology import connect

SECRET = "p@ss:/w?rd#%41 ü"
QUOTED = "p%40ss%3A%2Fw%3Frd%23%2541%20%C3%BC"


CA = __file__
"""Any file: that it can be read is all that is looked at before a connection is made."""


def made(url: str) -> Any:
    return connect(url, timeout_seconds=1)


def test_one_server() -> None:
    client = made(f"rediss://relay:{QUOTED}@h:1/3?ssl_ca_certs={CA}&ssl_check_hostname=no")
    assert isinstance(client, Redis)
    options = client.connection_pool.connection_kwargs
    assert (options["username"], options["password"], options["host"], options["db"]) == ("relay", SECRET, "h", 3)
    assert issubclass(client.connection_pool.connection_class, SSLConnection)
    assert (options["ssl_ca_certs"], options["ssl_check_hostname"]) == (CA, False)


def test_sentinels() -> None:
    client = made(f"redis+sentinel://relay:{QUOTED}@a,b:2,[::1]:3/my%20tasks/5?sentinel_password={QUOTED}")
    pool: SentinelConnectionPool = client.connection_pool
    assert pool.service_name == "my tasks"
    options = pool.connection_kwargs
    assert (options["username"], options["password"], options["db"]) == ("relay", SECRET, 5)
    watchers = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(w["host"], w["port"]) for w in watchers] == [("a", 26379), ("b", 2), ("::1", 3)]
    # The primary's user is not shown to the Sentinels, which have users of their own.
    assert [(w.get("username"), w["password"]) for w in watchers] == [(None, SECRET)] * 3
    assert made("redis+sentinel://a/tasks").connection_pool.connection_kwargs["db"] == 0


def test_tls_holds_for_the_sentinels_too() -> None:
    pool: SentinelConnectionPool = made(f"rediss+sentinel://a/tasks?ssl_ca_certs={CA}").connection_pool
    [sentinel] = pool.sentinel_manager.sentinels
    assert issubclass(pool.connection_class, SentinelManagedSSLConnection)
    assert issubclass(sentinel.connection_pool.connection_class, SSLConnection)
    for options in (pool.connection_kwargs, sentinel.connection_pool.connection_kwargs):
        assert options["ssl_ca_certs"] == CA


def test_a_cluster() -> None:
    client = made(f"rediss+cluster://relay:{QUOTED}@a,b:2?ssl_ca_certs={CA}")
    assert isinstance(client, Cluster)
    assert [(node.host, node.port) for node in client.startup_nodes] == [("a", 6379), ("b", 2)]
    options = client.connection_kwargs
    assert (options["username"], options["password"]) == ("relay", SECRET)
    assert issubclass(options["connection_class"], SSLConnection)
    assert options["ssl_ca_certs"] == CA


@pytest.mark.parametrize("url", ["redis://h", "redis+sentinel://a,b/tasks", "redis+cluster://a,b"])
def test_nobody_retries(url: str) -> None:
    client = made(url)
    retry = client.retry if isinstance(client, Cluster) else client.connection_pool.connection_kwargs["retry"]
    assert retry.get_retries() == 0
    if url.startswith("redis+sentinel"):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            assert sentinel.connection_pool.connection_kwargs["retry"].get_retries() == 0


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:9", "redis+sentinel://127.0.0.1:9/tasks", "redis+cluster://127.0.0.1:9"]
)
async def test_it_connects_at_its_first_use_and_says_that_nobody_is_there(url: str) -> None:
    async with connect(url, timeout_seconds=1) as client:
        for _ in range(2):
            with pytest.raises(RedisConnectionError):
                await client.xlen("stream")
            with pytest.raises(RedisConnectionError):
                await client.ping()


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "redis://h:many",
        "redis://h?no_such_option=1",
        "rediss://h?ssl_cert_reqs=perhaps",
        "redis+sentinel://a/tasks?no_such_option=1",
        "redis+sentinel://a,b",
        "redis+sentinel://a,b/tasks/first",
        "redis+sentinel://a/tasks/0/1",
        "redis+sentinel:///tasks",
        "redis+sentinel://a,,b/tasks",
        "redis+cluster://a:many",
        "redis+cluster://a/1",
        "redis+cluster://a?no_such_option=1",
        "redis+proxy://a",
    ],
)
def test_what_cannot_be_understood_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the text may hold parts of a password, and is not shown
        made(url)


async def test_bytes_that_are_not_text_go_to_redis_as_they_came(redis_url: str) -> None:
    """Also where the address carries the text options of another program that it is shared with."""
    for url in (redis_url, f"{redis_url}?decode_responses=False&encoding=latin-1&health_check_interval=30"):
        async with connect(url, timeout_seconds=5) as client:
            await client.delete("s")
            await client.xgroup_create("s", cast(Any, b"g\xff"), "0", mkstream=True)
            await client.xadd("s", {b"\xff": b"\x00\xc3("})
            (group,) = await client.xinfo_groups("s")
            read: Any = await client.xreadgroup(group["name"], "c", {"s": ">"})
            assert read == [["s", [(read[0][1][0][0], {"\udcff": "\x00\udcc3("})]]]
            assert [one["name"] for one in await client.xinfo_consumers("s", group["name"])] == ["c"]


def test_a_cluster_needs_a_newer_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outbox.servers.topology.redis_py", "7.4.1")
    with pytest.raises(SettingsError, match=r"redis-py 8\.1 or later, not 7\.4\.1: pip install 'redis>=8\.1'"):
        made("redis+cluster://a,b")
    made("redis://a")
