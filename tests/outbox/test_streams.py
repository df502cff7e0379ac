from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from outbox import InvalidMessage, NoSuchPriority, Priority, SettingsError, Stream, Streams, Subject, UndeclaredStream
from outbox.streams.declaration import Partition
from tests.strategies import examples

characters = st.text("abcXYZ019_.:/-", max_size=8)
tags = st.text("abcXYZ019_.:/-", min_size=1, max_size=8).map(lambda tag: f"{{{tag}}}")
names = st.builds(lambda a, tag, b: a + tag + b, characters, tags | st.just(""), characters).filter(bool)


@given(names, st.integers(0, 255))
@examples(100)
def test_a_checkpoint_is_in_the_slot_of_its_stream(name: str, number: int) -> None:
    checkpoint = Stream(name, "g").checkpoint_key(number)
    assert key_slot(checkpoint.encode()) == key_slot(name.encode())
    assert checkpoint != name


def test_the_checkpoint_of_the_file_stream_has_the_name_that_others_rely_on() -> None:
    assert Stream("file_parsing_queue", "g").checkpoint_key(3) == "{file_parsing_queue}:outbox:3"


@pytest.mark.parametrize(("key", "number"), [("a", 67), ("65a1f0c2e4b0a1b2c3d4e5f6", 43), ("ключ", 26)])
def test_the_partition_of_a_key_never_changes(key: str, number: int) -> None:
    """Written down, because another way to compute it would break the order of each key that has messages waiting."""
    assert Stream("s", "g", partitions=256).partition_of(key) == number


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 256))
@examples(100)
def test_every_key_has_a_partition(key: str, partitions: int) -> None:
    assert 0 <= Stream("s", "g", partitions=partitions).partition_of(key) < partitions


def test_keys_spread_over_the_partitions() -> None:
    stream = Stream("s", "g", partitions=4)
    found = Counter(stream.partition_of(f"key-{n}") for n in range(4000))
    assert set(found) == {0, 1, 2, 3}
    assert min(found.values()) > 800


@pytest.mark.parametrize("name", ["", "a b", "a\n", "{}", "a{b}{c}", "a}b", "café"])
def test_a_name_that_redis_tools_or_a_cluster_would_trip_over_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="stream name"):
        Stream(name, "g")


@pytest.mark.parametrize("partitions", [0, -1, 257])
def test_the_number_of_partitions_is_bounded(partitions: int) -> None:
    with pytest.raises(SettingsError, match=f"1 to 256, not {partitions}"):
        Stream("s", "g", partitions=partitions)


def test_a_stream_needs_a_group() -> None:
    with pytest.raises(SettingsError, match="group"):
        Stream("s", "")


def test_an_undeclared_stream_is_refused_with_the_nearest_name() -> None:
    streams = Streams([Stream("file_parsing_queue", "g"), Stream("exports", "g")])
    with pytest.raises(UndeclaredStream, match="did you mean 'file_parsing_queue'"):
        streams["file_parsing_quene"]
    with pytest.raises(UndeclaredStream, match="declared are: file_parsing_queue, exports"):
        streams["something else"]
    assert "exports" in streams
    assert "export" not in streams
    assert streams.get("export") is None


def test_no_stream_at_all_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one"):
        Streams([])


def test_a_stream_that_is_declared_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="declared twice"):
        Streams([Stream("a", "g"), Stream("a", "h")])


@pytest.mark.parametrize("other", ["{a}", "{a}:outbox:3", "{a}:outbox:stream"])
def test_streams_that_would_share_keys_in_redis_are_refused(other: str) -> None:
    with pytest.raises(SettingsError, match="share keys in Redis"):
        Streams([Stream("a", "g"), Stream(other, "g")])
    Streams([Stream("a", "g"), Stream("b{a}", "g"), Stream("b:outbox:3", "g"), Stream("a:outbox:1", "g")])


def test_all_partitions_of_all_streams() -> None:
    streams = Streams([Stream("a", "g", partitions=2), Stream("b", "g", partitions=1)])
    assert streams.partitions() == [Partition("a", 0), Partition("a", 1), Partition("b", 0)]
    assert [str(partition) for partition in streams.partitions()] == ["a/0", "a/1", "b/0"]


HIGH, NORMAL, LOW = Priority


def test_each_priority_has_a_stream_of_its_own_that_is_alike_in_all_else() -> None:
    streams = Streams(
        [Stream("{f}iles", "g", partitions=2, subject=Subject(), priorities=(LOW, HIGH), max_undelivered=7)]
    )
    assert [(stream.name, stream.priority) for stream in streams.family("{f}iles")] == [
        ("{f}iles:high", HIGH), ("{f}iles", NORMAL), ("{f}iles:low", LOW),
    ]  # fmt: skip
    assert streams.family("{f}iles:low") == streams.family("{f}iles")
    assert {stream.family for stream in streams.values()} == {"{f}iles"}
    for stream in streams.values():
        assert (stream.group, stream.partitions, stream.subject, stream.max_undelivered) == ("g", 2, Subject(), 7)
    assert len(streams.partitions()) == 6


def test_a_priority_is_served_by_its_stream() -> None:
    streams = Streams([Stream("s", "g", priorities=(HIGH,)), Stream("exports", "g")])
    assert streams.serving("s", NORMAL).name == "s"
    assert streams.serving("s", HIGH).name == streams.serving("s:high", HIGH).name == "s:high"
    with pytest.raises(NoSuchPriority, match=r"'s' has no low priority: add .priorities.: \[.low.\]"):
        streams.serving("s", LOW)
    with pytest.raises(NoSuchPriority, match="'exports' has no high priority"):
        streams.serving("exports", HIGH)
    with pytest.raises(UndeclaredStream, match="'other' is not declared"):
        streams.serving("other", HIGH)


def test_a_priority_is_one_of_three() -> None:
    assert [Priority.read(text) for text in ("high", "normal", "low")] == list(Priority)
    with pytest.raises(InvalidMessage, match="'urgent' is unknown: use high, normal, low"):
        Priority.read("urgent")


@pytest.mark.parametrize("priorities", [(NORMAL,), (HIGH, HIGH)])
def test_priorities_that_cannot_be_are_refused(priorities: tuple[Priority, ...]) -> None:
    with pytest.raises(SettingsError, match="once each"):
        Stream("s", "g", priorities=priorities)


def test_a_stream_named_like_anothers_priority_is_refused() -> None:
    with pytest.raises(SettingsError, match="declared twice"):
        Streams([Stream("s", "g", priorities=(HIGH,)), Stream("s:high", "g")])


def test_a_stream_in_shards_is_several_that_are_alike_in_all_else() -> None:
    streams = Streams([Stream("q", "g", partitions=2, priorities=(HIGH,), shards=3), Stream("q:x", "g")])
    assert list(streams) == ["q", "q:high", "q:1", "q:1:high", "q:2", "q:2:high", "q:x"]
    assert {stream.family for name, stream in streams.items() if name != "q:x"} == {"q"}
    assert [stream.name for stream in streams.family("q")] == ["q:high", "q:1:high", "q:2:high", "q", "q:1", "q:2"]
    assert [stream.name for stream in streams.family("q:2:high")] == ["q:2:high", "q:2"]
    assert {stream.partitions for stream in streams.family("q")} == {2}


def test_a_key_is_always_in_the_same_shard_by_whatever_name_it_is_appended() -> None:
    streams = Streams([Stream("q", "g", partitions=4, priorities=(HIGH,), shards=4)])
    found = Counter[tuple[str, int]]()
    for n in range(8000):
        key = str(n)
        stream = streams.serving("q", NORMAL, key)
        found[stream.name, stream.partition_of(key)] += 1
        assert streams.serving("q:3", NORMAL, key) is stream
        assert streams.serving("q:3", HIGH, key).name == f"{stream.name}:high"
        assert streams.serving("q:3:high", NORMAL, key).name == f"{stream.name}:high"
    # A shard's keys are in all of its partitions, evenly: neither number says anything of the other.
    assert len(found) == 16
    assert 400 < min(found.values()) < max(found.values()) < 600


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ({"name": "q", "shards": 0}, "shards must be 1 to 64"),
        ({"name": "q", "shards": 65}, "shards must be 1 to 64"),
        ({"name": "{q}", "shards": 2}, "a hash tag keeps all shards on one node"),
    ],
)
def test_shards_that_cannot_be_are_refused(stream: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Stream(group="g", **stream)
