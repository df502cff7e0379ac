"""Protections of a record and its message by one call."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_WRITES, _TESTS = "outbox/writes.py", "tests/outbox/test_writes.py"
_VERSIONS = "tests/outbox/test_bulk_write.py"

MUTATIONS = [
    Mutation(
        "a record and its message are one request where MongoDB can", "cost", _WRITES,
        "BULK_WRITE = 25", "BULK_WRITE = 1 << 30",
        f"{_TESTS}::test_record_and_message_are_committed_together[8.0]",
    ),
    Mutation(
        "the record is written before its message", "G3", _WRITES,
        "[*writes, *inserts]", "[*inserts, *writes]",
        f"{_TESTS}::test_a_record_that_is_there_already_is_a_duplicate_key[8.0]",
    ),
    Mutation(
        "a conflict in a bulkWrite has the transaction run again", "G1", _WRITES,
        "    if isinstance(error.error, Exception):\n        return error.error\n", "",
        f"{_TESTS}::test_a_conflict_has_the_transaction_run_again[8.0]",
    ),
    Mutation(
        "a message is not committed without the record that its write did not find", "G1", _WRITES,
        "        yield session.abort_transaction()\n", '        yield session.client.admin.command("ping")\n',
        f"{_TESTS}::test_a_write_that_finds_no_record_ends_the_transaction[8.0-UpdateOne]",
    ),
    Mutation(
        "a message is not appended where its write found no record", "G1", _WRITES,
        "    if missing:\n", "    if False:\n",
        f"{_TESTS}::test_a_write_that_finds_no_record_ends_the_transaction[6.0-DeleteOne]",
    ),
    Mutation(
        "a server that refuses bulkWrite gets the writes one by one", "G1", _WRITES,
        "_REFUSALS = {59, 115}", "_REFUSALS = {59}",
        f"{_VERSIONS}::test_a_server_that_refuses_the_command_gets_the_writes_one_by_one[115-8.0]",
    ),
    Mutation(
        "a server that refuses bulkWrite is asked once", "G1", _WRITES,
        "            _without.add(client)\n", "",
        f"{_VERSIONS}::test_a_server_that_refuses_the_command_gets_the_writes_one_by_one[59-8.0]",
    ),
    Mutation(
        "an older primary than was known gets the writes one by one", "G1", _WRITES,
        "except InvalidOperation:", "except NotImplementedError:",
        f"{_VERSIONS}::test_an_older_primary_than_was_known_gets_the_writes_one_by_one[6.0]",
    ),
    Mutation(
        "bulkWrite is sent where all known members of the replica set have it", "G1", _WRITES,
        "    version = client.topology_description.common_wire_version\n",
        "    version = max([one.max_wire_version for one in client.topology_description.known_servers] or [0])\n",
        f"{_VERSIONS}::test_while_a_member_is_older_the_command_is_not_sent",
    ),
    Mutation(
        "writes that can be read only once are refused", "G1", _WRITES,
        "isinstance(writes, list | tuple)", "hasattr(writes, '__iter__')",
        f"{_TESTS}::test_wrong_writes_are_refused_by_the_call[6.0]",
    ),
    Mutation(
        "an upload that was taken for abandoned does not come back", "G1", "api/outbox_api/uploads/records.py",
        'found = {"_id": file.id, "parsing": UPLOADING}', 'found = {"_id": file.id}',
        "tests/api/test_one_request.py::test_an_upload_taken_for_abandoned_is_lost",
    ),
]  # fmt: skip
