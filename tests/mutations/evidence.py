"""Protections of what is known of published messages: their entries, and whether these were acknowledged."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

RECOVERY, EVIDENCE, GROUPS, TRIMMING, RESCUE = (
    "tests/relay/test_recovery.py",
    "tests/relay/test_evidence.py",
    "tests/relay/test_consumer_groups.py",
    "tests/relay/test_trimming.py",
    "tests/outbox/test_rescue.py",
)
REMOVED = "tests/relay/test_removed_entries.py"
COMPARED, BEYOND = "tests/relay/test_looks_compared.py", "tests/relay/test_groups_beyond.py"  # fmt: skip

MUTATIONS = [
    Mutation(
        "what a reconciliation marks has its entries", "G5", "relay/outbox_relay/recovery.py",
        "opened.messages, opened.entries)", "opened.messages, type(opened.entries)('1-0', '1-0'))",
        f"{RECOVERY}::test_what_a_reconciliation_marks_has_its_entries_on_record",
    ),
    Mutation(
        "survivors have their entries", "G5", "outbox/message/transitions.py",
        '{"$set": at._asdict()}', '{"$set": {"batch": at.batch, "tag": at.tag, "attempts": at.attempts}}',
        f"{RECOVERY}::test_survivors_have_their_entries_on_record",
    ),
    # -- done that nobody did
    Mutation(
        "a refilled stream is another one", "G5", "outbox/protocol/lua/stream.lua",
        "and not refilled(added, first, length, known[2], known[3])", "",
        f"{EVIDENCE}::test_a_stream_that_was_deleted_while_young_and_filled_by_others_is_another_one",
    ),
    Mutation(
        "a group that was set back needs what it is given again", "G7", "outbox/protocol/lua/trim.lua",
        "if earlier(oldest, next_one) then return oldest end", "if oldest then return oldest end",
        f"{TRIMMING}::test_a_group_that_was_set_back_needs_what_comes_then_although_it_holds_something_later",
    ),
    Mutation(
        "what is held at a look is not trimmed after it", "G5", "outbox/protocol/lua/look.lua",
        "if held[1] and earlier(held[1][1], bound) then bound = held[1][1] end", "",
        f"{EVIDENCE}::test_what_is_acknowledged_right_after_a_look_is_judged_before_it_is_trimmed",
    ),
    Mutation(
        "a removed consumer has acknowledged nothing", "G5", "outbox/protocol/lua/look.lua",
        "(not consumers[who] and 'removed')", "nil",
        f"{GROUPS}::test_what_was_held_by_a_consumer_that_was_removed_comes_again",
    ),
    Mutation(
        "a consumer that is there may be another one than before", "G5", "outbox/protocol/lua/look.lua",
        "(removed and not stayed[who] and 'perhaps')", "nil",
        f"{GROUPS}::test_what_was_held_under_a_name_that_was_removed_and_reads_again_comes_again",
    ),
    Mutation(
        "a server that was started again counts removals from 0", "G5", "outbox/protocol/lua/look.lua",
        "local removed = at.server ~= ''", "local removed = comparable(at, now)",
        f"{GROUPS}::test_what_was_held_under_a_name_that_was_removed_after_a_restart_of_redis_comes_again",
    ),
    Mutation(
        "a consumer that still holds something was not removed", "G5", "outbox/protocol/lua/look.lua",
        "removed and not stayed[who] and", "removed and",
        f"{GROUPS}::test_what_a_consumer_acknowledged_while_another_one_was_removed_is_done",
    ),
    Mutation(
        "a look that was not carried out is compared too", "G5", "outbox/protocol/lua/look.lua",
        "if looked and looked.follows == look.tag", "if false and looked.follows == look.tag",
        f"{GROUPS}::test_what_was_held_at_a_look_that_was_not_carried_out_comes_again",
    ),
    Mutation(
        "what such a look has missed is kept for the next", "G5", "outbox/protocol/lua/look.lua",
        "({looked.held, looked.missed or {}})", "({looked.held})",
        f"{GROUPS}::test_what_was_held_at_a_look_that_was_not_carried_out_comes_again",
    ),
    Mutation(
        "without a consumer nobody has acknowledged", "G5", "outbox/protocol/lua/look.lua",
        "elseif readers == 0 then", "elseif false then",
        f"{GROUPS}::test_what_was_held_by_a_consumer_that_was_removed_comes_again",
    ),
    Mutation(
        "without an acknowledgement nothing is done", "G5", "outbox/protocol/lua/look.lua",
        "local silence, doubt = comparable(look, now) and", "local silence, doubt = false and",
        f"{EVIDENCE}::test_what_is_read_without_acknowledgements_is_not_done",
    ),
    Mutation(
        "a group that was made again is another one", "G5", "outbox/protocol/lua/look.lua",
        "local destroyed = not marked and not cleared", "local destroyed = false",
        f"{GROUPS}::test_what_a_group_that_was_made_again_was_never_given_comes_again",
    ),
    Mutation(
        "a group is watched from its beginning", "G5", "outbox/protocol/lua/open.lua",
        "if ARGV[5] == '1' then watch", "if false then watch",
        f"{GROUPS}::test_what_a_group_that_was_made_again_was_never_given_comes_again",
    ),
    Mutation(
        "what a group was set past was not given", "G5", "outbox/protocol/lua/look.lua",
        "(not later and comparable(look, now) and look.sets ~= now.sets and not holds_beyond)", "false",
        f"{GROUPS}::test_what_a_group_was_set_past_comes_again",
    ),
    Mutation(
        "what was counted before a reset is not compared", "G4", "outbox/protocol/lua/stream.lua",
        "(type(before.looks) ~= 'number' or before.looks < now.looks)", "true",
        f"{COMPARED}::test_two_resets_that_take_the_same_time_leave_nothing_in_doubt",
    ),
    Mutation(
        "a group whose mark alone was removed is the same", "G4", "outbox/protocol/lua/look.lua",
        "local destroyed = not marked and not cleared", "local destroyed = not marked",
        f"{COMPARED}::test_who_removes_all_consumers_that_hold_nothing_leaves_nothing_in_doubt",
    ),
    Mutation(
        "the removal of the mark is not that of a consumer", "G4", "outbox/protocol/lua/look.lua",
        "removal_since(look, cleared and 1 or 0)", "removal_since(look, 0)",
        f"{COMPARED}::test_who_removes_all_consumers_that_hold_nothing_leaves_nothing_in_doubt",
    ),
    Mutation(
        "a group without its mark may have been made again", "G5", "outbox/protocol/lua/look.lua",
        "and last.creates == now.creates", "",
        f"{COMPARED}::test_a_group_that_was_made_again_after_consumers_were_removed_is_another_one",
    ),
    Mutation(
        "a doubt ends with what it is about", "G4", "outbox/protocol/lua/look.lua",
        "elseif not earlier(seen, later.given) then", "elseif false then",
        f"{COMPARED}::test_while_more_is_held_than_is_remembered_a_doubt_comes_to_an_end",
    ),
    Mutation(
        "removals are counted from the last look", "G4", "outbox/protocol/lua/look.lua",
        "earlier_look.latest or earlier_look", "earlier_look",
        f"{COMPARED}::test_while_more_is_held_than_is_remembered_a_doubt_comes_to_an_end",
    ),
    Mutation(
        "a group beyond the end of its stream is set to the end", "G1", "outbox/protocol/lua/open.lua",
        "if beyond(named(flat), last) then", "if false then",
        f"{BEYOND}::test_a_group_that_was_set_beyond_the_end_of_its_stream_is_given_what_is_added",
    ),
    Mutation(
        "what was added behind a group was not given", "G5", "outbox/protocol/lua/look.lua",
        "elseif skips or (", "elseif (",
        f"{BEYOND}::test_a_group_that_was_set_beyond_the_end_of_its_stream_is_given_what_is_added",
    ),
    Mutation(
        "an idle relay sees a group beyond the end of its stream", "G1", "outbox/protocol/lua/glance.lua",
        "grouped = not beyond(named(flat), last)", "grouped = true",
        f"{BEYOND}::test_an_idle_relay_sees_a_group_beyond_the_end_of_its_stream",
    ),
    Mutation(
        "less than nothing is no count", "G7", "outbox/protocol/lua/stream.lua",
        "if lag and lag >= 0 then", "if lag then",
        f"{BEYOND}::test_a_wrong_count_of_a_group_lets_nobody_pass_the_limit",
    ),
    Mutation(
        "what another group needs is not done", "G5", "outbox/delivery/trim.py",
        "before=others", 'before=""',
        f"{GROUPS}::test_while_another_group_is_behind_nothing_is_done",
    ),
    Mutation(
        "a look counts when it was carried out", "G5", "outbox/protocol/lua/look.lua",
        "redis.call('HSET', KEYS[2], 'looked', cjson.encode(stands))",
        "redis.call('HSET', KEYS[2], 'looked', cjson.encode(stands), 'look', cjson.encode(stands))",
        f"{EVIDENCE}::test_a_crash_after_a_look_loses_nothing_of_it",
    ),
    Mutation(
        "what was put back is not put back again", "G5", "outbox/delivery/evidence.py",
        "for one in lost if _stands(stored.get(one[0].id), one[0])]", "for one in lost if one[0].id in stored]",
        f"{EVIDENCE}::test_what_was_put_back_after_a_look_is_not_put_back_again",
    ),
    Mutation(
        "what is removed before it was given comes again", "G1", "outbox/delivery/removed.py",
        "if gone_to <= delivered or", "if True or",
        f"{EVIDENCE}::test_what_others_trimmed_before_it_was_given_comes_again",
    ),
    Mutation(
        "what was removed unread comes again without rescues", "G1", "relay/outbox_relay/rescuer.py",
        "if stream.rescue_seconds or stream.subject is None:", "if stream.rescue_seconds:",
        f"{EVIDENCE}::test_without_rescues_what_others_removed_before_it_was_given_comes_again",
    ),
    # -- rescue
    Mutation(
        "a stream is searched for what is not on record", "G5", "outbox/delivery/vanished.py",
        "await places.locate(self._database, self._entries, stream)", "pass",
        f"{RESCUE}::test_an_entry_of_which_it_is_not_known_where_it_stands_is_searched_for",
    ),
    Mutation(
        "each batch has its own entries on record", "G1", "relay/outbox_relay/marks.py",
        "return [Mark(held, batch.sent, batch.entries) for batch in group]",
        "return [Mark(held, _sent(group), group[0].entries._replace(last=group[-1].entries.last))]",
        "tests/relay/test_marked_together.py"
        "::test_what_is_removed_in_the_midst_of_batches_that_were_marked_together_comes_again",
    ),
    Mutation(
        "where the rest of a batch stands is recorded before something of it comes again", "G4",
        "outbox/delivery/removed.py",
        "if lost and len(lost) < len(messages):", "if False:",
        f"{REMOVED}::test_what_was_handled_and_deleted_does_not_come_again_with_each_look",
    ),
    Mutation(
        "a group that goes on while a batch is looked at leaves it alone", "G4", "outbox/delivery/removed.py",
        " or (come_to != delivered and come_to >= first):", ":",
        f"{REMOVED}::test_what_is_handled_while_a_batch_is_looked_at_does_not_come_again",
    ),
    Mutation(
        "a group that reads on hides nothing of a batch ahead of it", "G1", "outbox/delivery/removed.py",
        " or (come_to != delivered and come_to >= first):", " or come_to != delivered:",
        f"{REMOVED}::test_what_was_deleted_is_found_while_workers_read_on",
    ),
    Mutation(
        "a look that another one was ahead of takes nothing", "G4", "outbox/delivery/removed.py",
        "if await self._record(batch, gone) < len(gone):", "if await self._record(batch, gone) < 0:",
        f"{REMOVED}::test_two_that_look_at_once_take_nothing_else",
    ),
    Mutation(
        "what workers complete during a look hides nothing", "G1", "outbox/delivery/removed.py",
        "await self._record(batch, there)  # a worker may complete some meanwhile",
        "if await self._record(batch, there) < len(there): return None",
        f"{REMOVED}::test_what_workers_complete_during_a_look_hides_nothing",
    ),
    Mutation(
        "a batch goes on where its millisecond ends", "G4", "outbox/protocol/lua/publish.lua",
        "if #number < 20 then", "if true then",
        "tests/relay/test_partial_publish.py"
        "::test_an_entry_of_others_with_the_last_numbers_of_its_millisecond_lets_a_batch_in_whole",
    ),
    Mutation(
        "a batch that was marked in part counts as none", "G4", "outbox/protocol/store.py",
        "if marked and entries.mixed:", "if False:",
        "tests/relay/test_marked_together.py::test_what_a_mark_before_has_reached_is_no_batch_of_its_own",
    ),
    Mutation(
        "what comes again of a batch ahead leaves the rest of it known", "G4", "outbox/delivery/removed.py",
        "if lost and len(lost) < len(messages):", "if lost and first <= delivered:",
        f"{REMOVED}::test_what_came_again_before_its_batch_was_begun_makes_no_other_come_again",
    ),
    Mutation(
        "nothing is guessed where entries of others stand between", "G4", "outbox/delivery/places.py",
        'if found is None or message["entries"].get("mixed"):', "if found is None:",
        f"{REMOVED}::test_where_entries_of_others_stand_between_nothing_is_guessed",
    ),
    Mutation(
        "what a recovery keeps stands among others", "G4", "outbox/protocol/checkpoint.py",
        "yield sent, Range(first, last, mixed=True)", "yield sent, Range(first, last)",
        "tests/relay/test_recovery.py::test_survivors_have_their_entries_on_record",
    ),
    Mutation(
        "messages of one batch are in the order of their positions", "G1", "relay/outbox_relay/tail.py",
        'return sorted(taken, key=attrgetter("position"))', "return taken",
        "tests/relay/test_inbox.py::test_messages_of_one_batch_are_in_the_order_of_their_positions",
    ),
    Mutation(
        "an error that is not about room is raised", "G5", "outbox/protocol/store.py",
        'if any(one["code"] not in TOO_LARGE for one in failed) or error.details["writeConcernErrors"]:', "if False:",
        "tests/relay/test_marked_together.py::test_an_error_that_is_not_about_room_is_raised",
    ),
    Mutation(
        "what was marked before keeps its batch", "G1", "outbox/protocol/store.py",
        "if marked and entries.mixed:", "if entries.mixed:",
        "tests/relay/test_marked_together.py::test_what_was_marked_before_keeps_its_batch",
    ),
    Mutation(
        "pages of a walk are bounded by bytes", "G7", "outbox/delivery/entries.py",
        "WALK_BYTES * count // max(1, size)", "WALK_PAGE",
        f"{REMOVED}::test_pages_of_a_walk_are_bounded_by_bytes",
    ),
    Mutation(
        "one without room for its mark holds up no other batch", "G1", "outbox/protocol/store.py",
        "                return False  # some have no room for their marks", "                raise",
        "tests/relay/test_late_owners.py"
        "::test_one_that_has_no_room_for_its_mark_is_left_to_whoever_marks_one_batch",
    ),
]  # fmt: skip
