"""Ids of stream entries, see outbox/streams/entry_ids.py."""

from __future__ import annotations

import ast

import pytest
from redis.asyncio import Redis

from outbox.streams.entry_ids import NEVER, EntryId, is_entry_id
from tests.sources import modules

SPLITS = ("partition", "rpartition", "split", "rsplit")
LARGEST = "18446744073709551615"


def test_ids_are_in_the_order_of_the_stream_and_not_of_their_letters() -> None:
    ids = ["9-0", "10-0", "10-9", "10-10"]
    assert sorted(sorted(ids), key=EntryId.parse) == ids
    assert [str(EntryId.parse(id_)) for id_ in ids] == ids
    assert EntryId.parse("0-1") > NEVER


@pytest.mark.parametrize(
    "text",
    ["", "-", "+", "1", "1-", "-1", "1-2-3", "(1-2", " 1-2", "1-2\n", "1.0-2", "٣-٤", "+1-2", f"{LARGEST}0-0",
     "1-18446744073709551616", b"1-2", None, 1, ["1-2"]],
)  # fmt: skip
def test_what_is_no_id_is_refused(text: object) -> None:
    assert not is_entry_id(text)
    with pytest.raises(ValueError, match="is not the id of a stream entry, such as"):
        EntryId.parse(text)


async def test_the_next_id_is_the_smallest_that_redis_takes_after_it(redis: Redis) -> None:
    for last in ("5-7", f"5-{LARGEST}"):
        following = EntryId.parse(last).next()
        await redis.delete("ids")
        await redis.xadd("ids", {"a": "b"}, id=last)
        assert await redis.xadd("ids", {"a": "b"}, id=str(following)) == str(following)
        assert following == min(following, EntryId(5, 8) if last == "5-7" else EntryId(6, 0))


def test_no_other_module_takes_ids_apart() -> None:
    taken_apart = [
        f"{path}:{call.lineno}"
        for path, tree in modules()
        for call in ast.walk(tree) if isinstance(call, ast.Call)
        if isinstance(call.func, ast.Attribute) and call.func.attr in SPLITS
        and "'-'" in map(ast.unparse, call.args) and "traceparent" not in ast.unparse(call.func.value)
    ]  # fmt: skip
    assert taken_apart == [], "use EntryId.parse"
