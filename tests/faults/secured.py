"""Servers that ask who is there: a MongoDB with a key file and users, a Redis with users, behind TLS."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import trustme
from pymongo import MongoClient

from outbox.embedded import Mongod, RedisServer
from tests.documents import code, section
from tests.listener import Listener

TITLE, PAGE = "Least privilege", "docs/security.md"
ROLES = {"relay": "outboxRelay", "worker": "outboxWorker", "api": "outboxApi", "operator": "outboxOperator"}
DATABASE = "outbox"


class GuardedMongod(Mongod):
    """Once it has users, only they get in; the key file is what members of a set show each other."""

    guarded = False

    @contextmanager
    def client(self, *, timeout_seconds: float = 5.0) -> Iterator[MongoClient[dict[str, Any]]]:
        milliseconds = int(timeout_seconds * 1000)
        who: Any = {"username": "root", "password": "root"} if self.guarded else {}
        with MongoClient[dict[str, Any]](
            self.host, self.port, directConnection=True, serverSelectionTimeoutMS=milliseconds, **who
        ) as client:
            yield client

    def guard(self) -> None:
        """Make the users, each with its role from docs/security.md, and let nobody else in from now on."""
        with self.client() as client:
            client.admin.command("createUser", "root", pwd="root", roles=["root"])
            for role in roles():
                database = client[DATABASE]
                name = role.pop("role")
                database.command({"createRole": name, **role})
            for user, name in ROLES.items():
                client[DATABASE].command("createUser", user, pwd=user, roles=[name])
        self.stop()
        key = self.data_dir / "key"
        key.write_text("c2VjcmV0IG9mIHRoZSBtZW1iZXJz" * 4)
        key.chmod(0o600)
        self.extra_args += ["--keyFile", str(key.absolute())]
        self.guarded = True
        self.start()

    def uri_of(self, user: str) -> str:
        return f"mongodb://{user}:{user}@{self.address}/?replicaSet={self.replica_set}&authSource={DATABASE}"


class GuardedRedis(RedisServer):
    """With the users of docs/security.md, and one of ours to look at it; beyond them, nobody gets in."""

    def __init__(self, data_dir: Path) -> None:
        lines = code(section(TITLE, PAGE), "acl")[0]
        data_dir.mkdir(parents=True)
        acl = data_dir / "users.acl"
        for user in ROLES:
            lines = lines.replace(f">{user.upper()}_PASSWORD", f">{user}")
        acl.write_text(f"{lines}user root on >root ~* &* +@all\n")
        super().__init__(data_dir, options={"aclfile": f'"{acl.absolute()}"'})

    @property
    def url(self) -> str:
        return f"redis://root:root@{self.address}/0"


def roles() -> list[dict[str, Any]]:
    """The roles of docs/security.md, word for word."""
    [text] = code(section(TITLE, PAGE), "js")
    return [json.loads(role) for role in re.findall(r"^db\.createRole\((\{.*?^\})\)$", text, re.MULTILINE | re.DOTALL)]


@asynccontextmanager
async def behind_tls(
    target: tuple[str, int], folder: Path, host: str = "127.0.0.1", until: datetime | None = None
) -> AsyncIterator[tuple[int, Path]]:
    """A port at which `target` is reached by TLS alone, and the certificate of the authority that signed its own.

    That one is for `host`, and valid `until` then.

    In front of the server, because not every server program is built with TLS.
    """
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host, not_after=until).configure_cert(context)
    certificate = folder / "ca.pem"
    authority.cert_pem.write_to_path(certificate)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection(*target)
        ways = [asyncio.ensure_future(carry(reader, back)), asyncio.ensure_future(carry(onward, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (back, writer):
                end.transport.abort()

    async with Listener(link, tls=context) as listener:
        yield listener.port, certificate
