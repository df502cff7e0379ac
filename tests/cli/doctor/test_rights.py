"""What `outbox doctor` says of the rights of the users of both servers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from outbox.embedded import Mongod, RedisServer
from tests.cli.doctor.conftest import Doctor
from tests.cli.doctor.test_checks import STREAM
from tests.documents import code, section
from tests.faults.secured import roles


@pytest.mark.parametrize("program", ["relay", "worker", "api"])
def test_the_users_of_the_documents_have_the_rights(
    doctor: Doctor, program: str, mongod: Mongod, redis: Any, redis_server: RedisServer, database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """And lack them for a program that does more, or when one is taken away."""
    plain = {"MONGODB_URI": mongod.uri, "REDIS_URL": redis_server.url}
    [lines] = code(section("Least privilege", "docs/security.md"), "acl")
    [acl] = [line for line in lines.splitlines() if line.startswith(f"user {program} ")]
    words = [word.replace(f"{program.upper()}_PASSWORD", program) for word in acl.split()[1:]]
    redis.execute_command("ACL", "SETUSER", *words)
    [role] = [each for each in roles() if each["role"].lower() == f"outbox{program}"]
    role = json.loads(json.dumps(role).replace('"db": "outbox"', f'"db": "{database}"'))
    with mongod.client() as client:
        there = client[database]
        there.command({"createRole": role.pop("role"), **role})
        there.command("createUser", program, pwd=program, roles=[f"outbox{program.capitalize()}"])
        try:
            monkeypatch.setenv(
                "MONGODB_URI", mongod.uri.replace("//", f"//{program}:{program}@") + f"&authSource={database}"
            )
            monkeypatch.setenv("REDIS_URL", redis_server.url.replace("//", f"//{program}:{program}@"))
            assert doctor("--program", program) == {}
            if program != "relay":
                assert doctor.levels() == {"mongodb-rights": "danger", "redis-rights": "danger"}
            redis.execute_command("ACL", "SETUSER", program, "-xlen", "-xpending")
            wanted = f"Redis's user lacks +xlen ~{STREAM}, +xpending ~{STREAM}"
            assert doctor("--program", program)["redis-rights"]["what"] == wanted
        finally:
            for name, word in plain.items():
                monkeypatch.setenv(name, word)
            redis.execute_command("ACL", "DELUSER", program)
            there.command("dropAllUsersFromDatabase")
            there.command("dropAllRolesFromDatabase")


def test_a_user_who_may_do_anything_lacks_nothing(
    doctor: Doctor, mongod: Mongod, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mongod.client() as client:
        there = client[database]
        anything = {"resource": {"db": database, "collection": ""}, "actions": ["anyAction"]}
        there.command("createRole", "anything", privileges=[anything], roles=[])
        there.command("createUser", "owner", pwd="owner", roles=["anything"])
        try:
            monkeypatch.setenv("MONGODB_URI", mongod.uri.replace("//", "//owner:owner@") + f"&authSource={database}")
            assert "mongodb-rights" not in doctor()
        finally:
            monkeypatch.setenv("MONGODB_URI", mongod.uri)
            there.command("dropAllUsersFromDatabase")
            there.command("dropAllRolesFromDatabase")


def test_looking_for_rights_writes_nothing(doctor: Doctor, redis: Any) -> None:
    for program in ("relay", "worker"):
        doctor("--program", program)
        assert redis.dbsize() == 0
    redis.xadd(STREAM, {"file_id": "x"})
    redis.xgroup_create(STREAM, "file_parsers", 0)
    before = redis.dump(STREAM)
    for program in ("relay", "worker"):
        doctor("--program", program)
        assert redis.dump(STREAM) == before
        assert redis.keys() == [STREAM]
