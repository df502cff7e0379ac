"""Protections of what users build with: FastStream's handlers, and the kit for their tests."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_SUBSCRIBER = "outbox/faststream/subscriber.py"
_FASTSTREAM = "tests/faststream/test_subscriber.py"
_KIT = "tests/testing/test_kit.py"

MUTATIONS = [
    Mutation(
        "what a handler of FastStream refuses by hand is no success", "G6", _SUBSCRIBER,
        "                raise NackMessage\n", "                pass\n",
        f"{_FASTSTREAM}::test_an_outcome_that_is_given_by_hand[nack-scheduled]",
    ),
    Mutation(
        "a handler of FastStream stops its subscriber", "G6", _SUBSCRIBER,
        "if isinstance(one, StopConsume) and self._consumer:", "if False:",
        "tests/faststream/test_outcomes.py::test_a_handler_stops_its_subscriber",
    ),
    Mutation(
        "what a handler of FastStream rejects is dead", "G1", _SUBSCRIBER,
        "            if isinstance(one, RejectMessage):\n                raise GiveUp",
        "            if isinstance(one, RejectMessage):\n                raise NackMessage",
        f"{_FASTSTREAM}::test_what_faststream_has_for_outcomes[RejectMessage-dead]",
    ),
    Mutation(
        "a thread gets no session that it cannot use", "G6", _SUBSCRIBER,
        "            _refuse_what_is_not_async(call.handler._declared_call)\n", "            pass\n",
        f"{_FASTSTREAM}::test_a_handler_in_a_thread_cannot_have_the_session",
    ),
    Mutation(
        "a user's test begins with empty servers", "G8", "outbox/testing/clearing.py",
        ".delete_many({})", '.delete_many({"_id": 0})',
        f"{_KIT}::test_each_test_begins_with_nothing",
    ),
    Mutation(
        "a kit for other streams begins with empty servers", "G8", "outbox/testing/servers.py",
        "        self._kits[name].reset()\n", "",
        f"{_KIT}::test_a_kit_for_other_streams_begins_as_empty_as_any",
    ),
    Mutation(
        "a kit keeps what `outbox init` made for another one", "G8", "outbox/testing/servers.py",
        "places=self._places", "places=None",
        f"{_KIT}::test_kits_of_two_outboxes_take_turns_on_the_same_servers",
    ),
    Mutation(
        "a user's tests reach no servers but their own", "G8", "outbox/testing/servers.py",
        '{"mongodb_uri": mongod, "redis_url": redis}', '{"mongodb_uri": mongod}',
        f"{_KIT}::test_the_servers_of_the_settings_are_never_reached",
    ),
]  # fmt: skip
