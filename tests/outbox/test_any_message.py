"""Whatever an application passes to `append`: it is refused with words, or stored, read, and sent as it is."""

from __future__ import annotations

from typing import Any, cast

from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st

from outbox import Outbox, Streams
from outbox.database import OUTBOX, Database
from outbox.errors import OutboxError
from outbox.message.document import read_document
from outbox.message.poison import RAW
from tests.strategies import examples, jsons, texts

FIELDS = {"file_id": "507f1f77bcf86cd799439011", "filename": "a.pdf"}
_KEYS = texts("k", "507f1f77bcf86cd799439011")
_ANY: Any = _KEYS | jsons() | st.binary(max_size=20)
_PAIRS: Any = st.dictionaries(texts("file_id"), texts(), max_size=4) | jsons(FIELDS) | st.binary(max_size=5)
_TIMES: Any = st.none() | st.datetimes(timezones=st.none() | st.timezones()) | jsons()


@given(stream=st.just("file_parsing_queue") | _ANY, fields=_PAIRS, options=st.fixed_dictionaries(
    {}, optional={"key": _ANY, "headers": _PAIRS, "available_at": _TIMES, "subject": _ANY, "unique": _ANY,
                  "priority": _ANY}
))  # fmt: skip
@examples(150)
async def test_everything_is_refused_or_stored_and_sent_as_it_is(
    db: Database, streams: Streams, stream: Any, fields: Any, options: dict[str, Any]
) -> None:
    outbox = Outbox(streams, database=db.name)
    async with db.client.start_session() as session, await session.start_transaction():
        try:
            id_ = await outbox.append(session, stream, fields, **options)
        except OutboxError as refused:
            str(refused).encode()
            return
        found = await db[OUTBOX].with_options(codec_options=RAW).find_one({"_id": id_}, session=session)
        await session.abort_transaction()
    message = read_document(bytes(cast(RawBSONDocument, found).raw))
    entry = message.entry()
    assert dict(zip(entry[::2], entry[1::2], strict=True)) == {
        **fields, **(options.get("headers") or {}), "message_id": str(id_), "attempt": "1"
    }  # fmt: skip
    "".join(entry).encode()
