"""The Kubernetes manifests: valid by the published schemas, and in agreement with themselves, image and settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from outbox.cli.signals import SPARE_SECONDS
from outbox.settings import Family, OutboxSettings
from outbox.streams.declaration import FILES
from outbox_api.settings import ApiSettings
from outbox_relay.settings import RelaySettings
from tests.deploy.manifests import FOLDER, Manifest, build, container, environment, of_kind, pod, probes, workloads
from tests.documents import ROOT
from tests.test_metrics import series

BASE, EXAMPLE = build(FOLDER / "base"), build(FOLDER / "overlays" / "example")
BUILT = pytest.mark.parametrize("manifests", [BASE, EXAMPLE], ids=["base", "example"])
DEPLOYMENTS = {"outbox-api", "outbox-relay", "outbox-worker"}
FAMILIES: list[type[Family]] = [OutboxSettings, RelaySettings, ApiSettings]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
NOT_OURS = {"PYTHONPATH"}
OLDEST, NEWEST = "1.27", kubernetes_validate.latest_version()
"""The versions of Kubernetes between which the manifests are valid."""


def labels(workload: Manifest) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def test_every_file_is_part_of_a_kustomization() -> None:
    named: set[Path] = set()
    for path in FOLDER.rglob("kustomization.yaml"):
        read: dict[str, Any] = yaml.safe_load(path.read_text())
        entries = [*read.get("resources", []), *read.get("components", [])]
        entries += [patch["path"] for patch in read.get("patches", []) if "path" in patch]
        for generator in read.get("configMapGenerator", []):
            entries += [*generator.get("files", []), *generator.get("envs", [])]
        named |= {path, *((path.parent / entry).resolve() for entry in entries)}
    there = {path for path in FOLDER.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert there - named == {FOLDER / "README.md"}
    assert [path for path in named if not path.exists()] == []


@BUILT
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_all_are_valid_by_the_schemas_of_kubernetes(manifests: tuple[Manifest, ...], version: str) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_fault_is_found_by_the_schemas() -> None:
    relay = json.loads(json.dumps(of_kind(BASE, "Deployment")["outbox-relay"]))
    relay["spec"]["template"]["spec"]["terminationGraceSeconds"] = 40
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(relay, NEWEST, strict=True)


@BUILT
def test_what_is_referred_to_by_name_or_label_is_there(manifests: tuple[Manifest, ...]) -> None:
    deployments = of_kind(manifests, "Deployment")
    assert deployments.keys() == DEPLOYMENTS
    pods = [labels(workload) for workload in workloads(manifests).values()]
    for name, deployment in deployments.items():
        selected = deployment["spec"]["selector"]["matchLabels"]
        (spread,) = pod(deployment)["topologySpreadConstraints"]
        assert selected == spread["labelSelector"]["matchLabels"]
        assert [one for one in pods if selected.items() <= one.items()] == [labels(deployment)], name
    for service in of_kind(manifests, "Service").values():
        assert (
            service["spec"]["selector"] == deployments[service["metadata"]["name"]]["spec"]["selector"]["matchLabels"]
        )
    budgets = of_kind(manifests, "PodDisruptionBudget")
    assert budgets.keys() == DEPLOYMENTS
    for name, budget in budgets.items():
        assert budget["spec"]["selector"] == deployments[name]["spec"]["selector"]
        # One may go, and there is another: neither is a node kept from being emptied, nor does the last one go.
        assert budget["spec"]["maxUnavailable"] == 1
        assert deployments[name]["spec"].get("replicas", 2) == 2
    for name, workload in workloads(manifests).items():
        mounts = {mount["name"] for mount in container(workload)["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod(workload)["volumes"]}
        assert mounts == volumes.keys(), name
        for volume in volumes.values():
            assert volume.get("configMap", {"name": None})["name"] in {None, *of_kind(manifests, "ConfigMap")}
        assert {mount["mountPath"] for mount in container(workload)["volumeMounts"]} >= {"/tmp"}


@BUILT
def test_ports_agree_with_the_probes_the_services_the_settings_and_the_image(manifests: tuple[Manifest, ...]) -> None:
    exposed = re.search(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)
    assert exposed
    listening = []
    for name, deployment in of_kind(manifests, "Deployment").items():
        ports = {port["name"]: str(port["containerPort"]) for port in container(deployment).get("ports", [])}
        for kind, probe in probes(deployment):
            assert probe["httpGet"]["port"] in ports, (name, kind)
        own = [
            value.rpartition(":")[2]
            for variable, value in environment(deployment, manifests).items()
            if variable.endswith("_LISTEN")
        ]
        assert list(ports.values()) == own, name
        listening += own
        annotated = deployment["spec"]["template"]["metadata"].get("annotations", {}).get("prometheus.io/port")
        assert annotated in {None, *ports.values()}
        service = of_kind(manifests, "Service").get(name)
        assert bool(service) == bool(ports)
        for port in service["spec"]["ports"] if service else ():
            assert port["targetPort"] in ports
        assert len(list(probes(deployment))) == (3 if ports else 0)
    assert listening == exposed[1].split()


def known() -> set[str]:
    """Every setting, and each secret as a file."""
    settings = [setting for family in FAMILIES for setting in family.variables().values()]
    return {one.name for one in settings} | {f"{one.name}_FILE" for one in settings if one.secret}


@BUILT
def test_every_variable_is_a_setting(manifests: tuple[Manifest, ...]) -> None:
    for name, workload in workloads(manifests).items():
        assert environment(workload, manifests).keys() - NOT_OURS <= known(), name


@BUILT
def test_secrets_are_files_that_the_readme_says_how_to_make(manifests: tuple[Manifest, ...]) -> None:
    text = (FOLDER / "README.md").read_text().replace("\\\n", " ")
    made = {
        secret: set(re.findall(r"--from-file=([\w-]+)", options))
        for secret, options in re.findall(r"^kubectl create secret generic (\S+)(.*)$", text, re.MULTILINE)
    }
    for name, workload in workloads(manifests).items():
        secrets = {v["name"]: v["secret"]["secretName"] for v in pod(workload)["volumes"] if "secret" in v}
        mounts = {mount["mountPath"]: mount for mount in container(workload)["volumeMounts"]}
        read: dict[str, set[str]] = {secret: set() for secret in secrets.values()}
        for variable, value in environment(workload, manifests).items():
            assert variable.endswith("_FILE") or not re.search("PASSWORD|SECRET|KEYS|URI|URL", variable), variable
            if variable.endswith("_FILE"):
                folder, _, key = value.rpartition("/")
                assert mounts[folder]["readOnly"]
                read[secrets[mounts[folder]["name"]]].add(key)
        # Nothing is mounted that is not read, so no program sees what is another's.
        assert read == {secret: made[secret] for secret in read}, name
    assert "outbox-api" not in str(pod(of_kind(manifests, "Deployment")["outbox-relay"]))


@BUILT
def test_pods_are_as_the_restricted_pod_security_standard_asks(manifests: tuple[Manifest, ...]) -> None:
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert user
    for workload in workloads(manifests).values():
        spec, own = pod(workload), container(workload)["securityContext"]
        assert spec["securityContext"] == {
            "runAsNonRoot": True, "runAsUser": int(user[1]), "runAsGroup": int(user[2]), "fsGroup": int(user[2]),
            "seccompProfile": {"type": "RuntimeDefault"},
        }  # fmt: skip
        assert own == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert not spec["enableServiceLinks"]
        assert not spec["automountServiceAccountToken"]
        for volume in spec["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440
        resources = container(workload)["resources"]
        assert resources["requests"].keys() == {"cpu", "memory"}
        assert "memory" in resources["limits"]


def test_a_stop_is_given_its_time() -> None:
    stop = {
        "outbox-relay": RelaySettings.model_fields["relay_stop_seconds"].default + SPARE_SECONDS,
        "outbox-api": ApiSettings.model_fields["api_stop_seconds"].default,
        "outbox-worker": SPARE_SECONDS,
    }
    for name, deployment in of_kind(BASE, "Deployment").items():
        arguments = container(deployment)["args"]
        seconds = stop[name]
        if "--stop-seconds" in arguments:
            seconds += float(arguments[arguments.index("--stop-seconds") + 1])
        match container(deployment).get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command"):
            case ["sleep", before]:
                seconds += float(before)
        assert seconds < pod(deployment)["terminationGracePeriodSeconds"] <= seconds + 20, name
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_workers_are_scaled_by_entries_that_nobody_was_given() -> None:
    (scaler,) = of_kind(EXAMPLE, "HorizontalPodAutoscaler").values()
    target = of_kind(EXAMPLE, "Deployment")[scaler["spec"]["scaleTargetRef"]["name"]]
    assert "replicas" not in target["spec"]
    (metric,) = scaler["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] in series()
    assert metric["external"]["metric"]["selector"]["matchLabels"] == {"stream": FILES.name}


def test_the_image_has_the_extras_of_the_commands_that_it_runs() -> None:
    commands = {container(workload)["args"][0] for workload in workloads(BASE).values()}
    installed = re.search(r"pip install .*'\.\[(.*)\]'", DOCKERFILE)
    assert installed
    assert set(installed[1].split(",")) == commands & {"api", "relay"}  # each brings what the others need


def test_the_example_has_an_image_of_its_own_in_every_pod() -> None:
    assert {container(workload)["image"] for workload in workloads(EXAMPLE).values()} == {
        "registry.example.com/outbox-relay:0.2.0"
    }
    assert {manifest["metadata"].get("namespace") for manifest in EXAMPLE} == {None, "outbox"}
