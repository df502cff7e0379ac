"""What each program must not do, at Redis and at MongoDB."""

from __future__ import annotations

from tests.faults.scenario import STREAM

CHECKPOINT = f"{{{STREAM}}}:outbox:0"
ANYBODY: list[list[str]] = [
    ["FLUSHALL"], ["FLUSHDB"], ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"], ["CONFIG", "GET", "*"],
    ["ACL", "LIST"], ["ACL", "SETUSER", "x"], ["KEYS", "*"], ["SCAN", "0"], ["GET", "others"], ["SET", STREAM, "x"],
    ["XADD", "others", "*", "a", "b"], ["XRANGE", "others", "-", "+"], ["XREAD", "STREAMS", "others", "0"],
    ["DEL", STREAM], ["UNLINK", STREAM], ["RENAME", STREAM, "others"], ["EXPIRE", STREAM, "1"], ["COPY", STREAM, "x"],
    ["XSETID", STREAM, "0-0"], ["CLIENT", "KILL", "TYPE", "normal"], ["CLIENT", "LIST"], ["MONITOR"], ["SHUTDOWN"],
    ["REPLICAOF", "NO", "ONE"], ["SCRIPT", "FLUSH"], ["FUNCTION", "FLUSH"], ["SLOWLOG", "GET"],
    ["PUBLISH", "c", "x"], ["SAVE"], ["SWAPDB", "0", "1"],
]  # fmt: skip
"""What no program may do."""

_EVAL = ["EVAL", "return redis.call('XADD', KEYS[1], '*', 'a', 'b')", "1"]
MUST_NOT: dict[str, list[list[str]]] = {
    "relay": [["XREADGROUP", "GROUP", "g", "c", "NOACK", "STREAMS", STREAM, ">"], [*_EVAL, "others"]],
    "worker": [
        ["XADD", STREAM, "*", "a", "b"], ["XTRIM", STREAM, "MAXLEN", "0"], ["HSET", CHECKPOINT, "token", "9"],
        ["HGETALL", CHECKPOINT], ["DEL", CHECKPOINT], ["XGROUP", "SETID", STREAM, "g", "$"],
        ["XGROUP", "DESTROY", STREAM, "g"], [*_EVAL, STREAM], [*_EVAL, "others"],
    ],
    "api": [
        ["XADD", STREAM, "*", "a", "b"], ["XTRIM", STREAM, "MAXLEN", "0"], ["XDEL", STREAM, "1-1"],
        ["XREADGROUP", "GROUP", "g", "c", "STREAMS", STREAM, ">"],
        ["XREADGROUP", "GROUP", "g", "c", "NOACK", "STREAMS", STREAM, ">"], ["XREAD", "STREAMS", STREAM, "0"],
        ["XACK", STREAM, "g", "1-1"], ["XCLAIM", STREAM, "g", "c", "0", "1-1"],
        ["XAUTOCLAIM", STREAM, "g", "c", "0", "0"],
        ["XGROUP", "CREATE", STREAM, "g", "0", "MKSTREAM"], ["XGROUP", "DESTROY", STREAM, "g"],
        ["XGROUP", "DELCONSUMER", STREAM, "g", "c"], ["XGROUP", "SETID", STREAM, "g", "$"],
        ["HSET", CHECKPOINT, "a", "b"],
        ["EVAL", "return 1", "0"], ["EVAL_RO", "return 1", "0"], [*_EVAL, STREAM], ["WAIT", "0", "0"],
    ],
}  # fmt: skip
MUST_NOT_WRITE: dict[str, dict[str, set[str]]] = {
    "worker": {
        "insert": {"outbox_partitions", "outbox_relays", "outbox_audit", "outbox_jobs", "idempotency_keys", "fs.files"},
        "update": {"outbox_partitions", "outbox_relays", "outbox_audit", "outbox_jobs", "idempotency_keys"},
        "remove": {"outbox", "files", "outbox_audit", "outbox_jobs", "outbox_partitions", "outbox_logouts", "fs.files"},
    },
    "api": {
        "insert": {"outbox_partitions", "outbox_relays", "outbox_recoveries", "outbox_outages", "outbox_history"},
        "update": {"outbox_audit", "outbox_partitions", "outbox_relays", "outbox_recoveries", "fs.files", "fs.chunks"},
        "remove": {
            "outbox_audit", "outbox_partitions", "outbox_relays", "outbox_jobs", "outbox_logouts", "outbox_refusals",
            "idempotency_keys",
        },
    },
    "relay": {},
    "operator": {},
}  # fmt: skip
"""By the kind of write, the collections that a program leaves alone; the relay and the operator may write to all."""
