"""What the environment and `.env` give to a program: which names are ours, which are nearly so, and which are others'.

A setting is the field of a class in code, and a variable here. `MONGODB_...` and `REDIS_...` keep the names that every
service uses for its servers; everything else begins with `OUTBOX_`, because an environment is shared: with the
application beside us, and with Kubernetes, which adds variables for each Service.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from outbox.errors import SettingsError

ENV_FILE = ".env"
OURS = "OUTBOX_"
PROGRAMS = ("OUTBOX_RELAY_", "OUTBOX_API_")
"""What the settings of one program begin with, which other programs leave to it."""

FILE = "_FILE"
_SECRET_BYTES = 64 * 1024

_SERVICE_LINK = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_LINKED_PORT = re.compile(r"(tcp|udp|sctp)://\S+:\d+", re.IGNORECASE)

_OUR_LINE = re.compile(r"\s*(?:export\s+)?((?:OUTBOX|MONGODB|REDIS)_\w*)", re.IGNORECASE)

_NEAR = 0.75
"""How alike, of 1, an unknown name and one of ours must be to be taken for a misspelling of it."""

_ALIKE = 0.85
"""The same, for a name that may as well be another program's."""

_OF_OTHERS = {"MONGODB_URL", "REDIS_URI", "REDIS_HOSTS"}
"""One letter from ours, and used by many for settings of their own."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The names of one setting: the right one, and for some an old one, which is read when the right one is not set."""

    name: str
    old: str | None = None
    secret: bool = False
    listens: str | None = None
    """Of a setting that is a host and a port, and was two before: the default."""

    @property
    def file(self) -> str:
        """Names a file to read the secret from."""
        return self.name + FILE

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, self.file) if self.secret else (self.name,)


def of_servers(mongodb_uri: str, redis_url: str) -> dict[str, str]:
    """What a program that we start is given for its servers, over all that is set otherwise."""
    return {"MONGODB_URI": mongodb_uri, "MONGODB_URI_FILE": "", "REDIS_URL": redis_url, "REDIS_URL_FILE": ""}


@dataclass(frozen=True, slots=True)
class Refused:
    """In place of a value that cannot be had: why, for people."""

    why: str


def read() -> dict[str, str]:
    """All variables by their names in capitals: those of `.env`, and over them those of the environment.

    Without those that are set to nothing, and without the links that Kubernetes adds for each Service: for one called
    `redis`, REDIS_PORT=tcp://10.0.0.1:6379 and REDIS_SERVICE_HOST, which nobody has written and nobody means.
    """
    found: dict[str, str] = {}
    for variables in (_file(), os.environ):
        # A name that is written in capitals wins over the same one in other letters.
        for name in sorted(variables, key=str.isupper):
            found[name.upper()] = variables[name] or ""
    return {name: value for name, value in found.items() if value and not _is_service_link(name, value)}


def _file() -> Mapping[str, str | None]:
    path = Path(ENV_FILE)
    try:
        # Anything else is not meant for us: many a virtual environment is a folder of this name.
        text = path.read_text("utf-8-sig") if path.is_file() or path.is_fifo() else ""
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path.absolute()} cannot be read: {error}") from None
    if "\0" in text:
        raise SettingsError(f"{path.absolute()} is not UTF-8 text: save it as such")
    for line in parse_stream(StringIO(text)):
        if line.error and (ours := _OUR_LINE.match(line.original.string)):
            number = line.original.line + ours[0].count("\n")
            raise SettingsError(f"{path.absolute()}, line {number}: {ours[1]} is not written as {ours[1]}=value")
    return dotenv_values(stream=StringIO(text))


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(name) or (name.endswith("_PORT") and _LINKED_PORT.fullmatch(value)))


def named(setting: Setting, variables: Mapping[str, str]) -> str:
    """What sets `setting`, for errors: its file, its name, or else its old one."""
    if setting.secret and setting.file in variables:
        return setting.file
    if setting.name in variables or not setting.old:
        return setting.name
    old = [name for name in _pair(setting.old) if name in variables] if setting.listens else [setting.old]
    return " and ".join(old)


def given(setting: Setting, variables: Mapping[str, str]) -> str | Refused | None:
    """The value of `setting`; None: not set. To be called once, since what is read from a pipe is gone then."""
    if setting.secret and setting.file in variables:
        if setting.name in variables:
            return Refused(f"{setting.name} is set as well, and only one of them can count; remove one")
        return _secret(Path(variables[setting.file]))
    if setting.name in variables or not setting.old:
        return variables.get(setting.name)
    return _host_and_port(setting, variables) if setting.listens else variables.get(setting.old)


def _pair(listen: str) -> tuple[str, str]:
    """RELAY_HOST and RELAY_PORT, of which one may be set alone, for what is OUTBOX_RELAY_LISTEN now."""
    return listen.replace("LISTEN", "HOST"), listen.replace("LISTEN", "PORT")


def _host_and_port(setting: Setting, variables: Mapping[str, str]) -> str | None:
    names, usual = _pair(setting.old or ""), (setting.listens or "").rsplit(":", 1)
    if not set(names) & variables.keys():
        return None
    host, port = (variables.get(name, default) for name, default in zip(names, usual, strict=True))
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _secret(path: Path) -> str | Refused:
    """What the file holds, without the line's end, and the mark that Windows puts first; it is shown in no error."""
    try:
        with path.open("rb") as file:
            data = file.read(_SECRET_BYTES + 1)
        text = data.decode("utf-8-sig").rstrip("\r\n")
    except OSError as error:
        return Refused(f"{path} cannot be read: {error.strerror}")
    except ValueError:  # also for a path that no file can have
        return Refused("the file is not UTF-8 text, or its name cannot be one")
    if not text.strip() or len(data) > _SECRET_BYTES or "\0" in text:
        return Refused(f"{path} is empty, or not a secret alone")
    return text


def misspelt(settings: Iterable[Setting], prefix: str, variables: Mapping[str, str]) -> Iterator[str]:
    """For each variable that is nearly a name of ours, what to write instead. Others' names are left alone.

    :param prefix: what the settings of this program begin with; those of another program are that one's concern.
    """
    known = {name: setting for setting in settings for name in setting.names}
    elsewhere = tuple(other for other in PROGRAMS if other != prefix)
    for name in sorted(variables.keys() - known.keys()):
        meant = None
        if name.startswith(OURS) and not name.startswith(elsewhere):
            meant = _nearest(name, known)
        elif not name.startswith(OURS):
            meant = _one_slip_from(name, known, variables)
        if meant:
            yield f"{name} is not a setting; did you mean {meant}?"


def unread(settings: Iterable[Setting], prefix: str, variables: Mapping[str, str]) -> list[str]:
    """Variables that look like settings as they were called before, and are none, each with what may be meant.

    :param prefix: as for `misspelt`. What begins so without OUTBOX_ may be somebody else's, and so is not refused.
    """
    known = list(settings)
    old = {name for one in known if one.old for name in (_pair(one.old) if one.listens else [one.old])}
    begins, ends = prefix.removeprefix(OURS), {one.name.removeprefix(prefix): one.name for one in known}
    near = {
        name: get_close_matches(name.removeprefix(begins), ends, n=1, cutoff=_ALIKE)
        for name in sorted(variables.keys() - old)
        if name.startswith(begins)
    }
    return [f"{name}, for {ends[meant[0]]}" for name, meant in near.items() if meant]


def _nearest(name: str, known: Mapping[str, Setting]) -> str | None:
    if name.endswith(("_HOST", "_PORT")) and (listen := name[:-4] + "LISTEN") in known:
        return f"{listen}, which is host and port, such as {listen}=127.0.0.1:8000"
    if name.removesuffix(FILE) in known:
        return f"{name.removesuffix(FILE)}, which is no secret and is not read from a file"
    ends = {candidate.removeprefix(OURS): candidate for candidate in known}
    near = get_close_matches(name.removeprefix(OURS), ends, n=1, cutoff=_NEAR)
    return ends[near[0]] if near else None


def _one_slip_from(name: str, known: Mapping[str, Setting], variables: Mapping[str, str]) -> str | None:
    """The server's setting that `name` is one wrong letter away from, if that one is not set: the names of servers are
    everybody's, so more would be a guess.
    """
    if name in _OF_OTHERS:
        return None
    meant = (one for one in known if not one.startswith(OURS) and _is_one_slip(name, one))
    return next((one for one in meant if not any(other in variables for other in known[one].names)), None)


def _is_one_slip(a: str, b: str) -> bool:
    """Whether one letter is missing, too many or another, or two neighbours have changed places."""
    if a[:3] != b[:3] or abs(len(a) - len(b)) > 1:
        return False
    same = next((i for i, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))
    a, b = a[same:], b[same:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
