"""MONGODB_URI and REDIS_URL, as they are written: what they ask for, and who could read what passes.

The outbox's own clients set the options that its guarantees rest on, whatever the address says. An application that
makes its client with the same address, and appends by it, gets what is written there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from outbox.operations.doctor.findings import Finding, Level, Surroundings
from outbox.settings import OutboxSettings

_WEAK = {"w": ("0", "1"), "journal": ("false",), "j": ("false",), "readconcernlevel": ("local", "available")}
_UNCHECKED = {
    "tlsinsecure": "true", "tlsallowinvalidcertificates": "true", "tlsallowinvalidhostnames": "true",
    "ssl_cert_reqs": "none", "ssl_check_hostname": "false",
}  # fmt: skip


async def consistency(at: Surroundings) -> list[Finding]:
    options = _mongodb_options(at.settings)
    findings = []
    weak = [f"{name}={value}" for name, value in options.items() if value in _WEAK.get(name, ())]
    if weak:
        findings.append(
            Finding(
                "write-concern", Level.DANGER, f"MONGODB_URI says {' and '.join(weak)}",
                "the outbox's programs use w=majority, journal and readConcernLevel=majority all the same. A client "
                "that your application makes from this address does not: a failover can take back what it was told is "
                "committed, its message included",
                "take these options out of MONGODB_URI, or set w=majority and readConcernLevel=majority",
            )
        )  # fmt: skip
    preference = options.get("readpreference", "primary")
    if preference != "primary":
        findings.append(
            Finding(
                "read-preference", Level.WARNING, f"MONGODB_URI says readPreference={preference}",
                "the outbox's programs read at the primary all the same. A client that your application makes from "
                "this address reads what may be behind: a handler may not find the record that its message is about",
                "take readPreference out of MONGODB_URI, or set readPreference=primary",
            )
        )  # fmt: skip
    if options.get("retrywrites") == "false":
        findings.append(
            Finding(
                "retry-writes", Level.ADVICE, "MONGODB_URI says retryWrites=false",
                "each failover of MongoDB becomes an error in applications that use this address",
                "take retryWrites out of MONGODB_URI",
            )
        )  # fmt: skip
    return findings


async def encryption(at: Surroundings) -> list[Finding]:
    findings = []
    for server, setting, mend, encrypted in (
        ("MongoDB", "MONGODB_URI", "add tls=true&tlsCAFile=... to MONGODB_URI", _mongodb_tls(at.settings)),
        ("Redis", "REDIS_URL", "let REDIS_URL begin with rediss://, or set REDIS_TLS=true", _redis_tls(at.settings)),
    ):
        far = [host for host in hosts(at.settings, server) if not _is_here(host)]
        if far and not encrypted:
            findings.append(
                Finding(
                    "tls", Level.WARNING, f"the connection to {server} at {', '.join(far[:3])} is not encrypted",
                    "who can listen in between reads passwords and messages, and can change them",
                    f"serve TLS, and {mend}".replace("...", "FILE"),
                )
            )  # fmt: skip
        options = _mongodb_options(at.settings) if server == "MongoDB" else redis_options(at.settings)
        unchecked = [f"{name}={value}" for name, value in options.items() if _UNCHECKED.get(name) == value]
        if encrypted and unchecked:
            findings.append(
                Finding(
                    "certificates", Level.WARNING, f"{setting} says {' and '.join(unchecked)}",
                    "anybody in between can pass for the server, and read and change everything",
                    f"take it out of {setting}, and name the authority that signed the certificate",
                )
            )  # fmt: skip
    return findings


def hosts(settings: OutboxSettings, server: str) -> Iterator[str]:
    """Hosts of an address, or a socket's path; never with user or password."""
    url = settings.mongodb_uri.get_secret_value() if server == "MongoDB" else settings.redis_dsn
    scheme, _, rest = url.partition("://")
    if scheme == "unix":
        yield "/"
        return
    place = rest.partition("?")[0].rpartition("@")[2].partition("/")[0]
    for member in place.split(","):
        if host := urlsplit(f"//{member}").hostname:
            yield host


def _is_here(host: str) -> bool:
    if host == "localhost" or host.startswith(("/", "%2f")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_local(settings: OutboxSettings, server: str) -> bool:
    """Whether nobody but this machine reaches it by the address that is set."""
    return all(map(_is_here, hosts(settings, server)))


def _mongodb_options(settings: OutboxSettings) -> dict[str, str]:
    return _options(settings.mongodb_uri.get_secret_value())


def redis_options(settings: OutboxSettings) -> dict[str, str]:
    return _options(settings.redis_dsn)


def _options(url: str) -> dict[str, str]:
    _, mark, options = url.rpartition("?")
    return {name.lower(): value.strip().lower() for name, value in parse_qsl(options if mark else "")}


def _mongodb_tls(settings: OutboxSettings) -> bool:
    uri, options = settings.mongodb_uri.get_secret_value(), _mongodb_options(settings)
    said = options.get("tls", options.get("ssl"))
    return said == "true" if said else uri.startswith("mongodb+srv://")


def _redis_tls(settings: OutboxSettings) -> bool:
    return settings.redis_dsn.startswith("rediss")
