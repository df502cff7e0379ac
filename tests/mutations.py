"""Takes each protection out, one at a time, and shows that a named test notices.

    python -m tests.mutations

Each mutation is made in a copy of the tree. Exit code 0 when every one is noticed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Mutation:
    """One protection, where it stands, what stands there without it, and the test that must fail then."""

    protection: str
    guarantee: str
    file: str
    there: str
    without: str
    test: str


MUTATIONS = [
    Mutation(
        "token check in the publish script", "G4", "outbox/lua/publish.lua",
        "if checkpoint[1] ~= ARGV[1] then", "if false then",
        "tests/relay/test_crashes.py::test_a_token_shuts_out_the_ones_before_it",
    ),
    Mutation(
        "token check in the open script", "G4", "outbox/lua/open.lua",
        "if token and tonumber(token) > tonumber(ARGV[1]) then", "if false then",
        "tests/relay/test_crashes.py::test_a_token_shuts_out_the_ones_before_it",
    ),
    Mutation(
        "batch number check", "G5", "outbox/lua/publish.lua",
        "if tonumber(ARGV[2]) ~= tonumber(checkpoint[2] or '0') + 1 or behind", "if behind",
        "tests/relay/test_recovery.py::test_a_lost_tail_is_noticed_by_the_next_batch",
    ),
    Mutation(
        "same batch recognised", "G4", "outbox/lua/publish.lua",
        "if checkpoint[2] == ARGV[2] and checkpoint[3] == ARGV[3] then", "if false then",
        "tests/relay/test_crashes.py::test_the_same_batch_sent_twice_is_there_once",
    ),
    Mutation(
        "stream compared with its checkpoint", "G5", "outbox/lua/position.lua",
        "if not checkpoint_last then return false end", "if true then return false end",
        "tests/relay/test_recovery.py::test_a_deleted_stream_is_noticed_by_the_next_batch",
    ),
    Mutation(
        "publish before mark", "G1", "relay/drainer.py",
        "        answer = await self._checkpoints.publish(",
        "        early = await self._leases.hold(self.lease, session, reached)\n"
        "        await self._store.mark(early, session, [Sent(m.id, m.attempts + 1) for m in fetched.messages])\n"
        "        answer = await self._checkpoints.publish(",
        "tests/relay/test_crashes.py::test_every_message_is_there_once_and_in_order_after_a_crash",
    ),
    Mutation(
        "what is published and unmarked is marked first", "G4", "relay/recovery.py",
        "marked = await self._store.mark(held, session, opened.messages)", "marked = 0",
        "tests/relay/test_crashes.py::test_every_message_is_there_once_and_in_order_after_a_crash",
    ),
    Mutation(
        "lost messages taken back", "G5", "relay/recovery.py",
        "while taken := await", "while False and (taken := await",
        "tests/relay/test_recovery.py::test_everything_is_lost",
    ),
    Mutation(
        "settled messages left alone", "G5", "outbox/losses.py",
        'again = [message["_id"] for message in page if', 'again = [message["_id"] for message in page if True or',
        "tests/relay/test_recovery.py::test_what_is_settled_is_not_published_again",
    ),
    Mutation(
        "survivors looked for in the stream", "G5", "relay/recovery.py",
        "kept = await self._keep_what_is_there(lease, session, there, look)", "kept = 0",
        "tests/relay/test_recovery.py::test_the_checkpoint_alone_is_deleted",
    ),
    Mutation(
        "marks end with the lease, by the server's clock", "G1", "outbox/leases.py",
        'return {"$expr": {"$lt": ["$$NOW", self.until]}}', "return {}",
        "tests/relay/test_crashes.py::test_an_owner_that_wakes_up_late_cannot_mark",
    ),
    Mutation(
        "the lease advances by compare-and-set", "G4", "outbox/leases.py",
        '"token": lease.token, "owner": lease.owner}', "}",
        "tests/relay/test_crashes.py::test_an_owner_that_wakes_up_late_cannot_advance",
    ),
    Mutation(
        "attempts guard a mark against a replay", "G1", "outbox/store.py",
        '"attempts": attempt - 1, **held', "**held",
        "tests/relay/test_crashes.py::test_a_replay_between_publish_and_mark_is_not_undone_by_the_mark",
    ),
    Mutation(
        "no more than may wait for workers", "G7", "outbox/lua/publish.lua",
        "if ARGV[8] ~= '-1' and", "if false and",
        "tests/relay/test_back_pressure.py::test_a_stream_takes_just_as_much_as_it_may_and_goes_on_when_workers_have_read",
    ),
    Mutation(
        "what is in somebody's hands is not trimmed", "G7", "outbox/lua/trim.lua",
        "if group['pending'] > 0 then", "if false then",
        "tests/relay/test_trimming.py::test_under_load_no_entry_goes_that_somebody_has_not_acknowledged",
    ),
    Mutation(
        "what another group needs is not trimmed", "G7", "outbox/lua/trim.lua",
        "if not ignored and earlier(from, bound)", "if false and earlier(from, bound)",
        "tests/relay/test_trimming.py::test_under_load_no_entry_goes_that_somebody_has_not_acknowledged",
    ),
    Mutation(
        "trimming looks again as it removes", "G7", "outbox/lua/trim.lua",
        "if ARGV[2] ~= '' and earlier(ARGV[2], bound) then", "if ARGV[2] ~= '' then",
        "tests/relay/test_trimming.py::test_a_group_that_is_created_between_look_and_removal_loses_nothing",
    ),
    Mutation(
        "a mark forgets the entries of an earlier attempt", "G5", "outbox/store.py",
        'update["$unset"] = {"entries": ""}', "pass",
        "tests/relay/test_trimming.py::TestWithoutSubject::test_what_was_replayed_is_judged_by_its_new_entry",
    ),
    Mutation(
        "migration asks again in its transaction", "G4", "outbox/migration.py",
        'records = [record for record in records if str(record["_id"]) not in spoken_of]', "pass",
        "tests/cli/test_migrate.py::test_what_another_run_did_meanwhile_is_not_done_again",
    ),
    Mutation(
        "fetch by position", "G3", "outbox/store.py",
        'cursor.sort("position")', 'cursor.sort("position", -1)',
        "tests/relay/test_draining.py::test_messages_enter_the_stream_in_the_order_of_their_commits",
    ),
    Mutation(
        "fetch in one majority snapshot", "G2", "outbox/store.py",
        'ReadConcern("snapshot")', 'ReadConcern("local")',
        "tests/relay/test_draining.py::test_a_fetch_is_one_snapshot_and_at_least_as_new_as_the_last_mark",
    ),
    Mutation(
        "append inside a transaction only", "G2", "outbox/append.py",
        "if not session.in_transaction:", "if False:",
        "tests/outbox/test_append.py",
    ),
    Mutation(
        "completion fenced by state and attempts", "G6", "outbox/attempts.py",
        '{"state": State.PUBLISHED.value, "attempts": sent.attempt},', "{},",
        "tests/worker/test_consumer.py::test_what_is_late_after_a_rescue_has_no_effect",
    ),
    Mutation(
        "completion in the handler's transaction", "G6", "outbox/consumer/completion.py",
        "result = await database[OUTBOX].update_one(standing(_sent(message)), _completed(message), session=session)",
        "result = await database[OUTBOX].update_one(standing(_sent(message)), _completed(message))",
        "tests/worker/test_consumer.py::test_a_handler_that_leaves_its_file_waiting_has_failed",
    ),
    Mutation(
        "completed messages recognised", "G6", "outbox/consumer/completion.py",
        "            return Standing.COMPLETED, document", "            return Standing.WANTED, document",
        "tests/worker/test_consumer.py::test_a_completed_message_is_acknowledged_without_a_call",
    ),
    Mutation(
        "a sign of life takes nothing back", "G6", "outbox/lua/beat.lua",
        "if held and held[2] == ARGV[2] then", "if held then",
        "tests/worker/test_consumer.py::test_a_consumer_notices_that_its_entry_was_taken",
    ),
    Mutation(
        "entries of live workers left alone by a rescue", "G4", "outbox/rescue.py",
        "holder.pending and holder.idle_seconds > stream.rescue_seconds", "holder.pending",
        "tests/outbox/test_rescue.py::test_what_a_live_worker_holds_is_left_alone_however_long_it_takes",
    ),
    Mutation(
        "what waits its turn left alone by a rescue", "G4", "outbox/rescue.py",
        '_position(places.get(message["_id"], "0-0")) <= delivered', "True",
        "tests/outbox/test_rescue.py::test_what_waits_its_turn_is_left_alone",
    ),
]  # fmt: skip


def noticed(mutation: Mutation, tree: Path) -> bool:
    """Whether the named test fails without the protection. Raises ValueError when the protection is not found."""
    file = tree / mutation.file
    whole = file.read_text()
    if whole.count(mutation.there) != 1:
        raise ValueError(f"{mutation.file} has {mutation.there!r} {whole.count(mutation.there)} times, not once")
    without = mutation.without
    changed = whole.replace(mutation.there, without)
    if without.startswith("while False and ("):
        changed = changed.replace("session, query):", "session, query)):")
    file.write_text(changed)
    try:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutation.test],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            stdout=subprocess.DEVNULL,
            timeout=300,
            check=False,
        )
    finally:
        file.write_text(whole)
    # 1 is a failed test; anything else (a syntax error, no such test) would prove nothing.
    return run.returncode == 1


def main() -> int:
    table = Table("protection taken out", "guarantee", "test that notices", "noticed")
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache"))
        for mutation in MUTATIONS:
            found = noticed(mutation, tree)
            survivors += not found
            table.add_row(mutation.protection, mutation.guarantee, mutation.test, "yes" if found else "NO")
    Console().print(table)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
