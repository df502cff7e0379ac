"""Secrets among the settings: from the environment, or from a file that is named there."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from outbox import SettingsError
from outbox.settings import Family, OutboxSettings, load
from outbox_api.settings import ApiSettings
from tests.outbox.test_environment import KEYS, SETTINGS, an_empty_environment

__all__ = ["an_empty_environment"]


SECRETS = [
    (OutboxSettings, "MONGODB_URI", "mongodb://u:s3cr3t@h/?replicaSet=rs0"),
    (OutboxSettings, "REDIS_PASSWORD", "s3cr3t"),
    (OutboxSettings, "REDIS_URL", "redis://:s3cr3t@h:1/2"),
    (ApiSettings, "OUTBOX_API_KEYS", KEYS),
    (ApiSettings, "OUTBOX_API_SESSION_SECRET", "s3cr3t" * 8),
]


@pytest.mark.parametrize(("family", "name", "secret"), SECRETS)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_can_be_in_a_file(family: type[Family], name: str, secret: str, end: str, tmp_path: Path) -> None:
    (file := tmp_path / "secret").write_bytes((secret + end).encode())
    os.environ[f"{name}_FILE"] = str(file)
    field = name.removeprefix("OUTBOX_").lower()
    assert getattr(load(family), field).get_secret_value() == secret


def test_a_secret_can_come_through_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    os.environ |= {"REDIS_PASSWORD_FILE": str(pipe)}
    with ThreadPoolExecutor(1) as writer:
        writer.submit(pipe.write_text, "a\n")
        assert load(OutboxSettings).redis_dsn == "redis://:a@127.0.0.1:6379/0"


def test_every_secret_has_been_tried() -> None:
    assert {name for _, name, _ in SECRETS} == {setting.name for setting in SETTINGS if setting.secret}


@pytest.fixture(params=["missing", "a folder", "not UTF-8", "empty", "large", "no name of a file"])
def unreadable(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    file = tmp_path / "secret"
    match request.param:
        case "a folder":
            file.mkdir()
        case "not UTF-8":
            file.write_bytes(b"s3cr3t\xff")
        case "empty":
            file.write_bytes(b"\n")
        case "large":
            file.write_bytes(b"s3cr3t" * 20_000)
        case "no name of a file":
            file = tmp_path / "\0"
    return str(file)


@pytest.mark.parametrize(("family", "name"), [(family, name) for family, name, _ in SECRETS])
def test_a_file_that_holds_no_secret_is_refused_by_name_and_not_shown(
    family: type[Family], name: str, unreadable: str
) -> None:
    os.environ |= {f"{name}_FILE": unreadable}
    with pytest.raises(SettingsError, match=f"^{name}_FILE: ") as refused:
        load(family)
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(("family", "name", "secret"), SECRETS)
def test_a_secret_and_its_file_are_one_too_many(family: type[Family], name: str, secret: str) -> None:
    Path("file").write_text("from a file, which is long enough")
    os.environ |= {f"{name}_FILE": "file", name: secret}
    with pytest.raises(SettingsError, match=f"{name}_FILE: {name} is set as well") as refused:
        load(family)
    assert secret not in str(refused.value)


@pytest.mark.parametrize(("family", "name", "secret"), SECRETS)
def test_the_mark_that_windows_puts_before_text_is_no_part_of_a_secret(
    family: type[Family], name: str, secret: str
) -> None:
    Path("file").write_bytes(b"\xef\xbb\xbf" + secret.encode() + b"\r\n")
    os.environ |= {f"{name}_FILE": "file"}
    assert getattr(load(family), name.removeprefix("OUTBOX_").lower()).get_secret_value() == secret


def test_keys_that_do_not_all_fit_are_refused_and_not_cut_off() -> None:
    Path("file").write_text("\n" * (64 * 1024 - len(KEYS)) + KEYS + "\n" + KEYS.replace("me", "you"))
    os.environ |= {"OUTBOX_API_KEYS_FILE": "file"}
    with pytest.raises(SettingsError, match="not a secret alone"):
        load(ApiSettings)


@pytest.mark.parametrize("blank", [" ", "\n \n", "\t"])
def test_keys_of_nothing_do_not_open_the_api(blank: str) -> None:
    os.environ |= {"OUTBOX_API_KEYS": blank}
    with pytest.raises(SettingsError, match="OUTBOX_API_KEYS: holds no key"):
        load(ApiSettings)
    Path("file").write_text(blank)
    del os.environ["OUTBOX_API_KEYS"]
    os.environ |= {"OUTBOX_API_KEYS_FILE": "file"}
    with pytest.raises(SettingsError, match="OUTBOX_API_KEYS_FILE: file is empty"):
        load(ApiSettings)
