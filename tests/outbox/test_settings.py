from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from redis.asyncio import Redis

from outbox import SettingsError, Stream, Subject
from outbox.servers.connections import connect_mongo, connect_redis
from outbox.settings import OutboxSettings, load, without_secret
from outbox.streams.declaration import FILES

SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the .env of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)


def dotenv(text: str) -> None:
    Path(".env").write_text(text)


def test_the_defaults_are_servers_on_this_machine_and_the_file_stream() -> None:
    settings = load(OutboxSettings)
    assert settings.mongodb_address == "mongodb://127.0.0.1:27017"
    assert settings.redis_address == "redis://127.0.0.1:6379/0"
    assert list(settings.streams.values()) == [FILES]


def test_the_environment_goes_over_the_file_and_overrides_over_both(monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv("REDIS_HOST=file\nREDIS_PORT=1\nMONGODB_DATABASE=file")
    monkeypatch.setenv("REDIS_PORT", "2")
    monkeypatch.setenv("MONGODB_DATABASE", "environment")
    settings = load(OutboxSettings, mongodb_database="override")
    assert (settings.redis_host, settings.redis_port, settings.mongodb_database) == ("file", 2, "override")


def test_a_redis_url_goes_over_host_port_and_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_HOST", "host")
    monkeypatch.setenv("REDIS_PASSWORD", SECRET)
    assert load(OutboxSettings).redis_dsn == f"redis://:{SECRET}@host:6379/0"
    monkeypatch.setenv("REDIS_URL", "rediss://other:1/3")
    assert load(OutboxSettings).redis_dsn == "rediss://other:1/3"


def test_any_password_reaches_the_client_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", password := "p@ss:/w?rd#%41 ü")
    client = connect_redis(load(OutboxSettings))
    assert isinstance(client, Redis)
    assert client.connection_pool.connection_kwargs["password"] == password


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("OUTBOX_RETENTION_DAY", "OUTBOX_RETENTION_DAYS"),
        ("OUTBOX_STREAM", "OUTBOX_STREAMS"),
        ("outbox_log_levle", "OUTBOX_LOG_LEVEL"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, nearest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"{name.upper()} is not a setting; did you mean {nearest}"):
        load(OutboxSettings)


def test_an_unknown_name_in_the_file_is_refused_too() -> None:
    dotenv("OUTBOX_RETENTION_DAYZ=1")
    with pytest.raises(SettingsError, match="OUTBOX_RETENTION_DAYZ"):
        load(OutboxSettings)


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTBOX_LOG_LEVLE", "1")
    monkeypatch.setenv("REDIS_PORT", "many")
    monkeypatch.setenv("OUTBOX_RETENTION_DAYS", "-1")
    with pytest.raises(SettingsError) as caught:
        load(OutboxSettings)
    for name in ("OUTBOX_LOG_LEVLE", "REDIS_PORT", "OUTBOX_RETENTION_DAYS"):
        assert name in str(caught.value)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(OutboxSettings).redis_port = 1  # type: ignore[misc]


def test_streams_are_declared_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "OUTBOX_STREAMS", '[{"name": "a", "group": "g", "partitions": 2}, {"name": "b", "group": "h", "subject": {}}]'
    )
    assert list(load(OutboxSettings).streams.values()) == [Stream("a", "g", 2), Stream("b", "h", 4, Subject())]


@pytest.mark.parametrize(
    ("streams", "told"),
    [
        ("[", "OUTBOX_STREAMS: is not JSON"),
        ("[]", "OUTBOX_STREAMS"),
        ('[{"name": "a"}]', "group"),
        ('[{"name": "a", "group": "g", "partitons": 2}]', r"OUTBOX_STREAMS\[0\].partitons: is not known"),
        ('[{"name": "a", "group": "g", "partitions": 0}]', r"OUTBOX_STREAMS\[0\].partitions"),
        ('[{"name": "a"}]', r"OUTBOX_STREAMS\[0\].group: is missing. For example OUTBOX_STREAMS="),
        ('[{"name": "a b", "group": "g"}]', "stream name 'a b'"),
    ],
)
def test_streams_that_are_declared_wrongly_are_refused(
    streams: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOX_STREAMS", streams)
    with pytest.raises(SettingsError, match=f"(?i){told}"):
        _ = load(OutboxSettings).streams


SECRETS = {
    "MONGODB_URI": f"mongodb://user:{SECRET}@host:27017/?replicaSet=rs0",
    "REDIS_URL": f"redis://:{SECRET}@host:6379/0",
    "REDIS_PASSWORD": SECRET,
}


def test_secrets_are_in_no_text_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = load(OutboxSettings)
    texts = [repr(settings), str(settings), settings.model_dump_json(), settings.mongodb_address]
    assert not [text for text in [*texts, settings.redis_address] if SECRET in text]


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_in_no_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, SECRETS[name])
    monkeypatch.setenv("REDIS_PORT", "many")
    with pytest.raises(SettingsError) as caught:
        load(OutboxSettings)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("address", [f"redis://:{SECRET}/x@host", f"http://{SECRET}@host", f"redis://h:{SECRET}"])
def test_an_address_that_cannot_be_understood_is_refused_without_showing_it(address: str) -> None:
    settings = load(OutboxSettings, redis_url=address, mongodb_uri=address)
    for connect in (connect_redis, connect_mongo):
        with pytest.raises(SettingsError, match="cannot be understood") as caught:
            connect(settings)
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_password_with_a_slash_is_refused_before_a_part_of_it_is_taken_for_a_host() -> None:
    with pytest.raises(SettingsError, match=r"MONGODB_URI cannot be understood.*percent-encode") as caught:
        connect_mongo(load(OutboxSettings, mongodb_uri=f"mongodb://user:p@{SECRET}/w@host:1/?replicaSet=rs0"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://user:pass@h:1/0?x=1", "redis://h:1/0"),
        ("mongodb://u:p@a:1,b:2/db?replicaSet=r", "mongodb://a:1,b:2/db"),
        ("mongodb://u:p@ss@h/", "mongodb://h"),
        ("redis://:p/a#s@h:1", "redis://h:1"),
        ("redis://:p/a?s#s@h:1", "redis://"),
        ("redis://h:1/0?password=pa@ss", "redis://"),
        ("mongodb://h/?authMechanismProperties=a:p@ss", "mongodb://"),
        ("user:p@h", ""),
    ],
)
def test_an_address_is_shown_without_user_password_and_options(address: str, shown: str) -> None:
    assert without_secret(address) == shown


def test_a_declaration_has_a_default_for_all_that_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "OUTBOX_STREAMS",
        """[{"name": "ml", "group": "models"},
            {"name": "file_parsing_queue", "group": "file_parsers", "priorities": ["high"], "max_undelivered": 0,
             "trim": false, "ignore_groups_after_seconds": 86400}]""",
    )
    streams = load(OutboxSettings).streams
    assert streams["ml"] == Stream("ml", "models")
    assert list(streams) == ["ml", "file_parsing_queue", "file_parsing_queue:high"]
    for name in ("file_parsing_queue", "file_parsing_queue:high"):
        stream = streams[name]
        assert (stream.max_undelivered, stream.trim, stream.ignore_groups_after_seconds) == (0, False, 86400)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('"priorities": ["urgent"]', "'high' or 'low'"),
        ('"priorities": ["normal"]', "'high' or 'low'"),
        ('"max_undelivered": -1', "max_undelivered: "),
        ('"ignore_groups_after_seconds": 5', "60"),
        ('"priority": "high"', "priority: is not known"),
    ],
)
def test_a_wrong_declaration_is_told(wrong: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTBOX_STREAMS", f'[{{"name": "s", "group": "g", {wrong}}}]')
    with pytest.raises(SettingsError, match=told):
        load(OutboxSettings)


@pytest.mark.parametrize(
    ("host", "url", "shown"),
    [
        ("::1", f"redis://:{SECRET}@[::1]:6379/0", "redis://[::1]:6379/0"),
        ("[::1]", f"redis://:{SECRET}@[::1]:6379/0", "redis://[::1]:6379/0"),
        ("2001:db8::5", f"redis://:{SECRET}@[2001:db8::5]:6379/0", "redis://[2001:db8::5]:6379/0"),
        ("fe80::1%eth0", f"redis://:{SECRET}@[fe80::1%25eth0]:6379/0", "redis://[fe80::1%25eth0]:6379/0"),
        ("10.0.0.5", f"redis://:{SECRET}@10.0.0.5:6379/0", "redis://10.0.0.5:6379/0"),
        ("my_redis-1.local", f"redis://:{SECRET}@my_redis-1.local:6379/0", "redis://my_redis-1.local:6379/0"),
        ("/run/redis.sock", f"unix://:{SECRET}@/run/redis.sock?db=0", "unix:///run/redis.sock"),
        ("/run/a b#1/r?.sock", f"unix://:{SECRET}@/run/a%20b%231/r%3F.sock?db=0", "unix:///run/a%20b%231/r%3F.sock"),
    ],
)
def test_every_way_to_write_redis_host_leads_there(host: str, url: str, shown: str) -> None:
    settings = load(OutboxSettings, redis_host=host, redis_password=SECRET)
    assert (settings.redis_dsn, settings.redis_address) == (url, shown)
    options = connect_redis(settings).connection_pool.connection_kwargs  # type: ignore[union-attr]
    assert options["password"] == SECRET
    assert options.get("path", options.get("host")) == host.strip("[]")


@pytest.mark.parametrize(
    ("host", "example"),
    [
        (f"redis://:{SECRET}@redis:6379/0", "REDIS_URL=redis://redis:6379/0"),
        ("unix:///run/redis.sock", "REDIS_URL="),
        ("redis:6379", "REDIS_HOST=redis and REDIS_PORT=6379"),
        ("[::1]:6379", "REDIS_PORT=6379"),
        ("a,b,c", "REDIS_URL=redis+sentinel://a:26379"),
        ("a:1,b:2", "REDIS_URL=redis+sentinel://a:26379"),
        ("redis/0", "/run/redis.sock for a socket"),
        (f":{SECRET}@redis", "such as redis, 10.0.0.5, ::1"),
        ("run/redis.sock", "/run/redis.sock for a socket"),
        ("two words", "such as redis"),
        ("", "such as redis"),
        ("::1::", "such as redis"),
        ("redis?db=1", "such as redis"),
    ],
)
def test_what_redis_host_cannot_be_is_refused_by_name(host: str, example: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(OutboxSettings, redis_host=host)
    assert str(refused.value).startswith("REDIS_HOST: ")
    assert example in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis:///0",
        "redis:///run/redis.sock",
        "redis://h/name",
        "redis://h:6379/0/1",
        "unix://",
        "unix://h/x",
    ],
)
def test_a_redis_url_that_would_lead_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL cannot be understood"):
        connect_redis(load(OutboxSettings, redis_url=url))
