"""What the dashboard has in each process: its sampler and its sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from outbox_api.dashboard.pages import draw
from outbox_api.dashboard.sampler import Sampler
from outbox_api.dashboard.sessions import Sessions
from outbox_api.state import State


@dataclass(frozen=True, slots=True)
class Dashboard:
    sampler: Sampler
    sessions: Sessions


@asynccontextmanager
async def opened(state: State) -> AsyncIterator[Dashboard]:
    """The dashboard, looking, until the context ends."""
    settings = state.settings
    secret = settings.api_session_secret
    sessions = Sessions(
        state.access, state.database, secret.get_secret_value() if secret else None, settings.api_session_hours
    )
    sampler = Sampler(state, draw, sessions.look)
    async with sampler.running():
        yield Dashboard(sampler, sessions)
