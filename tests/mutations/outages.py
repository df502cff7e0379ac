"""Protections around servers: their addresses, outages of parts of them, start and stop."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "everything is read at the primary, whatever the address says",
        "G5",
        "outbox/servers/connections.py",
        '"readPreference": "primary",',
        "",
        "tests/outbox/test_connections.py::test_what_was_written_is_read_at_once_and_a_doubt_is_settled_by_the_primary",
    ),
    Mutation(
        "no limit in the address cuts off a statement",
        "G1",
        "outbox/servers/connections.py",
        '"timeoutMS": None,',
        "",
        "tests/outbox/test_connections.py::test_what_the_guarantees_rest_on_holds_whatever_the_address_says",
    ),
    Mutation(
        "a write that an election cut off is an outage, and no mistake of an operator",
        "G5",
        "outbox/servers/outages.py",
        "_MONGO_PASSES = _MONGO_RETRYABLE | {",
        "_MONGO_PASSES = {",
        "tests/outbox/test_outages.py::test_errors_of_mongodb",
    ),
    # -- a cluster
    Mutation(
        "a node that is redirected to need not be known",
        "G1",
        "outbox/servers/cluster.py",
        "known = self.nodes_manager.nodes_cache.setdefault(named.name, named)",
        "known = self.nodes_manager.nodes_cache[named.name]",
        "tests/faults/test_cluster.py::test_a_slot_moves_to_a_node_that_the_client_does_not_know",
    ),
    Mutation(
        "a slot that nobody has does not hide all others",
        "G1",
        "outbox/servers/cluster.py",
        "require_full_coverage=False",
        "require_full_coverage=True",
        "tests/faults/test_cluster.py::test_a_slot_that_nobody_has_is_the_trouble_of_its_own_keys_only",
    ),
    Mutation(
        "the nodes of the address are asked for the layout, too",
        "G1",
        "outbox/servers/cluster.py",
        "{**self._seeds, **manager.nodes_cache}",
        "{**manager.nodes_cache}",
        "tests/faults/test_cluster.py::test_the_nodes_of_the_address_are_asked_again_when_all_others_are_gone",
    ),
    Mutation(
        "rescue goes on past a stream that fails",
        "G1",
        "relay/outbox_relay/rescuer.py",
        "                failed = error\n",
        "                raise error\n",
        "tests/relay/test_rescuer.py::test_a_stream_that_fails_does_not_keep_the_others_from_being_rescued",
    ),
    # -- start and stop
    Mutation(
        "a stop does not wait for what the start waits for",
        "G1",
        "relay/outbox_relay/startup.py",
        "await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)",
        "await asyncio.wait({starting})",
        "tests/relay/test_start_and_stop.py::test_a_relay_that_waits_for_mongodb_says_so_and_stops_at_once",
    ),
    Mutation(
        "a probe that fails by a defect goes on",
        "G1",
        "relay/outbox_relay/outage.py",
        "            self._defect = True\n",
        "            raise error\n",
        "tests/relay/test_service.py::test_a_probe_that_fails_by_a_defect_goes_on_and_nobody_waits_for_ever",
    ),
    Mutation(
        "who ends during an outage leaves it",
        "G1",
        "relay/outbox_relay/service.py",
        "            self._outages.leave(self.name)",
        "            pass",
        "tests/relay/test_service.py::test_who_ends_during_an_outage_does_not_say_that_it_is_over",
    ),
    Mutation(
        "a process that hangs in its stop leaves all the same",
        "G1",
        "outbox/cli/signals.py",
        "        late.start()\n",
        "",
        "tests/relay/test_start_and_stop.py::test_a_process_that_hangs_in_its_stop_leaves_all_the_same",
    ),
    Mutation(
        "workers of the API end with their parent",
        "G8",
        "api/outbox_api/cli.py",
        "        os.kill(os.getpid(), signal.SIGTERM)\n",
        "        pass\n",
        "tests/api/test_server.py::test_workers_end_when_their_parent_is_killed",
    ),
    Mutation(
        "nothing is written to a connection that is closing",
        "G1",
        "outbox/servers/transports.py",
        "if self._writer and self._writer.transport.is_closing():",
        "if False:",
        "tests/outbox/test_transports.py::test_a_command_on_a_closed_connection_is_an_error_of_the_connection[asyncio]",
    ),
    Mutation(
        "what relays are refused is on record for operators",
        "G1",
        "relay/outbox_relay/outage.py",
        "for server, cause in found if cause]",
        "for server, cause in ()]",
        "tests/faults/test_redis_refuses.py::test_what_relays_are_refused_is_named_where_operators_look",
    ),
]
