"""Protections of what listens: reading requests one way only, bounds, times."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_CONNECTIONS, _FRAMING = "tests/api/test_connections.py::", "tests/api/test_framing.py::"
_UPGRADES = "tests/api/test_upgrades.py::"

MUTATIONS = [
    Mutation(
        "an offer to upgrade is ignored", "HTTP", "api/outbox_api/cli.py",
        "http=Http,", 'http="httptools",',
        _UPGRADES + "test_an_upload_with_an_offer_to_upgrade_is_read",
    ),
    Mutation(
        "a line is read in one way", "HTTP", "outbox/web/http11.py",
        "if _AMBIGUOUS.search(", "if False and _AMBIGUOUS.search(",
        _FRAMING + "test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection",
    ),
    Mutation(
        "one kind of length", "HTTP", "outbox/web/http11.py",
        'if b"transfer-encoding" in names and', "if False and",
        _FRAMING + "test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection",
    ),
    Mutation(
        "one length", "HTTP", "outbox/web/http11.py",
        "if len(lengths) > 1 or", "if False and",
        _FRAMING + "test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection",
    ),
    Mutation(
        "a head has a time", "HTTP", "outbox/web/http11.py",
        "self._waiting = self.loop.call_later(HEAD_SECONDS, self._late)", "pass",
        _CONNECTIONS + "test_no_connection_is_kept_for_ever",
    ),
    Mutation(
        "idle connections make room", "HTTP", "outbox/web/http11.py",
        "if len(self.connections) > max_connections() and", "if False and",
        _CONNECTIONS + "test_many_silent_connections_end_no_upload",
    ),
    Mutation(
        "who has no key keeps nobody else out", "HTTP", "outbox/web/http11.py",
        "or (not known and (sends or self._writing is not None))", "",
        _CONNECTIONS + "test_whoever_has_no_key_keeps_nobody_else_out",
    ),
    Mutation(
        "the relay redirects nobody", "HTTP", "relay/outbox_relay/probes.py",
        "app.router.redirect_slashes = False", "pass",
        _CONNECTIONS + "test_a_path_with_a_slash_too_many_leads_nowhere_else",
    ),
    Mutation(
        "extensions of chunks are bounded together", "HTTP", "outbox/web/http11.py",
        "if self._extensions > MAX_LINE:", "if False:",
        _CONNECTIONS + "test_memory_stays_flat_whatever_comes_before_a_body",
    ),
    # -- what people and their tools send
    Mutation(
        "our own forms are known over plain HTTP", "HTTP", "api/outbox_api/headers.py",
        '"Referrer-Policy": "same-origin"', '"Referrer-Policy": "no-referrer"',
        "tests/browser/test_plain_http.py",
    ),
    Mutation(
        "HEAD is answered as GET", "HTTP", "api/outbox_api/app.py",
        "    app.add_middleware(Heads)\n", "",
        "tests/api/test_heads.py::test_head_is_answered_as_get_without_the_body",
    ),
    Mutation(
        "metrics of all processes", "HTTP", "api/outbox_api/metrics.py",
        "if self._shared is None:", "if True:",
        "tests/api/test_server.py::test_metrics_are_those_of_all_processes",
    ),
    Mutation(
        "a Redis is where REDIS_HOST says", "settings", "outbox/settings.py",
        "        return redis_host(value)", "        return value",
        "tests/outbox/test_settings.py::test_what_redis_host_cannot_be_is_refused_by_name",
    ),
    Mutation(
        "a Redis is where REDIS_URL says", "settings", "outbox/servers/topology.py",
        "            _refuse_elsewhere(address)\n", "",
        "tests/outbox/test_settings.py::test_a_redis_url_that_would_lead_elsewhere_is_refused",
    ),
    # -- the rest of a request
    Mutation(
        "many who ask whether it is ready cost as one", "HTTP", "api/outbox_api/readiness.py",
        "if self._found is None or time.monotonic() - self._looked > LOOK_SECONDS:", "if True:",
        "tests/api/test_readiness.py::test_many_who_ask_cost_as_one",
    ),
    Mutation(
        "what is encoded is not stored as if it were not", "HTTP", "api/outbox_api/multipart.py",
        "if encoding.lower() not in _AS_IT_IS:", "if False:",
        "tests/api/test_upload.py::test_a_part_that_is_encoded_is_refused",
    ),
    Mutation(
        "a small body comes in time as a whole", "HTTP", "api/outbox_api/bodies.py",
        "asyncio.timeout_at(ends), asyncio.timeout(idle_seconds)", "asyncio.timeout(idle_seconds)",
        "tests/api/test_reparse.py::test_a_body_that_comes_byte_by_byte_for_ever_is_refused",
    ),
    Mutation(
        "an idempotency key is dated by the server", "HTTP", "api/outbox_api/uploads/idempotency.py",
        '"$currentDate": {"created_at": True}', '"$set": {"created_at": __import__("datetime").datetime.now()}',
        "tests/api/test_idempotency.py::test_a_key_lives_for_a_day_by_the_servers_clock",
    ),
]  # fmt: skip
