"""Protections beyond draining: bounds, trimming, migration, workers, rescue."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MUTATIONS = [
    # -- bounds
    Mutation(
        "no more than may wait for workers", "G7", "outbox/protocol/lua/publish.lua",
        "if ARGV[8] ~= '-1' and", "if false and",
        "tests/relay/test_back_pressure.py::test_a_stream_takes_just_as_much_as_it_may_and_goes_on_when_workers_have_read",
    ),
    Mutation(
        "what is in somebody's hands is not trimmed", "G7", "outbox/protocol/lua/trim.lua",
        "if group['pending'] > 0 then", "if false then",
        "tests/relay/test_trimming.py::test_under_load_no_entry_goes_that_somebody_has_not_acknowledged",
    ),
    Mutation(
        "what another group needs is not trimmed", "G7", "outbox/protocol/lua/trim.lua",
        "if not ignored and earlier(from, bound)", "if false and earlier(from, bound)",
        "tests/relay/test_trimming.py::test_under_load_no_entry_goes_that_somebody_has_not_acknowledged",
    ),
    Mutation(
        "trimming looks again as it removes", "G7", "outbox/protocol/lua/trim.lua",
        "if ARGV[2] ~= '' and earlier(ARGV[2], bound) then", "if ARGV[2] ~= '' then",
        "tests/relay/test_trimming.py::test_a_group_that_is_created_between_look_and_removal_loses_nothing",
    ),
    Mutation(
        "migration asks again in its transaction", "G4", "api/outbox_api/uploads/migration.py",
        'records = [record for record in records if same(record["_id"]) in silent]', "pass",
        "tests/cli/test_migrate.py::test_what_another_run_did_meanwhile_is_not_done_again",
    ),
    # -- workers
    Mutation(
        "completion fenced by state and attempts", "G6", "outbox/message/transitions.py",
        '{"$or": [{"state": State.PUBLISHED.value, "attempts": attempt}, ', '{"$or": [{}, ',
        "tests/worker/test_consumer.py::test_what_is_late_after_a_rescue_has_no_effect",
    ),
    Mutation(
        "completion in the handler's transaction", "G6", "outbox/worker/completion.py",
        "updates=many, session=session)", "updates=many)",
        "tests/worker/test_consumer.py::test_a_handler_that_leaves_its_file_waiting_has_failed",
    ),
    Mutation(
        "completed messages recognised", "G6", "outbox/worker/completion.py",
        "            return Standing.COMPLETED\n    return", "            return Standing.WANTED\n    return",
        "tests/worker/test_consumer.py::test_a_completed_message_is_acknowledged_without_a_call",
    ),
    Mutation(
        "a sign of life takes nothing back", "G6", "outbox/protocol/lua/beat.lua",
        "if held and held[2] == ARGV[2] then", "if held then",
        "tests/worker/test_holding.py::test_a_consumer_notices_that_its_entry_was_taken",
    ),
    Mutation(
        "what waits its turn left alone by a rescue", "G4", "outbox/delivery/vanished.py",
        'known(where.get(message["_id"])) <= delivered', "True",
        "tests/outbox/test_rescue.py::test_what_waits_its_turn_is_left_alone",
    ),
]  # fmt: skip
