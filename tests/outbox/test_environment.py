"""Which variables are ours, in an environment that is shared: with the application beside us, and with Kubernetes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox import SettingsError
from outbox.environment import read, unread
from outbox.servers.topology import connect
from outbox.settings import Family, OutboxSettings, database_in, load
from outbox_api.settings import ApiSettings
from outbox_relay.settings import RelaySettings
from tests.strategies import examples

FAMILIES: tuple[type[Family], ...] = (OutboxSettings, RelaySettings, ApiSettings)
SETTINGS = [setting for family in FAMILIES for setting in family.variables().values()]
SERVICES = ["outbox", "outbox-relay", "outbox-api", "relay", "api", "redis", "mongodb"]
KEYS = f"me:read:{'a' * 64}"


@pytest.fixture(autouse=True)
def an_empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {"PATH": os.environ["PATH"]})


def links(service: str, number: int, port: str, protocol: str) -> dict[str, str]:
    """What Kubernetes adds to every container for a Service, as its kubelet's package `envvars` writes it."""
    name, address = service.upper().replace("-", "_"), "10.96.0.7"
    prefix = f"{name}_PORT_{number}_{protocol.upper()}"
    return {
        f"{name}_SERVICE_HOST": address,
        f"{name}_SERVICE_PORT": str(number),
        f"{name}_SERVICE_PORT_{port.upper().replace('-', '_')}": str(number),
        f"{name}_PORT": f"{protocol}://{address}:{number}",
        prefix: f"{protocol}://{address}:{number}",
        f"{prefix}_PROTO": protocol,
        f"{prefix}_PORT": str(number),
        f"{prefix}_ADDR": address,
    }


LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
ALIKE = st.sampled_from([name.lower().replace("_", "-") for setting in SETTINGS for name in setting.names])
"""Services that are called like a setting."""


@given(
    service=st.sampled_from(SERVICES) | LABEL | ALIKE | st.tuples(st.sampled_from(SERVICES), LABEL).map("-".join),
    port=LABEL,
    number=st.integers(1, 65535),
    protocol=st.sampled_from(["tcp", "udp", "sctp"]),
)
@examples(100)
def test_no_service_of_kubernetes_sets_anything(service: str, port: str, number: int, protocol: str) -> None:
    added = links(service, number, port, protocol)
    os.environ.update(added)
    try:
        assert not added.keys() & read().keys()
        for family in FAMILIES:
            assert load(family) == family()
            assert load(family).model_fields_set <= {"mongodb_database"}
    finally:
        for name in added:
            del os.environ[name]


def test_the_port_of_a_service_is_none_of_ours_and_a_number_is(monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ |= {"REDIS_HOST": "redis", "REDIS_PORT": "tcp://10.0.0.1:6379", "RELAY_PORT": "tcp://10.0.0.1:80"}
    assert load(OutboxSettings).redis_address == "redis://redis:6379/0"
    assert load(RelaySettings).relay_listen == "127.0.0.1:8001"
    os.environ |= {"REDIS_PORT": "6380", "RELAY_PORT": "80"}
    assert load(OutboxSettings).redis_address == "redis://redis:6380/0"
    assert load(RelaySettings).relay_listen == "127.0.0.1:80"


def test_every_name_is_ours_alone() -> None:
    names = [name for setting in SETTINGS for name in setting.names]
    assert len(names) == len(set(names))
    for name in names:
        assert name.startswith(("OUTBOX_", "MONGODB_", "REDIS_"))
        assert name == "REDIS_PORT" or not name.endswith(("_PORT", "_SERVICE_HOST"))


@pytest.mark.parametrize(
    ("family", "old", "value", "field", "want"),
    [
        (RelaySettings, "RELAY_BATCH_SIZE", "7", "relay_batch_size", 7),
        (RelaySettings, "RELAY_HOST", "::", "relay_listen", "[::]:8001"),
        (RelaySettings, "RELAY_PORT", "0", "relay_listen", "127.0.0.1:0"),
        (ApiSettings, "API_MAX_FILES", "7", "api_max_files", 7),
        (ApiSettings, "API_HOST", "[::1]", "api_listen", "[::1]:8000"),
        (ApiSettings, "api_port", "80", "api_listen", "127.0.0.1:80"),
    ],
)
def test_old_names_are_still_read(family: type[Family], old: str, value: str, field: str, want: object) -> None:
    os.environ[old] = value
    assert getattr(load(family), field) == want


def test_all_but_newer_settings_have_their_old_name() -> None:
    for family in (RelaySettings, ApiSettings):
        for field, setting in family.variables().items():
            assert (setting.old is None) == (field in family.without_old_name)
            assert setting.name == f"OUTBOX_{field.upper()}"


def test_a_new_name_goes_over_the_old_one_which_may_be_somebody_elses() -> None:
    os.environ |= {"API_KEYS": "none of ours", "API_HOST": "https://api.example.com", "API_WORKERS": "many"}
    os.environ |= {"OUTBOX_API_KEYS": KEYS, "OUTBOX_API_LISTEN": "[::]:1", "OUTBOX_API_WORKERS": "2"}
    settings = load(ApiSettings)
    assert (len(settings.keys), settings.api_listen, settings.api_workers) == (1, "[::]:1", 2)


def test_what_is_set_to_nothing_is_not_set() -> None:
    Path(".env").write_text("REDIS_PASSWORD=a\n")
    os.environ |= {"REDIS_PASSWORD": "", "REDIS_URL": "", "OUTBOX_RETENTION_DAYS": ""}
    settings = load(OutboxSettings)
    assert (settings.redis_password, settings.outbox_retention_days) == (None, 7)


@pytest.mark.parametrize(
    ("family", "name", "meant"),
    [
        (OutboxSettings, "OUTBOX_RETENTION_DAY", "OUTBOX_RETENTION_DAYS"),
        (OutboxSettings, "OUTBOX_MONGODB_URI", "MONGODB_URI"),
        (OutboxSettings, "OUTBOX_STREAMS_FILE", "OUTBOX_STREAMS"),
        (OutboxSettings, "REDIS_PASWORD", "REDIS_PASSWORD"),
        (OutboxSettings, "REDIS_PASSWORD_FIEL", "REDIS_PASSWORD_FILE"),
        (OutboxSettings, "REDIS_TSL", "REDIS_TLS"),
        (OutboxSettings, "MONGODB_DATABSE", "MONGODB_DATABASE"),
        (RelaySettings, "OUTBOX_RELAY_BATCHSIZE", "OUTBOX_RELAY_BATCH_SIZE"),
        (RelaySettings, "OUTBOX_RELEY_BATCH_SIZE", "OUTBOX_RELAY_BATCH_SIZE"),
        (RelaySettings, "OUTBOX_BATCH_SIZE", "OUTBOX_RELAY_BATCH_SIZE"),
        (RelaySettings, "OUTBOX_RELAY_PORT", "OUTBOX_RELAY_LISTEN"),
        (ApiSettings, "OUTBOX_API_HOST", "OUTBOX_API_LISTEN"),
        (ApiSettings, "OUTBOX_API_KEY", "OUTBOX_API_KEYS"),
    ],
)
def test_a_name_that_is_nearly_ours_is_refused_with_the_right_one(family: type[Family], name: str, meant: str) -> None:
    os.environ[name] = "1"
    with pytest.raises(SettingsError, match=f"{name} is not a setting; did you mean {meant}\\b"):
        load(family)


@pytest.mark.parametrize(
    "name",
    [
        "OUTBOX_XYZ", "OUTBOX_TOKEN", "OUTBOX_EMAIL_FROM", "OUTBOX_RELAY_IMAGE", "OUTBOX_API_URL", "OUTBOX_DIR",
        "RELAY_NONSENSE", "RELAY_BATCH_SIZ", "API_KEY", "API_URL", "API_TOKEN",
        "REDIS_HOSTS", "REDIS_URI", "REDIS_MAXMEMORY", "REDIS_DATABASE", "MONGODB_URL", "MONGODB_PASSWORD",
    ],
)  # fmt: skip
def test_names_of_others_are_left_alone(name: str) -> None:
    os.environ[name] = "x"
    for family in FAMILIES:
        assert load(family) == family()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RELAY_STREAMS", "OUTBOX_RELAY_STREAMS"),
        ("RELAY_BATCH_SIZ", "OUTBOX_RELAY_BATCH_SIZE"),
        ("RELAY_LEASE_SECOND", "OUTBOX_RELAY_LEASE_SECONDS"),
    ],
)
def test_a_name_that_is_nearly_an_old_one_is_named_without_its_value(name: str, meant: str) -> None:
    os.environ |= {name: "s3cr3t", "RELAY_BATCH_SIZE": "7", "RELAY_HOST": "h", "RELAY_PORT": "1"}
    assert unread(RelaySettings.variables().values(), RelaySettings.prefix, read()) == [f"{name}, for {meant}"]


def test_what_other_programs_call_so_is_not_named() -> None:
    ends = "URL HOSTNAME USER USERNAME PASSWORD TOKEN DOMAINS NETWORKS SECRET NAME IMAGE NONSENSE STREAM_URL ENABLED"
    os.environ |= {f"RELAY_{end}": "1" for end in ends.split()} | {"STREAMS": "1", "BATCH_SIZE": "2"}
    assert unread(RelaySettings.variables().values(), RelaySettings.prefix, read()) == []


def test_each_program_leaves_the_settings_of_the_others_to_them() -> None:
    os.environ |= {name: "" for setting in SETTINGS for name in setting.names}
    os.environ |= {"OUTBOX_RELAY_STOP_SECONDS": "1", "OUTBOX_API_STOP_SECONDS": "2", "OUTBOX_API_KEYSS": "3"}
    assert load(RelaySettings).relay_stop_seconds == 1
    assert load(OutboxSettings) == OutboxSettings()
    with pytest.raises(SettingsError, match="OUTBOX_API_KEYSS"):
        load(ApiSettings)


def test_the_servers_names_of_others_are_left_alone_where_ours_are_set() -> None:
    os.environ |= {"REDIS_PASSWORDS": "for another program", "REDIS_PASSWORD_FILE": "password"}
    Path("password").write_text("a\n")
    assert load(OutboxSettings).redis_dsn == "redis://:a@127.0.0.1:6379/0"


@pytest.mark.parametrize(
    ("family", "name", "value", "told"),
    [
        (OutboxSettings, "REDIS_PORT", "many", r"REDIS_PORT: .*integer.*; it is 'many'\. For example REDIS_PORT=6379"),
        (OutboxSettings, "REDIS_DB", "-1", r"REDIS_DB: .*; it is '-1'\. For example REDIS_DB=0"),
        (OutboxSettings, "REDIS_TLS", "maybe", r"REDIS_TLS: .*; it is 'maybe'\. For example REDIS_TLS=true"),
        (OutboxSettings, "OUTBOX_LOG_LEVEL", "loud", r"OUTBOX_LOG_LEVEL: .*'loud'\. For example OUTBOX_LOG_LEVEL=INFO"),
        (OutboxSettings, "OUTBOX_STREAMS", "{", r"OUTBOX_STREAMS: is not JSON: .*For example OUTBOX_STREAMS=\[\{"),
        (RelaySettings, "RELAY_BATCH_SIZE", "0", r"RELAY_BATCH_SIZE: .*'0'\. For example OUTBOX_RELAY_BATCH_SIZE=500"),
        (RelaySettings, "RELAY_PORT", "x", r"RELAY_PORT: .*'127.0.0.1:x'\. For example OUTBOX_RELAY_LISTEN="),
        (ApiSettings, "OUTBOX_API_RATE_LIMIT", "x", r"OUTBOX_API_RATE_LIMIT: is not a rate.*'x'\. For example"),
        (ApiSettings, "OUTBOX_API_SESSION_SECRET", "s3cr3t", r"OUTBOX_API_SESSION_SECRET: .*at least 32.*example"),
        (
            ApiSettings,
            "OUTBOX_API_KEYS",
            "s3cr3t",
            r"OUTBOX_API_KEYS: number 1 is not NAME:.*For example OUTBOX_API_KEYS=",
        ),
    ],
)
def test_a_wrong_value_is_told_with_what_was_there_and_what_would_do(
    family: type[Family], name: str, value: str, told: str
) -> None:
    os.environ[name] = value
    with pytest.raises(SettingsError, match=f"^{told}") as refused:
        load(family)
    assert "s3cr3t" not in str(refused.value)


def test_every_example_is_a_right_value() -> None:
    from outbox.family import _example

    for family in FAMILIES:
        for field, setting in family.variables().items():
            os.environ[setting.name] = _example(family.model_fields[field])
            load(family)
            del os.environ[setting.name]


@pytest.mark.parametrize(
    ("uri", "database"),
    [
        ("mongodb://h/shop?replicaSet=rs0", "shop"),
        ("mongodb://u:p@a:1,b:2/shop", "shop"),
        ("mongodb+srv://u:p@cluster.example/shop?retryWrites=true", "shop"),
        ("mongodb://%2Frun%2Fmongod.sock/shop", "shop"),
        ("mongodb://h/my%2Ddb", "my-db"),
        ("mongodb://h/?authSource=admin", None),
        ("mongodb://h", None),
        ("mongodb://u:p@h/admin?replicaSet=rs0", None),
        ("mongodb://h/?next=/a/b", None),
        ("", None),
    ],
)
def test_the_database_in_the_address_counts(uri: str, database: str | None) -> None:
    assert database_in(uri) == database
    os.environ["MONGODB_URI"] = uri
    assert load(OutboxSettings).mongodb_database == database or "outbox"
    os.environ["MONGODB_DATABASE"] = "over_it"
    assert load(OutboxSettings).mongodb_database == "over_it"


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        (
            {"REDIS_USERNAME": "us/er", "REDIS_PASSWORD": "p@ss", "REDIS_DB": "3"},
            "redis://us%2Fer:p%40ss@127.0.0.1:6379/3",
        ),
        ({"REDIS_USERNAME": "user", "REDIS_TLS": "true"}, "rediss://user:@127.0.0.1:6379/0"),
        ({"REDIS_HOST": "/run/r.sock", "REDIS_DB": "2"}, "unix:///run/r.sock?db=2"),
        ({"REDIS_TLS": "true", "REDIS_DB": "2", "REDIS_URL": "redis://other:1/0"}, "redis://other:1/0"),
    ],
)
def test_user_database_and_tls_of_redis(variables: dict[str, str], url: str) -> None:
    os.environ |= variables
    settings = load(OutboxSettings)
    assert settings.redis_dsn == url
    options = connect(settings.redis_dsn, timeout_seconds=1).connection_pool.connection_kwargs  # type: ignore[union-attr]
    if "REDIS_URL" not in variables:
        assert options.get("username") == variables.get("REDIS_USERNAME")
        assert options["db"] == int(variables.get("REDIS_DB", 0))


def test_there_is_no_tls_to_a_socket() -> None:
    os.environ |= {"REDIS_HOST": "/run/r.sock", "REDIS_TLS": "true"}
    with pytest.raises(SettingsError, match="REDIS_TLS: there is no TLS to a socket"):
        load(OutboxSettings)


def test_a_file_of_settings_that_is_no_text_is_refused() -> None:
    Path(".env").write_bytes(b"REDIS_HOST=\xff\n")
    with pytest.raises(SettingsError, match=r"\.env cannot be read"):
        load(OutboxSettings)
