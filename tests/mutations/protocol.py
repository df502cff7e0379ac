"""Protections of the way from MongoDB to Redis: servers, scripts, leases, marks, recovery."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

CRASHES, LATE, RECOVERY, HISTORIES, DRAINING, TAIL, MARKS, WAKEUP = (
    f"tests/relay/test_{name}.py"
    for name in ("crashes", "late_owners", "recovery", "histories", "draining", "tail", "marks", "wakeup")
)
NETWORKS, FORGETS, FAILS_OVER = (
    f"tests/faults/test_{name}.py" for name in ("networks", "redis_forgets", "redis_fails_over")
)

MUTATIONS = [
    # -- what the servers are asked
    Mutation(
        "the client of Redis sends nothing again by itself", "G4", "outbox/servers/topology.py",
        "return Retry(NoBackoff(), 0)", "return Retry(NoBackoff(), 10)",
        f"{NETWORKS}::test_no_client_of_redis_sends_a_command_again_by_itself",
    ),
    Mutation(
        "append inside a transaction only", "G2", "outbox/draft.py",
        "if not session.in_transaction:", "if False:",
        "tests/outbox/test_append.py",
    ),
    Mutation(
        "majority reads", "G2", "outbox/protocol/store.py",
        '"level": "snapshot"', '"level": "local"',
        f"{DRAINING}::test_a_fetch_is_one_snapshot_and_at_least_as_new_as_the_last_mark",
    ),
    Mutation(
        "fetch in one snapshot", "G3", "outbox/protocol/store.py",
        '"level": "snapshot"', '"level": "majority"',
        f"{DRAINING}::test_a_fetch_is_one_snapshot_and_at_least_as_new_as_the_last_mark",
    ),
    Mutation(
        "fetch by position", "G3", "outbox/protocol/store.py",
        '"sort": {"position": 1}', '"sort": {"position": -1}',
        f"{DRAINING}::test_messages_enter_the_stream_in_the_order_of_their_commits",
    ),
    Mutation(
        "whatever is pending is fetched, not what is after the last id", "G1", "outbox/protocol/store.py",
        '"state": State.PENDING.value}\n        documents, at, left =',
        '"state": State.PENDING.value}\n        from bson import ObjectId\n'
        '        pending["_id"] = {"$gt": getattr(self, "_last", ObjectId(b"\\0" * 12))}\n'
        "        async for last in self._database[OUTBOX].find(pending).sort(\"_id\", -1).limit(1):\n"
        '            self._last = last["_id"]\n'
        "        documents, at, left =",
        f"{DRAINING}::test_a_message_whose_transaction_commits_late_is_found",
    ),
    # -- what the change stream shows
    Mutation(
        "after a reconciliation a fetch comes first", "G3", "relay/outbox_relay/tail.py",
        "return self._joined is not None", "return self.since is not None",
        f"{TAIL}::test_what_waited_before_the_stream_comes_first",
    ),
    Mutation(
        "what a fetch has seen is not published by the stream", "G4", "relay/outbox_relay/tail.py",
        "or (self._joined and at <= self._joined)", "",
        f"{TAIL}::test_what_was_fetched_is_not_published_again_when_it_is_shown",
    ),
    Mutation(
        "what was shown before a fetch is not published by the stream", "G4", "relay/outbox_relay/tail.py",
        "self._shown[0][0] <= at", "False",
        f"{TAIL}::test_what_was_shown_before_a_fetch_is_published_once",
    ),
    Mutation(
        "a fetch that left something over is not all there was", "G3", "relay/outbox_relay/drainer.py",
        "joins = self._inbox.since is not None and not (fetched.more or fetched.waits)", "joins = True",
        f"{TAIL}::test_what_a_fetch_left_over_comes_first",
    ),
    Mutation(
        "who is shown messages held the lease at the fetch before", "G3", "relay/outbox_relay/drainer.py",
        "if fetched.messages or joins:", "if fetched.messages:",
        f"{TAIL}::test_who_has_lost_the_lease_is_shown_nothing",
    ),
    Mutation(
        "a fetch is as new as the change stream", "G1", "relay/outbox_relay/drainer.py",
        "session.advance_operation_time(self._inbox.since)", "pass",
        f"{TAIL}::test_a_fetch_is_as_new_as_what_was_shown",
    ),
    Mutation(
        "what is put back is looked for", "G1", "relay/outbox_relay/tail.py",
        "inbox.doubt(anywhere)", "pass",
        f"{TAIL}::test_what_is_put_back_is_looked_for",
    ),
    Mutation(
        "what Python cannot read ends no change stream and holds up no partition", "G1", "outbox/message/poison.py",
        'RawBSONDocument, unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_AUTO',
        "RawBSONDocument",
        f"{TAIL}::test_what_python_cannot_read_does_not_end_the_stream",
    ),
    Mutation(
        "the change stream shows only what a fetch would find", "G5", "outbox/protocol/changes.py",
        " and not isinstance(number, bool)", "",
        f"{TAIL}::test_the_stream_shows_only_what_a_fetch_would_find",
    ),
    Mutation(
        "messages of one key in two partitions are not published by the stream", "G3", "relay/outbox_relay/drainer.py",
        "if self._leases.streams[self.lease.partition.stream].earlier_partitions:", "if False:",
        f"{TAIL}::test_nothing_is_shown_while_keys_may_be_in_two_partitions",
    ),
    Mutation(
        "what is put aside for a pause is fetched after it", "G1", "relay/outbox_relay/drainer.py",
        "        self._inbox.doubt()\n        await self._marks.now(window)", "        await self._marks.now(window)",
        f"{TAIL}::test_what_waits_while_a_stream_is_paused_is_fetched_after_it",
    ),
    Mutation(
        "a sweep asks for a look everywhere once something stays pending", "G1", "relay/outbox_relay/wakeup.py",
        "            self._seen = at\n", "            pass\n",
        f"{WAKEUP}::test_beside_hints_a_sweep_wakes_only_for_what_stays_pending",
    ),
    Mutation(
        "no change stream is open while much is taken back", "G7", "relay/outbox_relay/recovery.py",
        "                self._many(lease.partition)", "                pass",
        f"{RECOVERY}::test_what_comes_back_in_many_pages_is_a_backlog_before_the_pass_is_over",
    ),
    # -- what is marked later
    Mutation(
        "a fetch comes after the marks", "G4", "relay/outbox_relay/drainer.py",
        "            await self._marks.now(self._window)  # or", "            # or",
        f"{MARKS}::test_a_fetch_comes_after_the_marks",
    ),
    Mutation(
        "the checkpoint names all that is not marked", "G4", "outbox/protocol/checkpoint.py",
        'sent = " ".join([*earlier, *(', 'sent = " ".join([*(',
        f"{MARKS}::test_after_a_crash_all_that_was_not_marked_is_known",
    ),
    Mutation(
        "what may be unmarked is bounded", "G7", "relay/outbox_relay/drainer.py",
        "if window.full or not (self._ahead or self._inbox.joined):", "if not (self._ahead or self._inbox.joined):",
        f"{MARKS}::test_so_many_batches_are_marked_at_once",
    ),
    Mutation(
        "what is published is marked before a pause", "G1", "relay/outbox_relay/drainer.py",
        "        self._inbox.doubt()\n        await self._marks.now(window)", "        self._inbox.doubt()",
        "tests/relay/test_pausing.py::test_what_was_fetched_before_the_pause_is_kept_back_too",
    ),
    Mutation(
        "what is lost before its mark is asked whether it is wanted", "G5", "relay/outbox_relay/drainer.py",
        "        await self.finish()\n        await self.close()", "        await self.close()",
        f"{MARKS}::test_what_is_lost_before_its_mark_comes_back_if_it_is_still_wanted",
    ),
    Mutation(
        "a mark that fails ends the trust in what is known", "G3", "relay/outbox_relay/drainer.py",
        "if self._window and self._window.error:", "if False:",
        f"{MARKS}::test_a_mark_that_fails_ends_the_trust_in_what_is_known",
    ),
    Mutation(
        "a lease goes on with others only while it is held", "G4", "outbox/protocol/leases.py",
        "session=session)).matched_count == len(steps)", "session=session)).matched_count >= 0",
        f"{MARKS}::test_a_mark_that_fails_ends_the_trust_in_what_is_known",
    ),
    # -- the scripts
    Mutation(
        "token check in the publish script", "G4", "outbox/protocol/lua/publish.lua",
        "if there[1] ~= ARGV[1] then", "if false then",
        f"{LATE}::test_a_token_shuts_out_the_ones_before_it",
    ),
    Mutation(
        "token check in the open script", "G4", "outbox/protocol/lua/open.lua",
        "if there.token and tonumber(there.token) > tonumber(ARGV[1]) then", "if false then",
        f"{LATE}::test_a_token_shuts_out_the_ones_before_it",
    ),
    Mutation(
        "a batch follows the very one in the checkpoint", "G5", "outbox/protocol/lua/publish.lua",
        "if there[2] ~= ARGV[4] or not marker", "if not marker",
        f"{RECOVERY}::test_a_lost_tail_is_noticed_by_the_next_batch",
    ),
    Mutation(
        "same batch recognised", "G4", "outbox/protocol/lua/publish.lua",
        "if there[2] == ARGV[3] then", "if false then",
        f"{LATE}::test_the_same_batch_sent_twice_is_there_once",
    ),
    Mutation(
        "a stream that is behind is another one", "G5", "outbox/protocol/lua/stream.lua",
        "and not behind(last, added, known[2], known[3])", "",
        f"{RECOVERY}::test_a_deleted_stream_is_noticed_by_the_next_batch",
    ),
    Mutation(
        "the stream's entries are counted", "G5", "outbox/protocol/lua/stream.lua",
        "return now ~= nil and before ~= nil and now < before", "return false",
        f"{HISTORIES}::test_an_older_copy_of_a_stream_is_noticed_although_somebody_has_added_to_it_since",
    ),
    Mutation(
        "a checkpoint is of one stream (marker)", "G5", "outbox/protocol/lua/open.lua",
        "marker, there.marker == marker and 0 or 1,", "marker, 0,",
        f"{FORGETS}::test_the_stream_is_deleted_and_a_busy_partition_fills_it_before_a_quiet_one_looks",
    ),
    Mutation(
        "a search of the stream is of one history", "G5", "outbox/protocol/lua/scan.lua",
        "there[2] ~= ARGV[2] or recognize(KEYS[2], KEYS[3]) ~= ARGV[3]", "false",
        f"{HISTORIES}::test_a_search_of_the_stream_counts_only_while_nothing_changes",
    ),
    Mutation(
        "a recovery ends in the stream that it searched", "G4", "outbox/protocol/lua/stamp.lua",
        "or recognize(KEYS[2], KEYS[3]) ~= ARGV[5] then", "then",
        f"{RECOVERY}::test_a_recovery_does_not_end_in_a_stream_that_it_did_not_search",
    ),
    # -- leases and marks
    Mutation(
        "publish before mark", "G1", "relay/outbox_relay/drainer.py",
        "        answer = await self._checkpoints.publish(",
        "        early = await self._leases.hold(self.lease, window.session)\n"
        "        sent = [Sent(m.id, m.attempts + 1) for m in batch]\n"
        "        await self._store.mark(early, window.session, sent, Range('', ''))\n"
        "        answer = await self._checkpoints.publish(",
        f"{CRASHES}::test_every_message_is_there_once_and_in_order_after_a_crash",
    ),
    Mutation(
        "what is published stays in the outbox", "G5", "relay/outbox_relay/drainer.py",
        "            self._progress, self._verified = reached, time.monotonic()\n",
        "            self._progress, self._verified = reached, time.monotonic()\n"
        '            await self._store._messages.delete_many({"_id": {"$in": [message.id for message in sent]}})\n',
        f"{RECOVERY}::test_everything_is_lost",
    ),
    Mutation(
        "the lease advances by compare-and-set", "G4", "outbox/protocol/leases.py",
        '"token": lease.token, "owner": lease.owner}', "}",
        f"{LATE}::test_an_owner_that_wakes_up_late_cannot_advance",
    ),
    Mutation(
        "the lease moves on only from where it was left", "G5", "outbox/protocol/leases.py",
        'there = {"$and": [{"$eq": ["$batch", after.batch]}, {"$eq": ["$tag", {"$literal": after.tag}]}]}',
        "there = True",
        f"{LATE}::test_a_lease_that_does_not_stand_where_it_was_left_stays_there",
    ),
    Mutation(
        "attempts guard a mark against a replay", "G1", "outbox/message/transitions.py",
        '"$in": ids}, "state": State.PENDING.value, "attempts": attempt - 1}',
        '"$in": ids}, "state": State.PENDING.value}',
        f"{LATE}::test_a_replay_between_publish_and_mark_is_not_undone_by_the_mark",
    ),
    # -- recovery
    Mutation(
        "reconcile", "G4", "relay/outbox_relay/recovery.py",
        "        known = held.progress\n", "        return Reconciled(opened.at, Verdict.SAME)\n",
        f"{RECOVERY}::test_everything_is_lost",
    ),
    Mutation(
        "what is published and unmarked is marked first", "G4", "relay/outbox_relay/recovery.py",
        "marked = await self._store.mark(held, session, opened.messages, opened.entries)", "marked = 0",
        f"{CRASHES}::test_every_message_is_there_once_and_in_order_after_a_crash",
    ),
    Mutation(
        "an unmarked batch follows the very one in the lease", "G5", "outbox/protocol/tags.py",
        " and previous[-back] == known.tag", "",
        f"{HISTORIES}::test_a_batch_ahead_in_another_history_is_not_taken_for_an_unmarked_one",
    ),
    Mutation(
        "lost messages taken back", "G5", "relay/outbox_relay/recovery.py",
        "for query in lost:", "for query in lost[:0]:",
        f"{RECOVERY}::test_everything_is_lost",
    ),
    Mutation(
        "settled messages left alone", "G5", "outbox/protocol/losses.py",
        'again = [message["_id"] for message in page if not (is_ours(message) and message["_id"] in done)]',
        'again = [message["_id"] for message in page]',
        f"{RECOVERY}::test_what_is_settled_is_not_published_again",
    ),
    Mutation(
        "survivors looked for in the stream", "G5", "relay/outbox_relay/recovery.py",
        "session, end, page, entries)", "session, end, [], entries)",
        f"{RECOVERY}::test_the_checkpoint_alone_is_deleted",
    ),
    Mutation(
        "what was lost comes again under the same attempt", "G4", "outbox/message/transitions.py",
        '{"$subtract": [number("attempts"), 1]}', '"$attempts"',
        f"{FAILS_OVER}::test_split_brain_and_the_old_primary_returns",
    ),
]  # fmt: skip
