"""Protections of the history: one document a minute, and for a day."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_TESTS = "tests/outbox/test_history.py::"

MUTATIONS = [
    Mutation(
        "a minute is one document", "history", "outbox/operations/history.py",
        'insert_one({"_id": minute, **document})', "insert_one(document)",
        _TESTS + "test_a_minute_is_recorded_once_whatever_the_number_of_relays",
    ),
    Mutation(
        "a minute that is on record is not measured again", "history", "outbox/operations/history.py",
        'None if await history.find_one({"_id": minute}, {"_id": 1}) else', "",
        _TESTS + "test_a_look_at_a_minute_that_is_on_record_measures_nothing",
    ),
    Mutation(
        "the history ends after a day", "history", "outbox/message/schema.py",
        '("at", ASCENDING), expireAfterSeconds=24 * 3600),), since=2', '("at", ASCENDING)),), since=2',
        _TESTS + "test_a_day_is_kept_by_the_servers_clock",
    ),
    Mutation(
        "a count that Redis has lost is no rate", "history", "outbox/operations/day.py",
        " and minute.added >= before.added", "",
        _TESTS + "test_where_nothing_is_known_there_is_a_gap",
    ),
    Mutation(
        "what was recorded while the clock was ahead is no point", "history", "outbox/operations/history.py",
        '{"$lte": ["$at", "$$NOW"]}', "True",
        _TESTS + "test_what_others_wrote_is_left_out",
    ),
]  # fmt: skip
