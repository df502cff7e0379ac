from tests.relay.conftest import world

__all__ = ["world"]
