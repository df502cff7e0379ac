"""Protections of messages that change while somebody decides what becomes of them."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

TRANSITIONS = "outbox/message/transitions.py"
LATEST = "tests/outbox/test_latest.py"

MUTATIONS = [
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
        with suppress(SchemaError, SettingsError):  # such as a stream that a later version has registered
            registered = await registry.read(database, session)
""",
        """        partitions = [*await records.partitions(database)]
        with suppress(SchemaError, SettingsError):  # such as a stream that a later version has registered
            registered = await registry.read(database)
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
