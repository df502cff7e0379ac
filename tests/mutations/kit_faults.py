"""Mutations of what users' tests are built with: the kit, and FastStream's handlers under TestRedisBroker."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_SUBSCRIBER = "outbox/faststream/subscriber.py"
_WORKER = "outbox/faststream/worker.py"
_SERVERS = "outbox/testing/servers.py"
_BROKER_TESTS = "tests/faststream/test_test_broker.py"
_SERVERS_TESTS = "tests/testing/test_servers.py"

MUTATIONS = [
    Mutation(
        "a header that is not ASCII reaches handlers of FastStream", "G1", _SUBSCRIBER,
        "if form is BinaryMessageFormatV1:", "if form is None:",
        f"{_BROKER_TESTS}::test_a_header_of_any_text_and_length_is_delivered",
    ),
    Mutation(
        "what is told by hand counts under TestRedisBroker as in production", "G6", _SUBSCRIBER,
        "                    response = await self._with_outcome(made, session, msg)\n",
        "                    with self._outer_config.context.scopes(((SESSION, session), (MESSAGE, made))):\n"
        "                        response = await super().process_message(msg)\n",
        f"{_BROKER_TESTS}::test_outcomes_are_those_of_production",
    ),
    Mutation(
        "what is told by hand counts whoever has parsed the message", "G6", _SUBSCRIBER,
        "            self._outer_config.context.get(_PARSED, []).append(parsed)\n", "",
        "tests/faststream/test_subscriber.py::test_a_parser_that_asks_no_other_is_told_its_outcome_as_well",
    ),
    Mutation(
        "a parser that a subscriber of FastStream is given is used", "G8", _WORKER,
        "parser_=parser or", "parser_=",
        f"{_BROKER_TESTS}::test_parsers_decoders_and_dependencies_are_faststreams",
    ),
    Mutation(
        "an option that there is not is refused where the subscriber is written", "G8", _WORKER,
        "        _refuse_unknown(options, _OF_CONSUMER | _OF_FASTSTREAM)\n", "",
        f"{_BROKER_TESTS}::test_an_option_that_there_is_not_is_refused_where_it_is_written",
    ),
    Mutation(
        "a message reaches the subscriber of its group", "G1", _WORKER,
        "read_as in (None, there.group)", "True",
        "tests/testing/test_faststream.py::test_a_message_for_a_group_that_no_subscriber_reads_as_is_refused",
    ),
    Mutation(
        "a kit registers its streams in place of another's", "G8", "outbox/testing/relay.py",
        "            await _withdraw(database)\n", "",
        f"{_SERVERS_TESTS}::test_two_modules_declare_the_same_place_differently_and_take_turns",
    ),
    Mutation(
        "a kit that is used again registers its streams anew", "G8", _SERVERS,
        "            self._kits[name].register()\n", "            pass\n",
        f"{_SERVERS_TESTS}::test_two_modules_declare_the_same_place_differently_and_take_turns",
    ),
    Mutation(
        "a kit has the settings that it was asked for", "G8", _SERVERS,
        "name = repr((here, sorted", "name = repr((here.place, sorted",
        f"{_SERVERS_TESTS}::test_settings_of_one_kit_are_not_those_of_the_next",
    ),
    Mutation(
        "a kit that failed leaves no client open", "G8", "outbox/testing/kit.py",
        "            opened.callback(self.client.close)\n", "",
        f"{_SERVERS_TESTS}::test_what_a_kit_that_failed_had_opened_is_closed_and_the_one_before_goes_on",
    ),
    Mutation(
        "a service is told which outbox the kit has", "G8", "outbox/testing/kit.py",
        '            "OUTBOX_PREFIX": self.settings.outbox_prefix,\n', "",
        f"{_SERVERS_TESTS}::test_a_service_is_told_the_names_of_its_outbox_whatever_is_set_otherwise",
    ),
    Mutation(
        "the server programs that `.env` names are the ones that run", "G8", "outbox/embedded/binaries.py",
        "environment.read().get(setting)", "os.environ.get(setting)",
        "tests/embedded/test_failures.py::test_a_program_that_the_env_file_names_is_found",
    ),
]  # fmt: skip
