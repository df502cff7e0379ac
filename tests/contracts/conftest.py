from tests.cli.conftest import bare, cli

__all__ = ["bare", "cli"]
