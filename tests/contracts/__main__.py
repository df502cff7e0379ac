"""python -m tests.contracts: record every surface as it is now. Look at the difference before it is committed."""

from __future__ import annotations

import os
import sys

import pytest

from tests.contracts.record import FOLDER, WRITE

if __name__ == "__main__":
    os.environ[WRITE] = "1"
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", str(FOLDER)]))
