"""`outbox bench`: how fast the outbox is on these servers, each figure beside what the servers themselves allow."""
