"""Protections of what listens: reading requests one way only, bounds, times."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_CONNECTIONS = "tests/api/test_connections.py::"

MUTATIONS = [
    Mutation(
        "an offer to upgrade is ignored", "HTTP", "api/cli.py",
        "http=Http,", 'http="httptools",',
        _CONNECTIONS + "test_an_upload_with_an_offer_to_upgrade_is_read",
    ),
    Mutation(
        "a line is read in one way", "HTTP", "outbox/http11.py",
        "if _AMBIGUOUS.search(", "if False and _AMBIGUOUS.search(",
        _CONNECTIONS + "test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection",
    ),
    Mutation(
        "one kind of length", "HTTP", "outbox/http11.py",
        'if b"transfer-encoding" in names and', "if False and",
        _CONNECTIONS + "test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection",
    ),
    Mutation(
        "one length", "HTTP", "outbox/http11.py",
        "if len(lengths) > 1 or", "if False and",
        _CONNECTIONS + "test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection",
    ),
    Mutation(
        "a head has a time", "HTTP", "outbox/http11.py",
        "self._waiting = self.loop.call_later(HEAD_SECONDS, self._late)", "pass",
        _CONNECTIONS + "test_a_silent_connection_is_closed",
    ),
    Mutation(
        "idle connections make room", "HTTP", "outbox/http11.py",
        "if len(self.connections) > max_connections() and", "if False and",
        _CONNECTIONS + "test_many_silent_connections_end_no_upload",
    ),
    Mutation(
        "extensions of chunks are bounded together", "HTTP", "outbox/http11.py",
        "if self._extensions > MAX_LINE:", "if False:",
        _CONNECTIONS + "test_memory_stays_flat_whatever_comes_before_a_body",
    ),
]  # fmt: skip
