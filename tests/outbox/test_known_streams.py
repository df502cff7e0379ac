"""Which documents of the registry are understood, and how often each is looked at for that."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.database import STREAMS, Database, Document
from outbox.streams import known, registry
from outbox.streams.declaration import Stream
from outbox.streams.known import Known
from outbox.streams.registry import NotUnderstood
from tests.strategies import examples

MANY = 400

_PARTS = ["a", "{a}", "b", "{b}", ":outbox:", ":", "0", "1", "low", "g", "stream"]
_NAMES = st.lists(st.sampled_from(_PARTS), min_size=1, max_size=4).map("".join)
_DOCUMENTS = st.fixed_dictionaries(
    {"_id": _NAMES, "group": st.sampled_from(["g", "h"])},
    optional={
        "revision": st.sampled_from([1, 1, 1, "1"]), "shards": st.sampled_from([1, 2, 0]),
        "priorities": st.sampled_from([["low"], ["low", "high"], ["middle"]]),
        "groups": st.sampled_from([["low"], ["outbox"], ["0", "1"], ["g"]]),
        "prefix": st.sampled_from(["", "a", "a:", "a:outbox:"]),
    },
)  # fmt: skip


def one_by_one(documents: list[Document]) -> Known:
    """What is to come out, in the plainest way: each by itself, and beside all of those before it."""
    well: list[Document] = []
    faults: list[NotUnderstood] = []
    for document in documents:
        try:
            registry.understood([document])
            registry.understood([*well, document])
        except NotUnderstood as fault:
            faults.append(fault)
        else:
            well.append(document)
    return Known(registry.understood(well), tuple(faults))


def shown(found: Known) -> tuple[Any, ...]:
    streams = found.streams
    return dict(streams or {}), streams and streams.revisions, [(one.name, str(one)) for one in found.faults]


@examples(400)
@given(st.lists(_DOCUMENTS, max_size=8, unique_by=lambda one: str(one["_id"])))
def test_the_same_are_known_as_when_each_is_tried_beside_all_before_it(documents: list[Document]) -> None:
    documents = sorted(documents, key=lambda one: str(one["_id"]))
    assert shown(known.sorted_out(documents)) == shown(one_by_one(documents))


@pytest.mark.parametrize(
    ("first", "second"),
    [("a", "{a}"), ("a", "{a}:outbox:0"), ("{a}:outbox:0", "{a}"), ("jobs", "jobs:low"), ("x", "jobs:low:")],
)
def test_two_that_meet_in_one_key_or_name(first: str, second: str) -> None:
    documents: list[Document] = [
        {"_id": name, "revision": 1, "group": "g", "priorities": ["low"]} for name in (first, second)
    ]
    assert shown(known.sorted_out(documents)) == shown(one_by_one(documents))


def test_two_that_share_a_name_and_no_key() -> None:
    documents: list[Document] = [
        {"_id": "jobs", "revision": 1, "group": "g", "priorities": ["low"]},
        {"_id": "jobs:low", "revision": 1, "group": "g", "prefix": "p:"},
    ]
    found = known.sorted_out(documents)
    assert [one.name for one in found.faults] == ["jobs:low"]
    assert shown(found) == shown(one_by_one(documents))


@pytest.mark.parametrize(
    "wrong", [{"_id": "foo", "x": 1}, {"_id": "{s0001}", "revision": 1, "group": "g"}], ids=["others", "beside"]
)
async def test_beside_one_that_is_not_understood_many_are_not_looked_at_many_times(
    wrong: Document, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db[STREAMS].delete_many({})
    await db[STREAMS].insert_many([{"_id": f"s{n:04}", "revision": 1, "group": "g"} for n in range(MANY)] + [wrong])
    looked, load = [0], registry.load

    def counted(document: Document) -> Stream:
        looked[0] += 1
        return load(document)

    monkeypatch.setattr(registry, "load", counted)
    found = await known.read(db)
    assert found.streams
    # By name, `{s0001}` comes after all others.
    assert (len(found.streams), [one.name for one in found.faults]) == (MANY, [wrong["_id"]])
    assert looked[0] <= 10 * MANY
