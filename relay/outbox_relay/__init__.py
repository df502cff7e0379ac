"""The relay: a daemon that drains the outbox into Redis Streams. Every loop and every timed job is here."""
