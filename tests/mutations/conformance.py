"""Drift: the model and the product, of which only one is changed."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

LONG = "tests/conformance/test_conformance.py::test_long_traces"
SHORT = "tests/conformance/test_conformance.py::test_every_short_trace"
PATH = "tests/conformance/test_path.py::test_what_relays_do_is_a_path_of_the_model"

MUTATIONS = [
    Mutation(
        "a script that does not do what the model's does differs from it", "G5", "outbox/protocol/lua/stamp.lua",
        "'previous', '',", "'previous', ARGV[4],",
        SHORT,
    ),
    Mutation(
        "a statement that does not do what the model's does differs from it", "G4", "outbox/message/transitions.py",
        '"attempts": {"$max": [0, {"$subtract": [number("attempts"), 1]}]},', '"attempts": number("attempts"),',
        LONG,
    ),
    Mutation(
        "a model that does not do what the script does differs from it", "G5", "tests/model/scripts.py",
        "before = UNKNOWN if rules.root else there.position", "before = there.position",
        SHORT,
    ),
    Mutation(
        "a relay that takes its steps in another order than the model's differs from it", "G4",
        "relay/outbox_relay/drainer.py",
        "self.lease = await self._leases.begin_anew(self.lease, self._session, above=self._above)", "pass",
        SHORT,
    ),
    Mutation(
        "relays that mark batches together, and do not name the messages first, leave the model's paths", "G5",
        "outbox/protocol/leases.py",
        '"intent": fences.pack(step.intent),', "",
        PATH,
    ),
    Mutation(
        "a model whose relays fence nothing does not have the paths of those that do", "G5", "tests/model/relay.py",
        "if intent and rules.fence:", "if intent and not rules.fence:",
        PATH,
    ),
]  # fmt: skip
