"""Every page is followed as a reader would: what it says to save is saved, and what it says to run is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from outbox.embedded import ports
from tests.docs.blocks import blocks_of
from tests.docs.session import Session
from tests.documents import PAGES

FOLLOWED = [page for page in PAGES if any(block.mode in ("run", "background") for block in blocks_of(page))]
OWN_SERVERS = {"README.md", "docs/tutorial.md"}
"""Pages that start servers themselves with `outbox up`. `.ci/run` follows them in an empty
environment with the wheel."""
PORTS = ("8000", "8080", "8081")
"""The ports of the pages: in the tests they are free ones."""
_INSTALL = re.compile(r"^python3 -m venv \S+ && \S+ install \S+ && \.venv/bin/", re.MULTILINE)
"""What a command begins with that has been done already."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow if page in OWN_SERVERS else ()) for page in FOLLOWED]
)
def test_a_page_can_be_followed(page: str, mongodb_uri: str, database: str, redis_url: str, tmp_path: Path) -> None:
    environment = {"OUTBOX_LOG_FORMAT": "console", "OUTBOX_RELAY_LISTEN": "127.0.0.1:0"}
    if page not in OWN_SERVERS:
        environment |= {"MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": database, "REDIS_URL": redis_url}
    free: dict[str, str] = {}
    while len(free) < len(PORTS):
        if (port := str(ports.pick("127.0.0.1"))) not in free.values():
            free[PORTS[len(free)]] = port
    with Session(tmp_path, environment) as session:
        for block in blocks_of(page):
            text = _INSTALL.sub("", block.text).replace("outbox up\n", "outbox up --port 8000\n")
            # All at once: the port in the place of one may hold the digits of the next.
            session.follow(block, re.sub("|".join(PORTS), lambda found: free[found[0]], text))
