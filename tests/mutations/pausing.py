"""Mutations of what may wait: paused streams, scheduled messages."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

RELAY, WORKER = "tests/relay/test_pausing.py", "tests/worker/test_pausing.py"
LOOKS = "tests/relay/test_pausing_looks.py"

MUTATIONS = [
    Mutation(
        "a relay publishes nothing of a paused stream",
        "G1",
        "relay/outbox_relay/drainer.py",
        "        if self._paused():\n",
        "        if False:\n",
        f"{RELAY}::test_nothing_of_a_paused_stream_is_published_until_it_is_resumed",
    ),
    Mutation(
        "what a relay publishes after a rest waits for a look at the pauses",
        "G1",
        "relay/outbox_relay/drainer.py",
        "            await self._know_pauses()\n",
        "            pass\n",
        f"{LOOKS}::test_what_is_published_after_a_rest_waits_for_a_look",
    ),
    Mutation(
        "a pause that is known is not forgotten for an older answer",
        "G1",
        "relay/outbox_relay/pausing.py",
        "if as_of < self._as_of:",
        "if False:",
        f"{LOOKS}::test_who_publishes_nothing_does_not_look_but_learns",
    ),
    Mutation(
        "the change stream shows what is scheduled while a relay rests",
        "G1",
        "outbox/protocol/changes.py",
        "[State.PENDING.value, State.SCHEDULED.value]",
        "[State.PENDING.value]",
        "tests/relay/test_staging.py::test_a_change_stream_shows_what_is_scheduled_meanwhile",
    ),
    Mutation(
        "what is scheduled ends the rest of a relay",
        "G1",
        "relay/outbox_relay/staging.py",
        "self._changed.set()",
        "pass",
        "tests/relay/test_staging.py::test_a_hint_ends_a_rest",
    ),
    Mutation(
        "a pause is of all members of a stream",
        "G1",
        "outbox/streams/pauses.py",
        "return self.paused.get(stream.topic or stream.family)",
        "return self.paused.get(stream.name)",
        f"{RELAY}::test_a_stream_is_paused_with_its_priorities_and_groups_and_no_other",
    ),
    Mutation(
        "a relay rescues nothing of a paused stream",
        "G1",
        "relay/outbox_relay/rescuer.py",
        "paused = self._streams.pauses.of(stream) is not None",
        "paused = False",
        f"{RELAY}::test_rescue_leaves_alone_what_is_held_in_a_paused_stream",
    ),
    Mutation(
        "the age of a message counts from when its stream was resumed",
        "G1",
        "outbox/operations/oldest.py",
        "max(_waiting_since(message), resumed or _EVER)",
        "_waiting_since(message)",
        f"{RELAY}::test_age_depth_and_diagnosis_of_a_paused_stream",
    ),
    Mutation(
        "what reaches a worker while the pause comes is given back",
        "G6",
        "outbox/worker/settlement.py",
        "        if self._paused(entry.stream):\n            raise Paused\n",
        "",
        f"{WORKER}::test_what_is_read_while_the_pause_comes_is_given_back_and_costs_no_try",
    ),
    Mutation(
        "nothing is taken over in a paused stream",
        "G6",
        "outbox/worker/claims.py",
        "            if self._left_out(stream):\n                continue\n",
        "",
        f"{WORKER}::test_nothing_is_taken_over_in_a_paused_stream",
    ),
]
