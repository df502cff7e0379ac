"""Where a process may listen, in every way that a host is written."""

from __future__ import annotations

import socket

import pytest

from outbox import SettingsError
from outbox.settings import Family, load
from outbox.web.listening import listen
from outbox_api.settings import ApiSettings
from outbox_relay.settings import RelaySettings

NAMES = ("RELAY_HOST", "RELAY_PORT")


def reached(listener: socket.socket, host: str) -> bool:
    try:
        socket.create_connection((host, listener.getsockname()[1]), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "v4", "v6"),
    [
        ("127.0.0.1", True, False),
        ("0.0.0.0", True, False),
        ("", True, False),
        ("::1", False, True),
        ("::", True, True),
        ("0:0:0:0:0:0:0:1", False, True),
    ],
)
def test_both_kinds_of_addresses(host: str, v4: bool, v6: bool) -> None:
    with listen(host, 0, names=NAMES, hint="") as listener:
        assert (reached(listener, "127.0.0.1"), reached(listener, "::1")) == (v4, v6)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("203.0.113.1", "RELAY_HOST must be an address of this machine"),
        ("2001:db8::1", "RELAY_HOST must be an address of this machine"),
        ("no.such.name.invalid", "'no.such.name.invalid' is no name of this machine"),
    ],
)
def test_what_is_not_here_is_said_so(host: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        listen(host, 0, names=NAMES, hint="is another relay running here?")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_taken_port_is_said_so(host: str) -> None:
    with listen(host, 0, names=NAMES, hint="") as first:
        with pytest.raises(SettingsError, match="is another relay running here"):
            listen(host, first.getsockname()[1], names=NAMES, hint="is another relay running here?")


@pytest.mark.parametrize("settings", [ApiSettings, RelaySettings])
@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost:80", "http://localhost", "[::1]:80", "a b", "a,b", "u@h"]
)
def test_more_than_a_host_is_refused_by_name(settings: type[Family], host: str) -> None:
    name = f"{settings.prefix}HOST"
    with pytest.raises(SettingsError, match=rf"{name}: .*such as 127\.0\.0\.1 or ::1"):
        load(settings, **{name.lower(): host})


def test_brackets_are_no_part_of_a_host() -> None:
    assert load(RelaySettings, relay_host="[::]").relay_host == "::"
    assert load(ApiSettings, api_host="[::1]").api_host == "::1"
