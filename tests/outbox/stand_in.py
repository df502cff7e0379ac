"""A stand-in for MongoDB 8.0: a real mongod of an earlier version behind a proxy that has the command `bulkWrite`.

It announces the wire version of 8.0 and carries each `bulkWrite` out as insert, update and delete commands, one after
the other, in the same session and transaction. What it answers is what the manual says of the command and what the
server's source does in a transaction: an error that passes fails the whole command, with its labels; any other one is
an item of the cursor, and nothing after it is tried. It shows that the library uses the command rightly, and nothing of
how a real MongoDB 8.0 behaves.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import bson
from bson import Int64

from outbox.database import Document
from outbox.embedded import Mongod
from tests.listener import Listener

OF_8_0, OF_6_0 = 25, 17
_HEADER = struct.Struct("<iiii")
_OP_REPLY, _OP_MSG = 1, 2013
_MORE_TO_COME = 2
_OPTIONS = {"bulkWrite", "ops", "nsInfo", "ordered", "errorsOnly", "comment", "let", "bypassDocumentValidation"}
_OF_EACH = ("lsid", "txnNumber", "autocommit", "$clusterTime", "maxTimeMS")
_OF_THE_FIRST = ("startTransaction", "readConcern")
_RENAMED = {"filter": "q", "updateMods": "u"}


class StandIn:
    """Listens at `uri`. What clients send in transactions is counted, and some of it can be made to fail."""

    def __init__(self, server: Mongod) -> None:
        self._server = server
        self._listener = Listener(self._serve)
        self.wire_version = OF_8_0
        self.sent: list[str] = []
        """The commands of transactions, by name, in the order in which they came."""
        self.refusal: Document | None = None
        """What every `bulkWrite` is answered with, before anything is done."""
        self.lose = 0
        """The replies of so many `bulkWrite` are lost: the connection breaks."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """The URI under which it can be reached."""
        async with self._listener:
            yield f"mongodb://127.0.0.1:{self._listener.port}/?directConnection=true"

    async def disconnect(self) -> None:
        """Break all connections."""
        await self._listener.disconnect()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_server = await asyncio.open_connection(self._server.host, self._server.port)
        try:
            while True:
                request = await _read(reader)
                body = _body(request)
                name = next(iter(body), "")
                if "autocommit" in body:
                    self.sent.append(name)
                if name == "bulkWrite":
                    reply = self.refusal or await self._bulk_write(body, upstream, to_server)
                    if self.lose:
                        self.lose -= 1
                        return
                    writer.write(_message(reply, _id(request)))
                    continue
                to_server.write(request)
                more = True
                while more:  # a monitor's first request is answered again and again
                    answer = await _read(upstream)
                    more = _is_message(answer) and bool(answer[16] & _MORE_TO_COME)
                    writer.write(self._announced(answer))
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            to_server.close()

    def _announced(self, answer: bytes) -> bytes:
        """The answer, with our version where it names one."""
        place = 21 if _is_message(answer) else 36
        document = bson.decode(answer[place:]) if b"maxWireVersion" in answer else {}
        if "maxWireVersion" not in document:
            return answer
        encoded = bson.encode({**document, "maxWireVersion": self.wire_version})
        _, number, response_to, kind = _HEADER.unpack_from(answer)
        return _HEADER.pack(place + len(encoded), number, response_to, kind) + answer[16:place] + encoded

    async def _bulk_write(
        self, command: Document, upstream: asyncio.StreamReader, to_server: asyncio.StreamWriter
    ) -> Document:
        each = {name: command.pop(name) for name in _OF_EACH if name in command}
        first = {name: command.pop(name) for name in _OF_THE_FIRST if name in command}
        if command.pop("$db") != "admin":
            return {"ok": 0.0, "code": 13, "errmsg": "bulkWrite may only be run against the admin database."}
        if unknown := command.keys() - _OPTIONS:
            return {"ok": 0.0, "code": 40415, "errmsg": f"BSON field 'bulkWrite.{min(unknown)}' is an unknown field."}
        counts = dict.fromkeys(("nErrors", "nInserted", "nMatched", "nModified", "nUpserted", "nDeleted"), 0)
        items, reply = [], {}
        for index, op in enumerate(command["ops"]):
            to_server.write(_message({**_as_command(op, command["nsInfo"]), **each, **first}))
            reply, first = _body(await _read(upstream)), {}
            if not reply["ok"]:
                return reply
            if errors := reply.get("writeErrors"):
                items.append({"ok": 0.0, "idx": index, "n": 0, **{k: v for k, v in errors[0].items() if k != "index"}})
                counts["nErrors"] += 1
                if command["ordered"]:
                    break
                continue
            for count in _counted(op, reply):
                counts[count] += 1
            if not command["errorsOnly"]:
                modified = {"nModified": reply["nModified"]} if "nModified" in reply else {}
                upserted = {"upserted": reply["upserted"][0]} if "upserted" in reply else {}
                items.append({"ok": 1.0, "idx": index, "n": reply["n"], **modified, **upserted})
        kept = {name: value for name, value in reply.items() if name in ("$clusterTime", "operationTime")}
        cursor = {"id": Int64(0), "firstBatch": items, "ns": "admin.$cmd.bulkWrite"}
        return {"cursor": cursor, **counts, "ok": 1.0, **kept}


def _as_command(op: Document, namespaces: list[Document]) -> Document:
    """The command that does the same as one of the operations."""
    kind = next(iter(op))
    database, _, collection = namespaces[op[kind]]["ns"].partition(".")
    rest = {_RENAMED.get(name, name): value for name, value in op.items() if name != kind}
    command: Document = {kind: collection, "ordered": True, "$db": database}
    match kind:
        case "insert":
            return {**command, "documents": [rest["document"]]}
        case "update":
            return {**command, "updates": [rest]}
        case "delete":
            return {**command, "deletes": [{"limit": 0 if rest.pop("multi") else 1, **rest}]}
        case _:
            raise AssertionError(op)


def _counted(op: Document, reply: Document) -> Iterator[str]:
    match next(iter(op)):
        case "insert":
            yield "nInserted"
        case "delete":
            yield from ["nDeleted"] * reply["n"]
        case _ if reply.get("upserted"):
            yield "nUpserted"
        case _:
            yield from ["nMatched"] * reply["n"] + ["nModified"] * reply["nModified"]


async def _read(reader: asyncio.StreamReader) -> bytes:
    size = await reader.readexactly(4)
    return size + await reader.readexactly(struct.unpack("<i", size)[0] - 4)


def _is_message(data: bytes) -> bool:
    return bool(_HEADER.unpack_from(data)[3] == _OP_MSG)


def _id(data: bytes) -> int:
    return int(_HEADER.unpack_from(data)[1])


def _body(data: bytes) -> Document:
    """The command or reply of a message, with the lists that it has in sections of their own."""
    body: Document = {}
    place = 20 if _is_message(data) else len(data)
    while place < len(data):
        section, place = data[place], place + 1
        size = struct.unpack_from("<i", data, place)[0]
        if section == 0:
            body = {**bson.decode(data[place : place + size]), **body}
        else:
            end = data.index(b"\0", place + 4)
            body[data[place + 4 : end].decode()] = bson.decode_all(data[end + 1 : place + size])
        place += size
    return body


def _message(body: dict[str, Any], response_to: int = 0) -> bytes:
    encoded = bson.encode(body)
    return _HEADER.pack(21 + len(encoded), 1, response_to, _OP_MSG) + bytes(5) + encoded
