"""Where a process may listen, in every way that a host is written."""

from __future__ import annotations

import socket

import pytest

from outbox import SettingsError
from outbox.settings import Family, load
from outbox.web.listening import address, listen
from outbox_api.settings import ApiSettings
from outbox_relay.settings import RelaySettings

NAME = "OUTBOX_RELAY_LISTEN"


def reached(listener: socket.socket, host: str) -> bool:
    """And not somebody else, who has the port of the other kind of addresses."""
    try:
        client = socket.create_connection((host, listener.getsockname()[1]), timeout=5)
    except OSError:
        return False
    with client:
        listener.settimeout(5)
        try:
            accepted, there = listener.accept()
        except TimeoutError:
            return False
        with accepted:
            return bool(there[1] == client.getsockname()[1])


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
    with listen(host, 0, name=NAME, hint="") as listener:
        assert (reached(listener, "127.0.0.1"), reached(listener, "::1")) == (v4, v6)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("203.0.113.1", "OUTBOX_RELAY_LISTEN must have an address of this machine"),
        ("2001:db8::1", "OUTBOX_RELAY_LISTEN must have an address of this machine"),
        ("no.such.name.invalid", "'no.such.name.invalid' is no name of this machine"),
    ],
)
def test_what_is_not_here_is_said_so(host: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        listen(host, 0, name=NAME, hint="is another relay running here?")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_taken_port_is_said_so(host: str) -> None:
    with listen(host, 0, name=NAME, hint="") as first:
        with pytest.raises(SettingsError, match="is another relay running here"):
            listen(host, first.getsockname()[1], name=NAME, hint="is another relay running here?")


@pytest.mark.parametrize("settings", [ApiSettings, RelaySettings])
@pytest.mark.parametrize(
    "place",
    [
        "127.0.0.1",
        "8001",
        "http://localhost:80",
        "::1:80",
        "[::1]80",
        "a b:80",
        "a,b:80",
        "h:65536",
        "h:-1",
        "h:٣",
        "u@h:1",
    ],
)
def test_anything_but_a_host_and_a_port_is_refused_by_name(settings: type[Family], place: str) -> None:
    name = f"{settings.prefix}LISTEN"
    with pytest.raises(SettingsError, match=rf"{name}: .*such as 127\.0\.0\.1.*For example {name}=127\.0\.0\.1:8"):
        load(settings, **{name.removeprefix("OUTBOX_").lower(): place})


@pytest.mark.parametrize(
    ("place", "host", "port"),
    [
        ("[::]:1", "::", 1),
        ("[::1]:0", "::1", 0),
        ("localhost:80", "localhost", 80),
        ("0.0.0.0:65535", "0.0.0.0", 65535),
        (":5", "", 5),
    ],
)
def test_a_host_and_a_port_are_one_setting(place: str, host: str, port: int) -> None:
    told = load(RelaySettings, relay_listen=place).relay_listen
    assert told == place
    assert address(told) == (host, port)


def test_the_command_line_goes_over_either_part() -> None:
    place = address("[::]:8001")
    assert str(place.at(None, 0)) == "[::]:0"
    assert str(place.at("[::1]", None)) == "[::1]:8001"
    assert place.at("127.0.0.1", 1) == ("127.0.0.1", 1)
    with pytest.raises(SettingsError, match="--host is not a host alone"):
        place.at("127.0.0.1:80", None)
