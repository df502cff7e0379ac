"""What stands in `.env`: read as it was meant, or refused by its line, and not shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from outbox import SettingsError
from outbox.settings import OutboxSettings, load
from tests.outbox.test_environment import an_empty_environment

__all__ = ["an_empty_environment"]


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        ("MONGODB_URI: mongodb://u:s3cr3t@h", 1, "MONGODB_URI"),
        ("A=1\n\n  export REDIS_PASSWORD s3cr3t", 3, "REDIS_PASSWORD"),
        ("A=1\nOUTBOX_API_KEYS='s3cr3t\nB=2\n", 2, "OUTBOX_API_KEYS"),
        ("redis_password s3cr3t", 1, "redis_password"),
    ],
)
def test_a_line_of_ours_that_sets_nothing_is_refused_and_not_shown(text: str, line: int, name: str) -> None:
    Path(".env").write_text(text)
    with pytest.raises(SettingsError, match=rf"\.env, line {line}: {name} is not written as {name}=value") as refused:
        load(OutboxSettings)
    assert "s3cr3t" not in str(refused.value)


def test_lines_of_others_are_left_alone() -> None:
    Path(".env").write_text("what is this\nREDIS_HOST=a\nOTHER: b\nOUTBOX_LOG_LEVEL\n")
    assert load(OutboxSettings).redis_host == "a"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_in_another_encoding_is_refused(encoding: str) -> None:
    Path(".env").write_bytes("REDIS_HOST=a\n".encode(encoding))
    with pytest.raises(SettingsError, match=r"\.env (cannot be read|is not UTF-8 text)"):
        load(OutboxSettings)


def test_a_file_from_windows_is_read() -> None:
    Path(".env").write_bytes(b"\xef\xbb\xbfREDIS_HOST=a\r\nREDIS_PORT=5\r\n")
    assert load(OutboxSettings).redis_dsn == "redis://a:5/0"


def test_a_folder_of_that_name_is_nobodys_settings() -> None:
    Path(".env").mkdir()
    assert load(OutboxSettings).redis_host == "127.0.0.1"
