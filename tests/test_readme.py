"""What the README and docs/ say is so: their tables are the code's, and their examples run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import SecretStr
from pymongo import MongoClient

from outbox.cli.program import app
from outbox.environment import misspelt
from outbox.settings import Family, OutboxSettings, StreamSetting, load
from outbox_api.app import create_app
from outbox_api.settings import ApiSettings
from outbox_relay.settings import RelaySettings
from tests.documents import PAGES, ROOT, anchors, code, plain, section, tables
from tests.waiting import eventually_sync

FAMILIES: tuple[type[Family], ...] = (OutboxSettings, RelaySettings, ApiSettings)
STREAMS = "OUTBOX_STREAMS"
SETTINGS = "docs/settings.md"


def _settings() -> Iterator[tuple[str, Any]]:
    for family in FAMILIES:
        for name, setting in family.variables().items():
            yield setting.name, family.model_fields[name].get_default()


def _shown(default: Any) -> str:
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_settings_and_their_defaults() -> None:
    (table,) = tables(section("Environment", SETTINGS))
    told = {plain(name): plain(default) for name, default, _ in table}
    so = {name: "none" if default is None else _shown(default) for name, default in _settings()}
    assert told == so | {STREAMS: "the file stream"}


def test_what_a_declaration_of_a_stream_can_have() -> None:
    (table,) = tables(section("Streams", SETTINGS))
    declared = StreamSetting(name="s", group="g").model_dump(mode="json")
    told = {plain(name): json.loads(plain(default)) for name, default, _ in table}
    assert told == {name: default for name, default in declared.items() if name not in ("name", "group")}


def test_the_example_of_streams() -> None:
    (block,) = code(section("Streams", SETTINGS), "sh")
    streams = load(OutboxSettings, outbox_streams=json.loads(block.split("'")[1])).streams
    (default,) = load(OutboxSettings).streams.values()
    assert streams[default.name] == default
    assert len(streams) == 2


def test_the_example_of_an_environment() -> None:
    told = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    (default,) = json.loads(told[STREAMS].strip("'"))
    assert load(OutboxSettings, outbox_streams=[default]).streams == load(OutboxSettings).streams
    so = {name: "" if default is None else _shown(default) for name, default in _settings()}
    assert told.items() >= (so | {STREAMS: told[STREAMS]}).items()
    strange = {name for name in told.keys() - so.keys() if name.startswith("OUTBOX_")}
    assert not strange, "these are no settings"
    for family in FAMILIES:
        assert not list(misspelt(family.variables().values(), family.prefix, told))


def test_every_route() -> None:
    (table,) = tables(section("Requests", "docs/http.md"))
    paths = create_app(load(ApiSettings), load(OutboxSettings)).openapi()["paths"]
    assert {plain(route) for route, _ in table} == {
        f"{method.upper()} {path}" for path, operations in paths.items() for method in operations
    }


def test_every_command() -> None:
    (table,) = tables(section("Commands", "docs/command-line.md"))
    commands: Any = typer.main.get_command(app)
    assert {plain(command) for command, _ in table} == {f"outbox {name}" for name in commands.commands}


def test_links() -> None:
    documents = [
        *PAGES,
        *(f"{folder}/README.md" for folder in ("outbox", "relay", "api", "tests", "deploy/kubernetes")),
    ]
    broken = []
    for document in documents:
        text = re.sub(r"^```.*?^```", "", (ROOT / document).read_text(), flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
            path, _, anchor = link.partition("#")
            target = (ROOT / document).parent / path if path else ROOT / document
            if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
                broken.append(f"{document}: {link}")
    assert broken == []
    assert (
        sum(f"docs/{page}" in PAGES for page in re.findall(r"\]\(([^)#]+)\)", PAGES["docs/README.md"]))
        == sum(page.startswith("docs/") for page in PAGES) - 1
    ), "docs/README.md lists every page"


def test_the_command_of_the_tests() -> None:
    """What `.ci/run` takes from here and runs word for word."""
    marked = re.findall(r"<!-- test command -->\n```sh[^\n]*\n(.*)\n```\n<!-- end -->", PAGES["README.md"])
    assert len(marked) == 1
    assert "/pytest" in marked[0]


def test_the_example_of_a_worker(mongodb_uri: str, database: str, redis_url: str, tmp_path: Path) -> None:
    """As it is written, but for the name of the database."""
    example = code(PAGES["docs/workers.md"], "python")[0].replace('client["outbox"]', f'client["{database}"]')
    (tmp_path / "tasks.py").write_text(example)
    command, *_ = code(PAGES["docs/workers.md"], "sh")
    environment = {"MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": database, "REDIS_URL": redis_url}
    outbox = [sys.executable, "-m", "outbox"]
    subprocess.run([*outbox, "init"], env=os.environ | environment, cwd=ROOT, check=True, timeout=30)
    append = code(PAGES["docs/append.md"], "python")[0]
    subprocess.run([sys.executable, "-c", append], env=os.environ | environment, cwd=ROOT, check=True, timeout=30)
    subprocess.run([*outbox, "relay", "--once", "--port", "0"], env=os.environ | environment, check=True, timeout=60)
    path = {"PYTHONPATH": str(ROOT)}
    worker = [*outbox, *command.split()[1:]]
    with subprocess.Popen(worker, env=os.environ | environment | path, cwd=tmp_path) as process:
        try:
            with MongoClient[dict[str, Any]](mongodb_uri) as client:
                outcome = client[database].outbox
                eventually_sync(lambda: outcome.find_one({"state": "completed"}), 30)
                assert client[database].files.count_documents({"parsing": "parsed"}) == 1
        finally:
            process.terminate()
    assert process.returncode == 0


def test_the_readme_is_short_and_its_figures_are_those_of_the_page() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 200
    (few,) = tables(section("How fast it is", "README.md"))
    all_, *_ = tables(PAGES["docs/performance.md"])
    figures = {name: (figure, beside) for name, figure, beside, *_ in all_}
    assert few
    assert [row for row in few if figures[row[0]] != (row[1], row[2])] == []
