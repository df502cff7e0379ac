"""What a process takes of the machine. Needs psutil, of the extra `bench`."""

from __future__ import annotations

from outbox.errors import UsageError

MEGABYTE = 1_000_000


class Usage:
    """Processor time and memory of a process that runs."""

    def __init__(self, pid: int) -> None:
        try:
            import psutil
        except ImportError:
            raise UsageError("this measurement needs psutil: pip install 'outbox-relay[bench]'") from None
        self._process = psutil.Process(pid)

    def cpu_seconds(self) -> float:
        """User and system, since its start."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def resident_megabytes(self) -> float:
        return float(self._process.memory_info().rss) / MEGABYTE
