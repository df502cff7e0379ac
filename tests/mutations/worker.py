"""Protections of append and of workers: what handlers do, and what becomes of those that do not end."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "drafts can be read again by a second run", "G1", "outbox/draft.py",
        "again = isinstance(drafts, Collection) and not isinstance(drafts, Iterator | Mapping)", "again = True",
        "tests/outbox/test_append_once.py::test_what_is_made_in_front_of_a_transaction_that_runs_twice_is_appended",
    ),
    Mutation(
        "fields and headers are read once", "G1", "outbox/message/document.py",
        "if len(pairs) and not copy:", "if False:",
        "tests/outbox/test_append_once.py::test_fields_and_headers_are_there_at_each_run_or_refused",
    ),
    Mutation(
        "appends of one session at once are sent one after the other", "G4", "outbox/bound.py",
        "    async with turn:\n        return", "    if turn:\n        return",
        "tests/outbox/test_bound.py::test_appends_of_one_session_at_once_are_sent_one_after_the_other",
    ),
    Mutation(
        "an append that outlasts its transaction writes nothing", "G2", "outbox/bound.py",
        "if not self.in_transaction or ", "if ",
        "tests/outbox/test_bound.py::test_an_append_that_is_awaited_after_its_transaction_writes_nothing",
    ),
    Mutation(
        "an append of one run is not committed by the next", "G4", "outbox/bound.py",
        " or _transaction_of(self) is not self._called_in:", ":",
        "tests/outbox/test_bound.py::test_what_is_left_over_of_the_first_run_is_not_in_the_second",
    ),
    Mutation(
        "an append reads at the primary", "G1", "outbox/message/uniques.py",
        "read_preference=ReadPreference.PRIMARY, ", "",
        "tests/outbox/test_any_client.py::test_a_client_of_any_kind_appends",
    ),
    Mutation(
        "a declaration is read as it was written", "G1", "outbox/streams/registry.py",
        "codec_options=LENIENT, **NOW)\n    if not compare(declared, await ",
        "**NOW)\n    if not compare(declared, await ",
        "tests/outbox/test_any_client.py::test_a_client_of_any_kind_appends",
    ),
    Mutation(
        "what a relay would not send is not appended", "G1", "outbox/draft.py",
        "return min(max_message_bytes, MAX_LIMIT)", "return max_message_bytes",
        "tests/outbox/test_append.py::test_what_a_relay_would_not_send_is_refused_whatever_the_limit",
    ),
    # -- what handlers raise, and their forms
    Mutation(
        "an error's text is not trusted", "G6", "outbox/worker/failures.py",
        "except BaseException as unspeakable:  # noqa: BLE001  # a handler's code, which may raise anything",
        "except ZeroDivisionError as unspeakable:",
        "tests/worker/test_any_exception.py::test_the_worker_lives_and_the_attempt_is_counted",
    ),
    Mutation(
        "waits are bounded", "G6", "outbox/message/attempts.py",
        "seconds = max(0.0, wait_seconds) if wait_seconds < MAX_WAIT_SECONDS else MAX_WAIT_SECONDS",
        "seconds = wait_seconds",
        "tests/worker/test_any_exception.py::test_a_stream_may_declare_waits_that_no_date_can_hold",
    ),
    Mutation(
        "another client's outage is not ours", "G6", "outbox/worker/work.py",
        "if conflict and await self._has_failed(session, messages[0], conflict, began):", "if conflict:",
        "tests/worker/test_any_exception.py::test_the_worker_lives_and_the_attempt_is_counted[async]",
    ),
    Mutation(
        "a handler's own abort is noticed", "G6", "outbox/worker/forms.py",
        "if not session.in_transaction:\n        raise Failed(", "if False:\n        raise Failed(",
        "tests/worker/test_any_exception.py::test_a_handler_that_ends_the_transaction_itself_has_failed",
    ),
    Mutation(
        "what a handler returns is awaited", "G6", "outbox/worker/threads.py",
        "        raise Asynchronous\n    refuse", "        pass\n    refuse",
        "tests/worker/test_forms.py::test_each_form_is_called_as_it_is_meant",
    ),
    Mutation(
        "what a handler's coroutine returns is awaited too", "G6", "outbox/worker/work.py",
        "while inspect.isawaitable(returned) or", "if inspect.isawaitable(returned) or",
        "tests/worker/test_forms.py::test_each_form_is_called_as_it_is_meant",
    ),
    Mutation(
        "work left to another thread is waited for", "G6", "outbox/worker/threads.py",
        "while isinstance(returned, Future):", "while False:",
        "tests/worker/test_forms.py::test_each_form_is_called_as_it_is_meant",
    ),
    Mutation(
        "a context manager has not run", "G6", "outbox/worker/forms.py",
        "if isinstance(returned, ContextDecorator | AsyncContextDecorator):", "if False:",
        "tests/worker/test_forms.py::test_a_handler_that_returns_what_has_not_run_has_failed",
    ),
    Mutation(
        "a map has not run", "G6", "outbox/worker/forms.py",
        "if isinstance(returned, map | filter | itertools.starmap):", "if False:",
        "tests/worker/test_forms.py::test_a_handler_that_returns_what_has_not_run_has_failed",
    ),
    Mutation(
        "a group of one error is that error", "G1", "outbox/worker/failures.py",
        "while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:", "while False:",
        "tests/worker/test_exception_groups.py::test_what_a_task_group_raises_for_one_task_is_what_the_task_has_raised",
    ),
    Mutation(
        "a conflict is known by what led to an error", "G1", "outbox/worker/forms.py",
        "looked_at += [one.__context__", "_ = [one.__context__",
        "tests/worker/test_exception_groups.py::test_a_conflict_is_known_in_whatever_it_is_raised",
    ),
    Mutation(
        "a message that cannot be given to a handler is dead", "G1", "outbox/worker/settlement.py",
        "except InvalidMessage as error:", "except ZeroDivisionError as error:",
        "tests/worker/test_by_hand.py::test_a_message_that_somebody_has_edited_is_dead_and_stops_nobody",
    ),
    Mutation(
        "one stream's trouble is not the others'", "G1", "outbox/worker/intake.py",
        "if not await self._aside.sort_out(", "if True or not await self._aside.sort_out(",
        "tests/worker/test_by_hand.py::test_a_stream_that_redis_refuses_keeps_nobody_from_the_others",
    ),
    Mutation(
        "signs of life are each stream's own", "G1", "outbox/worker/signs.py",
        "ids = [id_ for at, id_ in self._hands if at == stream]",
        "ids = [id_ for at, id_ in self._hands if at == stream]\n"
        "            for at, id_ in [*self._hands]:\n"
        "                await self._patience.wait(partial(self._entries.beat, at, [id_]), self._late)",
        "tests/worker/test_by_hand.py::test_signs_of_life_for_other_streams_go_on",
    ),
    Mutation(
        "an entry that was copied into another stream is not handled there", "G6", "outbox/worker/settlement.py",
        'document.get("stream") != entry.stream.name:', "False:",
        "tests/worker/test_by_hand.py::test_an_entry_that_was_moved_to_another_stream_is_not_handled_there",
    ),
    Mutation(
        "an entry that was copied into another stream completes nothing", "G5", "outbox/message/transitions.py",
        'where: Document = {} if stream is None else {"stream": stream}', "where: Document = {}",
        "tests/worker/test_by_hand.py::test_an_entry_that_was_moved_and_acknowledged_completes_nothing",
    ),
    Mutation(
        "an entry that was copied into another stream is not rescued there", "G5", "outbox/worker/rescue.py",
        'elif message.get("stream") != stream.name:', "elif False:",
        "tests/worker/test_by_hand.py::test_an_entry_that_was_moved_is_not_rescued_there",
    ),
    # -- handlers that do not end
    Mutation(
        "a handler's time is limited", "G1", "outbox/worker/hand.py",
        'limit = self.limit_seconds or float("inf")', 'limit = float("inf")',
        "tests/worker/test_time_limit.py::test_its_attempt_has_failed_and_the_worker_goes_on",
    ),
    Mutation(
        "what swallows its cancellation is left", "G1", "outbox/worker/hand.py",
        "await asyncio.wait({work}, timeout=GRACE_SECONDS)", "await asyncio.wait({work})",
        "tests/worker/test_time_limit.py::test_its_attempt_has_failed_and_the_worker_goes_on[stubborn]",
    ),
    Mutation(
        "a worker that has left too many ends", "G1", "outbox/worker/intake.py",
        "if len(processing.work.left) >= processing.options.concurrency:", "if False:",
        "tests/worker/test_time_limit.py::test_a_worker_that_has_left_too_many_ends_for_its_supervisor",
    ),
    Mutation(
        "what was read ahead does not wait for a handler that hangs", "G1", "outbox/worker/settlement.py",
        "take_slot(hand, SLOT_SECONDS)", "take_slot(hand)",
        "tests/worker/test_time_limit.py::test_what_was_read_ahead_does_not_wait_for_a_handler_that_hangs",
    ),
    # -- many messages in one transaction, chosen handlers, snooze
    Mutation(
        "a batch with one that is completed elsewhere has no effect", "G6", "outbox/worker/completion.py",
        "if done < len(messages):\n        raise Superseded\n    if session",
        "if not done:\n        raise Superseded\n    if session",
        "tests/worker/test_many.py::test_one_that_was_completed_elsewhere_takes_nobody_with_it",
    ),
    Mutation(
        "a batch that failed is handled one by one", "G1", "outbox/worker/batches.py",
        "except (Superseded, Abandoned, Failed) as error:", "except Superseded as error:",
        "tests/worker/test_many.py::test_one_that_fails_costs_the_others_nothing",
    ),
    Mutation(
        "a batch ends with the first of its entries that is given up", "G6", "outbox/worker/hand.py",
        "            self.part_of.abandon()", "            pass",
        "tests/worker/test_many.py::test_a_stop_gives_a_batch_back_at_no_trys_cost",
    ),
    Mutation(
        "a snooze costs no try", "G1", "outbox/worker/setbacks.py",
        "wait_seconds=seconds or 0.0, forgive=1", "wait_seconds=seconds or 0.0",
        "tests/worker/test_choice.py::test_a_snooze_costs_no_try_and_has_a_limit_of_its_own",
    ),
    Mutation(
        "snoozes have a limit", "G1", "outbox/worker/setbacks.py",
        "isinstance(error, LeftAlone) or snoozed < most", "True",
        "tests/worker/test_choice.py::test_a_snooze_costs_no_try_and_has_a_limit_of_its_own",
    ),
    Mutation(
        "what a handler says in a way that is no number is its failure", "G1", "outbox/worker/failures.py",
        "    except Exception:  # noqa: BLE001  # of a handler's class", "    except ValueError:  # of a class",
        "tests/worker/test_any_exception.py::test_the_worker_lives_and_the_attempt_is_counted[async]",
    ),
    # -- messages that kill their process
    Mutation(
        "a take-over is on record before the handler", "G1", "outbox/worker/settlement.py",
        "document = await self._put_on_record(entry, hand)", "pass",
        "tests/worker/test_suspects.py::test_each_take_over_counts_as_a_try_and_the_last_one_is_its_death",
    ),
    Mutation(
        "a suspect is handled alone", "G1", "outbox/worker/isolation.py",
        "while self._at_work if suspect else self._suspects:", "while False:",
        "tests/worker/test_suspects.py::test_what_was_in_flight_with_a_dead_worker_is_handled_alone",
    ),
    Mutation(
        "nothing is taken beside a suspect", "G1", "outbox/worker/intake.py",
        "processing.room <= 0 or processing.has_suspect", "processing.room <= 0",
        "tests/worker/test_suspects.py::test_what_was_in_flight_with_a_dead_worker_is_handled_alone",
    ),
    Mutation(
        "one that was never alone does not die", "G1", "outbox/message/attempts.py",
        "return bool(killers(message)) and tries", "return tries",
        "tests/worker/test_suspects.py::test_one_whose_tries_are_used_up_is_tried_alone_before_it_dies",
    ),
    Mutation(
        "a repeated take-over counts once", "G1", "outbox/message/attempts.py",
        '{**standing(sent), "taker": {"$ne": taker}}', "standing(sent)",
        "tests/worker/test_suspects.py::test_a_repeated_record_counts_once",
    ),
    Mutation(
        "what a relay rescues from us is suspect", "G1", "outbox/worker/rescue.py",
        "suspect = printable(holder.name) if holder.ours else None", "suspect = None",
        "tests/worker/test_suspects.py::test_what_a_relay_rescues_from_a_dead_worker_is_suspect_and_not_charged",
    ),
    Mutation(
        "signs of life while a handler lets nothing run", "G6", "outbox/worker/pulse_program.py",
        "await entries.beat(streams[stream], ids)", "pass",
        "tests/worker/test_pulse.py::test_a_handler_that_holds_the_interpreters_lock_is_worked_on_once",
    ),
    Mutation(
        "an outage of Redis does not look like a handler that blocks", "G1", "outbox/worker/pulse_program.py",
        "silence = now - self._alive_at", "silence = now - self._sign_at",
        "tests/worker/test_outages.py::test_an_outage_of_redis_is_not_taken_for_a_handler_that_blocks_its_process",
    ),
    Mutation(
        "signs of life end with the worker", "G1", "outbox/worker/pulse_program.py",
        'while self._read() and os.getppid() == self._setup["parent"] and not',
        "while (self._read() or True) and not",
        "tests/worker/test_pulse.py::test_the_second_process_ends_with_the_worker_and_is_replaced_when_it_dies",
    ),
    Mutation(
        "a cancellation that a driver swallows ends a consumer all the same", "G1", "outbox/worker/signs.py",
        "while not self._late.is_set():  # a driver", "while True:  # a driver",
        "tests/worker/test_holding.py::test_a_driver_that_swallows_a_cancellation_does_not_keep_a_consumer_from_stopping",
    ),
    Mutation(
        "a process that never comes back is ended", "G1", "outbox/worker/pulse_program.py",
        'os.kill(self._setup["parent"], signal.SIGKILL)', "pass",
        "tests/worker/test_pulse.py::test_a_handler_that_never_gives_its_process_back_ends_it",
    ),
    Mutation(
        "who has the name of a worker that lives takes nothing over at its start", "G4", "outbox/worker/presence.py",
        'self.shared = bool(found["lately"]) and _runs_elsewhere(found, self._about)', "pass",
        "tests/worker/test_presence.py::test_a_second_worker_of_the_same_name_leaves_the_first_one_what_it_holds",
    ),
    Mutation(
        "a cause that does not pass is logged during an outage", "G1", "outbox/worker/patience.py",
        "if now <= self._waits_for.get(server, 0):", "if server in self._waits_for:",
        "tests/worker/test_patience.py::test_a_cause_that_does_not_pass_is_logged_although_an_outage_was_logged_before",
    ),
]  # fmt: skip
