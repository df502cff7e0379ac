"""compose.yaml, as far as it can be checked without containers: its rules, and the commands that it runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
import typer
import yaml
from redis.asyncio import Redis

from outbox.cli.program import app
from outbox.settings import Family, OutboxSettings
from outbox.streams.declaration import FILES
from outbox_api.settings import ApiSettings
from outbox_relay.settings import RelaySettings
from tests.documents import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOTS = {
    name
    for service in SERVICES.values()
    for name, needed in service.get("depends_on", {}).items()
    if needed["condition"] == "service_completed_successfully"
}
LASTING = SERVICES.keys() - ONE_SHOTS
PROGRAMS = {name for name, service in SERVICES.items() if "build" in service}
FAMILIES: dict[str, type[Family]] = {"": OutboxSettings, "relay": RelaySettings, "api": ApiSettings}
OWN = {
    program: {name for setting in family.variables().values() for name in (setting.name, setting.old) if name}
    for program, family in FAMILIES.items()
}
"""The variables of each program, by their new and old names."""


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in the file, with the name it stands under."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)
    elif isinstance(value, str):
        yield key, value


def test_what_lasts_is_watched_and_what_does_not_is_waited_for() -> None:
    assert sorted(ONE_SHOTS) == ["init", "mongo-init"]
    assert {name for name in SERVICES if "healthcheck" in SERVICES[name]} == LASTING
    assert {name for name in SERVICES if SERVICES[name].get("restart") == "unless-stopped"} == LASTING
    for name, service in SERVICES.items():
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name


def test_no_secret_is_in_it() -> None:
    for name, text in _texts(COMPOSE):
        if re.search("PASSWORD|SECRET|TOKEN|AUTH|KEY", name):
            assert text == "" or re.fullmatch(r"\$\{\w+:\?.*\}", text), name
        for password in re.findall(r"//[^/\s:@]*:([^/\s]*)@", text):
            assert password.startswith(("${", "$${")), text
    needed = {name for _, text in _texts(COMPOSE) for name in re.findall(r"\$\{(\w+):\?", text)}
    assert needed <= set(re.findall(r"^#(\w+)=$", (ROOT / ".env.example").read_text(), re.MULTILINE))


def test_relays_can_be_many_and_servers_are_not_published() -> None:
    assert "container_name" not in str(COMPOSE)
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "api": ["127.0.0.1:${HTTP_PORT:-8000}:8000"], "api-2": ["127.0.0.1:${HTTP_PORT_2:-8010}:8000"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }  # fmt: skip
    assert SERVICES["grafana"]["profiles"] == ["monitoring"]


def test_the_profile_ha_has_what_it_takes() -> None:
    added = {name for name, service in SERVICES.items() if service.get("profiles") == ["ha"]}
    assert added == {
        "mongo-2", "mongo-3", "redis-replica", "sentinel-1", "sentinel-2", "sentinel-3", "relay-2", "api-2",
    }  # fmt: skip
    told = dict(re.findall(r"^#(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    named = re.findall(r"([\w-]+):\d+", f"{told['MONGODB_HOSTS']},{told['REDIS_HOSTS']}")
    assert named == ["mongo", "mongo-2", "mongo-3", "sentinel-1", "sentinel-2", "sentinel-3"]
    for name in ("mongo", "mongo-2", "mongo-3"):
        # Each waits for its own name, and all have a volume of their own.
        assert f"//{name}:27017/" in " ".join(SERVICES[name]["healthcheck"]["test"])
    mounted = [text for service in SERVICES.values() for text in service.get("volumes", []) if not text.startswith(".")]
    assert len(mounted) == len(set(mounted))


def test_programs_and_settings_exist() -> None:
    commands: Any = typer.main.get_command(app)
    for name in PROGRAMS:
        entrypoint = SERVICES[name].get("entrypoint", ["outbox"])
        match entrypoint:
            case ["outbox"]:
                assert SERVICES[name]["command"][0] in commands.commands
            case ["python", "-m", module]:
                assert find_spec(module)
            case _:
                pytest.fail(f"{name} runs {entrypoint}")
        for variable in SERVICES[name]["environment"]:
            known = {one for settings in OWN.values() for one in settings}
            assert variable in known or not variable.startswith(("OUTBOX_", "RELAY_", "API_")), variable


NEVER_SHARED = {"METRICS_KEY", "MONGODB_ROOT_PASSWORD"}
"""Secrets of .env that no program of ours reads."""


def test_a_program_is_given_its_own_settings_and_no_other_secrets() -> None:
    servers = {"MONGODB_URI", "MONGODB_DATABASE", "REDIS_URL"}
    elsewhere = {"OUTBOX_MONGOD", "OUTBOX_REDIS_SERVER"}  # programs of `outbox up`
    ours = {name for name in OWN[""] if name.startswith("OUTBOX_")} - elsewhere
    for name in PROGRAMS:
        service = SERVICES[name]
        assert "env_file" not in service, "all of .env, the passwords of others included"
        given = OWN.get(name.removesuffix("-2"), set()) - {"API_KEYS", "API_LISTEN", "RELAY_LISTEN"}
        assert service["environment"].keys() == servers | ours | given, name
        # By its name alone: what .env says, and the program's default where it says nothing.
        fixed = {setting for setting, value in service["environment"].items() if value is not None}
        assert fixed - servers <= {"OUTBOX_API_LISTEN", "OUTBOX_API_KEYS", "OUTBOX_RELAY_LISTEN"}
    for name, service in SERVICES.items():
        if not name.startswith("mongo"):
            assert not NEVER_SHARED & set(service.get("environment", {})), name


def test_a_stop_is_given_its_time() -> None:
    for name, seconds in (
        ("relay", RelaySettings.model_fields["relay_stop_seconds"].default),
        ("api", ApiSettings.model_fields["api_stop_seconds"].default),
    ):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > seconds


def test_volumes() -> None:
    mounted = {text.partition(":")[0] for service in SERVICES.values() for text in service.get("volumes", [])}
    files = {path for path in mounted if path.startswith("./")}
    assert mounted - files == COMPOSE["volumes"].keys()
    assert [path for path in files if not (ROOT / path).is_file()] == []


async def test_a_worker_is_well_when_it_asks_for_work(redis: Redis, redis_url: str) -> None:
    command, python, *arguments = SERVICES["worker"]["healthcheck"]["test"]
    assert (command, python) == ("CMD", "python")

    def check() -> int:
        environment = {**os.environ, "REDIS_URL": redis_url}
        return subprocess.run(
            [sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, timeout=30
        ).returncode

    assert check() == 1
    await redis.xgroup_create(FILES.name, FILES.group, "0", mkstream=True)
    assert check() == 1
    await redis.xadd(FILES.name, {"file_id": "1"})  # Redis 7.0 knows a consumer only once it was given something
    await redis.xreadgroup(FILES.group, "demo-1", {FILES.name: ">"}, count=1)
    assert check() == 0
