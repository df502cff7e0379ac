"""Wall clocks of servers that step while the servers run (clock_step.c), in either direction."""

from __future__ import annotations

import asyncio
import os
import random
import struct
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.waiting import pass_by

_SOURCE = Path(__file__).with_name("clock_step.c")


def build(folder: Path) -> Path:
    """The library that a server is started with; needs a C compiler, as `cc`."""
    library = folder / "clock_step.so"
    subprocess.run(
        ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl", "-lpthread"],
        check=True,
    )
    return library


class Clock:
    """The wall clock of the servers that are started with `environment`: the machine's, and some seconds more."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self.set(0)
        self.environment = {**os.environ, "LD_PRELOAD": str(library), "CLOCK_FILE": str(file)}

    def set(self, seconds: int) -> None:
        """Step to so many seconds ahead of the machine's clock."""
        self.seconds = seconds
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))

    @asynccontextmanager
    async def stepping(self, steps: Sequence[int], dice: random.Random, pause: float = 0.1) -> AsyncIterator[None]:
        """Inside, it steps from one of `steps` to the next, again and again, about every `pause` seconds."""

        async def step() -> None:
            while True:
                for seconds in steps:
                    self.set(seconds)
                    await pass_by(pause * dice.uniform(0.2, 1.8))

        task = asyncio.create_task(step())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
