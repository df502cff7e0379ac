"""Mutations of what holds whatever any clock does: intents, fences, tokens, silence."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

LATE, LEASER = "tests/relay/test_late_owners.py", "tests/relay/test_leaser.py"

MUTATIONS = [
    Mutation(
        "the lease names the messages before they are written to", "G4", "outbox/protocol/leases.py",
        "if intent is not None:", "if False:",
        f"{LATE}::test_an_owner_that_wakes_up_late_cannot_mark",
    ),
    Mutation(
        "who opens a partition fences what the lease names", "G4", "relay/outbox_relay/recovery.py",
        "await self._store.fence(lease, intent, session)", "pass",
        f"{LATE}::test_an_owner_that_wakes_up_late_cannot_mark",
    ),
    Mutation(
        "only messages of the partition are fenced", "G4", "outbox/protocol/fences.py",
        '**where, "fence"', '"fence"',
        f"{LATE}::test_only_messages_of_the_partition_are_fenced",
    ),
    Mutation(
        "a mark heeds fences", "G1", "outbox/message/transitions.py",
        "{**unmarked(ids, at.attempts), **passable(token)}", "unmarked(ids, at.attempts)",
        f"{LATE}::test_an_owner_that_wakes_up_late_cannot_mark",
    ),
    Mutation(
        "keeping heeds fences", "G1", "outbox/message/transitions.py",
        "{**where, **passable(token), **_pending_before(at.attempts)}", "{**where, **_pending_before(at.attempts)}",
        f"{LATE}::test_an_owner_that_wakes_up_late_cannot_keep",
    ),
    Mutation(
        "taking back heeds fences", "G4", "outbox/message/transitions.py",
        '"state": State.PUBLISHED.value, **passable(token)}', '"state": State.PUBLISHED.value}',
        f"{LATE}::test_an_owner_that_wakes_up_late_cannot_take_back",
    ),
    Mutation(
        "an owner that looks again has a new token", "G4", "relay/outbox_relay/drainer.py",
        "self.lease = await self._leases.begin_anew(self.lease, self._session, above=self._above)", "pass",
        f"{LATE}::test_an_owner_that_gave_up_a_mark_is_not_overtaken_by_it",
    ),
    Mutation(
        "a mark that changed too few is not taken for done", "G4", "outbox/protocol/store.py",
        "if result.matched_count < len(ids):", "if False:",
        f"{LATE}::test_a_mark_that_changes_fewer_messages_than_it_should_is_not_taken_for_done",
    ),
    Mutation(
        "keeping that changed too few is not taken for done", "G4", "outbox/protocol/losses.py",
        "if changed < len(ids):", "if False:",
        f"{LATE}::test_an_owner_that_wakes_up_late_cannot_keep",
    ),
    Mutation(
        "taking back that changed too few is not taken for done", "G4", "outbox/protocol/losses.py",
        "if recovered + completed < len(page):", "if False:",
        f"{LATE}::test_an_owner_that_wakes_up_late_cannot_take_back",
    ),
    Mutation(
        "a token goes above every fence", "G1", "relay/outbox_relay/drainer.py",
        "self._above = error.above", "pass",
        f"{LATE}::test_a_mark_that_changes_fewer_messages_than_it_should_is_not_taken_for_done",
    ),
    Mutation(
        "a fetch counts only while the lease is held", "G3", "relay/outbox_relay/drainer.py",
        "await self._leases.check(self.lease, session)", "pass",
        f"{LATE}::test_what_was_fetched_by_an_owner_that_is_none_any_more_is_not_published",
    ),
    Mutation(
        "the silent are dead, whatever the server's clock says", "G1", "relay/outbox_relay/leaser.py",
        "silent = self._silence.listen(view.signs)", "silent = set[Partition | str]()",
        f"{LEASER}::test_a_dead_relay_is_replaced_although_the_servers_clock_was_set_back",
    ),
    Mutation(
        "a new sign of life ends the silence", "G4", "outbox/servers/silence.py",
        "if key in signs and seen[0] == signs[key]", "if key in signs",
        f"{LEASER}::test_a_relay_that_renews_its_leases_keeps_them_whatever_the_servers_clock_does",
    ),
    Mutation(
        "a token that its owner has raised is no lost lease", "G1", "relay/outbox_relay/leaser.py",
        "if partition not in held}", "if holding.lease not in view.held}",
        f"{LEASER}::test_a_token_that_its_owner_has_raised_is_no_lost_lease",
    ),
    Mutation(
        "an upload is removed only when it is silent by this machine's clock too", "G8",
        "api/outbox_api/uploads/abandoned.py",
        "older_than=self._abandoned, silent=silent)", "older_than=self._abandoned)",
        "tests/api/test_abandoned.py::test_an_upload_that_is_under_way_outlives_a_clock_that_is_set_forward",
    ),
]  # fmt: skip
