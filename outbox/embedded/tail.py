"""Following a log file that another process appends to."""

from __future__ import annotations

from pathlib import Path


class Tail:
    """The lines that are appended to a file from now on. The file may not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self.skip()

    def skip(self) -> None:
        """Leave out what has been written by now."""
        self._at = self._path.stat().st_size if self._path.exists() else 0

    def lines(self) -> list[str]:
        """The whole lines that came since the last call; one that is still being written comes with a later call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._at += len(whole)
        return whole.decode(errors="replace").splitlines()
