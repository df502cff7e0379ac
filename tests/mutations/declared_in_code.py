"""Protections of what is registered from defaults and from declarations in code."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

UNDECLARED = "tests/cli/test_undeclared.py"
IN_CODE = "tests/outbox/test_declared_in_code.py"
PREFIX = "tests/cli/test_prefix_in_code.py"

MUTATIONS = [
    Mutation(
        "a key is stored as the text that it is", "G5", "outbox/draft.py",
        "return str.__str__(text) if isinstance(text, str) else text", "return text",
        "tests/outbox/test_spelled_keys.py::test_texts_of_other_classes_are_stored_as_the_text_that_they_are",
    ),
    Mutation(
        "a program gives an outbox no other prefix", "G8", "outbox/streams/declaring.py",
        "if faults := agreement.prefix_in_code(declared, registered):", "if faults := list[str]():",
        f"{PREFIX}::test_a_program_gives_an_outbox_no_other_prefix",
    ),
    Mutation(
        "a program goes by the registered prefix", "G1", "outbox/append.py",
        "await declaring.of_program(database, self.streams)", "self.streams",
        f"{PREFIX}::test_streams_in_code_get_the_registered_prefix",
    ),
    Mutation(
        "streams of one outbox have one prefix", "G8", "outbox/streams/declaring.py",
        "if stream.prefix != streams.prefix]", "if False]",
        f"{PREFIX}::test_a_prefix_that_cannot_be_is_refused",
    ),
    Mutation(
        "a stream in code is checked", "G1", "outbox/streams/declaration.py",
        "properties.check(self)", "pass",
        f"{IN_CODE}::test_a_property_that_cannot_be_is_refused_by_name",
    ),
    Mutation(
        "a retry in code is checked", "G1", "outbox/streams/retry.py",
        """limit.check("retry", name, getattr(self, name))""", "pass",
        f"{IN_CODE}::test_a_retry_that_cannot_be_is_refused_by_name",
    ),
    Mutation(
        "what no program could read is not registered", "G1", "outbox/streams/registry.py",
        "        refuse_unreadable(stream)\n", "        pass\n",
        f"{IN_CODE}::test_what_no_program_could_read_is_not_registered",
    ),
    Mutation(
        "a registered number beyond its limit stops no program", "G1", "outbox/streams/stored.py",
        "{**brought_within(document), ", "{**document, ",
        f"{IN_CODE}::test_what_was_registered_before_its_limits_were_checked_is_brought_within_them",
    ),
    Mutation(
        "init does not undo what others change meanwhile", "G8", "outbox/streams/registry.py",
        "if stream.name not in streams.revisions]", "]",
        f"{IN_CODE}::test_what_others_change_while_init_registers_what_it_has_read_is_kept",
    ),
    Mutation(
        "init takes no default for a declaration", "G8", "outbox/streams/declaring.py",
        "registered = None if explicit else await registry.read(database)", "registered = None",
        f"{UNDECLARED}::test_init_without_a_declaration_changes_nothing_that_is_registered",
    ),
    Mutation(
        "init adds the stream that the files application needs", "G1", "outbox/streams/declaring.py",
        "if stream.name in needs and stream.name not in registered]", "if False]",
        f"{UNDECLARED}::test_init_without_a_declaration_adds_the_stream_that_the_files_application_needs",
    ),
    Mutation(
        "a change as declared needs a declaration", "G8", "outbox/cli/streams.py",
        "if not servers.settings.declares:", "if False:",
        f"{UNDECLARED}::test_a_change_as_declared_needs_a_declaration",
    ),
]  # fmt: skip
