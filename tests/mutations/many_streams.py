"""Protections of looks at very many messages, partitions and streams: bounded in time, requests and connections."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MANY = "tests/outbox/test_many_streams.py::"

COUNTS = "outbox/operations/counts.py"
FEW = "outbox/servers/few.py"

MUTATIONS = [
    Mutation(
        "a count that takes too long is no error", "operators", COUNTS,
        "        if not error.timeout:\n            raise\n", "        raise\n",
        f"{MANY}test_more_messages_than_can_be_counted_are_so_many_or_more[slow]",
    ),
    Mutation(
        "a state that was not counted to its end is said to have more", "operators", COUNTS,
        "return number, number < COUNTED", "return number, True",
        f"{MANY}test_more_messages_than_can_be_counted_are_so_many_or_more[many]",
    ),
    Mutation(
        "what is left of the total is at most so many where a state was not counted to its end", "operators", COUNTS,
        "        bounds[State.COMPLETED] = AT_MOST\n", "        pass\n",
        f"{MANY}test_more_messages_than_can_be_counted_are_so_many_or_more[many]",
    ),
    Mutation(
        "a message that was taken over waits since then, and not since its append", "operators",
        "outbox/operations/oldest.py",
        ', *(f"{cause}_at" for cause in Cause))', ', "rescued_at", "returned_at")',
        f"{MANY}test_a_message_that_came_back_has_waited_since_then[taken_over]",
    ),
    Mutation(
        "only partitions whose first message is gone are asked for more", "operators", "outbox/delivery/evidence.py",
        'if _is_gone(one["head"], stands[name], limit) is not False:', "if True:",
        f"{MANY}test_many_partitions_take_a_handful_of_requests",
    ),
    Mutation(
        "many streams are looked at on a few connections", "operators", FEW,
        "asyncio.Semaphore(AT_ONCE)", "asyncio.Semaphore(1000)",
        f"{MANY}test_many_streams_are_looked_at_on_a_few_connections[all_at_once]",
    ),
    Mutation(
        "a relay trims many streams on a few connections", "G8", "relay/outbox_relay/trimmer.py",
        "few_connections(self._redis)", "__import__('contextlib').nullcontext(self._redis)",
        f"{MANY}test_many_streams_are_looked_at_on_a_few_connections[what_a_relay_trims]",
    ),
    Mutation(
        "a relay watches many streams on a few connections", "G8", "outbox/protocol/checkpoint.py",
        "few_connections(self._redis)", "__import__('contextlib').nullcontext(self._redis)",
        f"{MANY}test_many_streams_are_looked_at_on_a_few_connections[what_a_relay_watches]",
    ),
    Mutation(
        "looks at the same time share their connections", "operators", FEW,
        "_TURNS.setdefault(client, _Turns())", "_Turns()",
        f"{MANY}test_many_streams_are_looked_at_on_a_few_connections[all_at_once]",
    ),
    Mutation(
        "a Redis that answers is not called silent because there are many streams", "operators", FEW,
        "                limit.reschedule(now + seconds)\n", "                pass\n",
        f"{MANY}test_a_redis_that_answers_is_not_called_silent_however_many_streams_there_are",
    ),
    Mutation(
        "a MongoDB that answers is not said to be away because a time of ours was over", "operators",
        "outbox/cli/servers.py",
        "if await _is_only_slow(error, mongo):", "if False:",
        "tests/cli/test_status.py::test_a_mongodb_that_is_slow_is_not_said_to_be_away",
    ),
]  # fmt: skip
