"""For the tests of a service that uses the outbox: real servers, started once a run, and a relay and a worker by hand.

    # conftest.py
    pytest_plugins = ["outbox.testing.fixtures"]

    # test_orders.py
    def test_an_order_is_announced(outbox_kit):
        place_order(outbox_kit.client, "tea")
        [message] = outbox_kit.appended("orders")
        assert message.fields["item"] == "tea"

Nothing here needs pytest but the fixtures; `Servers` and `Kit` serve other runners as well. See docs/testing.md.
"""

from outbox.testing.appended import Appended
from outbox.testing.kit import Kit
from outbox.testing.servers import Servers

__all__ = ["Appended", "Kit", "Servers"]
