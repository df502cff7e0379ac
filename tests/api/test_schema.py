"""The API keeps to its own OpenAPI document, whatever it is sent."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from outbox.database import Database
from outbox.settings import OutboxSettings
from outbox.web import keys
from outbox.web.keys import ALL
from tests.api.serving import Api

ROOT = Path(__file__).parents[2]
SCHEMATHESIS = shutil.which("schemathesis", path=str(Path(sys.executable).parent))


SECRET, KEY = keys.make("tests", ALL)


@pytest.fixture
def api(tmp_path: Path, outbox_settings: OutboxSettings, db: Database) -> Iterator[Api]:
    with Api(tmp_path, outbox_settings, OUTBOX_API_MAX_UPLOAD_BYTES="1000000", OUTBOX_LOG_FORMAT="json") as api:
        yield api


@pytest.mark.slow
def test_the_api_keeps_to_its_document(api: Api) -> None:
    """Generated requests, right and wrong ones: every answer is one that the document tells of."""
    scan(api, "--max-examples", "10")


@pytest.mark.slow
def test_the_api_keeps_to_its_document_with_keys(tmp_path: Path, outbox_settings: OutboxSettings, db: Database) -> None:
    """The same behind keys; and what asks for a key answers neither without one nor to a wrong one."""
    with Api(tmp_path, outbox_settings, OUTBOX_API_KEYS=KEY.line, OUTBOX_LOG_FORMAT="json") as api:
        # The header goes with every request, also where schemathesis would like to see what happens without it.
        header = ("--header", f"Authorization: Bearer {SECRET}", "--exclude-checks", "missing_required_header")
        scan(api, "--max-examples", "10", *header)
        assert SECRET not in api.output()


def scan(api: Api, *options: str) -> None:
    assert SCHEMATHESIS
    command = [SCHEMATHESIS, "--config-file", "tests/api/schemathesis.toml", "run", f"{api.url}/openapi.json"]
    command += ["--seed", "1", "--no-color", *options]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Traceback" not in api.output()


def test_the_document_tells_of_every_error_in_one_format(api: Api) -> None:
    document = httpx.get(f"{api.url}/openapi.json", timeout=60).json()
    told = 0
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            for status, response in operation["responses"].items():
                if status >= "400":
                    content = response["content"]
                    assert list(content) == ["application/problem+json"], (operation["operationId"], status)
                    assert all(
                        str(example["value"]["status"]) == status
                        for example in content["application/problem+json"]["examples"].values()
                    )
                    told += 1
    assert told > 20
    assert "HTTPValidationError" not in str(document)
