"""Protections of what a lost reply gave, of a replay that is asked for twice, and of what a full message tells."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

LOST = "tests/worker/test_suspects.py::test_what_a_lost_reply_gave_is_found_at_once_and_is_no_suspect"
ORDER = "tests/api/test_replays.py::test_a_request_that_names_the_same_in_another_order_is_the_same"
DEAD = "tests/outbox/test_dead_of_others.py::"
FULL = "tests/worker/test_full.py::"

CLAIMS = "outbox/worker/claims.py"
ATTEMPTS = "outbox/message/attempts.py"
SETBACKS = "outbox/worker/setbacks.py"

MUTATIONS = [
    # what a lost reply gave
    Mutation(
        "what a lost reply gave a worker that lives is found", "G1", CLAIMS,
        "                    found += await self._free_of(stream, holder, own_idle, room - len(found))",
        "                    pass",
        LOST,
    ),
    Mutation(
        "what a lost reply gave is looked for at once", "G1", "outbox/worker/intake.py",
        "lane.claims_at = 0.0  # a reply", "pass  # a reply",
        LOST,
    ),
    Mutation(
        "what a lost reply gave is found without a silence", "G1", CLAIMS,
        "time.monotonic() - looked_at if at_once and not shared else self._silent_seconds", "self._silent_seconds",
        LOST,
    ),
    Mutation(
        "what a lost reply gave is no suspect", "G1", CLAIMS,
        "time.monotonic() - self._began if own and not shared else self._silent_seconds",
        "0.0 if own and not shared else self._silent_seconds",
        LOST,
    ),
    # a replay that is asked for twice
    Mutation(
        "the order of what a replay selects makes no other request", "usage", "outbox/operations/jobs.py",
        "set(value) if isinstance(value, list) else value", "value",
        ORDER,
    ),
    Mutation(
        "what is selected twice makes no other request", "usage", "outbox/operations/jobs.py",
        "set(value) if isinstance(value, list) else value", "sorted(value) if isinstance(value, list) else value",
        "tests/outbox/test_replay.py::test_the_same_request_may_name_its_messages_in_another_order_or_twice",
    ),
    # what a message without room for a change tells
    Mutation(
        "a message without room that a relay rescues tells its subject", "G1", ATTEMPTS,
        "if result.modified_count and change_subject:",
        "if result.modified_count and change_subject and not unchecked:",
        f"{DEAD}test_what_a_silent_worker_holds",
    ),
    Mutation(
        "a message without room that killed its workers stops no worker", "G1", ATTEMPTS,
        "        if refused.code not in TOO_LARGE:\n            raise\n", "        raise\n",
        f"{FULL}test_one_that_killed_its_workers",
    ),
    Mutation(
        "a message without room that fails before its last attempt dies", "G1", SETBACKS,
        "return await self.die_full(entry, hand, document, summary(error), headline(error))", "raise",
        f"{FULL}test_one_that_fails",
    ),
    Mutation(
        "a message without room that cannot be completed stops no worker", "G1", SETBACKS,
        "return await self.die_full(entry, hand, document, summary(error), headline(error))", "raise",
        f"{FULL}test_one_that_cannot_be_completed",
    ),
    Mutation(
        "a message without room that is given back stops no worker", "G1", SETBACKS,
        'return await self.die_full(entry, hand, document, "it was to be given back")', "raise",
        f"{FULL}test_one_that_is_given_back",
    ),
    Mutation(
        "a message without room whose worker died stops no worker", "G1", "outbox/worker/settlement.py",
        "return await self._setbacks.die_full(entry, hand, document, reason)", "raise",
        f"{FULL}test_one_whose_worker_died",
    ),
]  # fmt: skip
