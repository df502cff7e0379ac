"""Wrong keys are counted by where they come from, and nobody chooses for itself where that is."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from starlette.requests import HTTPConnection

from outbox.database import Database
from outbox.errors import SettingsError
from outbox.settings import OutboxSettings, load
from outbox_api import guesses
from outbox_api.guesses import network_of
from outbox_api.settings import ApiSettings
from tests.api.callers import ALICE, PROCESS, SHARED
from tests.api.conftest import Serve
from tests.api.serving import Api


def guess(api: Api, number: int, forwarded: str | None = None) -> int:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    return httpx.post(
        f"{api.url}/dashboard/login", data={"key": f"wrong{number}"}, headers=headers, timeout=60
    ).status_code


def test_whom_nobody_trusts_cannot_say_where_it_comes_from(
    tmp_path: Path, outbox_settings: OutboxSettings, db: Database
) -> None:
    with Api(tmp_path, outbox_settings, **PROCESS) as api:
        statuses = [guess(api, n, f"10.1.{n}.1") for n in range(45)]
        assert statuses == [401] * 30 + [429] * 15
        assert '"address": "127.0.0.1"' in api.output()


def test_behind_a_proxy_the_rightmost_address_that_is_not_its_own_counts(
    tmp_path: Path, outbox_settings: OutboxSettings, db: Database
) -> None:
    with Api(tmp_path, outbox_settings, **PROCESS, OUTBOX_API_TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8") as api:
        statuses = [guess(api, n, f"{n}.2.3.4, 198.51.100.7:{2000 + n}, 10.0.0.{n}") for n in range(33)]
        assert statuses == [401] * 30 + [429] * 3
        assert guess(api, 0, "198.51.100.8") == 401  # another client has a share of its own
        assert '"address": "198.51.100.7"' in api.output()
        secure = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.9"}
        entered = httpx.post(f"{api.url}/dashboard/login", data={"key": ALICE}, headers=secure, timeout=60)
        assert "secure" in entered.headers["Set-Cookie"].lower()


@pytest.mark.parametrize("proxies", ["127.0.0.1", "127.0.0.0/8, ::1"])
def test_a_proxy_is_known_where_the_api_listens_at_both_kinds_of_addresses(
    proxies: str, tmp_path: Path, outbox_settings: OutboxSettings, db: Database
) -> None:
    """At `::`, what comes from 127.0.0.1 seems to come from ::ffff:127.0.0.1."""
    with Api(tmp_path, outbox_settings, "--host", "::", **PROCESS, OUTBOX_API_TRUSTED_PROXIES=proxies) as api:
        through = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.9, ::ffff:127.0.0.1"}
        entered = httpx.post(f"{api.url}/dashboard/login", data={"key": ALICE}, headers=through, timeout=60)
        assert "secure" in entered.headers["Set-Cookie"].lower()
        httpx.post(f"{api.url}/dashboard/login", data={"key": "wrong"}, headers=through, timeout=60)
        assert '"address": "198.51.100.9"' in api.output()


@pytest.mark.parametrize("proxies", ["*", "proxy.example", "10.0.0.0/33", "10.0.0.1/8"])
def test_a_proxy_is_an_address_or_a_network(outbox_settings: OutboxSettings, proxies: str) -> None:
    with pytest.raises(SettingsError, match="OUTBOX_API_TRUSTED_PROXIES"):
        load(ApiSettings, api_trusted_proxies=proxies)


async def test_wrong_keys_are_counted_for_all_processes_together(db: Database, serve: Serve) -> None:
    one, two = await serve(**SHARED), await serve(**SHARED)
    wrong = {"Authorization": "Bearer obx_wrong"}
    statuses = [(await (one, two)[n % 2].get("/files", headers=wrong)).status_code for n in range(34)]
    assert statuses == [401] * 30 + [429] * 4
    refused = await two.put("/files/reparse", headers=wrong)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    # Whoever has a key is not kept out by others at the same address, and no key at all is no guess.
    assert (await one.get("/files", headers={"Authorization": f"Bearer {ALICE}"})).status_code == 200
    assert (await one.get("/files")).status_code == 401


def test_one_who_has_a_network_is_one() -> None:
    assert network_of("2001:db8:1:2:aaaa::1") == network_of("2001:db8:1:2:bbbb::2") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::1") != network_of("2001:db8:1:2::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"


async def test_many_addresses_take_no_more_memory_than_few(db: Database) -> None:
    counted = guesses.Guesses(db)
    counted._counts = {str(n): 1 for n in range(guesses.MAX_ADDRESSES)}
    counted._until = float("inf")
    await counted.count("key", HTTPConnection({"type": "http", "client": ("192.0.2.1", 1), "headers": []}))
    assert len(counted._counts) == guesses.MAX_ADDRESSES
    assert await db.outbox_refusals.count_documents({}) == 1
