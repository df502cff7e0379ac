"""Protections of what is registered from defaults and from declarations in code."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

UNDECLARED = "tests/cli/test_undeclared.py"

MUTATIONS = [
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
