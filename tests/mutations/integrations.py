"""Protections of those who handle with FastStream, and of operators whose page is older than what it shows."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

SUBSCRIBER, WORKER = "outbox/faststream/subscriber.py", "outbox/faststream/worker.py"
OUTCOMES, KIT = "tests/faststream/test_outcomes.py::", "tests/testing/test_faststream.py::"

MUTATIONS = [
    Mutation(
        "what a handler returned and nobody ran completes nothing",
        "G6",
        SUBSCRIBER,
        "        _refuse_unrun(response.body)\n",
        "",
        f"{OUTCOMES}test_a_handler_of_which_nothing_has_run_completes_nothing",
    ),
    Mutation(
        "an outcome that was given by hand stands",
        "G6",
        SUBSCRIBER,
        "if _committed(parsed) is AckStatus.REJECTED and not again:",
        "if False:",
        f"{OUTCOMES}test_an_outcome_given_by_hand_stands_whatever_is_raised_after_it",
    ),
    Mutation(
        "a conflict is handled again, whatever a middleware made of it",
        "G6",
        SUBSCRIBER,
        "again = isinstance(one, RetryAfter) or in_transaction(error)",
        "again = isinstance(one, RetryAfter)",
        f"{OUTCOMES}test_a_conflict_is_no_reason_to_reject",
    ),
    Mutation(
        "what a handler publishes under TestRedisBroker is another message",
        "G6",
        SUBSCRIBER,
        "if self._outer_config.context.get(_RAW) is msg:",
        "if self._outer_config.context.get(SESSION) is not None:",
        f"{KIT}test_what_a_handler_publishes_to_another_is_a_message_of_its_own",
    ),
    Mutation(
        "the stream that the prefix of a router names is read",
        "G1",
        SUBSCRIBER,
        "streams=[self.stream_sub.name]",
        "streams=[self.stream_sub.name.removeprefix(self._outer_config.prefix)]",
        "tests/faststream/test_subscriber.py::test_the_prefix_of_a_router_is_part_of_the_streams_name",
    ),
    Mutation(
        "two FastStream handlers of one stream do not share its messages unnoticed",
        "G6",
        WORKER,
        "if named in self._made:",
        "if False:",
        "tests/faststream/test_subscriber.py::test_a_second_subscriber_of_one_stream_and_group_is_refused",
    ),
    Mutation(
        "a button acts on the message that its page has shown",
        "dashboard",
        "api/outbox_api/dashboard/forms.py",
        'return _moment("seen", fields)',
        "return None",
        "tests/api/test_dashboard_buttons.py::test_a_button_acts_on_what_its_page_has_shown",
    ),
    Mutation(
        "a replay is of the times that were counted",
        "dashboard",
        "api/outbox_api/dashboard/forms.py",
        "name: as_text(time) for name, time in times.items() if time",
        'name: fields.get(name, "") for name in times',
        "tests/api/test_dashboard.py::test_how_long_ago_is_counted_from_when_it_was_counted",
    ),
    Mutation(
        "another rate under the same name is another request",
        "operators",
        "outbox/operations/jobs.py",
        "if rate is not None and rate != job.rate:",
        "if False:",
        "tests/api/test_replays.py::test_the_same_request_at_another_rate_is_another",
    ),
    Mutation(
        "code for a key is not ours",
        "G5, G8",
        "outbox/message/document.py",
        "type(key) is not str or type(attempts)",
        "not isinstance(key, str) or type(attempts)",
        "tests/outbox/test_spelled_keys.py::test_code_for_a_key_names_nothing",
    ),
    Mutation(
        "code for a key is no id of a subject",
        "G5, G8",
        "outbox/message/subjects.py",
        "if type(key) is not str:",
        "if not isinstance(key, str):",
        "tests/outbox/test_spelled_keys.py::test_code_for_a_key_names_nothing",
    ),
]
