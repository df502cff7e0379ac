"""Protections of messages that change while somebody decides what becomes of them."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

TRANSITIONS = "outbox/message/transitions.py"
LATEST = "tests/outbox/test_latest.py"

OTHERS = "tests/outbox/test_rescue_of_others.py::"

MUTATIONS = [
    Mutation(
        "what is replayed although it was done is not completed under its worker", "G1", "outbox/delivery/vanished.py",
        "if not attempts.is_repeat(message)]", "]",
        "tests/outbox/test_rescue.py::test_what_is_done_and_replayed_survives_its_worker_once",
    ),
    Mutation(
        "a message without room stops no rescue", "G1", "outbox/message/outcome.py",
        "        if error.code not in TOO_LARGE:\n            raise\n", "        raise\n",
        OTHERS + "test_what_a_silent_worker_holds_beside_one_that_is_too_large",
    ),
    Mutation(
        "a message without room leaves no settled one published", "G1", "outbox/message/poison.py",
        "if error.code not in TOO_LARGE or not await bury_full(messages, change.guard, State.PUBLISHED):", "if True:",
        OTHERS + "test_what_is_settled_beside_one_that_is_too_large",
    ),
    Mutation(
        "an older message without room stops no retry", "G1", "outbox/protocol/settled.py",
        '{**guard, "$expr": {"$not": [FULL]}}', "guard",
        OTHERS + "test_what_is_retried_although_an_older_message_is_too_large",
    ),
    Mutation(
        "a message of others without attempts stops no look", "G1", "outbox/delivery/places.py",
        'is_ours(message) and "attempts" in message', "is_ours(message)",
        OTHERS + "test_what_vanished_beside_one_that_counts_no_attempts",
    ),
    Mutation(
        "a message without room that was not marked stops no partition", "G1", "outbox/protocol/store.py",
        "if error.code in TOO_LARGE and await bury_full(self._messages, unmarked, State.PENDING, session):",
        "if False:",
        "tests/relay/test_too_large.py::test_those_that_survived_are_kept",
    ),
    Mutation(
        "what is replayed although it was done survives its worker", "G1", "outbox/worker/rescue.py",
        'message["_id"] in done and not attempts.is_repeat(message)', 'message["_id"] in done',
        "tests/outbox/test_rescue.py::test_what_is_done_and_replayed_survives_its_worker_once",
    ),
    Mutation(
        "a worker that acknowledges nothing does not repeat a replay for ever", "G4", "outbox/message/attempts.py",
        'count(message, "attempts") == count(message, "forgiven") + 1', "True",
        "tests/outbox/test_rescue.py::test_what_is_done_and_replayed_survives_its_worker_once",
    ),
    Mutation(
        "what is replayed while it is judged is not completed", "G1", TRANSITIONS,
        '"state": State.PUBLISHED.value, "attempts": attempt}, _COMPLETED)',
        '"state": State.PUBLISHED.value}, _COMPLETED)',
        "tests/outbox/test_rescue.py::"
        "test_what_is_replayed_while_it_is_judged_is_not_completed_for_its_earlier_attempt",
    ),
    Mutation(
        "what is replayed while it is judged is not deleted", "G5", TRANSITIONS,
        ', **({} if attempt is None else {"attempts": attempt})', "",
        "tests/outbox/test_upkeep.py::test_what_is_replayed_while_it_is_judged_is_not_deleted",
    ),
    Mutation(
        "strays are found by what was registered until now", "G1", "outbox/operations/upkeep.py",
        """        partitions = [*await records.partitions(database, session)]
        found = await known.read(database, session)
""",
        """        partitions = [*await records.partitions(database)]
        found = await known.read(database)
""",
        f"{LATEST}::test_what_was_registered_right_before_a_failover_has_no_strays",
    ),
    Mutation(
        "a stream is removed by what was appended until now", "G1", "outbox/operations/registration.py",
        "count_documents(query, session=session, limit=100_000)", "count_documents(query, limit=100_000)",
        f"{LATEST}::test_a_stream_is_not_removed_whose_messages_were_appended_right_before_a_failover",
    ),
    Mutation(
        "what is read as of now waits for what is there", "G1", "outbox/servers/latest.py",
        'await database.command("ping", session=session)', "pass",
        f"{LATEST}::test_a_stream_is_not_removed_whose_messages_were_appended_right_before_a_failover",
    ),
    Mutation(
        "what is lost while it is judged is not done", "G5", "outbox/delivery/vanished.py",
        "if come_to is None or delivered > come_to:", "if False:",
        "tests/relay/test_gone_is_done.py::test_what_redis_loses_during_a_look_is_not_done",
    ),
]  # fmt: skip
