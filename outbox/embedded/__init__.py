"""Real servers as child processes: for `outbox up`, for tests, and for benchmarks. Never for production.

A server is started once it answers, keeps data and port over a restart, and never outlives the process that
started it.
"""

from outbox.embedded.failures import BinaryMissing, NotStarted, PortTaken
from outbox.embedded.mongod import Mongod
from outbox.embedded.process import Process
from outbox.embedded.redis import RedisServer
from outbox.embedded.replica_set import ReplicaSet
from outbox.embedded.server import Server

__all__ = [
    "BinaryMissing",
    "Mongod",
    "NotStarted",
    "PortTaken",
    "Process",
    "RedisServer",
    "ReplicaSet",
    "Server",
]
