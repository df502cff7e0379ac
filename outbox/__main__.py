"""`python -m outbox` is `outbox`."""

from outbox.cli import main

main()
