"""Protections of settings: what others have put into the environment, misspelt names, secrets in errors."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_TESTS = "tests/outbox/test_environment.py::"

MUTATIONS = [
    Mutation(
        "the relay names variables that it does not read", "settings", "relay/outbox_relay/cli.py",
        'log.warning("variables are not read", names=unread)', "pass",
        "tests/relay/test_start_and_stop.py"
        "::test_a_variable_that_is_nearly_a_setting_is_named_and_its_value_is_not_shown",
    ),
    Mutation(
        "a variable that is nearly a setting as it was called before is named", "settings", "outbox/environment.py",
        "n=1, cutoff=_ALIKE", "n=1, cutoff=1.0",
        _TESTS + "test_a_name_that_is_nearly_an_old_one_is_named_without_its_value",
    ),
    Mutation(
        "links of services are not read", "settings", "outbox/environment.py",
        "if value and not _is_service_link(name, value)}", "if value}",
        _TESTS + "test_no_service_of_kubernetes_sets_anything",
    ),
    Mutation(
        "a new name goes over an old one", "settings", "outbox/environment.py",
        "return variables.get(setting.name)\n", "return variables.get(setting.old or setting.name)\n",
        _TESTS + "test_a_new_name_goes_over_the_old_one_which_may_be_somebody_elses",
    ),
    Mutation(
        "a name that is nearly ours is refused", "settings", "outbox/environment.py",
        "_NEAR = 0.75", "_NEAR = 1.0",
        _TESTS + "test_a_name_that_is_nearly_ours_is_refused_with_the_right_one",
    ),
    Mutation(
        "names of others are left alone", "settings", "outbox/environment.py",
        "_NEAR = 0.75", "_NEAR = 0.0",
        _TESTS + "test_names_of_others_are_left_alone",
    ),
    Mutation(
        "a secret and its file are one too many", "settings", "outbox/environment.py",
        "if setting.name in variables:", "if False:",
        "tests/outbox/test_secrets.py::test_a_secret_and_its_file_are_one_too_many",
    ),
    Mutation(
        "a line of .env that sets nothing is named", "settings", "outbox/environment.py",
        "if line.error and (ours", "if False and (ours",
        "tests/outbox/test_env_file.py::test_a_line_of_ours_that_sets_nothing_is_refused_and_not_shown",
    ),
    Mutation(
        "keys of nothing do not open the API", "access", "api/outbox_api/settings.py",
        "if value and not keys.read(value.get_secret_value()):", "if False:",
        "tests/outbox/test_secrets.py::test_keys_of_nothing_do_not_open_the_api",
    ),
    Mutation(
        "an empty secret is no key", "access", "outbox/web/keys.py",
        'if digest == _digest(""):', "if False:",
        "tests/outbox/test_keys.py::test_what_cannot_be_read_is_told_without_its_hash",
    ),
    Mutation(
        "a database has a name that it can have", "settings", "outbox/settings.py",
        "return value if value is None else check_database(value)", "return value",
        "tests/outbox/test_any_setting.py::test_a_database_has_a_name_that_it_can_have",
    ),
    Mutation(
        "a time is one that clocks can count", "settings", "outbox/family.py",
        "if isinstance(value, float) and not value <= _MOST:", "if False:",
        "tests/outbox/test_any_setting.py::test_a_time_is_one_that_clocks_can_count",
    ),
    Mutation(
        "an option of an address is not shown", "settings", "outbox/settings.py",
        'if not mark or "?" in before:', "if not mark:",
        "tests/outbox/test_settings.py::test_an_address_is_shown_without_user_password_and_options",
    ),
    Mutation(
        "no secret is shown", "settings", "outbox/family.py",
        'was = "" if setting.secret or', "was = \"\" if",
        _TESTS + "test_a_wrong_value_is_told_with_what_was_there_and_what_would_do",
    ),
    Mutation(
        "a path of the server's own is no database", "settings", "outbox/settings.py",
        "if named in SERVERS_OWN else", "if False else",
        _TESTS + "test_the_database_in_the_address_counts",
    ),
]  # fmt: skip
