"""Mutations of unique messages."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

TESTS, WORKER = "tests/outbox/test_unique.py", "tests/worker/test_unique.py"

MUTATIONS = [
    Mutation(
        "the registered time of unique messages counts",
        "G4",
        "outbox/message/uniques.py",
        "registered.get(stream.topic or stream.family, stream.unique_seconds)",
        "stream.unique_seconds",
        f"{TESTS}::test_the_registered_time_counts_whatever_a_program_declares",
    ),
    Mutation(
        "a unique value is claimed by an update, and not by an insert that would end the transaction",
        "G1",
        "outbox/message/uniques.py",
        '    options = {"upsert": True, "return_document": ReturnDocument.AFTER}\n',
        '    options = {"upsert": False, "return_document": ReturnDocument.AFTER}\n',
        f"{TESTS}::test_while_the_first_waits_there_is_no_second_and_the_transaction_goes_on",
    ),
    Mutation(
        "a message that is done rules nothing out",
        "G1",
        "outbox/message/uniques.py",
        '"state": {"$in": WAITING}}\n    looked',
        '"state": {"$exists": True}}\n    looked',
        f"{TESTS}::test_after_the_first_there_is_a_second_and_that_one_stands",
    ),
    Mutation(
        "a clock that was set back keeps nothing from being appended",
        "G1",
        "outbox/message/uniques.py",
        "if 0 < left <= seconds:",
        "if left > 0:",
        f"{TESTS}::test_a_clock_that_was_set_back_keeps_nothing_from_being_appended",
    ),
    Mutation(
        "dates of unique values are read whatever way the application reads its own",
        "G1",
        "outbox/message/uniques.py",
        "collection = database[statement.collection].with_options(codec_options=LENIENT)",
        "collection = database[statement.collection]",
        f"{TESTS}::test_a_client_that_reads_dates_as_numbers",
    ),
    Mutation(
        "a registered time that is none is no time",
        "G1",
        "outbox/message/uniques.py",
        "return int(min(seconds, _CENTURY) * 1000) if seconds > 0 else 0",
        "return int(seconds * 1000)",
        f"{TESTS}::test_a_registered_time_that_none_is_stops_no_append",
    ),
    Mutation(
        "a value that was appended again meanwhile is not forgotten",
        "G1",
        "outbox/message/uniques.py",
        'if one["over"] and not one["waiting"]]',
        'if one["over"]]',
        f"{TESTS}::test_values_are_forgotten_when_nobody_waits_for_them",
    ),
    Mutation(
        "an append and the completion of the message that it found meet",
        "G6",
        "outbox/message/uniques.py",
        "        if one.unique is not None\n",
        "        if one.unique is not None and False\n",
        f"{WORKER}::test_an_append_while_its_handler_is_at_work_has_the_handler_called_again",
    ),
]
