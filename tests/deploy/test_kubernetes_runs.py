"""The commands of the Kubernetes manifests, run as processes on this machine, with their environment and their files.

Addresses become ports here, and paths are the test's; nothing else is changed. Service links are there although the
manifests turn them off: somebody else's may not.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from outbox.embedded import Mongod, ports
from outbox.web import keys
from outbox.web.keys import Scope
from tests.deploy.manifests import FOLDER, Manifest, build, container, environment, of_kind, pod, probes, workloads
from tests.deploy.test_kubernetes import DOCKERFILE, known
from tests.waiting import PATIENCE, answers, eventually_sync

MANIFESTS = build(FOLDER / "overlays" / "example")
DATABASE = "outbox"
KEY, KNOWN = keys.make("test", [Scope.UPLOAD, Scope.READ])


def links() -> dict[str, str]:
    """What a pod is given for each service in its namespace, as long as nobody turns it off."""
    given: dict[str, str] = {}
    services = {"redis": 6379, "mongodb": 27017, "relay": 8001, "api": 8000, "outbox": 8000}
    services |= {name: one["spec"]["ports"][0]["port"] for name, one in of_kind(MANIFESTS, "Service").items()}
    for service, port in services.items():
        name, address = service.upper().replace("-", "_"), f"tcp://10.0.0.1:{port}"
        given |= {
            f"{name}_SERVICE_HOST": "10.0.0.1", f"{name}_SERVICE_PORT": str(port),
            f"{name}_SERVICE_PORT_HTTP": str(port), f"{name}_PORT": address,
            f"{name}_PORT_{port}_TCP": address, f"{name}_PORT_{port}_TCP_ADDR": "10.0.0.1",
            f"{name}_PORT_{port}_TCP_PORT": str(port), f"{name}_PORT_{port}_TCP_PROTO": "tcp",
        }  # fmt: skip
    return given


class Pod:
    """The one container of a workload, as a process: its files are in `folder`."""

    def __init__(
        self, workload: Manifest, folder: Path, secrets: Mapping[str, Mapping[str, str]], *, taken: set[int]
    ) -> None:
        """`taken`: ports on which others are going to listen."""
        self.workload = workload
        self.name: str = workload["metadata"]["name"]
        self.log = folder / "log"
        while (port := ports.pick("127.0.0.1")) in taken:
            pass
        self.port = port
        self._working = folder / "working"
        self._working.mkdir(parents=True)
        mounted = self._mount(folder, secrets)
        given = {**links(), **environment(workload, MANIFESTS)}
        for variable, value in given.items():
            for path, here in mounted.items():
                if value == path or value.startswith(f"{path}/"):
                    given[variable] = f"{here}{value.removeprefix(path)}"
            if variable.endswith("_LISTEN"):
                given[variable] = f"127.0.0.1:{self.port}"
        ours = known()
        inherited = {name: value for name, value in os.environ.items() if name not in ours}
        self._environment = {**inherited, **given, "TMPDIR": str(mounted["/tmp"])}
        self._process: subprocess.Popen[bytes] | None = None

    def _mount(self, folder: Path, secrets: Mapping[str, Mapping[str, str]]) -> dict[str, Path]:
        volumes = {volume["name"]: volume for volume in pod(self.workload)["volumes"]}
        mounted = {}
        for mount in container(self.workload)["volumeMounts"]:
            volume, here = volumes[mount["name"]], folder / mount["name"]
            here.mkdir()
            contents: Mapping[str, str] = {}
            if "secret" in volume:
                contents = secrets[volume["secret"]["secretName"]]
            elif "configMap" in volume:
                contents = of_kind(MANIFESTS, "ConfigMap")[volume["configMap"]["name"]]["data"]
            for name, text in contents.items():
                (here / name).write_text(text)
            mounted[mount["mountPath"]] = here
        return mounted

    def start(self) -> None:
        found = re.search(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
        assert found
        assert json.loads(found[1]) == ["outbox"]
        assert "command" not in container(self.workload)
        command = [sys.executable, "-P", "-m", "outbox", *container(self.workload)["args"]]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, cwd=self._working, stdout=log, stderr=subprocess.STDOUT
            )

    def answers(self, probe: Manifest) -> bool:
        assert self.runs(), self.log.read_text()
        return answers(f"http://127.0.0.1:{self.port}{probe['httpGet']['path']}")

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self._process and self.runs():
            self._process.send_signal(signal.SIGTERM)

    def ends(self, seconds: float) -> int:
        assert self._process
        return self._process.wait(seconds)

    def kill(self) -> None:
        if self._process and self.runs():
            self._process.kill()
            self._process.wait()

    def wrote_elsewhere(self) -> list[Path]:
        """Files where a read-only root has none."""
        return list(self._working.iterdir())


@pytest.fixture
def secrets(mongodb_uri: str, redis_url: str) -> dict[str, dict[str, str]]:
    """The secrets by their names, their contents as an editor leaves them: with a line end."""
    return {
        "outbox-servers": {"mongodb-uri": f"{mongodb_uri}\n", "redis-url": f"{redis_url}\n"},
        "outbox-api": {"keys": f"{KNOWN.line}\n", "session-secret": "x" * 40},
    }


@pytest.fixture
def pods(mongod: Mongod, secrets: dict[str, dict[str, str]], tmp_path: Path) -> Iterator[dict[str, Pod]]:
    with mongod.client() as client:
        client.drop_database(DATABASE)
        made: dict[str, Pod] = {}
        for name, one in workloads(MANIFESTS).items():
            made[name] = Pod(one, tmp_path / name, secrets, taken={other.port for other in made.values()})
        with _killed(made):
            yield made
        client.drop_database(DATABASE)


@contextmanager
def _killed(pods: dict[str, Pod]) -> Iterator[None]:
    try:
        yield
    finally:
        for one in pods.values():
            one.kill()


def test_an_upload_is_parsed_and_every_program_stops_in_its_time(pods: dict[str, Pod]) -> None:
    init, before_init = pods.pop("outbox-init"), [pods["outbox-api"], pods["outbox-relay"]]
    for one in before_init:
        one.start()
    for one in before_init:  # so that Kubernetes starts it again
        assert one.ends(60) != 0
        assert "Run: outbox init" in one.log.read_text()
    init.start()
    assert init.ends(60) == 0, init.log.read_text()
    for one in pods.values():
        one.start()
    for one in pods.values():
        for kind, probe in probes(one.workload):
            eventually_sync(lambda one=one, probe=probe: one.answers(probe), 30, what=f"{kind} of {one.name}")  # type: ignore[misc]

    with httpx.Client(base_url=f"http://127.0.0.1:{pods['outbox-api'].port}", timeout=60) as client:
        assert client.post("/files", files={"file": ("a.txt", b"a")}, data={"folderId": "f"}).status_code == 401
        client.headers["Authorization"] = f"Bearer {KEY}"
        answer = client.post("/files", files={"file": ("a.txt", b"a")}, data={"folderId": "f"})
        assert answer.status_code == 201, answer.text
        file = answer.json()["files"][0]["id"]
        eventually_sync(
            lambda: client.get(f"/files/{file}").json()["parsing"] == "parsed", 30, what="the file is parsed"
        )

    for one in pods.values():
        one.stop()
    began = time.monotonic()
    for name, one in pods.items():
        grace = pod(one.workload)["terminationGracePeriodSeconds"] * PATIENCE
        assert one.ends(max(1.0, grace - (time.monotonic() - began))) == 0, (name, one.log.read_text())
    assert [one.wrote_elsewhere() for one in pods.values()] == [[], [], []]
