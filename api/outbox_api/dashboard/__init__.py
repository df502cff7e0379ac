"""The dashboard: pages for the person on call. They are drawn here; what they tell is found out in `outbox`."""

from outbox_api.dashboard.board import Dashboard, opened
from outbox_api.dashboard.pages import static
from outbox_api.dashboard.routes import routers

__all__ = ["Dashboard", "opened", "routers", "static"]
