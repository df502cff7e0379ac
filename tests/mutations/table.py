"""All mutations: each protection, and the test that must notice when it is not there."""

from __future__ import annotations

from tests.mutations import beyond, encodings, outages, protocol, worker

MUTATIONS = [
    *protocol.MUTATIONS,
    *beyond.MUTATIONS,
    *encodings.MUTATIONS,
    *worker.MUTATIONS,
    *outages.MUTATIONS,
]
