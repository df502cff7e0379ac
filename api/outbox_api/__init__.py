"""The HTTP API: files in, and the outbox to look at. It imports `outbox` only."""
